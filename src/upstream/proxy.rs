//! Proxies, and which upstreams are reached without one.

use super::connect::{Stream, host_port};
use super::{BaseUrl, Environment, SetupError, UpstreamError};
use crate::provider::percent_decode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use std::fmt;
use std::net::IpAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes of a proxy's answer to `CONNECT`.
const MAX_CONNECT_HEAD_BYTES: usize = 16 * 1024;

/// Headers of a proxy's answer to `CONNECT`.
const MAX_CONNECT_HEADERS: usize = 64;

/// The proxies of an [`Environment`].
#[derive(Debug)]
pub(super) struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    direct: Vec<Direct>,
}

impl Proxies {
    pub(super) fn new(environment: &Environment) -> Result<Self, SetupError> {
        let parse = |variable, value: &Option<String>| {
            let proxy = value.as_deref().map(str::trim).filter(|v| !v.is_empty()).map(Proxy::parse).transpose();
            proxy.map_err(|reason| SetupError::Proxy { variable, reason })
        };
        let entries = environment.no_proxy.as_deref().unwrap_or("");
        Ok(Proxies {
            https: parse("HTTPS_PROXY", &environment.https_proxy)?,
            http: parse("HTTP_PROXY", &environment.http_proxy)?,
            direct: entries
                .split([',', ' ', '\t'])
                .filter(|e| !e.is_empty())
                .map(|e| Direct::parse(&e.to_ascii_lowercase()))
                .collect(),
        })
    }

    /// The proxy for this upstream. Only `NO_PROXY` makes exceptions, for loopback addresses too, as with curl.
    pub(super) fn pick(&self, base: &BaseUrl) -> Option<&Proxy> {
        let proxy = if base.tls { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !self.direct.iter().any(|d| d.covers(base)))
    }
}

/// One proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    /// Whether the connection to the proxy itself is TLS.
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// `Basic …`, marked as sensitive.
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Parses `[http://][USER[:PASSWORD]@]HOST[:PORT]`; https is accepted too.
    fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err("only http:// and https:// proxies are known".into());
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (user, address) = rest[..end].rsplit_once('@').map_or((None, &rest[..end]), |(u, a)| (Some(u), a));
        let base = BaseUrl::parse(&format!("{}://{address}", scheme.to_ascii_lowercase()))?;
        let authorization = user.map(basic).transpose()?;
        Ok(Proxy { tls: base.tls, host: base.host, port: base.port, authorization })
    }

    /// Asks the proxy for a connection to `upstream`, which is `HOST:PORT`.
    pub(super) async fn tunnel(&self, mut stream: Stream, upstream: &str) -> Result<Stream, UpstreamError> {
        let broken = |reason: String| UpstreamError::Proxy { proxy: self.to_string(), reason };
        let mut request = format!("CONNECT {upstream} HTTP/1.1\r\nhost: {upstream}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"proxy-authorization: ");
            request.extend_from_slice(authorization.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await.map_err(|e| broken(e.to_string()))?;

        let mut head = Vec::with_capacity(1024);
        let status = loop {
            let read = stream.read_buf(&mut head).await.map_err(|e| broken(e.to_string()))?;
            if let Some((status, len)) = connect_status(&head).map_err(|e| broken(e.to_string()))? {
                // The upstream speaks only after us, so what follows the head of a tunnel is not its own.
                if (200..300).contains(&status) && len < head.len() {
                    return Err(broken("it sent more than the head of its answer".into()));
                }
                break status;
            }
            if read == 0 {
                return Err(broken("it closed the connection".into()));
            }
            if head.len() > MAX_CONNECT_HEAD_BYTES {
                return Err(broken(format!("its answer's head has more than {MAX_CONNECT_HEAD_BYTES} bytes")));
            }
        };
        if (200..300).contains(&status) {
            return Ok(stream);
        }
        Err(UpstreamError::ProxyRefused { proxy: self.to_string(), upstream: upstream.to_owned(), status })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy {}", host_port(&self.host, self.port))
    }
}

/// The status and the length of a head, once it is complete.
fn connect_status(head: &[u8]) -> Result<Option<(u16, usize)>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_CONNECT_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    Ok(match response.parse(head)? {
        httparse::Status::Complete(len) => response.code.map(|code| (code, len)),
        httparse::Status::Partial => None,
    })
}

