//! `generateContent` and `streamGenerateContent`: the same answer, at once or in chunks of the same shape.
//! <https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse>

use super::{BLOCKED, FINISH, USAGE, WIRE, collapse, one_line, request, signature, turns};
use crate::frame::{Frames, Framing, jsonarray, sse};
use crate::provider::{
    AnswerHead, BadRequest, Call, CallId, Carries, Codec, Collapse, Encoding, FinishWords, UsageShape, answer_usage,
    finish_out, pieces,
};
use crate::reply::{Answer, Part, Reply, ToolCall, Usage};
use crate::request::{Kind, Request};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The wire of `:generateContent`.
pub(in crate::provider) static GENERATE: Generate = Generate { streamed: false };

/// The wire of `:streamGenerateContent`.
pub(in crate::provider) static STREAM: Generate = Generate { streamed: true };

/// The wire of both verbs.
#[derive(Debug)]
pub(in crate::provider) struct Generate {
    streamed: bool,
}

impl Codec for Generate {
    fn wire(&self) -> &'static str {
        WIRE
    }

    fn kind(&self) -> Kind {
        Kind::Chat
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let mut request = request::decode(Kind::Chat, call)?;
        if self.streamed {
            request.framing = stream_framing(call);
        }
        Ok(request)
    }

    fn encode_whole(&self, answer: &Answer, to: &Encoding<'_>) -> Vec<u8> {
        let Answer::Turn(reply) = answer else { return Vec::new() };
        let parts = reply.parts.iter().filter_map(PartOut::whole).collect();
        json(&Chunks::new(reply, to).last(parts))
    }

    fn encode_stream(&self, answer: &Answer, to: &Encoding<'_>) -> Frames {
        let Answer::Turn(reply) = answer else { return Frames::default() };
        let chunks = Chunks::new(reply, to);
        let mut parts = stream_parts(reply, to.chunk_chars);
        let end = parts.pop();
        let mut frames = Frames::default();
        let mut push = |chunk: &Chunk<'_>, first: bool, last: bool| {
            frames.push(|out| match to.request.framing {
                Framing::JsonArray => jsonarray::encode(&json(chunk), first, last, out),
                _ => sse::encode("", &json(chunk), out),
            });
        };
        let mut first = true;
        for part in parts {
            push(&chunks.one(part), std::mem::take(&mut first), false);
        }
        push(&chunks.last(end.into_iter().collect()), first, true);
        frames
    }

    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(collapse::Collapser::new(answer.framing == Framing::Whole))
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[] // a stream ends with its body
    }

    fn call_ids(&self) -> &'static [CallId] {
        &[
            CallId { key: "id", beside: "args" },
            CallId { key: "id", beside: "response" },
            CallId { key: "id", beside: "name" }, // a call without arguments
        ]
    }

    fn old_form(&self, body: &mut Value) {
        turns::join(body);
    }

    fn carries(&self) -> Carries {
        Carries { redacted: false, refusal: false, ..Carries::ALL }
    }

    fn finish_words(&self) -> Option<&'static FinishWords> {
        Some(&FINISH)
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }
}

/// `alt=sse` asks for server-sent events; without it a stream is a JSON array. `$alt` is the same parameter.
/// <https://cloud.google.com/apis/docs/system-parameters>
fn stream_framing(call: &Call<'_>) -> Framing {
    let sse = ["alt", "$alt", "%24alt"].iter().any(|name| call.head.query_value(name) == Some("sse"));
    if sse { Framing::Sse } else { Framing::JsonArray }
}

/// What all chunks of an answer have in common.
struct Chunks<'a> {
    finish: String,
    usage: Usage,
    refusal: Option<&'a str>,
    model: &'a str,
    id: Cow<'a, str>,
    sources: Sources<'a>,
}

/// Members of a candidate that tell what its text is taken from, and more of why it ended.
#[derive(Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Sources<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) citation_metadata: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) grounding_metadata: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) url_context_metadata: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) finish_message: Option<&'a RawValue>,
}

impl<'a> Sources<'a> {
    fn of(part: &'a Part) -> Option<Self> {
        serde_json::from_str(part.verbatim_of(WIRE)?.get()).ok()
    }
}

