//! OpenAI Responses: typed items in, typed items out, typed events between.
//! <https://platform.openai.com/docs/api-reference/responses>
//!
//! A turn's parts are its output items: a text part is a message, neighbouring reasoning parts are the summaries of one
//! reasoning item (a signature, its `encrypted_content`, ends it), a tool call is a `function_call`, or a
//! `custom_tool_call` where the request offers a custom tool of that name. Items of other kinds (web search, computer use,
//! shell, MCP…) and a text's annotations are kept as they came.

mod answer;
mod collapse;
mod request;

use super::{
    AnswerHead, BadRequest, Call, CallId, Carries, Codec, Collapse, Encoding, FinishWords, UsageShape, echo, parse_body,
};
use crate::frame::Frames;
use crate::reply::{Answer, Reply};
use crate::request::{Kind, Request};
use serde_json::Value;

/// The word for a response that has all of its output.
const COMPLETED: &str = "completed";

/// `status`, and `incomplete_details.reason` where that is `incomplete`.
/// <https://platform.openai.com/docs/api-reference/responses/object#responses/object-incomplete_details>
static FINISH: FinishWords = FinishWords {
    exact: &[(COMPLETED, "stop"), ("max_output_tokens", "length"), ("content_filter", "content_filter")],
    near: &[("max_tool_calls", "length"), ("max_messages", "length"), ("steered", "stop"), ("incomplete", "length")],
    otherwise: COMPLETED,
};

/// <https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage>
static USAGE: UsageShape = UsageShape {
    input: "/input_tokens",
    output: "/output_tokens",
    total: "/total_tokens",
    cached: "/input_tokens_details/cached_tokens",
    cache_write: "/input_tokens_details/cache_write_tokens",
    reasoning: "/output_tokens_details/reasoning_tokens",
    input_excludes_cached: false,
    output_excludes_reasoning: false,
};

/// Items that no other wire knows, and the `annotations` and the `phase` of the text before them, under this name.
const WIRE: &str = "openai-responses";

/// The value of [`Reply::reasoning_field`] for reasoning that came as the content of its item, not as its summary.
const REASONING_TEXT: &str = "reasoning_text";

/// The responses wire.
#[derive(Debug)]
pub struct Responses;

/// Calls have a `call_id`; every item has an id of its own too, which says nothing beside what the item holds. The id of
/// an `item_reference` stands alone: it is all that is said.
static CALL_IDS: [CallId; 9] = [
    CallId { key: "call_id", beside: "output" },
    CallId { key: "call_id", beside: "" },
    CallId { key: "approval_request_id", beside: "" },
    CallId { key: "id", beside: "call_id" },
    CallId { key: "id", beside: "content" },
    CallId { key: "id", beside: "summary" },
    CallId { key: "id", beside: "status" },
    CallId { key: "id", beside: "arguments" },
    CallId { key: "id", beside: "server_label" },
];

impl Codec for Responses {
    fn wire(&self) -> &'static str {
        WIRE
    }

    fn kind(&self) -> Kind {
        Kind::Chat
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        parse_body::<request::Body<'a>>(call.body)?.into_request(call)
    }

    fn encode_whole(&self, answer: &Answer, to: &Encoding<'_>) -> Vec<u8> {
        let Answer::Turn(reply) = answer else { return Vec::new() };
        answer::whole(reply, to)
    }

    fn encode_stream(&self, answer: &Answer, to: &Encoding<'_>) -> Frames {
        let Answer::Turn(reply) = answer else { return Frames::default() };
        answer::stream(reply, to)
    }

    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(collapse::Collapser::new(answer))
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[b"response.completed", b"response.incomplete"]
    }

    /// Items that go back into the next request carry ids of their own beside the calls'.
    fn call_ids(&self) -> &'static [CallId] {
        &CALL_IDS
    }

    /// What a service says of the items it made, beside what they hold.
    fn old_form(&self, body: &mut Value) {
        const SAYS_NOTHING: [&str; 7] =
            ["annotations", "logprobs", "content", "encrypted_content", "namespace", "caller", "parsed"];
        for item in echo::objects(body.get_mut("input")) {
            let kind = item.get("type").and_then(Value::as_str).unwrap_or("message");
            let of_model = match kind {
                "message" => item.get("role").and_then(Value::as_str) == Some("assistant"),
                kind => matches!(kind, "reasoning" | "function_call" | "custom_tool_call"),
            };
            if !of_model {
                continue;
            }
            item.retain(|name, _| !matches!(name.as_str(), "status" | "phase" | "parsed_arguments"));
            echo::drop_empty(item, &SAYS_NOTHING);
            if item.get("caller").and_then(|caller| caller.get("type")).is_some_and(|kind| kind == "direct") {
                item.shift_remove("caller");
            }
            for part in echo::objects(item.get_mut("content")) {
                echo::drop_empty(part, &SAYS_NOTHING);
            }
        }
    }

    fn carries(&self) -> Carries {
        Carries { part_signatures: false, redacted: false, ..Carries::ALL }
    }

    fn finish_words(&self) -> Option<&'static FinishWords> {
        Some(&FINISH)
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }
}

