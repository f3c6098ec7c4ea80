//! Which headers go on, in either direction.

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

/// The headers of a request that go to the upstream: without `accept-encoding` it does not compress its answer, which
/// could not be recorded.
pub fn forward_headers(headers: &HeaderMap) -> HeaderMap {
    end_to_end(headers, |name| !OURS.contains(&name) && !name.starts_with(OUR_PREFIX))
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
