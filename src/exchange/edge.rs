//! The ends of an exchange that no endpoint has a part in: its body, its limits, what browsers ask first.

use crate::app::App;
use crate::body::{Body, Broken};
use crate::fixture::Origin;
use crate::json;
use crate::provider::{Matched, PROVIDERS};
use crate::replay;
use crate::reply::ErrorAnswer;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

/// Longest `#N` after a fixture's file, in bytes.
const MAX_INDEX_BYTES: usize = 21;

/// The whole body; `None` where it is longer than allowed.
pub(super) async fn read(incoming: Incoming, max_bytes: usize) -> Result<Option<Bytes>, Broken> {
    if incoming.size_hint().lower() > max_bytes as u64 {
        return Ok(None);
    }
    match Limited::new(incoming, max_bytes).collect().await {
        Ok(body) => Ok(Some(body.to_bytes())),
        Err(e) if e.is::<LengthLimitError>() => Ok(None),
        Err(_) => Err(Broken), // the client went away
    }
}

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

pub(super) fn too_large(app: &App, matched: Option<&Matched<'_>>) -> Response<Body> {
    let error = ErrorAnswer {
        status: 413,
        message: format!("the request's body is longer than {} bytes (--max-body-bytes)", app.config.max_body_bytes),
        code: Some("body_too_large".into()),
        ..ErrorAnswer::default()
    };
    let (provider, codec) = match matched {
        Some(matched) => (matched.provider, Some(matched.codec)),
        None => (PROVIDERS[PROVIDERS.len() - 1], None),
    };
    let mut response = replay::provider_error(provider, codec, &error);
    // What is left of the body is not read.
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
