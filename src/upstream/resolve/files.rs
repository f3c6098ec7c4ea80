//! `/etc/hosts` and `/etc/resolv.conf`: <https://man7.org/linux/man-pages/man5/hosts.5.html>,
//! <https://man7.org/linux/man-pages/man5/resolv.conf.5.html>.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// Bytes of a file that are read.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// Name servers that are asked.
const MAX_SERVERS: usize = 3;

/// Domains that are tried.
const MAX_SEARCH: usize = 32;

/// The most that `options ndots:` can ask for.
const MAX_NDOTS: usize = 15;

/// The most that `options timeout:` can ask for, in seconds.
const MAX_TIMEOUT_SECONDS: u64 = 30;

/// The most that `options attempts:` can ask for.
const MAX_ATTEMPTS: usize = 5;

/// The port of name servers.
const PORT: u16 = 53;

/// A file's text; of one that is not there, none.
pub(super) fn read(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io::Error::new(e.kind(), format!("{path}: {e}"))),
        _ => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// The addresses that a hosts file has for a name, those of IPv4 first.
pub(super) fn hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        if let Some(ip) = words.next().and_then(|word| word.parse::<IpAddr>().ok())
            && words.any(|name| name.trim_end_matches('.').eq_ignore_ascii_case(host))
            && !found.contains(&ip)
        {
            found.push(ip);
        }
    }
    found.sort_by_key(IpAddr::is_ipv6); // stable
    found
}

/// Whom to ask, and for what. The domain that the machine's own name may have is not searched.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// Name servers in the order in which they are asked; at least one.
    pub(super) servers: Vec<SocketAddr>,
    /// Domains without a dot at their end.
    pub(super) search: Vec<String>,
    /// A name with fewer dots is looked for in the domains first.
    pub(super) ndots: usize,
    /// How long one server is waited for.
    pub(super) timeout: Duration,
    /// How often all servers are asked.
    pub(super) attempts: usize,
}

impl Settings {
    /// Reads the text of a resolv.conf. What it does not know it leaves out, as the system does.
    pub(super) fn parse(text: &str) -> Settings {
        let mut settings = Settings {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace().take_while(|word| !word.starts_with(['#', ';']));
            match words.next() {
                Some("nameserver") if settings.servers.len() < MAX_SERVERS => {
                    settings.servers.extend(words.next().and_then(server));
                }
                Some("domain") => settings.search = words.take(1).map(domain).collect(),
                Some("search") => settings.search = words.take(MAX_SEARCH).map(domain).collect(),
                Some("options") => words.for_each(|option| settings.set(option)),
                _ => {}
            }
        }
        if settings.servers.is_empty() {
            settings.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        settings
    }

    fn set(&mut self, option: &str) {
        let Some((name, Ok(value))) = option.split_once(':').map(|(name, value)| (name, value.parse::<usize>())) else {
            return;
        };
        match name {
            "ndots" => self.ndots = value.min(MAX_NDOTS),
            "timeout" => self.timeout = Duration::from_secs((value as u64).clamp(1, MAX_TIMEOUT_SECONDS)),
            "attempts" => self.attempts = value.clamp(1, MAX_ATTEMPTS),
            _ => {}
        }
    }

    /// The names to ask for in turn, none ending in a dot. One that ends in a dot is meant as it is.
    pub(super) fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let below = self.search.iter().filter(|domain| !domain.is_empty()).map(|domain| format!("{host}.{domain}"));
        let mut names: Vec<String> = below.collect();
        let dots = host.bytes().filter(|b| *b == b'.').count();
        names.insert(if dots < self.ndots { names.len() } else { 0 }, host.to_owned());
        names
    }
}

fn domain(word: &str) -> String {
    word.trim_end_matches('.').to_owned()
}

