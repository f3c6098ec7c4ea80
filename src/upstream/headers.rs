//! Which headers go on, in either direction.

use crate::credential::{ApiKeys, is_credential_name, is_header_of, is_parameter, is_parameter_of, parameter};
use crate::provider::{Head, PROVIDERS, Provider};
use hyper::header::{CONNECTION, HeaderMap};

/// Headers of one connection, not of the message (<https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1>).
static HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers of a request that are this server's own matter.
static OURS: &[&str] = &["accept-encoding", "content-length", "cookie", "expect", "host", "x-test-id"];

/// Every header with this prefix is this server's own matter too.
const OUR_PREFIX: &str = "x-aimock-";

/// The headers of a request that go to a provider's upstream: without `accept-encoding` it does not compress its answer,
/// which could not be recorded, and without the credentials of others.
pub fn forward_headers(headers: &HeaderMap, provider: &Provider) -> HeaderMap {
    end_to_end(headers, |name| goes_on(name) && !is_foreign(name, provider))
}

fn goes_on(name: &str) -> bool {
    !OURS.contains(&name) && !name.starts_with(OUR_PREFIX)
}

fn is_foreign(name: &str, provider: &Provider) -> bool {
    is_credential_name(name) && !is_header_of(provider, name)
}

/// The names of a request's credentials, in headers and in its query, that are kept from this provider.
pub fn foreign_credentials<'h>(head: &Head<'h>, provider: &Provider) -> impl Iterator<Item = &'h str> {
    let names = head.headers.keys().map(|name| name.as_str());
    let in_query = head.query.split('&').map(|pair| parameter(pair).0);
    names
        .filter(move |name| goes_on(name) && !HOP_BY_HOP.contains(name) && is_foreign(name, provider))
        .chain(in_query.filter(move |name| is_parameter(name) && !is_parameter_of(provider, name)))
}

/// The name of a request's credential, where it has one, or several, that no provider has a place for: whose it is, only a
/// guess could say. Keys of this server's own are none.
pub fn unknown_credential<'h>(head: &Head<'h>, own: &ApiKeys) -> Option<&'h str> {
    let mut unknown = None;
    for (name, value) in head.headers {
        let name = name.as_str();
        if !goes_on(name) || HOP_BY_HOP.contains(&name) || !is_credential_name(name) {
            continue;
        }
        match PROVIDERS.iter().any(|provider| is_header_of(provider, name)) {
            true if own.is_in_header(value.as_bytes()) => {}
            true => return None,
            false => unknown = Some(name),
        }
    }
    for pair in head.query.split('&').filter(|pair| is_parameter(parameter(pair).0)) {
        match PROVIDERS.iter().any(|provider| is_parameter_of(provider, parameter(pair).0)) {
            true if own.is_in_pair(pair) => {}
            true => return None,
            false => unknown = Some(parameter(pair).0),
        }
    }
    unknown
}

/// The headers of an upstream's answer that go to the client, in order; `content-length` is among them.
pub fn relay_headers(headers: &HeaderMap) -> HeaderMap {
    end_to_end(headers, |_| true)
}

fn end_to_end(headers: &HeaderMap, wanted: impl Fn(&str) -> bool) -> HeaderMap {
    let named: Vec<&str> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(',').map(str::trim))
        .collect();
    let mut out = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let of_hop = HOP_BY_HOP.contains(&name.as_str()) || named.iter().any(|n| name.as_str().eq_ignore_ascii_case(n));
        if !of_hop && wanted(name.as_str()) {
            out.append(name, value.clone());
        }
    }
    out
}
