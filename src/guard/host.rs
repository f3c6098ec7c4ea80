//! Hosts as `Host`, `Origin` and flags name them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host: an address, or a name in any case without the dot that may end it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Host<'t> {
    Ip(IpAddr),
    Name(&'t str),
}

/// A name that stands for this machine, and the end of names that do (<https://www.rfc-editor.org/rfc/rfc6761#section-6.3>).
const LOCALHOST: &str = "localhost";
const BELOW_LOCALHOST: &str = ".localhost";

impl<'t> Host<'t> {
    /// A host without a port, as flags give it: IPv6 without its brackets.
    pub(super) fn bare(text: &'t str) -> Option<Self> {
        if let Ok(ip) = without_zone(text).parse::<Ipv6Addr>() {
            return Some(Host::Ip(IpAddr::V6(ip).to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if let Ok(ip) = name.parse::<Ipv4Addr>() {
            return Some(Host::Ip(IpAddr::V4(ip)));
        }
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        (!name.is_empty() && name.bytes().all(valid)).then_some(Host::Name(name))
    }

    /// `HOST[:PORT]` (<https://www.rfc-editor.org/rfc/rfc9110#section-7.2>); `None` for anything else.
    pub(super) fn with_port(text: &'t str) -> Option<Self> {
        let port = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if let Some((address, after)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let whole = after.is_empty() || after.strip_prefix(':').is_some_and(port);
            let ip = without_zone(address).parse::<Ipv6Addr>().ok().filter(|_| whole)?;
            return Some(Host::Ip(IpAddr::V6(ip).to_canonical()));
        }
        match text.split_once(':') {
            None => Host::bare(text),
            Some((host, digits)) if port(digits) => Host::bare(host),
            Some(_) => None,
        }
    }

    /// The host of `SCHEME://HOST[:PORT]` (<https://www.rfc-editor.org/rfc/rfc6454#section-6.2>); `null` has none.
    pub(super) fn of_origin(origin: &'t str) -> Option<Self> {
        Host::with_port(origin.split_once("://")?.1)
    }

    pub(super) fn is_loopback(self) -> bool {
        match self {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(name) => {
                let end = name.len().checked_sub(BELOW_LOCALHOST.len());
                name.eq_ignore_ascii_case(LOCALHOST)
                    || end.is_some_and(|end| name.as_bytes()[end..].eq_ignore_ascii_case(BELOW_LOCALHOST.as_bytes()))
            }
        }
    }

    /// An address, or a name that no public name server knows: no page can have it rebound.
    pub(super) fn is_local(self) -> bool {
        match self {
            Host::Ip(_) => true,
            Host::Name(name) => !name.contains('.'),
        }
    }

    pub(super) fn is(self, other: Host<'_>) -> bool {
        match (self, other) {
            (Host::Ip(a), Host::Ip(b)) => a == b,
            (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            _ => false,
        }
    }
}

/// An IPv6 address without the interface that it is reached through.
fn without_zone(address: &str) -> &str {
    address.split_once('%').map_or(address, |(address, _zone)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(text: &str) -> Option<bool> {
        Host::with_port(text).map(Host::is_loopback)
    }

    #[test]
    fn loopback_in_every_form() {
        for text in [
            "localhost",
            "LocalHost:4010",
            "localhost.",
            "localhost.:4010",
            "localhost:",
            "app.localhost:3000",
            "127.0.0.1",
            "127.0.0.1.",
            "127.8.9.1:80",
            "[::1]",
            "[::1]:4010",
            "[::1%lo]:4010",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert_eq!(loopback(text), Some(true), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_it() {
        for text in [
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:127",
            "notlocalhost",
            "xlocalhost",
            "0.0.0.0:4010",
            "128.0.0.1",
            "[::]",
            "[fe80::1%eth0]",
            "2130706433",
            "0x7f.1",
            "localhost..evil",
        ] {
            assert_eq!(loopback(text), Some(false), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_at_all() {
        for text in [
            "",
            ":4010",
            ".",
            "localhost:4010:4010",
            "localhost:x",
            "localhost, evil.example",
            "user@localhost",
            "localhost/",
            "local host",
            "[localhost]",
            "[127.0.0.1]",
            "127.0.0.1%evil.example",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "::1",
            "ł",
        ] {
            assert_eq!(loopback(text), None, "{text}");
        }
    }

    #[test]
    fn origins_have_a_scheme_and_a_host() {
        let origin = |text| Host::of_origin(text).is_some_and(Host::is_loopback);
        for text in ["http://localhost", "https://127.0.0.1:8443", "http://[::1]:3000", "tauri://localhost"] {
            assert!(origin(text), "{text}");
        }
        for text in [
            "null",
            "",
            "localhost",
            "http://",
            "http://localhost.evil.example",
            "http://evil.example",
            "http://localhost@evil.example",
            "http://localhost http://evil.example",
            "chrome-extension://abcdefgh",
            "file://",
        ] {
            assert!(!origin(text), "{text}");
        }
    }

    #[test]
    fn names_are_the_same_in_any_case_and_addresses_by_value() {
        let same = |a, b| Host::with_port(a).unwrap().is(Host::bare(b).unwrap());
        assert!(same("Mock.Example.:80", "mock.example") && same("[::0001]", "::1"));
        assert!(!same("mock.example.com", "mock.example") && !same("127.0.0.1", "localhost"));
    }
}
