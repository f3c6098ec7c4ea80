//! The captures: other people's data, read where `AIMOCK_CORPUS` says.

use aimock::frame::Framing;
use aimock::provider::{self, Call, Head, Matched};
use aimock::redact::Redactor;
use aimock::request::canonical::{Ignore, Subject, canonical};
use aimock::request::{Kind, Request};
use base64::Engine;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// A row of `index.jsonl`.
#[derive(Clone, Deserialize)]
pub(crate) struct Row {
    pub(crate) dir: String,
    pub(crate) name: String,
    pub(crate) format: String,
    framing: String,
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    features: Vec<String>,
    chunk_sizes: Option<Vec<usize>>,
}

impl Row {
    pub(crate) fn framing(&self) -> Framing {
        match &*self.framing {
            "sse" => Framing::Sse,
            "ndjson" => Framing::Ndjson,
            "jsonarray" => Framing::JsonArray,
            "eventstream" => Framing::EventStream,
            _ => Framing::Whole,
        }
    }

    pub(crate) fn succeeded(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A success that says nowhere that it is an error.
    pub(crate) fn claims_success(&self) -> bool {
        let error = |f: &String| f == "error_mid_stream" || f == "error_body";
        self.succeeded() && !self.features.iter().any(error)
    }
}

/// `request.json`.
#[derive(Clone, Deserialize)]
struct Asked {
    method: String,
    path: String,
    headers: BTreeMap<String, Value>,
    body_encoding: Option<String>,
    body: Value,
    known: bool,
}

/// What another collapser makes of a stream: a second opinion.
#[derive(Clone, Deserialize)]
pub(crate) struct Expected {
    dir: String,
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) refusal: Option<String>,
    pub(crate) tool_calls: Vec<ExpectedCall>,
    /// A word, or a number where the wire has numbers.
    pub(crate) finish_reason: Value,
    pub(crate) usage: Option<Map<String, Value>>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct ExpectedCall {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) arguments: String,
}

/// One answer, and the request that it answered.
#[derive(Clone)]
pub(crate) struct Capture {
    pub(crate) row: Row,
    pub(crate) expected: Option<Expected>,
    pub(crate) request: Wanted,
    pub(crate) answer: Vec<u8>,
}

/// A request to be sent.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// All captures; `None` where nothing says where they are, which is fine but for CI.
pub(crate) fn read() -> Option<Vec<Capture>> {
    let Some(folders) = std::env::var_os("AIMOCK_CORPUS") else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "AIMOCK_CORPUS names no folders of captures");
        println!("skipped: AIMOCK_CORPUS names no folders of captures");
        return None;
    };
    let only = std::env::var("AIMOCK_FORMAT").unwrap_or_default();
    let named = std::env::var("AIMOCK_NAME").unwrap_or_default();
    let mut captures = Vec::new();
    for folder in std::env::split_paths(&folders) {
        let rows: Vec<Row> = lines(&folder.join("index.jsonl"));
        let mut expected: HashMap<String, Expected> =
            lines::<Expected>(&folder.join("expected.jsonl")).into_iter().map(|e| (e.dir.clone(), e)).collect();
        let wanted = rows.into_iter().filter(|row| row.format.contains(&only) && row.name.contains(&named));
        captures.extend(wanted.map(|row| Capture::read(&folder, expected.remove(&row.dir), row)));
    }
    Some(captures)
}

/// Whether all captures are there, so that what is listed by name must occur.
pub(crate) fn are_all() -> bool {
    std::env::var_os("AIMOCK_FORMAT").is_none() && std::env::var_os("AIMOCK_NAME").is_none()
}

fn lines<T: for<'de> Deserialize<'de>>(path: &Path) -> Vec<T> {
    let all = bytes(path);
    let lines = all.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.map(serde_json::from_slice).collect::<Result<_, _>>().expect("one row a line")
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).map_err(|e| format!("{}: {e}", path.display())).expect("a capture's file")
}

impl Capture {
    fn read(folder: &Path, expected: Option<Expected>, row: Row) -> Self {
        let folder = folder.join(&row.dir);
        let asked: Asked = serde_json::from_slice(&bytes(&folder.join("request.json"))).expect("a request.json");
        // A signed URL is replayed without its signature.
        let answer = bytes(&folder.join("response.raw"));
        let answer = Redactor::default().redact_bytes(&answer).unwrap_or(answer);
        Capture { request: Wanted::new(&asked, &row), answer, expected, row }
    }

    /// Whether it is a stream without a finish reason, as far as the other collapser sees. It sees none in what has no
    /// codec.
    pub(crate) fn unfinished(&self) -> bool {
        let raw = self.request.found().codec.kind() == Kind::Raw;
        !raw && self.expected.as_ref().is_some_and(|e| e.finish_reason.is_null())
    }

    /// The answer in the pieces in which the network brought it, or in odd ones.
    pub(crate) fn pieces(&self) -> Vec<&[u8]> {
        let mut noise = self.answer.len() as u64 ^ 0x9E37_79B9_7F4A_7C15;
        let odd = std::iter::from_fn(move || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Some(1 + (noise >> 33) as usize % [3, 40, 900][(noise >> 60) as usize % 3])
        });
        let known = self.row.chunk_sizes.iter().flatten().copied().filter(|size| *size > 0);
        let mut rest = &self.answer[..];
        let mut pieces = Vec::new();
        for size in known.chain(odd) {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces
    }
}

/// Headers that belong to the connection that the capture was made on.
const OF_THE_CONNECTION: &[&str] = &["host", "content-length", "connection", "transfer-encoding"];

