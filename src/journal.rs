//! What was asked and what answered: a bounded ring, and the counts that reports and metrics are made of.

use crate::fixture::Origin;
use crate::fixture::table::How;
use crate::provider::PROVIDERS;
use crate::redact::{REDACTED, Redactor};
use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// Longest part of a request's body that is kept, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Who answered; the answer's `x-aimock-source` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A fixture.
    Fixture,
    /// The upstream.
    Proxy,
    /// Nobody: an error of the server's own.
    Miss,
}

impl Source {
    /// The word in headers and journals.
    pub fn word(self) -> &'static str {
        match self {
            Source::Fixture => "fixture",
            Source::Proxy => "proxy",
            Source::Miss => "miss",
        }
    }
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `req-N`, N ascending from 1.
    pub id: u64,
    /// Unix milliseconds.
    pub timestamp_ms: i64,
    /// HTTP method.
    pub method: String,
    /// Path and query as they came; secrets are redacted when they are read out.
    pub path: String,
    /// The request's headers; secrets are redacted when they are read out.
    pub headers: HeaderMap,
    /// The request's body, its first [`MAX_BODY_BYTES`].
    pub body: Bytes,
    /// Bytes of the whole body.
    pub body_bytes: usize,
    /// The provider's name.
    pub provider: &'static str,
    /// The endpoint's kind: `chat`, `embedding`, `raw`.
    pub endpoint: &'static str,
    /// The test's id.
    pub test_id: Option<String>,
    /// The answer.
    pub answered: Answered,
}

impl Entry {
    /// The path without its query, which may hold a key.
    pub fn path_alone(&self) -> &str {
        self.path.split('?').next().unwrap_or("")
    }

    /// The entry as the control API gives it, without secrets.
    pub fn to_json(&self, redactor: &Redactor) -> Value {
        let answered = &self.answered;
        let fixture = answered
            .fixture
            .as_ref()
            .map(|(origin, how)| json!({"file": &*origin.name, "index": origin.index, "match": how.word()}));
        json!({
            "id": format!("req-{}", self.id),
            "timestamp": self.timestamp_ms,
            "method": self.method,
            "path": safe_target(&self.path, redactor),
            "headers": safe_headers(&self.headers, redactor),
            "body": self.body_json(redactor),
            "provider": self.provider,
            "endpoint": self.endpoint,
            "testId": self.test_id,
            "response": {
                "status": answered.status,
                "fixture": fixture,
                "source": answered.source.word(),
                "explanation": answered.explanation.as_deref().map(|why| redactor.redact(why)),
                "durationMs": (answered.duration.as_secs_f64() * 1e6).round() / 1000.0,
                "chaosAction": answered.chaos,
            },
        })
    }

    /// JSON where all of it was kept and is JSON, else text.
    fn body_json(&self, redactor: &Redactor) -> Value {
        if self.body_bytes > self.body.len() {
            let start = String::from_utf8_lossy(&self.body);
            return json!({"truncated": true, "bytes": self.body_bytes, "start": redactor.redact(&start)});
        }
        if self.body.is_empty() {
            return Value::Null;
        }
        let mut json = serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&self.body).into_owned()));
        redactor.redact_json(&mut json);
        json
    }
}

/// How a request was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Who answered.
    pub source: Source,
    /// HTTP status; 0 where the connection was closed without one.
    pub status: u16,
    /// The fixture that answered, and how it was found.
    pub fixture: Option<(Origin, How)>,
    /// Why no fixture answered, or what drifted.
    pub explanation: Option<String>,
    /// Until the answer's head was ready.
    pub duration: Duration,
    /// The injected fault.
    pub chaos: Option<&'static str>,
}

/// Headers with the values of those that carry credentials replaced.
fn safe_headers(headers: &HeaderMap, redactor: &Redactor) -> Map<String, Value> {
    let safe = headers.iter().map(|(name, value)| {
        let value = value.to_str().unwrap_or("");
        let shown = if is_secret_header(name.as_str()) { REDACTED.into() } else { redactor.redact(value) };
        (name.as_str().to_owned(), Value::from(shown))
    });
    safe.collect()
}

fn is_secret_header(name: &str) -> bool {
    let common = ["authorization", "proxy-authorization", "cookie", "set-cookie"];
    common.contains(&name) || PROVIDERS.iter().any(|p| p.credential.header == name || p.secret_headers.contains(&name))
}

/// Path and query with the values of secret parameters replaced.
fn safe_target(target: &str, redactor: &Redactor) -> String {
    let Some((path, query)) = target.split_once('?') else { return redactor.redact(target).into_owned() };
    let safe = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if PROVIDERS.iter().any(|p| p.secret_query.contains(&name)) => format!("{name}={REDACTED}"),
        _ => pair.to_owned(),
    });
    redactor.redact(&format!("{path}?{}", safe.collect::<Vec<_>>().join("&"))).into_owned()
}

/// The newest entries, oldest first.
#[derive(Debug)]
pub struct Journal {
    entries: VecDeque<Entry>,
    max: usize,
    next_id: u64,
}

impl Journal {
    /// A journal of at most `max` entries.
    pub fn new(max: usize) -> Self {
        Journal { entries: VecDeque::new(), max, next_id: 1 }
    }

    /// Adds an entry, the oldest one going where there are too many. Returns its id.
    pub fn push(&mut self, mut entry: Entry) -> u64 {
        entry.id = self.next_id;
        self.next_id += 1;
        if self.max > 0 {
            if self.entries.len() >= self.max {
                self.entries.pop_front();
            }
            self.entries.push_back(entry);
        }
        self.next_id - 1
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.entries.iter()
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}