/// The value of `proxy-authorization` for the user part of a URL.
fn basic(user: &str) -> Result<HeaderValue, String> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let plain = format!("{}:{}", percent_decode(name), percent_decode(password));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(plain)))
        .map_err(|_| "its user name and password are not valid".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// One entry of `NO_PROXY`.
#[derive(Debug, PartialEq, Eq)]
enum Direct {
    Everything,
    /// A name and all names below it, on one port or on all.
    Name(String, Option<u16>),
    /// An address, on one port or on all.
    Address(IpAddr, Option<u16>),
    /// A network: address and length of its prefix.
    Network(IpAddr, u32),
}

impl Direct {
    fn parse(entry: &str) -> Self {
        if entry == "*" {
            return Direct::Everything;
        }
        if let Some((address, bits)) = entry.split_once('/')
            && let (Ok(address), Ok(bits)) = (address.parse(), bits.parse())
        {
            return Direct::Network(address, bits);
        }
        if let Ok(address) = entry.parse() {
            return Direct::Address(address, None);
        }
        let (host, port) = match entry.rsplit_once(':').map(|(host, port)| (host, port.parse().ok())) {
            Some((host, Some(port))) => (host, Some(port)),
            _ => (entry, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse() {
            Ok(address) => Direct::Address(address, port),
            Err(_) => Direct::Name(host.trim_start_matches("*.").trim_matches('.').to_owned(), port),
        }
    }

    fn covers(&self, base: &BaseUrl) -> bool {
        let on = |port: &Option<u16>| port.is_none_or(|p| p == base.port);
        let address = base.host.parse::<IpAddr>().ok();
        match self {
            Direct::Everything => true,
            Direct::Address(own, port) => address == Some(*own) && on(port),
            Direct::Network(own, bits) => address.is_some_and(|a| same_network(*own, a, *bits)),
            Direct::Name(own, port) => {
                let host = base.host.trim_end_matches('.').to_ascii_lowercase();
                let below = host.strip_suffix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                below && address.is_none() && !own.is_empty() && on(port)
            }
        }
    }
}

fn same_network(a: IpAddr, b: IpAddr, bits: u32) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits.min(32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits.min(128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(no_proxy: &str, url: &str) -> bool {
        let environment = Environment {
            https_proxy: Some("http://p:3128".into()),
            http_proxy: Some("p".into()),
            no_proxy: Some(no_proxy.into()),
            ssl_cert_file: None,
        };
        Proxies::new(&environment).unwrap().pick(&BaseUrl::parse(url).unwrap()).is_some()
    }

    #[test]
    fn only_no_proxy_makes_exceptions() {
        for (no_proxy, url, expected) in [
            ("", "http://localhost:1", true),
            ("", "http://127.0.0.1:1", true),
            ("*", "https://api.openai.com", false),
            ("openai.com", "https://api.openai.com", false),
            (".openai.com", "https://openai.com", false),
            ("*.openai.com", "https://api.openai.com", false),
            ("OpenAI.com", "https://API.openai.com", false),
            ("openai.com", "https://notopenai.com", true),
            ("a.b, localhost", "http://localhost:8080", false),
            ("localhost:81", "http://localhost:8080", true),
            ("localhost:8080", "http://localhost:8080", false),
            ("127.0.0.1", "http://127.0.0.1:1", false),
            ("127.0.0.1:2", "http://127.0.0.1:1", true),
            ("0.1", "http://127.0.0.1:1", true),
            ("10.0.0.0/8", "http://10.1.2.3", false),
            ("10.0.0.0/8", "http://11.1.2.3", true),
            ("::1", "http://[::1]:5", false),
            ("[::1]:5", "http://[::1]:5", false),
            ("fd00::/8", "http://[fd12::1]", false),
        ] {
            assert_eq!(through(no_proxy, url), expected, "{no_proxy:?} {url}");
        }
    }

    #[test]
    fn a_proxy_is_parsed_and_its_password_hidden() {
        let proxy = Proxy::parse("http://me:p%40ss@proxy.corp:3128/").unwrap();
        assert_eq!((proxy.tls, proxy.host.as_str(), proxy.port), (false, "proxy.corp", 3128));
        assert_eq!(proxy.authorization.as_ref().unwrap(), "Basic bWU6cEBzcw==");
        let shown = format!("{proxy} {proxy:?}");
        assert!(!shown.contains("p@ss") && !shown.contains("bWU6"), "{shown}");
        assert_eq!(Proxy::parse("proxy.corp").unwrap().port, 80);
        assert_eq!(Proxy::parse("https://proxy.corp").unwrap().port, 443);
        for bad in ["socks5://me:secret@x:1", "http://me:secret@", "http://me:secret@x:y"] {
            let e = Proxy::parse(bad).unwrap_err();
            assert!(!e.contains("secret"), "{e}");
        }
    }
}
