//! What must become of an answer, and whether what a client got is equal to it.

use super::captures::{Capture, Expected};
use aimock::fixture::{Fixture, Match, file};
use aimock::frame::{Decoder, Framing, Status};
use aimock::keep::AskedFor;
use aimock::provider::{self, AnswerHead, Codec, Collapsed, Fault, Progress};
use aimock::redact::Redactor;
use aimock::reply::{Answer, Embeddings, Part, RawAnswer, RawBody, Reply, ToolCall};
use serde_json::{Map, Value};

/// How an answer's body ends, for its codec.
pub(crate) enum Outcome {
    Whole(Box<Answer>),
    /// Whole, but its terminal frame would not be kept back.
    Unmarked(Box<Answer>),
    Cut,
    Fault(Fault),
    Broken(String),
}

/// Collapses a body as a relay does: to its terminal frame, else to its end.
pub(crate) fn collapse(codec: &dyn Codec, told: Framing, content_type: &str, body: &[u8]) -> Outcome {
    let (collapsed, marked) = match collapsed(codec, told, content_type, body) {
        Ok(collapsed) => collapsed,
        Err(outcome) => return outcome,
    };
    match collapsed.answer(codec) {
        Ok(answer) if marked => Outcome::Whole(Box::new(answer)),
        Ok(answer) => Outcome::Unmarked(Box::new(answer)),
        Err(fault) => Outcome::Fault(fault),
    }
}

/// What a relay makes of a body, and whether its terminal frame would be kept back.
pub(crate) fn collapsed(
    codec: &dyn Codec,
    told: Framing,
    content_type: &str,
    body: &[u8],
) -> Result<(Collapsed, bool), Outcome> {
    let framing = codec.framing(told);
    let mut decoder = Decoder::new(framing);
    let mut collapser = codec.collapser(&AnswerHead { framing, status: 200, content_type });
    collapser.keep(body);
    let mut progress = Progress::More;
    let mut rest = body;
    while progress != Progress::Done {
        match decoder.next(rest) {
            Ok(Status::Frame { frame, used }) => {
                progress = collapser.push(&frame).map_err(Outcome::Fault)?;
                if progress == Progress::Done && !codec.end_markers().iter().any(|marker| holds(&rest[..used], marker))
                {
                    return Ok((collapser.finish(), false));
                }
                rest = &rest[used..];
            }
            Ok(Status::Incomplete) => break,
            Err(e) => return Err(Outcome::Broken(e.to_string())),
        }
    }
    if progress != Progress::Done {
        match decoder.end() {
            Ok(None) => {}
            Ok(Some(frame)) => progress = collapser.push(&frame).map_err(Outcome::Fault)?,
            Err(e) => return Err(Outcome::Broken(e.to_string())),
        }
    }
    if progress == Progress::More { Err(Outcome::Cut) } else { Ok((collapser.finish(), true)) }
}

/// Where what a fixture keeps of an answer is not all of it: `None` where a replay gives what came.
pub(crate) fn lost(capture: &Capture) -> Option<String> {
    let found = capture.request.found();
    let codec = found.codec;
    let content_type = capture.row.content_type.as_deref().unwrap_or("");
    let told = aimock::relay::framing_of(content_type, capture.request.framing());
    let (collapsed, _) = collapsed(codec, told, content_type, &capture.answer).ok()?;
    let request = capture.request.shape()?;
    let asked = AskedFor { codec, request };
    let kept = match asked.keep(collapsed, &Redactor::new(false, Vec::new())) {
        Ok(kept) => kept,
        Err(fault) => return Some(format!("{fault:?}")),
    };
    let came = kept.came?;
    let mut fixture = Fixture::new(Match::message("x"), kept.answer);
    fixture.native = kept.native.map(Box::new);
    let back = file::parse(file::write(&[&fixture]).as_bytes());
    if !back.problems.is_empty() {
        return Some(format!("the recording does not load: {}", back.problems[0]));
    }
    let Fixture { answer, native, .. } = &back.fixtures[0];
    (!asked.gives(answer, native.as_deref(), &came)).then(|| {
        let (native, told) = asked.replayed(answer, native.as_deref()).unwrap_or_default();
        let differ = |came: &str, given: &str| {
            let at = came.bytes().zip(given.bytes()).take_while(|(a, b)| a == b).count();
            let around = |text: &str| {
                String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(60)..text.len().min(at + 60)]).into_owned()
            };
            format!("came {} given {}", around(came), around(given))
        };
        let (what, came, given) = match came.native.same(&native) {
            true => ("told: ", &came.told, &told),
            false => ("", &came.native, &native),
        };
        format!("{what}{}", differ(&came.to_json(), &given.to_json()))
    })
}