impl<'a> Chunks<'a> {
    fn new(reply: &'a Reply, to: &Encoding<'a>) -> Self {
        Chunks {
            finish: finish_out(&FINISH, reply.finish_word()),
            usage: answer_usage(&USAGE, reply, to.request),
            refusal: reply.refusal.as_deref(),
            model: reply.model.as_deref().unwrap_or(&to.request.model),
            id: reply.id.as_deref().map_or_else(|| Cow::Owned(to.id("", 0)), Cow::Borrowed),
            sources: reply.parts.iter().find_map(Sources::of).unwrap_or_default(),
        }
    }

    /// A chunk on the way.
    fn one<'c>(&'c self, part: PartOut<'c>) -> Chunk<'c> {
        let content = ContentOut { parts: vec![part], role: "model" };
        Chunk {
            candidates: Some([Candidate { content, finish_reason: None, index: 0, sources: None }]),
            prompt_feedback: None,
            usage_metadata: None,
            model_version: self.model,
            response_id: &self.id,
        }
    }

    /// The last chunk, or the only one.
    fn last<'c>(&'c self, mut parts: Vec<PartOut<'c>>) -> Chunk<'c> {
        let blocked = self.finish.strip_prefix(BLOCKED).filter(|_| parts.is_empty());
        if parts.is_empty() {
            // Clients look for a first part. The wire has no refusals, so one that stands alone is text.
            parts.push(PartOut::text(self.refusal.unwrap_or_default(), false, None));
        }
        let content = ContentOut { parts, role: "model" };
        let finish = self.finish.strip_prefix(BLOCKED).unwrap_or(&self.finish);
        Chunk {
            candidates: match blocked {
                Some(_) => None,
                None => {
                    Some([Candidate { content, finish_reason: Some(finish), index: 0, sources: Some(self.sources) }])
                }
            },
            prompt_feedback: blocked.map(|block_reason| PromptFeedback { block_reason }),
            usage_metadata: Some(&self.usage),
            model_version: self.model,
            response_id: &self.id,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<[Candidate<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_metadata: Option<&'a Usage>,
    model_version: &'a str,
    response_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback<'a> {
    block_reason: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    content: ContentOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'a str>,
    index: u32,
    #[serde(flatten)]
    sources: Option<Sources<'a>>,
}

#[derive(Serialize)]
struct ContentOut<'a> {
    parts: Vec<PartOut<'a>>,
    role: &'static str,
}

/// <https://ai.google.dev/api/caching#Part>
#[derive(Serialize)]
#[serde(untagged)]
enum PartOut<'a> {
    Own(OwnPart<'a>),
    Verbatim(&'a RawValue),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    thought: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionCallOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct FunctionCallOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    name: &'a str,
    args: Box<RawValue>,
}

impl<'a> PartOut<'a> {
    fn whole(part: &'a Part) -> Option<Self> {
        match part {
            Part::Text { text, signature } => Some(PartOut::text(text, false, signature.as_deref())),
            Part::Reasoning { text, signature } => Some(PartOut::text(text, true, signature.as_deref())),
            Part::ToolCall(call) => Some(PartOut::call(call)),
            Part::RedactedReasoning(_) => None,
            Part::Verbatim(_) => PartOut::verbatim(part),
        }
    }

    fn text(text: &'a str, thought: bool, signature: Option<&'a str>) -> Self {
        let thought_signature = signature.map(signature::out);
        PartOut::Own(OwnPart { text: Some(text), thought, function_call: None, thought_signature })
    }

    fn call(call: &'a ToolCall) -> Self {
        let out = FunctionCallOut { id: call.id.as_deref(), name: &call.name, args: arguments(&call.arguments) };
        let thought_signature = call.signature.as_deref().map(signature::out);
        PartOut::Own(OwnPart { text: None, thought: false, function_call: Some(out), thought_signature })
    }

    fn verbatim(part: &'a Part) -> Option<Self> {
        part.verbatim_of(WIRE).filter(|_| Sources::of(part).is_none()).map(PartOut::Verbatim)
    }

    /// It is unsigned text of this kind.
    fn is_unsigned(&self, thought: bool) -> bool {
        matches!(self, PartOut::Own(own)
            if own.text.is_some() && own.thought == thought && own.thought_signature.is_none())
    }
}

/// The parts cut into what one chunk holds each. A signature follows its text in a part without text, as Gemini sends
/// it; but text that follows unsigned text of its kind stays whole, or its signature would be taken for both.
fn stream_parts(reply: &Reply, chunk_chars: usize) -> Vec<PartOut<'_>> {
    let mut out: Vec<PartOut<'_>> = Vec::new();
    for part in &reply.parts {
        let (text, thought, signature) = match part {
            Part::Text { text, signature } => (text, false, signature.as_deref()),
            Part::Reasoning { text, signature } => (text, true, signature.as_deref()),
            Part::ToolCall(call) => {
                out.push(PartOut::call(call));
                continue;
            }
            Part::Verbatim(_) => {
                out.extend(PartOut::verbatim(part));
                continue;
            }
            Part::RedactedReasoning(_) => continue,
        };
        let joins = out.last().is_some_and(|last| last.is_unsigned(thought));
        let cut = text.chars().nth(chunk_chars.max(1)).is_some();
        match signature {
            Some(_) if joins || !cut => out.push(PartOut::text(text, thought, signature)),
            _ => out.extend(pieces(text, chunk_chars).map(|piece| PartOut::text(piece, thought, None))),
        }
        if signature.is_some() && cut && !joins {
            out.push(PartOut::text("", thought, signature));
        }
    }
    out
}

/// Arguments as the object that the wire wants. Text that is none is kept under a name of its own.
fn arguments(text: &str) -> Box<RawValue> {
    let text = one_line(text.trim());
    if text.starts_with('{')
        && let Ok(object) = serde_json::from_str::<Box<RawValue>>(&text)
    {
        return object;
    }
    let object = if text.is_empty() { "{}".to_owned() } else { serde_json::json!({"_raw": text}).to_string() };
    RawValue::from_string(object).expect("an object that was just written")
}

pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these structs have string keys only")
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, carried, round_trip, with_request};
    use super::*;