/// The reasoning came as its items' content.
fn in_content(reply: &Reply) -> bool {
    reply.reasoning_field.as_deref() == Some(REASONING_TEXT)
}

#[cfg(test)]
mod tests {
    use super::super::laws::{Outcome, carried, collapse, round_trip, with_request};
    use super::*;
    use crate::frame::Framing;
    use crate::reply::{Part, ToolCall};

    const PATH: &str = "/v1/responses";
    const ASK: &str = r#"{"model":"gpt-5","stream":true,"input":"hi"}"#;

    fn reasoning(text: &str, signature: Option<&str>) -> Part {
        Part::Reasoning { text: text.into(), signature: signature.map(Into::into) }
    }

    fn call(id: &str, name: &str, arguments: &str) -> Part {
        Part::ToolCall(ToolCall {
            id: Some(id.into()),
            name: name.into(),
            arguments: arguments.into(),
            ..ToolCall::default()
        })
    }

    #[track_caller]
    fn comes_back(ask: &str, reply: &Reply) {
        with_request(PATH, ask, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!(whole.turn(), carried(reply, &codec.carries()));
            assert_eq!(streamed.turn(), carried(reply, &codec.carries()));
        });
    }

    fn rich() -> Reply {
        Reply {
            parts: vec![
                reasoning("**One**\n\nfirst", None),
                reasoning("second", Some("enc-1")),
                reasoning("", Some("enc-2")),
                Part::text("héllo 🌍"),
                call("call_1", "f", r#"{"a":[1,{"b":"é"}]}"#),
                call("call_2", "g", "{\"cut"),
                Part::text("after"),
            ],
            finish: Some("tool_calls".into()),
            refusal: Some("no".into()),
            id: Some("resp_1".into()),
            model: Some("gpt-5-2025-08-07".into()),
            created: Some(5),
            usage: serde_json::from_str(
                r#"{"input_tokens":1,"input_tokens_details":{"cached_tokens":0},"output_tokens":2,"total_tokens":3}"#,
            )
            .ok(),
            ..Reply::default()
        }
    }

    #[test]
    fn a_rich_turn_comes_back() {
        comes_back(ASK, &rich());
    }

    #[test]
    fn reasoning_in_content_comes_back_there() {
        let reply = Reply { reasoning_field: Some(REASONING_TEXT.into()), ..rich() };
        comes_back(ASK, &reply);
    }

    #[test]
    fn an_incomplete_turn_comes_back() {
        for word in ["length", "content_filter", "max_tool_calls", "incomplete"] {
            let reply = Reply { finish: Some(word.into()), parts: vec![Part::text("cut")], ..rich() };
            comes_back(ASK, &reply);
        }
    }

    #[test]
    fn a_custom_tool_is_called_with_text() {
        let ask = r#"{"model":"gpt-5","stream":true,"input":"hi","tools":[{"type":"custom","name":"shell"}]}"#;
        let reply = Reply { parts: vec![call("c", "shell", "ls -l")], refusal: None, ..rich() };
        comes_back(ask, &reply);
        with_request(PATH, ask, |codec, request| {
            let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
            let whole: serde_json::Value = serde_json::from_slice(&codec.encode_whole(&reply.into(), &to)).unwrap();
            assert_eq!(whole["output"][0]["type"], "custom_tool_call");
            assert_eq!(whole["output"][0]["input"], "ls -l");
        });
    }

    #[test]
    fn an_empty_turn_is_an_empty_message_or_nothing_where_it_was_cut() {
        with_request(PATH, ASK, |codec, request| {
            for (finish, messages) in [("stop", 1), ("length", 0)] {
                let reply = Reply { finish: Some(finish.into()), ..Reply::default() };
                let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
                let whole: serde_json::Value =
                    serde_json::from_slice(&codec.encode_whole(&reply.clone().into(), &to)).unwrap();
                assert_eq!(whole["output"].as_array().map(Vec::len), Some(messages));
                let (whole, streamed) = round_trip(codec, &reply.into(), request);
                assert_eq!((whole.turn().parts, streamed.turn().parts), (vec![], vec![]));
            }
        });
    }

    #[test]
    fn terminal_frames_and_no_others_hold_an_end_marker() {
        with_request(PATH, ASK, |codec, request| {
            for finish in ["stop", "length"] {
                let reply = Reply { finish: Some(finish.into()), ..rich() };
                let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
                let frames = codec.encode_stream(&reply.into(), &to);
                let marked = |f: &[u8]| codec.end_markers().iter().any(|m| memchr::memmem::find(f, m).is_some());
                let marks: Vec<bool> = frames.iter().map(marked).collect();
                assert_eq!(marks.iter().filter(|m| **m).count(), 1);
                assert_eq!(marks.last(), Some(&true));
            }
        });
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_before_its_end_is_not_whole() {
        with_request(PATH, ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 40, now: 0, seed: 0 };
            let frames = codec.encode_stream(&rich().into(), &to);
            for end in &frames.ends[..frames.ends.len() - 1] {
                assert_eq!(collapse(codec, Framing::Sse, [&frames.bytes[..*end]]), Outcome::Cut);
            }
        });
    }
}
