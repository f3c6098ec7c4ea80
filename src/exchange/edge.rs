//! The ends of an exchange that no endpoint has a part in: what browsers ask first, and what ends a connection.

use crate::body::Body;
use crate::fixture::Origin;
use crate::json;
use crate::provider::{Matched, PROVIDERS};
use crate::replay;
use crate::reply::ErrorAnswer;
use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

/// Longest `#N` after a fixture's file, in bytes.
const MAX_INDEX_BYTES: usize = 21;

pub(super) fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"));
    let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(HeaderValue::from_static("*")));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    with_cors(response)
}

pub(super) fn with_cors(mut response: Response<Body>) -> Response<Body> {
    let any = || HeaderValue::from_static("*");
    response.headers_mut().entry(header::ACCESS_CONTROL_ALLOW_ORIGIN).or_insert_with(any);
    response
}

/// An error that ends the connection: what is left of the request is not read. In the shape of the endpoint's provider;
/// where there is none, in that of the last one.
pub(super) fn closing(matched: Option<&Matched<'_>>, error: &ErrorAnswer) -> Response<Body> {
    let (provider, codec) = match matched {
        Some(matched) => (matched.provider, Some(matched.codec)),
        None => (PROVIDERS[PROVIDERS.len() - 1], None),
    };
    let mut response = replay::provider_error(provider, codec, error);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// `file.json#3`, without the machinery of formatting; `None` where a name has what no header may have.
pub(super) fn fixture_header(origin: &Origin) -> Option<HeaderValue> {
    let mut text = Vec::with_capacity(origin.name.len() + MAX_INDEX_BYTES);
    text.extend_from_slice(origin.name.as_bytes());
    text.push(b'#');
    json::number(i64::try_from(origin.index).ok()?, &mut text);
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}
