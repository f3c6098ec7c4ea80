//! OpenAI chat completions, the wire that most services speak.
//! <https://platform.openai.com/docs/api-reference/chat>

mod answer;
mod collapse;
mod plain;
mod read;
mod request;

use super::{
    AnswerHead, BadRequest, Call, Carries, ChatWire, Codec, Collapse, Encoding, FinishWords, Places, Results, Shape,
    UsageShape, parse_body,
};
use crate::frame::Frames;
use crate::json::Node;
use crate::reply::Reply;
use crate::request::Request;

/// The terminal event's data.
const DONE: &[u8] = b"[DONE]";

/// Its name.
const WIRE: &str = "openai-chat";

/// The member for reasoning that most services have (<https://api-docs.deepseek.com/guides/reasoning_model>).
const REASONING: &str = "reasoning_content";

/// The older way to call a tool, as a finish reason and as a member of the message.
const LEGACY_CALL: &str = "function_call";

/// <https://platform.openai.com/docs/api-reference/chat/create>
static PLACES: Places = Places {
    ids: &["/messages/*/tool_calls/*/id", "/messages/*/tool_call_id", "/messages/*/audio/id"],
    json: &["/messages/*/tool_calls/*/function/arguments", "/messages/*/function_call/arguments"],
    plain: &["/messages/*", "/messages/*/tool_calls/*", "/messages/*/tool_calls/*/function"],
    unseen: &["/messages/*/annotations", "/messages/*/parsed", "/messages/*/tool_calls/*/index"],
    results: Some(Results { list: "/messages", call: "/tool_call_id", beside: "" }),
};

/// OpenAI's finish reasons are the words that fixtures use.
static FINISH: FinishWords = FinishWords {
    exact: &[
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("function_call", "function_call"),
    ],
    near: &[],
    otherwise: "stop",
};

/// <https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage>
static USAGE: UsageShape = UsageShape {
    input: "/prompt_tokens",
    output: "/completion_tokens",
    total: "/total_tokens",
    cached: "/prompt_tokens_details/cached_tokens",
    cache_write: "/prompt_tokens_details/cache_write_tokens",
    reasoning: "/completion_tokens_details/reasoning_tokens",
    input_excludes_cached: false,
    output_excludes_reasoning: false,
};

/// The chat completions wire.
#[derive(Debug)]
pub struct Chat;

impl Codec for Chat {
    fn wire(&self) -> &'static str {
        WIRE
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Chat(self)
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        parse_body::<request::Body<'a>>(call.body)?.into_request(call)
    }

    fn identity(&self) -> &'static Places {
        &PLACES
    }
}

impl ChatWire for Chat {
    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(collapse::Collapser::new(answer))
    }

    fn read(&self, native: &Node<'_>) -> Reply {
        read::read(native)
    }

    fn write<'r>(&self, reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
        answer::write(reply, to)
    }

    fn stream(&self, native: &Node<'_>, to: &Encoding<'_>) -> Frames {
        answer::stream(native, to)
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[DONE]
    }

    fn carries(&self) -> Carries {
        Carries { signatures: false, redacted: false, order: false, ..Carries::ALL }
    }

    fn finish_words(&self) -> Option<&'static FinishWords> {
        Some(&FINISH)
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }
}

/// Whether a part of a message's content is a text and nothing else.
fn is_text(part: &Node<'_>) -> bool {
    matches!(part.members(), [(a, kind), (b, Node::Text(_))] if a == "type" && b == "text" && kind.as_str() == Some("text"))
}

