//! From a request's head to its endpoint.

use super::{Codec, PROVIDERS, Provider};
use crate::redact::Redactor;
use crate::request::Kind;
use hyper::HeaderMap;
use std::borrow::Cow;
use std::sync::LazyLock;

/// A request's head, as far as routing needs it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `GET`, `POST`…
    pub method: &'a str,
    /// The path, still percent-encoded.
    pub path: &'a str,
    /// The query without its `?`; empty where there is none.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    /// A query parameter's value, still percent-encoded.
    pub fn query_value(&self, name: &str) -> Option<&'a str> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }

    /// A header's value, where it is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        // A look-up by name hashes it, and most requests have few headers.
        self.headers.iter().find(|(n, _)| n.as_str() == name).and_then(|(_, v)| v.to_str().ok())
    }
}

/// A request as a codec sees it.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The head.
    pub head: Head<'a>,
    /// What the route's `{name}`s stood for, percent-decoded.
    pub params: Vec<(&'static str, Cow<'a, str>)>,
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Call<'a> {
    /// What the route's `{name}` stood for.
    pub fn param(&self, name: &str) -> Option<&Cow<'a, str>> {
        self.params.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// One endpoint of a provider.
#[derive(Debug)]
pub struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// Path pattern: `{name}` stands for one segment (or the part of one before a `:verb`), a leading `**` for any
    /// number of segments, none included.
    pub path: &'static str,
    /// What the headers and the query must be like, beside the path.
    pub when: fn(&Head<'_>) -> bool,
    /// The wire format spoken there.
    pub codec: &'static dyn Codec,
}

impl Route {
    /// A POST endpoint.
    pub const fn post(path: &'static str, codec: &'static dyn Codec) -> Self {
        Route { method: "POST", path, when: |_| true, codec }
    }
}

/// Where a request belongs.
#[derive(Clone, Debug)]
pub struct Matched<'a> {
    /// Whose endpoint it is.
    pub provider: &'static Provider,
    /// The wire format spoken there.
    pub codec: &'static dyn Codec,
    /// What the route's `{name}`s stood for, percent-decoded.
    pub params: Vec<(&'static str, Cow<'a, str>)>,
    /// A route named it; otherwise it is a raw request and its provider a guess.
    pub known: bool,
}

/// A route, with what its pattern says before and after its `{name}`s and `**`: nearly all routes are ruled out by it.
struct Entry {
    starts: &'static str,
    ends: &'static str,
    route: &'static Route,
    provider: &'static Provider,
}

/// All routes, in the order in which they are tried.
static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let entry = |provider: &'static Provider, route: &'static Route| {
        let path = route.path;
        let open = ['{', '}', '*'];
        let starts = &path[..path.find(open).unwrap_or(path.len())];
        let ends = &path[path.rfind(open).map_or(0, |at| at + 1)..];
        Entry { starts, ends, route, provider }
    };
    PROVIDERS.iter().flat_map(|provider| provider.routes.iter().map(|route| entry(provider, route))).collect()
});

impl Entry {
    fn may_fit(&self, path: &str) -> bool {
        // The last byte alone rules out most, without a call.
        (self.ends.is_empty() || self.ends.as_bytes().last() == path.as_bytes().last())
            && path.starts_with(self.starts)
            && path.ends_with(self.ends)
    }

    /// The values of the pattern's names; `path` [may fit](Self::may_fit).
    fn fit<'a>(&self, path: &'a str) -> Option<Vec<(&'static str, Cow<'a, str>)>> {
        let pattern = self.route.path;
        if pattern.contains('{') {
            return fit(pattern, path);
        }
        // Nothing but a `**` at the most, which stands for whatever is between.
        (pattern.len() > self.ends.len() || pattern == path).then(Vec::new)
    }
}

/// Finds the endpoint of a request: the first route that fits, else a raw endpoint of the provider that claims it most.
pub fn route<'a>(head: &Head<'a>) -> Matched<'a> {
    let path = head.path.strip_suffix('/').unwrap_or(head.path);
    for entry in ENTRIES.iter().filter(|entry| entry.may_fit(path)) {
        let (route, provider) = (entry.route, entry.provider);
        if route.method == head.method
            && let Some(params) = entry.fit(path)
            && (route.when)(head)
        {
            return Matched { provider, codec: route.codec, params, known: true };
        }
    }
    let mut provider = PROVIDERS[PROVIDERS.len() - 1];
    let mut best = 0;
    for candidate in PROVIDERS {
        let claim = (candidate.claims)(head);
        if claim > best {
            (provider, best) = (candidate, claim);
        }
    }
    Matched { provider, codec: &super::raw::Raw, params: Vec::new(), known: false }
}

