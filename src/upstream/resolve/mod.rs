//! The addresses of a host.
//!
//! The system knows best how to find them. But glibc in a static binary loads modules of whatever glibc the machine has
//! for it, and crashes where the two differ; so a static binary asks the name servers itself.

mod files;
mod message;
mod servers;

use files::Settings;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use tokio::net::lookup_host;

/// Addresses of one host.
const MAX_ADDRESSES: usize = 8;

/// The addresses of a host, at most 8, each with this port. `localhost` is known here: in an image without `/etc/hosts`
/// no resolver knows it.
pub(crate) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let lower = host.trim_end_matches('.').to_ascii_lowercase();
    if lower == "localhost" || lower.ends_with(".localhost") {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(loopback.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    look_up(host, port).await
}

type LookUp<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + 'a>>;

/// No `async` function: in one, the way that is not taken would stay in the binary as a state that is never reached.
fn look_up(host: &str, port: u16) -> LookUp<'_> {
    if cfg!(target_feature = "crt-static") { Box::pin(by_itself(host, port)) } else { Box::pin(by_system(host, port)) }
}

async fn by_system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host((host, port)).await?.take(MAX_ADDRESSES).collect())
}

async fn by_itself(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found = files::hosts(&files::read("/etc/hosts")?, host);
    if found.is_empty() {
        found = servers::look_up(host, &Settings::parse(&files::read("/etc/resolv.conf")?)).await?;
    }
    Ok(found.into_iter().take(MAX_ADDRESSES).map(|ip| SocketAddr::new(ip, port)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_and_localhost_need_no_look_up() {
        let shown = async |host| addresses(host, 80).await.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown("192.0.2.1").await, ["192.0.2.1:80"]);
        assert_eq!(shown("2001:db8::1").await, ["[2001:db8::1]:80"]);
        for name in ["localhost", "LOCALHOST.", "api.localhost"] {
            assert_eq!(shown(name).await, ["127.0.0.1:80", "[::1]:80"]);
        }
    }

    /// Whatever the machine's files say, a name that cannot exist has no address, and it is told why.
    #[tokio::test]
    async fn both_ways_tell_what_is_unknown() {
        for looked_up in [by_system("no-such-host.invalid", 80).await, by_itself("no..host", 80).await] {
            assert!(!looked_up.unwrap_err().to_string().is_empty());
        }
    }
}