/// An address with the zone that a link-local one needs, `fe80::1%2`. A zone's name is not looked up: the system may do
/// without it, or refuse that server.
fn server(word: &str) -> Option<SocketAddr> {
    let (address, zone) = word.split_once('%').unwrap_or((word, ""));
    match address.parse().ok()? {
        IpAddr::V6(ip) if !zone.is_empty() => Some(zoned(ip, zone.parse().unwrap_or(0)).into()),
        ip => Some((ip, PORT).into()),
    }
}

fn zoned(ip: Ipv6Addr, zone: u32) -> SocketAddrV6 {
    SocketAddrV6::new(ip, PORT, 0, zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_names_addresses() {
        let text = "# comment\n127.0.0.1\tlocalhost loopback\n::1 upstream.test # ipv6 first\n\n\
                    10.0.0.7  Other.Test upstream.TEST\n10.0.0.7 upstream.test\nnonsense upstream.test\n10.0.0.8\n\
                    10.0.0.9 # upstream.test\n  10.0.0.10 indented.";
        let found = |host| hosts(text, host).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found("upstream.test"), ["10.0.0.7", "::1"]);
        assert_eq!(found("OTHER.test."), ["10.0.0.7"]);
        assert_eq!(found("indented"), ["10.0.0.10"]);
        for unknown in ["test", "10.0.0.8", "comment", "upstream", ""] {
            assert!(found(unknown).is_empty(), "{unknown}");
        }
    }

    #[test]
    fn no_file_is_an_empty_one() {
        assert_eq!(read("/no/such/file").unwrap(), "");
        assert!(read("/").unwrap_err().to_string().starts_with("/: "));
    }

    #[test]
    fn without_a_word_there_are_defaults() {
        for text in
            ["", "# nameserver 10.0.0.1\n;search x\nnameserver\nnameserver dns.example\noptions\noption ndots:7"]
        {
            let settings = Settings::parse(text);
            assert_eq!(settings.servers, ["127.0.0.1:53".parse().unwrap()], "{text}");
            assert!(settings.search.is_empty());
            assert_eq!((settings.ndots, settings.timeout, settings.attempts), (1, Duration::from_secs(5), 2));
        }
    }

    #[test]
    fn a_file_as_kubernetes_writes_it() {
        let settings = Settings::parse(
            "search ns.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
        );
        assert_eq!(settings.servers, ["10.96.0.10:53".parse().unwrap()]);
        assert_eq!(
            settings.candidates("api.example.com"),
            [
                "api.example.com.ns.svc.cluster.local",
                "api.example.com.svc.cluster.local",
                "api.example.com.cluster.local",
                "api.example.com"
            ]
        );
        assert_eq!(settings.candidates("api.example.com."), ["api.example.com"]);
        assert_eq!(settings.candidates("a.b.c.d.e.f")[..2], ["a.b.c.d.e.f", "a.b.c.d.e.f.ns.svc.cluster.local"]);
    }

    #[test]
    fn every_word_has_its_limit() {
        let settings = Settings::parse(
            "domain lost.example\nsearch also.lost\ndomain Corp.example. second\n\
             nameserver 192.0.2.1 # first\nnameserver 2001:db8::1\nnameserver fe80::1%3\nnameserver 192.0.2.4\n\
             options rotate ndots:99 timeout:0 attempts:100 ndots:x timeout edns0\n",
        );
        let servers: Vec<String> = settings.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%3]:53"]);
        assert_eq!(settings.search, ["Corp.example"]);
        assert_eq!((settings.ndots, settings.timeout, settings.attempts), (15, Duration::from_secs(1), 5));
        assert_eq!(Settings::parse("options timeout:3600").timeout, Duration::from_secs(30));
        assert_eq!(Settings::parse("nameserver fe80::1%eth0").servers, ["[fe80::1]:53".parse().unwrap()]);
        assert_eq!(Settings::parse("search .").candidates("x"), ["x"]);
        assert_eq!(Settings::parse(&format!("search {}", "a ".repeat(99))).search.len(), MAX_SEARCH);
    }
}
