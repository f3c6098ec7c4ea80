//! Who may ask. Any page that is open in a browser on this machine can send requests here, and so can whoever reaches the
//! port; what is worth protecting is the way to the upstreams, with the keys that go there, and the control API.
//!
//! - A replayed answer is no secret: pages may read it from anywhere.
//! - Where a request could reach an upstream, and at the control API, a page must have an `Origin` that is loopback or
//!   `--allow-origin`, and every client a `Host` that a page cannot have had rebound to this address.
//! - Under `--api-key` every request must have a key.
//!
//! It is decided from a request's head alone, before its body is read.

pub mod folder;
mod host;

use crate::config::Config;
use crate::credential::ApiKeys;
use host::Host;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use std::cell::Cell;
use std::fmt;
use std::net::IpAddr;

/// How a page stands to the server that it asks, as its browser says: <https://www.w3.org/TR/fetch-metadata/>.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Longest quotation of a `Host` or `Origin`, in characters.
const MAX_QUOTED_CHARS: usize = 100;

/// How open what is asked for is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// It tells nothing and does nothing (`/health`, `/ready`).
    Probe,
    /// It answers from fixtures.
    Replay,
    /// It may reach an upstream, or is the control API.
    Guarded,
}

/// The pages that may read an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readers {
    /// All pages.
    Any,
    /// Those of this origin.
    Origin(HeaderValue),
    /// No page asked.
    None,
}

impl Readers {
    /// Whether `Origin` and `Host` were looked at: an upstream may be asked.
    pub fn are_checked(&self) -> bool {
        *self != Readers::Any
    }

    /// Tells the browser. What an upstream said of all pages stands where no page asked.
    pub fn tell(&self, headers: &mut HeaderMap) {
        match self {
            Readers::Any => {
                headers.entry(ACCESS_CONTROL_ALLOW_ORIGIN).or_insert(HeaderValue::from_static("*"));
                return;
            }
            Readers::Origin(origin) => drop(headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())),
            Readers::None => {}
        }
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its `Host` is none that is known; `None` where it has none.
    Host(Option<String>),
    /// It is a page's, and its `Origin` may not ask.
    Origin(String),
    /// It is a page's that names no `Origin`; what its browser says of it.
    Page(String),
    /// It has no key of `--api-key`; who may read that.
    Key(Readers),
}

impl Refusal {
    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        if matches!(self, Refusal::Key(_)) { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN }
    }

    /// The error's code.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Host(_) => "host_not_allowed",
            Refusal::Origin(_) | Refusal::Page(_) => "origin_not_allowed",
            Refusal::Key(_) => "invalid_api_key",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Host(Some(host)) => write!(
                f,
                "the request came under the Host '{host}', which is neither loopback nor --host; if that is this server, \
                 start it with --allow-host NAME"
            ),
            Refusal::Host(None) => f.write_str(
                "the request has no Host header; while requests can reach an upstream, and for the control API, it must \
                 have one that is loopback, --host or --allow-host",
            ),
            Refusal::Origin(origin) => write!(
                f,
                "pages of the origin '{origin}' may not ask while requests can reach an upstream, nor use the control \
                 API; start the server with --allow-origin ORIGIN to let one"
            ),
            Refusal::Page(site) => write!(
                f,
                "a page of another site asked (sec-fetch-site: {site}) without naming an Origin that is loopback or \
                 --allow-origin"
            ),
            Refusal::Key(_) => f.write_str(
                "the request has none of the keys that this server asks for (--api-key, AIMOCK_API_KEYS); give one where \
                 the SDK takes its API key",
            ),
        }
    }
}

/// The rules of one server.
#[derive(Debug)]
pub struct Guard {
    /// `--host`.
    host: String,
    /// Where it listens, once it does.
    bound: Cell<Option<IpAddr>>,
    allow_hosts: Vec<String>,
    allow_origins: Vec<String>,
    /// The keys of which a client must have one.
    pub keys: ApiKeys,
    /// Kinds of refusals that the log has told, a bit each.
    told: Cell<u8>,
}

impl Guard {
    /// The rules that a configuration makes.
    pub fn new(config: &Config) -> Self {
        Guard {
            host: config.host.clone(),
            bound: Cell::default(),
            allow_hosts: config.allow_hosts.clone(),
            allow_origins: config.allow_origins.clone(),
            keys: config.api_keys.clone(),
            told: Cell::default(),
        }
    }

    /// Whether this is the first refusal of its kind: a page may ask a thousand times a second.
    pub fn is_news(&self, refusal: &Refusal) -> bool {
        let bit = match refusal {
            Refusal::Host(_) => 1,
            Refusal::Origin(_) => 2,
            Refusal::Page(_) => 4,
            Refusal::Key(_) => 8,
        };
        let told = self.told.replace(self.told.get() | bit);
        told & bit == 0
    }