pub(crate) fn holds(bytes: &[u8], marker: &[u8]) -> bool {
    memchr::memmem::find(bytes, marker).is_some()
}

/// What an answer is, by the server's own codecs.
pub(crate) fn meaning(capture: &Capture) -> Outcome {
    let found = capture.request.found();
    let content_type = capture.row.content_type.as_deref().unwrap_or("");
    let asked = capture.request.framing();
    collapse(found.codec, aimock::relay::framing_of(content_type, asked), content_type, &capture.answer)
}

/// What a client got in place of an answer, and where that differs.
pub(crate) fn compare(
    codec: &dyn Codec,
    first: &Answer,
    framing: Framing,
    content_type: &str,
    body: &[u8],
) -> Vec<String> {
    if let Answer::Raw(raw) = first {
        return different_raw(raw, content_type, body);
    }
    let back = match collapse(codec, framing, content_type, body) {
        Outcome::Whole(back) => *back,
        Outcome::Unmarked(_) => return vec!["a terminal frame without mark".into()],
        Outcome::Cut => return vec!["cut".into()],
        Outcome::Fault(fault) => return vec![format!("{fault:?}")],
        Outcome::Broken(what) => return vec![what],
    };
    match (first, &back) {
        (Answer::Turn(first), Answer::Turn(back)) => different_turns(codec, first, back),
        (Answer::Embeddings(first), Answer::Embeddings(back)) => different_embeddings(first, back),
        _ => vec!["another kind of answer".into()],
    }
}

/// Whether two answers are the same for a client.
pub(crate) fn same(codec: &dyn Codec, a: &Answer, b: &Answer) -> bool {
    match (a, b) {
        (Answer::Turn(a), Answer::Turn(b)) => different_turns(codec, &known(a), &known(b)).is_empty(),
        (Answer::Embeddings(a), Answer::Embeddings(b)) => different_embeddings(a, b).is_empty(),
        // It is kept with all that was added.
        _ => matches!((a, b), (Answer::Raw(_), Answer::Raw(_))),
    }
}

/// A turn without what one wire alone knows, which is kept with all that was added.
fn known(turn: &Reply) -> Reply {
    let mut turn = turn.clone();
    turn.parts.retain(|part| !matches!(part, Part::Verbatim(_)));
    turn
}

/// Whether an answer shows what can end one of its kind: by its bytes alone, whatever the codecs find in them.
pub(crate) fn may_be_whole(capture: &Capture) -> bool {
    let ends: &[&str] = match capture.request.found().codec.wire() {
        _ if capture.row.framing() == Framing::Whole => {
            let json = capture.row.content_type.as_deref().is_some_and(|t| t.starts_with("application/json"));
            return !json || serde_json::from_slice::<Value>(&capture.answer).is_ok();
        }
        "openai-chat" => &["[DONE]", "\"finish_reason\":\"", "\"finish_reason\": \""],
        "openai-responses" => &["response.completed", "response.incomplete"],
        "anthropic-messages" => &["\"stop_reason\":\"", "\"stop_reason\": \""],
        "bedrock-messages" => &["amazon-bedrock-invocationMetrics", "\"bytes\""],
        "bedrock-converse" => &["messageStop"],
        "gemini" => &["\"finishReason\"", "\"blockReason\""],
        "cohere-v1-chat" => &["stream-end"],
        "cohere-v2-chat" => &["message-end"],
        "ollama-chat" | "ollama-generate" => &["\"done\":true", "\"done\": true", "\"done_reason\":\"", "[DONE]"],
        _ => return true,
    };
    ends.iter().any(|end| holds(&capture.answer, end.as_bytes()))
}

fn different_raw(raw: &RawAnswer, content_type: &str, body: &[u8]) -> Vec<String> {
    let same = match &raw.body {
        RawBody::Bytes(bytes) => bytes == body,
        RawBody::Json(json) => serde_json::from_slice::<Value>(body).is_ok_and(|back| back == *json),
        RawBody::Absent(_) => body.is_empty(),
    };
    let mut faults = Vec::new();
    if !same {
        faults.push("another body".into());
    }
    if raw.content_type != content_type {
        faults.push(format!("content type {} → {content_type}", raw.content_type));
    }
    faults
}

