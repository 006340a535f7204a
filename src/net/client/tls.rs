//! TLS by rustls with the system's root certificates.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::ConnectError;

/// Whose certificates are trusted; read at the first use, because that takes some milliseconds.
#[derive(Clone, Default)]
pub struct Roots(Arc<OnceLock<Arc<ClientConfig>>>);

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Roots")
    }
}

impl Roots {
    /// Those that the system trusts, or the file that `SSL_CERT_FILE` names.
    pub fn of_system() -> Roots {
        Roots::default()
    }

    fn config(&self) -> Result<Arc<ClientConfig>, ConnectError> {
        if let Some(config) = self.0.get() {
            return Ok(Arc::clone(config));
        }
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            let problem =
                found.errors.first().map_or("there are none".to_owned(), |error| error.to_string());
            return Err(ConnectError::Roots(problem));
        }
        let config = config_of(found.certs)?;
        Ok(Arc::clone(self.0.get_or_init(|| config)))
    }

    /// Only these certificates.
    #[cfg(test)]
    pub(super) fn only(certificate: CertificateDer<'static>) -> Roots {
        let roots = Roots::default();
        let config = config_of(vec![certificate]).expect("a certificate");
        roots.0.get_or_init(|| config);
        roots
    }
}

fn config_of(
    certificates: Vec<CertificateDer<'static>>,
) -> Result<Arc<ClientConfig>, ConnectError> {
    let mut roots = RootCertStore::empty();
    // Systems carry some that rustls cannot read; those are trusted by nobody.
    roots.add_parsable_certificates(certificates);
    let failed = |error: rustls::Error| ConnectError::Roots(error.to_string());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Encrypts a stream to a host, which has to prove its name.
pub(super) async fn encrypt(
    stream: TcpStream,
    host: &str,
    roots: &Roots,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let failed = |error| ConnectError::Tls { host: host.to_owned(), error };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| failed(io::Error::other("the host's name cannot be in a certificate")))?;
    let connector = TlsConnector::from(roots.config()?);
    connector.connect(name, stream).await.map_err(failed)
}
