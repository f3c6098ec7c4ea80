//! Every codec over real providers' answers: what is whole collapses and comes back the same from both encoders, what
//! is not whole is refused.
//!
//! `AIMOCK_CORPUS` names the folder of captures (`index.jsonl`, `expected.jsonl`, and a folder each with
//! `request.json` and `response.raw`); without it nothing is tested. `AIMOCK_FORMAT` keeps the formats whose name
//! contains it. The report is printed with `--nocapture`, and on failure.

use aimock::frame::{Decoder, Frame, Framing, Status};
use aimock::provider::{self, AnswerHead, Call, Codec, Encoding, Fault, Head, Matched, Progress};
use aimock::reply::{Answer, Embeddings, Part, Reply, ToolCall};
use aimock::request::{Kind, Request};
use base64::Engine;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[test]
fn every_capture_comes_back_as_its_client_saw_it() {
    let Some(folder) = std::env::var_os("AIMOCK_CORPUS") else {
        println!("skipped: AIMOCK_CORPUS names no folder of captures");
        return;
    };
    let folder = Path::new(&folder);
    let only = std::env::var("AIMOCK_FORMAT").unwrap_or_default();
    let rows: Vec<Row> = lines(&folder.join("index.jsonl"));
    let expected: HashMap<String, Expected> =
        lines::<Expected>(&folder.join("expected.jsonl")).into_iter().map(|e| (e.dir.clone(), e)).collect();
    let captures: Vec<Capture> =
        rows.into_iter().filter(|r| r.format.contains(&only)).map(|r| Capture::read(folder, r)).collect();
    let framings = streamed_framings(&captures);
    let mut report = Report::default();
    for capture in &captures {
        let verdict = catch_unwind(AssertUnwindSafe(|| judge(capture, &framings, expected.get(&capture.row.dir))));
        report.add(&capture.row, verdict.unwrap_or_else(|_| Verdict::Failed(vec!["a panic".into()])));
    }
    println!("{report}");
    assert!(report.failures.is_empty(), "{} captures fail", report.failures.len());
}

// --------------------------------------------------------------------------------------------------- the captures

#[derive(Deserialize)]
struct Row {
    dir: String,
    format: String,
    framing: String,
    status: u16,
    content_type: Option<String>,
    features: Vec<String>,
}

impl Row {
    fn framing(&self) -> Framing {
        match &*self.framing {
            "sse" => Framing::Sse,
            "ndjson" => Framing::Ndjson,
            "jsonarray" => Framing::JsonArray,
            "eventstream" => Framing::EventStream,
            _ => Framing::Whole,
        }
    }

    /// A success that says nowhere that it is an error.
    fn claims_success(&self) -> bool {
        let error = |f: &String| f == "error_mid_stream" || f == "error_body";
        (200..300).contains(&self.status) && !self.features.iter().any(error)
    }
}

#[derive(Deserialize)]
struct Asked {
    method: String,
    path: String,
    headers: BTreeMap<String, Value>,
    body_encoding: Option<String>,
    body: Value,
    known: bool,
}

/// What another collapser makes of a stream: a second opinion.
#[derive(Deserialize)]
struct Expected {
    dir: String,
    text: String,
    tool_calls: Vec<ExpectedCall>,
    /// A word, or a number where the wire has numbers.
    finish_reason: Value,
    usage: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct ExpectedCall {
    name: Option<String>,
    arguments: String,
}

struct Capture {
    row: Row,
    asked: Asked,
    headers: HeaderMap,
    body: Vec<u8>,
    answer: Vec<u8>,
}

impl Capture {
    fn read(folder: &Path, row: Row) -> Self {
        let folder = folder.join(&row.dir);
        let asked: Asked = serde_json::from_slice(&bytes(&folder.join("request.json"))).expect("a request.json");
        let mut headers = HeaderMap::new();
        for (name, value) in &asked.headers {
            let value = value.as_str().and_then(|v| HeaderValue::from_str(v).ok());
            if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), value) {
                headers.insert(name, value);
            }
        }
        let body = match &asked.body {
            Value::Null => Vec::new(),
            // A long one is elided, and then it is no base64.
            Value::String(text) if asked.body_encoding.as_deref() == Some("base64") => {
                base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
            }
            body => serde_json::to_vec(body).expect("JSON of a body"),
        };
        let answer = bytes(&folder.join("response.raw"));
        Capture { row, asked, headers, body, answer }
    }

    fn head(&self) -> Head<'_> {
        let (path, query) = self.asked.path.split_once('?').unwrap_or((&self.asked.path, ""));
        Head { method: &self.asked.method, path, query, headers: &self.headers }
    }

    /// The request as its codec reads it; where the source kept none, an empty one.
    fn request<'a>(&'a self, found: &Matched<'a>) -> Result<Request<'a>, String> {
        if self.asked.known && !self.body.is_empty() {
            let call = Call { head: self.head(), params: found.params.clone(), body: &self.body };
            return found.codec.decode(&call).map_err(|bad| format!("its request is refused: {}", bad.message));
        }
        let mut request = Request::new(found.codec.kind());
        request.model = "test-model".into();
        request.framing = self.row.framing();
        Ok(request)
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).map_err(|e| format!("{}: {e}", path.display())).expect("a capture's file")
}