impl Wanted {
    fn new(asked: &Asked, row: &Row) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in &asked.headers {
            let value = value.as_str().and_then(|v| HeaderValue::from_str(v).ok());
            if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), value)
                && !OF_THE_CONNECTION.contains(&name.as_str())
            {
                headers.insert(name, value);
            }
        }
        let body = match &asked.body {
            Value::Null => Vec::new(),
            // A long one is elided, and then it is no base64.
            Value::String(text) if asked.body_encoding.as_deref() == Some("base64") => {
                base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_else(|_| text.clone().into_bytes())
            }
            body => json_bytes(body),
        };
        // Placeholders that took the place of names.
        let target = asked.path.replace('<', "%3C").replace('>', "%3E");
        let mut wanted = Wanted { method: asked.method.clone(), target, headers, body };
        if !asked.known && asked.method == "POST" {
            wanted.body = json_bytes(&wanted.made_up(row));
        }
        wanted
    }

    /// A small request for an endpoint of which no request was kept; no two captures have the same.
    fn made_up(&self, row: &Row) -> Value {
        let text = format!("Hello from {}", row.name);
        let messages = json!([{"role": "user", "content": text}]);
        let stream = row.framing() != Framing::Whole;
        match self.found().codec.wire() {
            "openai-chat" | "ollama-chat" | "cohere-v2-chat" => {
                json!({"model": "made-up", "messages": messages, "stream": stream})
            }
            "anthropic-messages" => {
                json!({"model": "made-up", "max_tokens": 1024, "messages": messages, "stream": stream})
            }
            "bedrock-messages" => {
                json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1024, "messages": messages})
            }
            "bedrock-converse" => json!({"messages": [{"role": "user", "content": [{"text": text}]}]}),
            "openai-responses" => json!({"model": "made-up", "input": text, "stream": stream}),
            "gemini" => json!({"contents": [{"role": "user", "parts": [{"text": text}]}]}),
            "cohere-v1-chat" => json!({"message": text, "stream": stream}),
            "ollama-generate" => json!({"model": "made-up", "prompt": text, "stream": stream}),
            _ => json!({"model": "made-up", "input": [text], "stream": stream}),
        }
    }

    pub(crate) fn head(&self) -> Head<'_> {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        Head { method: &self.method, path, query, headers: &self.headers }
    }

    /// Its endpoint, as the server finds it.
    pub(crate) fn found(&self) -> Matched<'_> {
        provider::route(&self.head())
    }

    /// As its codec reads it.
    pub(crate) fn decoded(&self) -> Result<Request<'_>, String> {
        let found = self.found();
        let call = Call { head: self.head(), params: found.params, body: &self.body };
        found.codec.decode(&call).map_err(|bad| bad.message)
    }

    /// What of it decides how its answer is written.
    pub(crate) fn shape(&self) -> Option<Request<'static>> {
        self.decoded().ok().map(|request| request.shape())
    }

    /// The framing of the answer that it asks for.
    pub(crate) fn framing(&self) -> Framing {
        self.decoded().map_or(Framing::Whole, |request| request.framing)
    }

    /// The same question, streamed where this is not and whole where it is; `None` where the endpoint has one way.
    pub(crate) fn other_way(&self) -> Option<Self> {
        if self.found().codec.kind() != Kind::Chat {
            return None;
        }
        let streamed = self.framing() != Framing::Whole;
        let mut other = self.clone();
        let verbs = [
            (":streamGenerateContent", ":generateContent"),
            (":streamRawPredict", ":rawPredict"),
            ("/converse-stream", "/converse"),
            ("/invoke-with-response-stream", "/invoke"),
        ];
        for (stream, whole) in verbs {
            let (from, to) = if streamed { (stream, whole) } else { (whole, stream) };
            let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
            if let Some(start) = path.strip_suffix(from) {
                let sse = !streamed && stream == ":streamGenerateContent" && !query.contains("alt=");
                let mut queries: Vec<&str> = query.split('&').filter(|q| !q.is_empty() && *q != "alt=sse").collect();
                queries.extend(sse.then_some("alt=sse"));
                let mark = if queries.is_empty() { "" } else { "?" };
                other.target = format!("{start}{to}{mark}{}", queries.join("&"));
            }
        }
        let mut body: Value = serde_json::from_slice(&self.body).ok()?;
        let by_path = other.target != self.target;
        let members = body.as_object_mut()?;
        if !by_path || members.contains_key("stream") {
            members.insert("stream".into(), (!streamed).into());
        }
        if streamed {
            members.remove("stream_options");
        } else if self.found().codec.wire() == "openai-chat" {
            members.insert("stream_options".into(), json!({"include_usage": true}));
        }
        other.body = json_bytes(&body);
        Some(other)
    }

    /// Equal for requests that a server takes for the same one.
    pub(crate) fn key(&self) -> String {
        let found = self.found();
        let raw = found.codec.kind() == Kind::Raw;
        let mut query: Vec<&str> = self.head().query.split('&').collect();
        query.sort_unstable();
        let place = format!("{} {} {}", self.method, self.head().path, query.join("&"));
        let place = if raw { place } else { found.codec.wire().to_owned() };
        let model = self.decoded().map(|r| r.model.into_owned()).unwrap_or_default();
        let subject = Subject {
            wire: &place,
            model: &model,
            body: &self.body,
            content_type: self.head().header("content-type").unwrap_or(""),
            codec: found.codec,
        };
        canonical(&subject, &Redactor::default(), &Ignore::default()).request.to_string()
    }
}

fn json_bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a JSON value is JSON")
}