/// Members of a delta, and of what stands in its lists, whose text comes piece by piece.
fn grows(name: &str) -> bool {
    const TEXTS: [&str; 9] =
        ["content", "text", "summary", "data", "transcript", "refusal", "arguments", "input", "thinking"];
    name.starts_with("reasoning") || TEXTS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::super::Fault;
    use super::super::laws::{Outcome, carried, golden, round_trip, with_request};
    use super::*;
    use crate::frame::Framing;
    use crate::reply::{Part, Reply, ToolCall};

    fn chat(body: &str) -> Outcome {
        golden(&Chat, Framing::Sse, body.as_bytes())
    }

    const PATH: &str = "/v1/chat/completions";
    const ASK: &str = r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},
        "messages":[{"role":"user","content":"hi"}]}"#;

    #[test]
    fn request_with_every_kind_of_message() {
        let body = r#"{"model":"gpt-4o","stream":true,"response_format":{"type":"json_object"},
            "tools":[{"type":"function","function":{"name":"get_weather","parameters":{}}}],
            "messages":[{"role":"developer","content":"be \"brief\""},
                {"role":"user","content":[{"type":"text","text":"what is "},{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"this?"}]},
                {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"get_weather","arguments":"{}"}}]},
                {"role":"tool","tool_call_id":"c1","content":"sunny"}]}"#;
        with_request(PATH, body, |_, r| {
            assert_eq!(r.user_message(), Some("what is this?"));
            assert_eq!(r.system_text(), "be \"brief\"");
            assert_eq!((r.turn_index(), r.has_tool_result(), r.streamed()), (1, true, true));
            assert_eq!(r.last_tool_result().and_then(|m| m.tool_call_id.as_deref()), Some("c1"));
            assert_eq!((&*r.tools[0], r.response_format.as_deref()), ("get_weather", Some("json_object")));
        });
    }

    #[test]
    fn text_is_cut_on_characters_and_comes_back() {
        let reply = Reply { usage: None, ..Reply::text("héllo 🌍 日本語") };
        with_request(PATH, ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
            let frames = codec.encode_stream(&reply.clone().into(), &to);
            assert_eq!(frames.ends.len(), 1 + 6 + 1 + 1 + 1, "role, six pieces, finish, usage, done");
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            for back in [whole.turn(), streamed.turn()] {
                assert_eq!(back.content(), "héllo 🌍 日本語");
                assert_eq!(back.finish.as_deref(), Some("stop"));
                assert!(back.usage.is_some());
            }
        });
    }

    #[test]
    fn tools_reasoning_and_refusal_come_back() {
        let call = |id: &str, arguments: &str| {
            Part::ToolCall(ToolCall {
                id: Some(id.into()),
                name: "f".into(),
                arguments: arguments.into(),
                signature: None,
                custom: false,
            })
        };
        let reply = Reply {
            parts: vec![
                Part::Reasoning { text: "hmm".into(), signature: None },
                Part::text("a"),
                call("c1", r#"{"a":[1,{"b":"é"}]}"#),
                call("c2", ""),
            ],
            finish: Some("tool_calls".into()),
            refusal: Some("no".into()),
            id: Some("chatcmpl-1".into()),
            model: Some("gpt-4o-2024-08-06".into()),
            usage: serde_json::from_str(r#"{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}"#).ok(),
            created: Some(1),
            ..Reply::default()
        };
        with_request(PATH, ASK, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!(whole.turn(), carried(&reply, &codec.carries()));
            assert_eq!(streamed.turn(), carried(&reply, &codec.carries()));
        });
    }

    #[test]
    fn parallel_calls_under_one_index_are_told_apart_by_id() {
        let chunk = |id: &str, arguments: &str| {
            format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{{\"index\":0,\"id\":\"{id}\",\"function\":{{\"name\":\"f\",\"arguments\":\"{arguments}\"}}}}]}}}}]}}\n\n"
            )
        };
        let end =
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
        let reply = chat(&[&*chunk("a", "1"), &*chunk("a", "2"), &*chunk("b", "3"), end].concat()).turn();
        let calls: Vec<_> = reply.tool_calls().map(|c| (c.id.as_deref(), &*c.arguments)).collect();
        assert_eq!(calls, [(Some("a"), "12"), (Some("b"), "3")]);
    }

    #[test]
    fn a_stream_that_ends_with_neither_done_nor_finish_reason_was_cut() {
        let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\r\n\r\n";
        assert_eq!(chat(text), Outcome::Cut);
        let finish = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        assert_eq!(chat(&[text, finish].concat()).turn().content(), "a");
    }

    #[test]
    fn an_error_in_the_stream_is_a_fault() {
        let body = "data: {\"error\":{\"message\":\"overloaded\"}}\n\ndata: [DONE]\n\n";
        assert!(matches!(chat(body), Outcome::Fault(Fault::Upstream(m)) if m.contains("overloaded")));
    }

    #[test]
    fn a_custom_tool_is_called_with_text() {
        let ask = r#"{"model":"gpt-5","stream":true,"messages":[],"tools":[{"type":"custom","custom":{"name":"sh"}}]}"#;
        let call = ToolCall {
            id: Some("c".into()),
            name: "sh".into(),
            arguments: "ls -l".into(),
            signature: None,
            custom: true,
        };
        let reply = Reply { parts: vec![Part::ToolCall(call)], ..Reply::default() };
        with_request(PATH, ask, |codec, request| {
            assert_eq!(request.tools, ["sh"]);
            let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
            let whole: serde_json::Value =
                serde_json::from_slice(&codec.encode_whole(&reply.clone().into(), &to)).unwrap();
            let sent = &whole["choices"][0]["message"]["tool_calls"][0];
            assert_eq!((&sent["type"], &sent["custom"]["input"]), (&"custom".into(), &"ls -l".into()));
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!((whole.turn().parts, streamed.turn().parts), (reply.parts.clone(), reply.parts.clone()));
        });
    }

    #[test]
    fn what_is_new_counts_beside_all_there_is_so_far() {
        let chunk = |all: &str, new: &str, finish: &str| {
            format!(
                "data: {{\"choices\":[{{\"index\":0,\"message\":{{\"content\":\"{all}\"}},\"delta\":{{\"content\":\"{new}\"}},\"finish_reason\":{finish}}}]}}\r\n\r\n"
            )
        };
        let body = [chunk("a", "a", "null"), chunk("ab", "b", "null"), chunk("ab", "", "\"stop\"")].concat();
        assert_eq!(chat(&body).turn().content(), "ab");
    }
}