fn lines<T: for<'de> Deserialize<'de>>(path: &Path) -> Vec<T> {
    let all = bytes(path);
    let lines = all.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.map(serde_json::from_slice).collect::<Result<_, _>>().expect("one row a line")
}

/// How each wire streams, as far as the captures show it: a whole answer is tried streamed as well.
fn streamed_framings(captures: &[Capture]) -> HashMap<&'static str, Framing> {
    let streamed = captures.iter().filter(|c| c.row.framing() != Framing::Whole);
    streamed.map(|c| (provider::route(&c.head()).codec.wire(), c.row.framing())).collect()
}

// ---------------------------------------------------------------------------------------------------- the judgement

enum Verdict {
    /// Collapsed, and back the same; with what the second opinion says otherwise.
    Same(Vec<&'static str>),
    /// A success that is kept verbatim.
    Verbatim,
    /// No route knows it.
    Raw,
    /// An error answer, or an answer that reports one.
    Refused,
    /// It ends without a terminal event or a finish reason.
    Cut,
    /// It does not do what it must.
    Failed(Vec<String>),
}

fn judge(capture: &Capture, framings: &HashMap<&str, Framing>, expected: Option<&Expected>) -> Verdict {
    let row = &capture.row;
    let found = provider::route(&capture.head());
    if !found.known || found.codec.kind() == Kind::Raw {
        return Verdict::Raw;
    }
    if !(200..300).contains(&row.status) {
        return Verdict::Refused;
    }
    let outcome = collapse(found.codec, row.framing(), row.content_type.as_deref(), &capture.answer);
    let first = match (outcome, row.claims_success()) {
        (Outcome::Whole(answer), true) => *answer,
        (Outcome::Whole(_), false) => return Verdict::Failed(vec!["an error that comes out whole".into()]),
        (_, false) => return Verdict::Refused,
        (Outcome::Cut, true) if expected.is_some_and(|e| e.finish_reason.is_null()) => return Verdict::Cut,
        (Outcome::Cut, true) => return Verdict::Failed(vec!["a whole answer that comes out cut".into()]),
        // What it reports may be an error that the index does not know of.
        (Outcome::Fault(Fault::Upstream(_)), true) if expected.is_some_and(|e| e.unfinished()) => {
            return Verdict::Refused;
        }
        (Outcome::Fault(fault), true) => return Verdict::Failed(vec![format!("{fault:?}")]),
        (Outcome::Broken(what), true) => return Verdict::Failed(vec![what]),
    };
    if matches!(first, Answer::Raw(_)) {
        return Verdict::Verbatim;
    }
    let mut request = match capture.request(&found) {
        Ok(request) => request,
        Err(why) => return Verdict::Failed(vec![why]),
    };
    let mut faults = Vec::new();
    come_back(found.codec, &first, &request, Framing::Whole, &mut faults);
    if let Some(framing) = framings.get(found.codec.wire()) {
        if !request.streamed() {
            request.framing = *framing;
        }
        come_back(found.codec, &first, &request, request.framing, &mut faults);
    }
    if !faults.is_empty() {
        return Verdict::Failed(faults);
    }
    match (&first, expected) {
        (Answer::Turn(reply), Some(expected)) => Verdict::Same(second_opinion(found.codec, reply, expected)),
        _ => Verdict::Same(Vec::new()),
    }
}

enum Outcome {
    Whole(Box<Answer>),
    Cut,
    Fault(Fault),
    Broken(String),
}

/// Collapses a body as a relay does.
fn collapse(codec: &dyn Codec, framing: Framing, content_type: Option<&str>, body: &[u8]) -> Outcome {
    let content_type = content_type.unwrap_or(framing.content_type());
    let mut decoder = Decoder::new(framing);
    let mut collapser = codec.collapser(&AnswerHead { framing, status: 200, content_type });
    let mut progress = Progress::More;
    let mut push = |frame: &Frame<'_>, bytes: &[u8], progress: &mut Progress| {
        let before = std::mem::replace(progress, collapser.push(frame).map_err(Outcome::Fault)?);
        let ends = framing != Framing::Whole && before != Progress::Done && *progress == Progress::Done;
        if ends && !codec.end_markers().iter().any(|marker| holds(bytes, marker)) {
            return Err(Outcome::Broken("a terminal frame without mark".into()));
        }
        Ok(())
    };
    let mut rest = body;
    loop {
        match decoder.next(rest) {
            Ok(Status::Frame { frame, used }) => {
                if let Err(outcome) = push(&frame, &rest[..used], &mut progress) {
                    return outcome;
                }
                rest = &rest[used..];
            }
            Ok(Status::Incomplete) => break,
            Err(e) => return Outcome::Broken(e.to_string()),
        }
    }
    match decoder.end() {
        Ok(None) => {}
        Ok(Some(frame)) => {
            if let Err(outcome) = push(&frame, rest, &mut progress) {
                return outcome;
            }
        }
        Err(_) if progress == Progress::Done => {}
        Err(e) => return Outcome::Broken(e.to_string()),
    }
    if progress == Progress::More { Outcome::Cut } else { Outcome::Whole(Box::new(collapser.finish())) }
}

