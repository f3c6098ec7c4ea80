//! The ends of an exchange that no endpoint has a part in: what browsers ask first, and what ends a connection.

use crate::app::App;
use crate::body::Body;
use crate::control;
use crate::fixture::Origin;
use crate::guard::{Readers, Refusal};
use crate::journal::Source;
use crate::provider::{self, Head, Matched, PROVIDERS};
use crate::replay;
use crate::reply::ErrorAnswer;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

/// Longest `#N` after a fixture's file, in bytes.
const MAX_INDEX_BYTES: usize = 21;

/// Bytes that are read of a request that is refused.
const MAX_DRAINED_BYTES: usize = 1024 * 1024;

/// How long they may take.
const MAX_DRAIN: Duration = Duration::from_secs(5);

/// Longest quotation of its path, in characters.
const MAX_QUOTED_CHARS: usize = 200;

/// Reads what a refused request still sends, within limits, and drops it: a connection that is closed before would be
/// reset, and the client would not see why. Whether that was all.
async fn drain(mut incoming: Incoming) -> bool {
    let mut left = MAX_DRAINED_BYTES;
    let frames = async {
        while let Some(frame) = incoming.frame().await {
            let bytes = frame.ok().and_then(|frame| frame.into_data().ok()).map_or(0, |data| data.len());
            match left.checked_sub(bytes) {
                Some(rest) if bytes > 0 => left = rest,
                _ => return false,
            }
        }
        true
    };
    timeout(MAX_DRAIN, frames).await.unwrap_or(false)
}

/// The answer to a request that the guard does not let in, in the shape of whoever was asked.
pub(super) async fn refuse(app: &App, head: &Parts, incoming: Incoming, refusal: &Refusal) -> Response<Body> {
    let message = app.redactor.redact(&refusal.to_string()).into_owned();
    let path: String = head.uri.path().chars().take(MAX_QUOTED_CHARS).collect();
    let line = format_args!("refused {} {path}: {message}", head.method);
    if app.guard.is_news(refusal) {
        app.log.warn(line);
    } else {
        app.log.debug(line);
    }
    let waits_to_send = head.headers.contains_key(header::EXPECT);
    let drained = incoming.is_end_stream() || (!waits_to_send && drain(incoming).await);
    let mut response = if control::is_control(head.uri.path()) {
        replay::json_response(refusal.status(), &json!({"error": message}))
    } else {
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or(""));
        let matched = provider::route(&Head { method: head.method.as_str(), path, query, headers: &head.headers });
        let error = ErrorAnswer {
            status: refusal.status().as_u16(),
            message,
            code: Some(refusal.code().into()),
            ..ErrorAnswer::default()
        };
        let mut response = replay::provider_error(matched.provider, Some(matched.codec), &error);
        response.headers_mut().insert(super::SOURCE, HeaderValue::from_static(Source::Miss.word()));
        response
    };
    if let Refusal::Key(readers) = refusal {
        readers.tell(response.headers_mut());
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if !drained {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

pub(super) fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"));
    let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(HeaderValue::from_static("*")));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// Tells the browser who may read an answer, and keeps what could run in one from running as this server's own page,
/// which would be of loopback: a recording can be HTML.
pub(super) fn for_pages(mut response: Response<Body>, readers: &Readers) -> Response<Body> {
    let headers = response.headers_mut();
    readers.tell(headers);
    if headers.get(header::CONTENT_TYPE).is_none_or(|media| may_run(media.as_bytes())) {
        headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    }
    response
}

/// Whether a browser may make a page of this media type that runs scripts. It guesses what it does not know:
/// <https://mimesniff.spec.whatwg.org/#determining-the-computed-mime-type-of-a-resource>.
fn may_run(media: &[u8]) -> bool {
    const RUNS: [&[u8]; 4] = [b"html", b"xml", b"unknown", b"*"];
    let has = |word: &&[u8]| media.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    !media.starts_with(b"application/json") && (!media.contains(&b'/') || RUNS.iter().any(has))
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
    crate::json::number(i64::try_from(origin.index).ok()?, &mut text);
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}