    /// Notes the address that is listened on; what it opens, where that is more than this machine.
    pub fn listens_on(&self, ip: IpAddr) -> Option<&'static str> {
        self.bound.set(Some(ip.to_canonical()));
        if ip.to_canonical().is_loopback() {
            return None;
        }
        Some(if self.keys.is_empty() {
            "whoever reaches this port can read the journal and change fixtures (/__aimock/), and while something is \
             recorded or proxied, ask the upstreams with this server's keys; --api-key KEY asks for a key first"
        } else {
            "whoever reaches this port and has one of the keys of --api-key can read the journal, change fixtures \
             (/__aimock/) and, while something is recorded or proxied, ask the upstreams"
        })
    }

    /// Whether a request is answered, and who may read the answer.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, door: Door, head: &Parts) -> Result<Readers, Refusal> {
        if door == Door::Probe {
            return Ok(Readers::Any);
        }
        let readers = if door == Door::Guarded { self.check_page(head)? } else { Readers::Any };
        let keyless = self.keys.is_empty()
            || is_preflight(head) // a browser sends it without credentials, and learns nothing from its answer
            || self.keys.are_in(&head.headers, head.uri.query().unwrap_or(""));
        if keyless { Ok(readers) } else { Err(Refusal::Key(readers)) }
    }

    fn check_page(&self, head: &Parts) -> Result<Readers, Refusal> {
        let host = self.check_hosts(head)?;
        let origins = head.headers.get_all(ORIGIN);
        let foreign = |origin: &&HeaderValue| !self.allows_origin(origin.to_str().unwrap_or(""));
        if let Some(origin) = origins.iter().find(foreign) {
            return Err(Refusal::Origin(quoted(origin.as_bytes())));
        }
        if let Some(origin) = origins.iter().next() {
            return Ok(Readers::Origin(origin.clone()));
        }
        // Images, scripts and links come without an Origin. Of the same site as loopback is loopback alone.
        let foreign = |site: &&HeaderValue| match site.as_bytes() {
            b"none" | b"same-origin" => false,
            b"same-site" => !host.is_loopback(),
            _ => true,
        };
        match head.headers.get_all(SEC_FETCH_SITE).iter().find(foreign) {
            Some(site) => Err(Refusal::Page(quoted(site.as_bytes()))),
            None => Ok(Readers::None),
        }
    }

    /// The host that is asked: every one that the request names must be known.
    fn check_hosts<'h>(&self, head: &'h Parts) -> Result<Host<'h>, Refusal> {
        let named = head.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
        // Of a target in absolute form.
        // Who asks may name himself before the host: a key is no host, and is not told.
        let host = |authority: &'h str| authority.rsplit('@').next().unwrap_or(authority).as_bytes();
        let target = head.uri.authority().map(|authority| host(authority.as_str()));
        let mut known = None;
        for name in named.chain(target) {
            let host = std::str::from_utf8(name).ok().and_then(|text| Host::with_port(text.trim()));
            match host.filter(|host| self.allows_host(*host)) {
                Some(host) => known = Some(host),
                None => return Err(Refusal::Host(Some(quoted(name)))),
            }
        }
        known.ok_or(Refusal::Host(None))
    }

    fn allows_host(&self, host: Host<'_>) -> bool {
        let is = |name: &String| Host::bare(name).is_some_and(|own| host.is(own));
        let bound = || self.bound.get().or_else(|| self.host.parse().ok());
        host.is_loopback()
            || is(&self.host)
            || self.allow_hosts.iter().any(is)
            || bound().is_some_and(|ip| host.is(Host::Ip(ip)) || (ip.is_unspecified() && host.is_local()))
    }

    fn allows_origin(&self, origin: &str) -> bool {
        Host::of_origin(origin).is_some_and(Host::is_loopback)
            || self.allow_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }
}

