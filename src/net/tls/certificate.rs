//! A certificate with its key: what the relay proves its name with.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{Error, ServerConfig};

use super::validity::claims;

/// A certificate, those of the authorities between it and one that clients know, and its key.
#[derive(Debug)]
pub struct Certificate {
    /// Its own first.
    chain: Vec<CertificateDer<'static>>,
    begins_at: u64,
    ends_at: u64,
    is_alone: bool,
    config: Arc<ServerConfig>,
}

/// One of the two things that are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificatePart {
    /// The certificate and those that vouch for it.
    Chain,
    /// The private key.
    Key,
}

/// Why a certificate and a key are of no use.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is no certificate in the text.
    #[error("expected certificates in PEM (-----BEGIN CERTIFICATE-----), found none")]
    NoCertificate,
    /// There is no key in the text.
    #[error("expected a private key in PEM (-----BEGIN PRIVATE KEY-----), found none")]
    NoKey,
    /// The key asks for a pass phrase, which nobody is there to type.
    #[error("expected a private key without a pass phrase, found an encrypted one")]
    EncryptedKey,
    /// The text is damaged.
    #[error("expected PEM: {error}")]
    Pem {
        /// Whose text.
        part: CertificatePart,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// They are not a pair.
    #[error("the key is not that of the certificate")]
    Mismatch,
    /// One of them is of a form that is not understood.
    #[error("expected {}, found something else: {error}", .part.wanted())]
    Unusable {
        /// Which one.
        part: CertificatePart,
        /// What is wrong with it.
        error: Error,
    },
    /// The certificate does not say from when until when it is valid.
    #[error("expected a certificate of X.509 that says from when until when it is valid")]
    NoTimes,
}

impl CertificatePart {
    fn wanted(self) -> &'static str {
        match self {
            CertificatePart::Chain => "a certificate of X.509, version 3",
            CertificatePart::Key => "a key of RSA, ECDSA (P-256, P-384) or Ed25519",
        }
    }
}

impl CertificateError {
    /// Returns which of the two is to be mended.
    pub fn part(&self) -> CertificatePart {
        match self {
            CertificateError::NoCertificate | CertificateError::NoTimes => CertificatePart::Chain,
            CertificateError::NoKey
            | CertificateError::EncryptedKey
            | CertificateError::Mismatch => CertificatePart::Key,
            CertificateError::Pem { part, .. } | CertificateError::Unusable { part, .. } => *part,
        }
    }

    /// Returns what the operator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            CertificateError::NoCertificate => Some(
                "certbot calls it fullchain.pem; a file in DER is turned into PEM by openssl x509",
            ),
            CertificateError::NoKey => Some(
                "certbot calls it privkey.pem; a file in DER is turned into PEM by openssl pkey",
            ),
            CertificateError::EncryptedKey => {
                Some("`openssl pkey -in KEY -out NEW` takes the pass phrase off")
            }
            CertificateError::Mismatch => {
                Some("both are replaced together when a certificate is renewed")
            }
            CertificateError::Pem { .. }
            | CertificateError::Unusable { .. }
            | CertificateError::NoTimes => None,
        }
    }
}

impl Certificate {
    /// Reads a certificate, with those that vouch for it behind it, and its key, both in PEM.
    ///
    /// # Errors
    ///
    /// If they are no such things, or no pair. Whether the time is right is not asked here.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Certificate, CertificateError> {
        let chain = read_chain(chain)?;
        let key = read_key(key)?;
        let first = chain.first().ok_or(CertificateError::NoCertificate)?;
        let claims = claims(first).ok_or(CertificateError::NoTimes)?;
        let (begins_at, ends_at) = (claims.valid.start, claims.valid.end);
        let is_alone = chain.len() == 1 && claims.issuer != claims.subject;
        let config = config_of(chain.clone(), key)?;
        Ok(Certificate { chain, begins_at, ends_at, is_alone, config: Arc::new(config) })
    }

    /// Returns from when on it is valid, in seconds since 1970.
    pub fn begins_at(&self) -> u64 {
        self.begins_at
    }

    /// Returns until when it is valid, in seconds since 1970.
    pub fn ends_at(&self) -> u64 {
        self.ends_at
    }

    /// Tells whether it is for a host, by name or address; never for what cannot be one.
    pub fn is_for(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let parsed = self.chain.first().and_then(|it| ParsedCertificate::try_from(it).ok());
        let name = ServerName::try_from(host).ok();
        parsed.zip(name).is_some_and(|(parsed, name)| verify_server_name(&parsed, &name).is_ok())
    }

    /// Tells whether an authority vouches for it that is not among those behind it: clients that
    /// do not know that one by themselves will not trust it.
    pub fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Tells whether another one is the same.
    pub fn is_same(&self, other: &Certificate) -> bool {
        // What has the same certificate has the same key.
        self.chain == other.chain
    }

    pub(in crate::net) fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}

fn read_chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|error| pem_error(CertificatePart::Chain, error))?;
    if chain.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(chain) }
}

fn read_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    // Of the older form it is only said inside.
    let says = |words: &[u8]| text.windows(words.len()).any(|part| part == words);
    if says(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || says(b"Proc-Type: 4,ENCRYPTED") {
        return Err(CertificateError::EncryptedKey);
    }
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(CertificateError::NoKey),
        Err(error) => Err(pem_error(CertificatePart::Key, error)),
    }
}

fn pem_error(part: CertificatePart, error: pem::Error) -> CertificateError {
    CertificateError::Pem { part, error }
}

fn config_of(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, CertificateError> {
    let unusable = |part, error| match error {
        Error::InconsistentKeys(_) => CertificateError::Mismatch,
        error => CertificateError::Unusable { part, error },
    };
    let of_chain = |error| unusable(CertificatePart::Chain, error);
    let provider = Arc::new(ring::default_provider());
    let loaded = provider.key_provider.load_private_key(key.clone_key());
    loaded.map_err(|error| unusable(CertificatePart::Key, error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(of_chain)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(of_chain)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Who comes back is spared the signature, and nothing is kept here for it.
    config.ticketer = ring::Ticketer::new().map_err(of_chain)?;
    Ok(config)
}