    const ASK: &str = r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;
    const PATHS: [&str; 3] = [
        "/v1beta/models/g:generateContent",
        "/v1beta/models/g:streamGenerateContent?alt=sse",
        "/v1beta/models/g:streamGenerateContent",
    ];

    /// Whole and in both framings.
    #[track_caller]
    fn trips(reply: &Reply) -> Vec<Reply> {
        let mut back = Vec::new();
        for path in PATHS {
            with_request(path, ASK, |codec, request| {
                let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
                back.push(whole.turn());
                if request.streamed() {
                    back.push(streamed.turn());
                }
            });
        }
        back
    }

    fn rich() -> Reply {
        let some = |s: &str| Some(s.to_owned());
        let text = |text: &str, signature| Part::Text { text: text.into(), signature };
        let thought = |text: &str, signature| Part::Reasoning { text: text.into(), signature };
        let call = |id: Option<&str>, arguments: &str, signature| {
            let id = id.map(str::to_owned);
            Part::ToolCall(ToolCall { id, name: "f".into(), arguments: arguments.into(), signature, custom: false })
        };
        Reply {
            parts: vec![
                thought("hmm, let me see 🤔", some("t1")),
                thought("again", None),
                thought("and signed", some("t2")),
                text("long text é🌍日 in pieces", some("s1")),
                text("", some("s2")),
                text("plain", None),
                text("signed right after plain", some("s3")),
                call(Some("c1"), r#"{"a":[1,{"b":"é"}],"c":1.50}"#, some("s4")),
                call(None, "{}", None),
                thought("", some("t3")),
                text("the end", None),
            ],
            finish: some("tool_calls"),
            usage: serde_json::from_str(
                r#"{"promptTokenCount":1,"candidatesTokenCount":2,"thoughtsTokenCount":4,"totalTokenCount":7,"trafficType":"ON_DEMAND"}"#,
            )
            .ok(),
            id: some("r-1"),
            model: some("gemini-2.5-flash-001"),
            ..Reply::default()
        }
    }

    #[test]
    fn everything_comes_back_in_order() {
        let reply = rich();
        for back in trips(&reply) {
            assert_eq!(back, carried(&reply, &GENERATE.carries()));
        }
    }

    #[test]
    fn arguments_that_are_no_object_are_kept_inside_one() {
        for (arguments, sent) in [
            ("", "{}"),
            ("{\n  \"a\": 1\n}", "{\"a\":1}"),
            ("{\"a\":", r#"{"_raw":"{\"a\":"}"#),
            ("[1]", r#"{"_raw":"[1]"}"#),
        ] {
            for back in trips(&Reply::tool_call("f", arguments)) {
                assert_eq!(back.tool_calls().next().unwrap().arguments, sent);
                assert_eq!(back.finish.as_deref(), Some("tool_calls"));
            }
        }
    }

    #[test]
    fn finish_reasons_and_refused_prompts_come_back() {
        for word in ["stop", "length", "content_filter", "RECITATION", "PROHIBITED_CONTENT", "blockReason:OTHER"] {
            let reply = Reply { finish: Some(word.into()), ..Reply::default() };
            assert!(trips(&reply).iter().all(|back| back.finish.as_deref() == Some(word)), "{word}");
        }
        with_request(PATHS[0], ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 9, now: 0, seed: 0 };
            let reply = Reply { finish: Some("blockReason:SAFETY".into()), ..Reply::default() };
            let body: serde_json::Value = serde_json::from_slice(&codec.encode_whole(&reply.into(), &to)).unwrap();
            assert_eq!((&body["promptFeedback"]["blockReason"], body.get("candidates")), (&"SAFETY".into(), None));
        });
    }

    #[test]
    fn text_is_cut_on_characters_and_the_last_chunk_finishes() {
        with_request(PATHS[1], ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
            let frames = codec.encode_stream(&Reply::text("héllo🌍").into(), &to);
            let frames: Vec<_> = frames.iter().map(|f| String::from_utf8_lossy(f).into_owned()).collect();
            assert_eq!(frames.len(), 3);
            assert!(frames[0].starts_with("data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hé\"}]"));
            let finishing = |f: &String| f.contains("\"finishReason\":\"STOP\"") && f.contains("usageMetadata");
            assert_eq!(frames.iter().map(finishing).collect::<Vec<_>>(), [false, false, true]);
        });
        let whole = trips(&Reply::default());
        assert!(whole.iter().all(|back| back.parts.is_empty() && back.finish.as_deref() == Some("stop")));
    }