/// Whether a browser asks what it may send (<https://fetch.spec.whatwg.org/#cors-preflight-request>).
pub fn is_preflight(head: &Parts) -> bool {
    head.method == Method::OPTIONS && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn quoted(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(MAX_QUOTED_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(host: &str) -> Guard {
        let mut config = Config { host: host.into(), ..Config::default() };
        config.allow_hosts.push("mock.example".into());
        config.allow_origins.push("https://app.example".into());
        let guard = Guard::new(&config);
        guard.listens_on(host.parse().unwrap_or([10, 0, 0, 1].into()));
        guard
    }

    fn admitted(guard: &Guard, door: Door, target: &str, headers: &[(&'static str, &str)]) -> Result<Readers, Refusal> {
        let mut request = hyper::Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        guard.admit(door, &request.body(()).expect("a request").into_parts().0)
    }

    #[test]
    fn hosts_that_a_page_could_have_rebound_are_refused() {
        let on = |host: &str, asked: &str| {
            let result = admitted(&guard(host), Door::Guarded, "/", &[("host", asked)]);
            assert!(matches!(result, Ok(Readers::None) | Err(Refusal::Host(Some(_)))), "{result:?}");
            result.is_ok()
        };
        for host in ["127.0.0.1", "0.0.0.0", "::", "10.0.0.1", "box.lan"] {
            assert!(on(host, "localhost:4010") && on(host, "[::1]") && on(host, "MOCK.example.:80"), "{host}");
            assert!(!on(host, "evil.example") && !on(host, "mock.example.evil.com") && !on(host, "a@mock.example"));
        }
        assert!(!on("127.0.0.1", "aimock:4010") && !on("127.0.0.1", "192.168.1.5") && !on("127.0.0.1", "0.0.0.0"));
        for host in ["0.0.0.0", "::"] {
            assert!(
                on(host, "aimock:4010") && on(host, "192.168.1.5:4010") && on(host, "[2001:db8::1]:4010"),
                "{host}"
            );
        }
        assert!(on("10.0.0.1", "10.0.0.1:4010") && !on("10.0.0.1", "10.0.0.2") && !on("10.0.0.1", "aimock"));
        assert!(on("box.lan", "Box.LAN:80") && on("box.lan", "10.0.0.1") && !on("box.lan", "box"));
    }

    #[test]
    fn every_host_that_a_request_names_must_be_known() {
        let guard = guard("127.0.0.1");
        let ask = |target, headers: &[_]| admitted(&guard, Door::Guarded, target, headers);
        assert_eq!(ask("http://localhost:4010/x", &[]), Ok(Readers::None));
        assert_eq!(ask("http://localhost/x", &[("host", "127.0.0.1")]), Ok(Readers::None));
        for (target, headers) in [
            ("http://evil.example/x", &[("host", "localhost")][..]),
            ("http://localhost/x", &[("host", "evil.example")]),
            ("/x", &[("host", "localhost"), ("host", "evil.example")]),
            ("/x", &[("host", "evil.example"), ("host", "localhost")]),
        ] {
            assert_eq!(ask(target, headers), Err(Refusal::Host(Some("evil.example".into()))), "{target} {headers:?}");
        }
        assert_eq!(ask("/x", &[]), Err(Refusal::Host(None)));
        assert!(ask("/x", &[("host", "")]).is_err());
    }

    #[test]
    fn pages_are_known_by_their_origin_or_by_their_browser() {
        let guard = guard("0.0.0.0");
        let from = |headers: &[(&'static str, &str)]| {
            admitted(&guard, Door::Guarded, "/", &[&[("host", "localhost")], headers].concat())
        };
        for origin in ["http://localhost:3000", "https://[::1]", "HTTPS://App.example", "tauri://localhost"] {
            let readers = Readers::Origin(HeaderValue::from_str(origin).unwrap());
            assert_eq!(from(&[("origin", origin), ("sec-fetch-site", "cross-site")]), Ok(readers), "{origin}");
        }
        for origin in ["null", "", "https://evil.example", "http://app.example", "https://app.example:444"] {
            assert_eq!(from(&[("origin", origin)]), Err(Refusal::Origin(origin.into())), "{origin}");
        }
        assert!(from(&[("origin", "http://localhost"), ("origin", "http://evil.example")]).is_err());
        for (site, ok) in
            [("none", true), ("same-origin", true), ("same-site", true), ("cross-site", false), ("x", false)]
        {
            assert_eq!(from(&[("sec-fetch-site", site)]).is_ok(), ok, "{site}");
        }
        let beside = [("host", "mock.example"), ("sec-fetch-site", "same-site")];
        assert!(admitted(&guard, Door::Guarded, "/", &beside).is_err(), "another name of that site");
        assert_eq!(from(&[]), Ok(Readers::None));
    }

    #[test]
    fn a_replay_is_open_and_a_probe_too() {
        let foreign = [("host", "evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")];
        for door in [Door::Probe, Door::Replay] {
            assert_eq!(admitted(&guard("127.0.0.1"), door, "/", &foreign), Ok(Readers::Any));
        }
    }

    #[test]
    fn keys_are_asked_for_everywhere_but_at_probes() {
        let mut config = Config::default();
        config.api_keys.add("k1");
        let guard = Guard::new(&config);
        let ask = |door, key| admitted(&guard, door, "/", &[("host", "localhost"), ("authorization", key)]);
        for door in [Door::Replay, Door::Guarded] {
            assert!(ask(door, "Bearer k1").is_ok());
            assert!(matches!(ask(door, "Bearer k2"), Err(Refusal::Key(_))));
        }
        assert!(ask(Door::Probe, "").is_ok());
        let (mut head, ()) = hyper::Request::options("/").body(()).unwrap().into_parts();
        assert_eq!(guard.admit(Door::Replay, &head), Err(Refusal::Key(Readers::Any)));
        head.headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        assert_eq!(guard.admit(Door::Replay, &head), Ok(Readers::Any));
    }

    #[test]
    fn what_listens_beyond_loopback_says_what_it_opens() {
        let guard = Guard::new(&Config::default());
        for (ip, opens) in [("127.0.0.1", false), ("::1", false), ("0.0.0.0", true), ("10.0.0.1", true), ("::", true)] {
            assert_eq!(guard.listens_on(ip.parse().unwrap()).is_some(), opens, "{ip}");
        }
    }
}