fn holds(bytes: &[u8], marker: &[u8]) -> bool {
    memchr::memmem::find(bytes, marker).is_some()
}

/// Encodes an answer, collapses what was encoded, and compares.
fn come_back(codec: &dyn Codec, answer: &Answer, request: &Request<'_>, framing: Framing, faults: &mut Vec<String>) {
    let to = Encoding { request, chunk_chars: 20, now: 1_700_000_000, seed: 7 };
    let (how, body) = match framing {
        Framing::Whole => ("whole", codec.encode_whole(answer, &to)),
        _ => ("streamed", codec.encode_stream(answer, &to).bytes),
    };
    let mut fault = |what: String| faults.push(format!("{how}: {what}"));
    let back = match collapse(codec, framing, None, &body) {
        Outcome::Whole(back) => *back,
        Outcome::Cut => return fault("cut".into()),
        Outcome::Fault(f) => return fault(format!("{f:?}")),
        Outcome::Broken(what) => return fault(what),
    };
    match (back, answer) {
        (Answer::Turn(back), Answer::Turn(first)) => differences(codec, first, &back).into_iter().for_each(fault),
        (Answer::Embeddings(back), Answer::Embeddings(first)) => {
            if !same_vectors(first, &back) {
                fault("vectors".into());
            }
            if first.usage.is_some() && first.usage != back.usage {
                fault(format!("usage {:?} → {:?}", first.usage, back.usage));
            }
        }
        _ => fault("another kind of answer".into()),
    }
}

/// As far as f32 goes: it is what base64 carries.
fn same_vectors(a: &Embeddings, b: &Embeddings) -> bool {
    let narrow =
        |e: &Embeddings| -> Vec<Vec<f32>> { e.vectors.iter().map(|v| v.iter().map(|x| *x as f32).collect()).collect() };
    narrow(a) == narrow(b)
}

fn differences(codec: &dyn Codec, first: &Reply, back: &Reply) -> Vec<String> {
    let carries = codec.carries();
    let mut found = Vec::new();
    let mut differ = |what: &str, a: String, b: String| {
        if a != b {
            found.push(format!("{what} {} → {}", short(&a), short(&b)));
        }
    };
    differ("text", first.content(), back.content());
    if carries.reasoning {
        differ("reasoning", first.reasoning(), back.reasoning());
    }
    if carries.refusal {
        differ("refusal", format!("{:?}", first.refusal), format!("{:?}", back.refusal));
    }
    if carries.signatures {
        differ("signatures", signatures(first), signatures(back));
    }
    if carries.order {
        differ("order", order(first), order(back));
    }
    if carries.tool_calls {
        let ids = |c: &ToolCall, other: bool| if other && carries.call_ids { c.id.clone() } else { None };
        let calls = |r: &Reply| -> Vec<(String, String, Option<String>)> {
            let given = first.tool_calls().map(|c| c.id.is_some()).chain(std::iter::repeat(true));
            r.tool_calls().zip(given).map(|(c, g)| (c.name.clone(), arguments(&c.arguments), ids(c, g))).collect()
        };
        differ("tool calls", format!("{:?}", calls(first)), format!("{:?}", calls(back)));
    }
    differ("finish", first.finish_word().to_owned(), back.finish_word().to_owned());
    if let Some(usage) = &first.usage {
        let mut back = back.usage.clone().unwrap_or_default();
        if !usage.keys().any(|key| key.starts_with("total")) {
            back.retain(|key, _| usage.contains_key(key)); // a sum and its like may be added
        }
        differ("usage", sorted(usage), sorted(&back));
    }
    if carries.id && first.id.is_some() {
        differ("id", format!("{:?}", first.id), format!("{:?}", back.id));
    }
    if carries.model && first.model.is_some() {
        differ("model", format!("{:?}", first.model), format!("{:?}", back.model));
    }
    found
}

