//! What can go wrong on the way to an upstream.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

/// A setting from the environment that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// `SSL_CERT_FILE` names a file without usable certificates.
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A proxy variable is not a proxy's URL. Its value is never quoted: it may hold a password.
    Proxy {
        /// The variable, in upper case.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A provider's key that no header can hold. It is never quoted.
    Key {
        /// The variable.
        variable: String,
    },
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Certificates { path, reason } => write!(f, "SSL_CERT_FILE: {}: {reason}", path.display()),
            SetupError::Proxy { variable, reason } => write!(f, "{variable}: {reason}"),
            SetupError::Key { variable } => write!(f, "{variable}: the key has characters that a header cannot hold"),
        }
    }
}

impl Error for SetupError {}

/// Why an upstream gave no answer, or not a whole one. `upstream` and `peer` are `HOST:PORT`; no message holds a key or
/// a proxy's password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamError {
    /// The request is none that HTTP/1.1 can carry.
    Unsendable {
        /// Where it should have gone.
        upstream: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The roots of trust could not be loaded.
    Setup(SetupError),
    /// The name has no address.
    Resolve {
        /// The upstream, or `proxy HOST:PORT`.
        peer: String,
        /// What the resolver said.
        reason: String,
    },
    /// No TCP connection to any address.
    Connect {
        /// The upstream, or `proxy HOST:PORT`.
        peer: String,
        /// Every address with what it said.
        reason: String,
    },
    /// No address answered in time.
    ConnectTimeout {
        /// The upstream, or `proxy HOST:PORT`.
        peer: String,
        /// The limit, in milliseconds.
        ms: u64,
    },
    /// The certificate cannot be trusted.
    Certificate {
        /// The upstream, or `proxy HOST:PORT`.
        peer: String,
        /// Which of the rules it breaks.
        reason: String,
    },
    /// The TLS handshake failed for another reason than the certificate.
    Tls {
        /// The upstream, or `proxy HOST:PORT`.
        peer: String,
        /// What failed.
        reason: String,
    },
    /// The proxy answered `CONNECT` with another status than 2xx.
    ProxyRefused {
        /// `proxy HOST:PORT`.
        proxy: String,
        /// Where it should have connected to.
        upstream: String,
        /// Its answer.
        status: u16,
    },
    /// The proxy's answer to `CONNECT` makes no sense, or did not come.
    Proxy {
        /// `proxy HOST:PORT`.
        proxy: String,
        /// What came instead.
        reason: String,
    },
    /// The answer's head did not come in time.
    HeadTimeout {
        /// The upstream.
        upstream: String,
        /// The limit, in milliseconds.
        ms: u64,
    },
    /// The connection ended before the answer's head was complete.
    NoAnswer {
        /// The upstream.
        upstream: String,
        /// How it ended.
        reason: String,
    },
    /// The answer's head is not HTTP/1.1, or too large.
    Protocol {
        /// The upstream.
        upstream: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The next chunk of the body did not come in time.
    ChunkTimeout {
        /// The upstream.
        upstream: String,
        /// The limit, in milliseconds.
        ms: u64,
    },
    /// The body ended before it was complete.
    Cut {
        /// The upstream.
        upstream: String,
        /// Bytes of the body that came.
        received: u64,
        /// How it ended.
        reason: String,
    },
}

impl UpstreamError {
    /// The HTTP status for a client that has not had the answer's head yet: 504 for what took too long, else 502.
    pub fn status(&self) -> u16 {
        match self {
            UpstreamError::ConnectTimeout { .. }
            | UpstreamError::HeadTimeout { .. }
            | UpstreamError::ChunkTimeout { .. } => 504,
            _ => 502,
        }
    }

    /// What hyper's error means where the head was awaited.
    pub(super) fn before_head(upstream: String, e: &hyper::Error) -> Self {
        if e.is_parse_too_large() {
            let reason = format!(
                "the answer's head has more than {} bytes or {} headers",
                super::link::MAX_HEAD_BYTES,
                super::link::MAX_HEADERS
            );
            return UpstreamError::Protocol { upstream, reason };
        }
        let reason = root(e);
        if e.is_parse() {
            UpstreamError::Protocol { upstream, reason }
        } else {
            UpstreamError::NoAnswer { upstream, reason }
        }
    }

    /// The same, of a request that could have been sent once more.
    pub(super) fn not_repeated(self) -> Self {
        match self {
            UpstreamError::NoAnswer { upstream, reason } => {
                let reason = format!("{reason}; the request may have reached it, so it is not sent again");
                UpstreamError::NoAnswer { upstream, reason }
            }
            other => other,
        }
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpstreamError::Unsendable { upstream, reason } => {
                write!(f, "the request cannot be sent to {upstream}: {reason}")
            }
            UpstreamError::Setup(e) => e.fmt(f),
            UpstreamError::Resolve { peer, reason } => write!(f, "cannot resolve {peer}: {reason}"),
            UpstreamError::Connect { peer, reason } => write!(f, "cannot connect to {peer}: {reason}"),
            UpstreamError::ConnectTimeout { peer, ms } => write!(f, "cannot connect to {peer} within {ms} ms"),
            UpstreamError::Certificate { peer, reason } => {
                write!(f, "the certificate of {peer} cannot be trusted: {reason}")
            }
            UpstreamError::Tls { peer, reason } => write!(f, "no TLS connection to {peer}: {reason}"),
            UpstreamError::ProxyRefused { proxy, upstream, status } => {
                let hint = if *status == 407 { ": it asks for a user name and password in its URL" } else { "" };
                write!(f, "{proxy} refused to connect to {upstream} with status {status}{hint}")
            }
            UpstreamError::Proxy { proxy, reason } => write!(f, "{proxy} gave no tunnel: {reason}"),
            UpstreamError::HeadTimeout { upstream, ms } => write!(f, "{upstream} did not answer within {ms} ms"),
            UpstreamError::NoAnswer { upstream, reason } => write!(f, "{upstream} gave no answer: {reason}"),
            UpstreamError::Protocol { upstream, reason } => {
                write!(f, "{upstream} gave an answer that is not HTTP/1.1: {reason}")
            }
            UpstreamError::ChunkTimeout { upstream, ms } => {
                write!(f, "{upstream} sent nothing more of its answer for {ms} ms")
            }
            UpstreamError::Cut { upstream, received, reason } => {
                write!(f, "{upstream} cut its answer off after {received} bytes: {reason}")
            }
        }
    }
}

impl Error for UpstreamError {}

impl From<SetupError> for UpstreamError {
    fn from(e: SetupError) -> Self {
        UpstreamError::Setup(e)
    }
}

/// The innermost cause: the outer ones say only where it surfaced.
pub(super) fn root(e: &dyn Error) -> String {
    let mut cause = e;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