/// The path that fixtures match, without secrets: of a raw request with its query, sorted.
pub fn match_path(head: &Head<'_>, kind: Kind, redactor: &Redactor) -> String {
    redactor.match_target(head.path, if kind == Kind::Raw { head.query } else { "" })
}

/// The wire's name in a request's hash; for raw requests, their method and path too.
pub fn identity_wire(codec: &dyn Codec, method: &str, path: &str) -> Cow<'static, str> {
    if codec.kind() == Kind::Raw { format!("{} {method} {path}", codec.wire()).into() } else { codec.wire().into() }
}

/// Fits a path to a pattern; the values of its `{name}`s.
fn fit<'a>(pattern: &'static str, path: &'a str) -> Option<Vec<(&'static str, Cow<'a, str>)>> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let pattern = &pattern[1..];
    let (pattern, path) = match pattern.strip_prefix("**/") {
        Some(tail) => (tail, tail_of(path, tail.split('/').count())?),
        None => (pattern, path),
    };
    let mut params = Vec::new();
    let (mut want, mut have) = (pattern.split('/'), path.split('/'));
    loop {
        match (want.next(), have.next()) {
            (None, None) => return Some(params),
            (Some(want), Some(have)) => fit_segment(want, have, &mut params)?,
            _ => return None,
        }
    }
}

fn fit_segment<'a>(want: &'static str, have: &'a str, params: &mut Vec<(&'static str, Cow<'a, str>)>) -> Option<()> {
    let Some(rest) = want.strip_prefix('{') else { return (want == have).then_some(()) };
    let (name, verb) = rest.split_once('}')?;
    let value = have.strip_suffix(verb)?;
    if value.is_empty() || (verb.is_empty() && value.contains(':') && name != "id") {
        return None;
    }
    params.push((name, percent_decode(value)));
    Some(())
}

/// The last `count` segments of a path.
fn tail_of(path: &str, count: usize) -> Option<&str> {
    let mut start = path.len();
    for _ in 0..count {
        if start == 0 {
            return None;
        }
        start = path[..start].rfind('/').unwrap_or(0);
    }
    Some(path[start..].strip_prefix('/').unwrap_or(&path[start..]))
}

/// Decodes `%XX`; what is not valid UTF-8 afterwards is replaced by U+FFFD.
pub fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pattern: &'static str, path: &str) -> Option<Vec<String>> {
        fit(pattern, path).map(|p| p.into_iter().map(|(_, v)| v.into_owned()).collect())
    }

    #[test]
    fn patterns() {
        let none: Option<Vec<String>> = Some(vec![]);
        assert_eq!(params("/**/chat/completions", "/v1/chat/completions"), none);
        assert_eq!(params("/**/chat/completions", "/chat/completions/"), none);
        assert_eq!(params("/**/chat/completions", "/api/openai/v1/chat/completions"), none);
        assert_eq!(params("/**/chat/completions", "/v1/xchat/completions"), None);
        assert_eq!(params("/**/chat/completions", "/completions"), None);
        assert_eq!(
            params("/v1beta/models/{m}:embedContent", "/v1beta/models/a-1:embedContent"),
            Some(vec!["a-1".into()])
        );
        assert_eq!(params("/v1beta/models/{m}:embedContent", "/v1beta/models/:embedContent"), None);
        assert_eq!(params("/model/{id}/invoke", "/model/a.b-v1%3A0/invoke"), Some(vec!["a.b-v1:0".into()]));
        assert_eq!(params("/model/{id}/invoke", "/model/a.b-v1:0/invoke"), Some(vec!["a.b-v1:0".into()]));
        assert_eq!(params("/model/{id}/invoke", "/model/x/converse"), None);
    }

    #[test]
    fn percent_decoding() {
        assert_eq!(percent_decode("a%2Fb%3a%zz%"), "a/b:%zz%");
        assert_eq!(percent_decode("%ff"), "\u{FFFD}");
    }

    #[test]
    fn no_route_is_shadowed_by_an_earlier_one() {
        let headers = HeaderMap::new();
        let mut seen: Vec<(&str, String)> = Vec::new();
        for provider in PROVIDERS {
            for own in provider.routes {
                let path = own.path.replace("**/", "").replace(['{', '}'], "");
                let head = Head { method: own.method, path: &path, query: "", headers: &headers };
                if !(own.when)(&head) {
                    continue; // told apart by its headers, which the sample lacks
                }
                let found = route(&head);
                assert!(
                    std::ptr::eq(found.provider, *provider),
                    "{path} of {} goes to {}",
                    provider.name,
                    found.provider.name
                );
                assert_eq!(found.codec.wire(), own.codec.wire(), "{path}");
                assert!(!seen.contains(&(own.method, path.clone())), "{path} twice");
                seen.push((own.method, path));
            }
        }
    }
}