/// Arguments as a client reads them; none at all mean an empty object.
fn arguments(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        _ if text.is_empty() => "{}".into(),
        Ok(Value::Object(map)) => sorted(&map),
        Ok(value) => value.to_string(),
        Err(_) => text.to_owned(),
    }
}

fn sorted(map: &Map<String, Value>) -> String {
    let mut value = Value::Object(map.clone());
    value.sort_all_objects();
    value.to_string()
}

fn signatures(reply: &Reply) -> String {
    let signature = |p: &Part| match p {
        Part::Text { signature, .. } | Part::Reasoning { signature, .. } => signature.clone(),
        Part::RedactedReasoning(data) => Some(data.clone()),
        Part::ToolCall(call) => call.signature.clone(),
    };
    reply.parts.iter().filter_map(signature).collect::<Vec<_>>().join(" ")
}

fn order(reply: &Reply) -> String {
    let mut kinds: Vec<&str> = Vec::new();
    for part in &reply.parts {
        let kind = match part {
            Part::Text { .. } => "text",
            Part::Reasoning { .. } => "reasoning",
            Part::RedactedReasoning(_) => "redacted",
            Part::ToolCall(_) => "call",
        };
        if kind == "call" || kinds.last() != Some(&kind) {
            kinds.push(kind);
        }
    }
    kinds.join(" ")
}

impl Expected {
    fn unfinished(&self) -> bool {
        self.finish_reason.is_null() || self.finish_reason == "failed" || self.finish_reason == "ERROR"
    }
}

fn second_opinion(codec: &dyn Codec, reply: &Reply, expected: &Expected) -> Vec<&'static str> {
    let mut otherwise = Vec::new();
    if reply.content() != expected.text {
        otherwise.push("text");
    }
    let calls: Vec<_> = reply.tool_calls().map(|c| (c.name.clone(), arguments(&c.arguments))).collect();
    let theirs = expected.tool_calls.iter().map(|c| (c.name.clone().unwrap_or_default(), arguments(&c.arguments)));
    if calls != theirs.collect::<Vec<_>>() {
        otherwise.push("tool calls");
    }
    if let (Some(words), Some(theirs)) = (codec.finish_words(), expected.finish_reason.as_str())
        && provider::finish_out(words, reply.finish_word()) != theirs
    {
        otherwise.push("finish");
    }
    if expected.usage.as_ref().map(sorted) != reply.usage.as_ref().map(sorted) {
        otherwise.push("usage");
    }
    otherwise
}

fn short(text: &str) -> String {
    const CHARS: usize = 160;
    let cut: String = text.chars().take(CHARS).collect();
    if cut.len() < text.len() { format!("`{cut}…`") } else { format!("`{cut}`") }
}

// -------------------------------------------------------------------------------------------------------- the report

#[derive(Default)]
struct Report {
    counts: BTreeMap<String, [usize; 6]>,
    cut: Vec<String>,
    otherwise: BTreeMap<(String, &'static str), Vec<String>>,
    failures: Vec<(String, Vec<String>)>,
}

impl Report {
    fn add(&mut self, row: &Row, verdict: Verdict) {
        let counts = self.counts.entry(row.format.clone()).or_default();
        match verdict {
            Verdict::Same(otherwise) => {
                counts[0] += 1;
                for what in otherwise {
                    self.otherwise.entry((row.format.clone(), what)).or_default().push(row.dir.clone());
                }
            }
            Verdict::Verbatim => counts[1] += 1,
            Verdict::Raw => counts[2] += 1,
            Verdict::Refused => counts[3] += 1,
            Verdict::Cut => {
                counts[4] += 1;
                self.cut.push(row.dir.clone());
            }
            Verdict::Failed(faults) => {
                counts[5] += 1;
                self.failures.push((row.dir.clone(), faults));
            }
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for dir in &self.cut {
            writeln!(f, "cut       {dir}")?;
        }
        for ((format, what), dirs) in &self.otherwise {
            writeln!(f, "otherwise {format}: {what} of {}: {}", dirs.len(), dirs[..dirs.len().min(4)].join(" "))?;
        }
        for (dir, faults) in &self.failures {
            writeln!(f, "FAILED    {dir}")?;
            faults.iter().try_for_each(|fault| writeln!(f, "            {fault}"))?;
        }
        let columns = ["same", "verbatim", "raw", "refused", "cut", "FAILED"];
        let heads = columns.iter().fold(String::new(), |mut line, c| {
            let _ = write!(line, "{c:>9}");
            line
        });
        writeln!(f, "{:<30}{heads}", "format")?;
        for (format, counts) in &self.counts {
            write!(f, "{format:<30}")?;
            counts.iter().try_for_each(|n| write!(f, "{n:>9}"))?;
            writeln!(f)?;
        }
        Ok(())
    }
}
