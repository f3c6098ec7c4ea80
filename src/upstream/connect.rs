//! TCP connections: every address of a host is tried.

use super::resolve::addresses;
use super::{UpstreamError, millis};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A byte stream, plain or TLS.
pub(super) type Stream = Box<dyn Io>;

/// What a [`Stream`] can do.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// Connects to one address after the other; each may take an equal share of the time. `peer` is what messages call it.
pub(super) async fn tcp(host: &str, port: u16, peer: &str, within: Duration) -> Result<Stream, UpstreamError> {
    let unresolved = |reason: String| UpstreamError::Resolve { peer: peer.to_owned(), reason };
    let addresses = addresses(host, port).await.map_err(|e| unresolved(e.to_string()))?;
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    if count == 0 {
        return Err(unresolved("the name has no address".into()));
    }
    let share = within / count;
    let mut failures = Vec::new();
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small requests must not wait for an acknowledgement; where it cannot be set, they still arrive.
                let _ = stream.set_nodelay(true);
                return Ok(Box::new(stream));
            }
            Ok(Err(e)) => failures.push(format!("{}: {e}", address.ip())),
            Err(_) => {} // told by the error below, unless another address says more
        }
    }
    let peer = peer.to_owned();
    Err(if failures.is_empty() {
        UpstreamError::ConnectTimeout { peer, ms: millis(within) }
    } else {
        UpstreamError::Connect { peer, reason: failures.join("; ") }
    })
}

/// `HOST:PORT`, with brackets around an IPv6 address.
pub(super) fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