    #[test]
    fn an_answer_of_another_wire_is_translated() {
        let reply = Reply {
            refusal: Some("I cannot help.".into()),
            finish: Some("function_call".into()),
            usage: serde_json::from_str(
                r#"{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,"completion_tokens_details":{"reasoning_tokens":2}}"#,
            )
            .ok(),
            ..Reply::default()
        };
        for back in trips(&reply) {
            assert_eq!((back.content().as_str(), back.finish.as_deref()), ("I cannot help.", Some("stop")));
            let usage = serde_json::to_value(back.usage).unwrap();
            let sent = r#"{"promptTokenCount":3,"candidatesTokenCount":3,"totalTokenCount":8,"thoughtsTokenCount":2}"#;
            assert_eq!(usage, serde_json::from_str::<serde_json::Value>(sent).unwrap());
        }
    }

    #[test]
    fn a_body_cut_anywhere_is_no_answer() {
        for path in &PATHS[1..] {
            with_request(path, ASK, |codec, request| {
                let to = Encoding { request, chunk_chars: 9, now: 0, seed: 0 };
                let frames = codec.encode_stream(&rich().into(), &to);
                let before_last = frames.ends[frames.ends.len() - 2];
                for cut in 0..before_last {
                    let outcome = super::super::super::laws::collapse(codec, request.framing, [&frames.bytes[..cut]]);
                    assert!(!matches!(outcome, Outcome::Whole(_)), "{path} cut at {cut}");
                }
            });
        }
    }
}