fn different_embeddings(first: &Embeddings, back: &Embeddings) -> Vec<String> {
    // As far as f32 goes: it is what base64 carries.
    let narrow =
        |e: &Embeddings| -> Vec<Vec<f32>> { e.vectors.iter().map(|v| v.iter().map(|x| *x as f32).collect()).collect() };
    let mut faults = Vec::new();
    if narrow(first) != narrow(back) {
        faults.push("vectors".into());
    }
    if first.usage.is_some() && first.usage != back.usage {
        faults.push(format!("usage {:?} → {:?}", first.usage, back.usage));
    }
    faults
}

fn different_turns(codec: &dyn Codec, first: &Reply, back: &Reply) -> Vec<String> {
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
    differ("what is this wire's own", verbatim(first), verbatim(back));
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
        // What is no JSON goes into an object where the wire wants one.
        Ok(Value::Object(map)) if map.len() == 1 && map.contains_key("_raw") => {
            map["_raw"].as_str().unwrap_or_default().to_owned()
        }
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

/// What a wire alone knows, without regard to order.
fn verbatim(reply: &Reply) -> String {
    let own = reply.parts.iter().filter_map(|p| if let Part::Verbatim(own) = p { Some(&own.json) } else { None });
    let mut own: Vec<Value> = own.map(|json| serde_json::from_str(json).unwrap_or_default()).collect();
    own.iter_mut().for_each(Value::sort_all_objects);
    own.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
}

fn signatures(reply: &Reply) -> String {
    let signature = |p: &Part| match p {
        Part::Text { signature, .. } | Part::Reasoning { signature, .. } => signature.clone(),
        Part::RedactedReasoning(data) => Some(data.clone()),
        Part::ToolCall(call) => call.signature.clone(),
        Part::Verbatim(_) => None,
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
            Part::Verbatim(_) => "verbatim",
        };
        if kind == "call" || kinds.last() != Some(&kind) {
            kinds.push(kind);
        }
    }
    kinds.join(" ")
}

/// Where a turn differs from what another collapser made of the stream: the field, ours, theirs.
pub(crate) fn second_opinion(codec: &dyn Codec, reply: &Reply, expected: &Expected) -> Vec<(&'static str, String)> {
    let mut otherwise = Vec::new();
    let mut differ = |what, ours: String, theirs: String| {
        if ours != theirs {
            otherwise.push((what, format!("{} and not {}", short(&ours), short(&theirs))));
        }
    };
    differ("text", reply.content(), expected.text.clone());
    differ("reasoning", reply.reasoning(), expected.reasoning.clone());
    differ("refusal", reply.refusal.clone().unwrap_or_default(), expected.refusal.clone().unwrap_or_default());
    let calls: Vec<_> = reply.tool_calls().map(|c| (c.name.clone(), arguments(&c.arguments))).collect();
    let theirs = expected.tool_calls.iter().map(|c| (c.name.clone().unwrap_or_default(), arguments(&c.arguments)));
    differ("tool calls", format!("{calls:?}"), format!("{:?}", theirs.collect::<Vec<_>>()));
    let given = |ids: Vec<Option<&str>>| format!("{:?}", ids.into_iter().flatten().collect::<Vec<_>>());
    let ours = reply.tool_calls().map(|c| c.id.as_deref()).collect();
    if codec.carries().call_ids && expected.tool_calls.iter().all(|c| c.id.is_some()) {
        differ("ids", given(ours), given(expected.tool_calls.iter().map(|c| c.id.as_deref()).collect()));
    }
    let word = reply.finish_word();
    let ours = codec.finish_words().map_or_else(|| word.to_owned(), |words| provider::finish_out(words, word));
    let theirs = expected.finish_reason.as_str().map_or_else(|| expected.finish_reason.to_string(), str::to_owned);
    differ("finish", ours, theirs);
    let mut ours = reply.usage.clone();
    if let (Some(ours), Some(theirs)) = (&mut ours, &expected.usage) {
        ours.retain(|key, _| theirs.contains_key(key)); // it may read less, and a sum may be added
    }
    let usage = |usage: &Option<Map<String, Value>>| {
        let mut usage = usage.clone().unwrap_or_default();
        usage.retain(|_, count| !count.is_null()); // as good as absent
        sorted(&usage)
    };
    differ("usage", usage(&ours), usage(&expected.usage));
    otherwise
}

fn short(text: &str) -> String {
    const CHARS: usize = 160;
    let cut: String = text.chars().take(CHARS).collect();
    if cut.len() < text.len() { format!("`{cut}…`") } else { format!("`{cut}`") }
}
