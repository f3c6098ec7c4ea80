//! TLS to upstreams, and certificate errors for people.

use super::connect::Stream;
use super::error::root;
use super::{SetupError, UpstreamError};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, InvalidMessage, RootCertStore};
use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// The TLS side of a client; its configuration is built when it is first needed.
pub(super) struct Tls {
    extra_roots: Option<PathBuf>,
    connector: OnceCell<TlsConnector>,
}

impl Tls {
    pub(super) fn new(extra_roots: Option<PathBuf>) -> Self {
        Tls { extra_roots, connector: OnceCell::new() }
    }

    /// A file that cannot be read is tried again the next time.
    pub(super) fn connector(&self) -> Result<&TlsConnector, SetupError> {
        if let Some(connector) = self.connector.get() {
            return Ok(connector);
        }
        let connector = build(self.extra_roots.as_deref())?;
        Ok(self.connector.get_or_init(|| connector))
    }

    /// Turns a connection into a TLS connection to `host`. `peer` is what messages call it.
    pub(super) async fn handshake(&self, stream: Stream, host: &str, peer: String) -> Result<Stream, UpstreamError> {
        let connector = self.connector()?.clone();
        let Ok(name) = ServerName::try_from(host.to_owned()) else {
            return Err(UpstreamError::Tls { peer, reason: "the host is not one that a certificate can name".into() });
        };
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(e) => Err(explain(&e, peer)),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("extra_roots", &self.extra_roots).finish_non_exhaustive()
    }
}

fn build(extra_roots: Option<&Path>) -> Result<TlsConnector, SetupError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = extra_roots {
        let reason = match certificates(path) {
            // System-wide files hold certificates of every age; one that cannot be used must not spoil the rest.
            Ok(extra) => match (extra.len(), roots.add_parsable_certificates(extra).0) {
                (0, _) => Some("it has no certificate in PEM form".into()),
                (_, 0) => Some("none of its certificates can be used as a root".into()),
                _ => None,
            },
            Err(reason) => Some(reason),
        };
        if let Some(reason) = reason {
            return Err(SetupError::Certificates { path: path.to_owned(), reason });
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|e| e.to_string())?;
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|e| format!("it is not valid PEM: {e}"))
}

fn explain(e: &io::Error, peer: String) -> UpstreamError {
    let tls = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(certificate)) => {
            UpstreamError::Certificate { peer, reason: certificate_reason(certificate) }
        }
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            UpstreamError::Tls { peer, reason: "it does not speak TLS; is http:// meant?".into() }
        }
        _ => UpstreamError::Tls { peer, reason: root(e) },
    }
}

fn certificate_reason(e: &CertificateError) -> String {
    match e {
        CertificateError::UnknownIssuer => {
            "unknown issuer; SSL_CERT_FILE can name a PEM file with the certificate of its authority".into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".into(),
        CertificateError::NotValidForName => "it is for another name".into(),
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!(
                "it is for another name: {}",
                if presented.is_empty() { "none".into() } else { presented.join(", ") }
            )
        }
        CertificateError::Revoked => "it was revoked".into(),
        other => other.to_string(),
    }
}
