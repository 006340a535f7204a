//! TLS from the outside: certificates as files, and lines to a relay that are encrypted or not.
//!
//! The certificates are those of `fixtures/tls`, good for a hundred years. A client trusts both of
//! them and checks what it is shown, as any would.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use tempfile::TempDir;

use super::PATIENCE;
use super::management::base64;
use super::process::text;

/// A certificate and its key, as DER.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) certificate: &'static [u8],
    pub(crate) key: &'static [u8],
}

/// For `localhost`, signed by itself.
pub(crate) const OWN: Pair = Pair {
    certificate: include_bytes!("../fixtures/tls/localhost.der"),
    key: include_bytes!("../fixtures/tls/localhost.key.der"),
};

/// For `localhost` and `relay.test`, signed by the authority of the fixtures.
pub(crate) const SIGNED: Pair = Pair {
    certificate: include_bytes!("../fixtures/tls/relay.der"),
    key: include_bytes!("../fixtures/tls/relay.key.der"),
};

const AUTHORITY: &[u8] = include_bytes!("../fixtures/tls/ca.pem");

/// The files that a relay reads its certificate from.
pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    /// Writes a pair.
    pub(crate) fn of(pair: Pair) -> Files {
        let files = Files { folder: tempfile::tempdir().expect("a folder can be made") };
        files.put(pair);
        files
    }

    /// Replaces both, each as a program that renews certificates does: by another file.
    pub(crate) fn put(&self, pair: Pair) {
        self.put_text("key.pem", &pem("PRIVATE KEY", pair.key));
        self.put_text("chain.pem", &pem("CERTIFICATE", pair.certificate));
    }

    /// Replaces one of the files, `chain.pem` or `key.pem`.
    pub(crate) fn put_text(&self, name: &str, text: &str) {
        let next = self.folder.path().join("next");
        fs::write(&next, text).expect("files can be written");
        fs::rename(&next, self.path(name)).expect("files can be renamed");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The section of a configuration file that names them; the port is the system's choice.
    pub(crate) fn section(&self) -> String {
        let (chain, key) = (self.path("chain.pem"), self.path("key.pem"));
        format!(
            "[tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate_file = {:?}\nkey_file = {:?}\n",
            text(&chain),
            text(&key)
        )
    }

    /// The same as settings of the command line, with others.
    pub(crate) fn settings<'a>(&self, others: &[&'a str]) -> Vec<String> {
        let named = |key: &str, path: &Path| format!("tls.{key}={}", text(path));
        let own = [
            "tls.listen=127.0.0.1:0".to_owned(),
            named("certificate_file", &self.path("chain.pem")),
            named("key_file", &self.path("key.pem")),
        ];
        own.into_iter().chain(others.iter().map(|it: &&'a str| (*it).to_owned())).collect()
    }
}

/// Writes DER as PEM.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let digits = base64(der);
    let lines: Vec<&str> = digits
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A line to a relay.
pub(crate) enum Line {
    Plain(TcpStream),
    Encrypted(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Line {
    /// Connects.
    pub(crate) fn open(address: &str) -> Line {
        let stream = TcpStream::connect(address).expect("the relay accepts connections");
        stream.set_nodelay(true).expect("TCP has no delay option");
        stream.set_read_timeout(Some(PATIENCE)).expect("time-outs are supported");
        stream.set_write_timeout(Some(PATIENCE)).expect("time-outs are supported");
        Line::Plain(stream)
    }

    /// Speaks TLS from here on; the relay has to be `localhost`.
    pub(crate) fn encrypt(self) -> Line {
        self.encrypt_by(rustls::ALL_VERSIONS)
    }

    /// Speaks TLS of some versions from here on.
    pub(crate) fn encrypt_by(self, versions: &[&'static SupportedProtocolVersion]) -> Line {
        let Line::Plain(socket) = self else { panic!("it is encrypted already") };
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(AUTHORITY).expect("a certificate");
        for trusted in [authority, CertificateDer::from(OWN.certificate)] {
            roots.add(trusted).expect("a certificate");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the versions are known")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a client");
        Line::Encrypted(Box::new(StreamOwned::new(session, socket)))
    }

    /// The certificate that the relay shows, as DER.
    pub(crate) fn certificate(&mut self) -> Vec<u8> {
        let Line::Encrypted(stream) = self else { panic!("it is not encrypted") };
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).expect("the handshake succeeds");
        }
        let shown = stream.conn.peer_certificates().and_then(|chain| chain.first());
        shown.expect("servers show a certificate").to_vec()
    }

    /// Reads to the end that the relay announces; `false` if the line was cut instead.
    pub(crate) fn ends_in_order(&mut self) -> bool {
        self.read_to_end(&mut Vec::new()).is_ok()
    }

    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        match self {
            Line::Plain(socket) => socket,
            Line::Encrypted(stream) => &mut stream.sock,
        }
    }
}

impl Read for Line {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Line::Plain(socket) => socket.read(bytes),
            Line::Encrypted(stream) => stream.read(bytes),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Line::Plain(socket) => socket.write(bytes),
            Line::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Line::Plain(socket) => socket.flush(),
            Line::Encrypted(stream) => stream.flush(),
        }
    }
}
