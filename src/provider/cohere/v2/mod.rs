//! Chat, version 2: typed server-sent events, or one object.
//! <https://docs.cohere.com/reference/chat>, <https://docs.cohere.com/reference/chat-stream>
//!
//! Before it calls tools, a model may say what it is about to do in a `tool_plan`, which is read as reasoning.

mod answer;
mod collapse;

use super::super::{
    AnswerHead, BadRequest, Call, Carries, ChatWire, Codec, Collapse, Encoding, FinishWords, Places, Results, Shape,
    UsageShape, parse_body,
};
use super::{NEAR, USAGE};
use crate::frame::{Frames, Framing};
use crate::json::Node;
use crate::reply::Reply;
use crate::request::{Kind, Message, Request, Role, Str};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What follows the terminal event.
const DONE: &[u8] = b"[DONE]";

/// Its name.
const WIRE: &str = "cohere-v2-chat";

/// Texts that come piece by piece.
const TEXTS: [&str; 2] = ["text", "thinking"];

/// <https://docs.cohere.com/reference/chat#request.body.messages>
static PLACES: Places = Places {
    ids: &["/messages/*/tool_calls/*/id", "/messages/*/tool_call_id"],
    json: &["/messages/*/tool_calls/*/function/arguments"],
    plain: &["/messages/*", "/messages/*/tool_calls/*"],
    unseen: &[],
    results: Some(Results { list: "/messages", call: "/tool_call_id", beside: "" }),
};

static FINISH: FinishWords = FinishWords {
    exact: &[("COMPLETE", "stop"), ("MAX_TOKENS", "length"), ("TOOL_CALL", "tool_calls")],
    near: NEAR,
    otherwise: "COMPLETE",
};

/// The chat wire.
#[derive(Debug)]
pub(super) struct Chat;

impl Codec for Chat {
    fn wire(&self) -> &'static str {
        WIRE
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Chat(self)
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let body: Body<'a> = parse_body(call.body)?;
        let mut request = Request::new(Kind::Chat);
        request.model = body.model.ok_or_else(|| BadRequest::field("model", "model is required"))?.0;
        let messages = body.messages.ok_or_else(|| BadRequest::field("messages", "messages are required"))?;
        request.messages = messages.into_iter().map(Turn::into_message).collect();
        if body.stream.unwrap_or(false) {
            request.framing = Framing::Sse;
        }
        request.tools = body.tools.into_iter().flatten().filter_map(|t| t.function).map(|f| f.name.0).collect();
        request.response_format = body.response_format.and_then(|f| f.kind).map(|k| k.0);
        Ok(request)
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
        answer::read(native)
    }

    fn write<'r>(&self, reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
        answer::write(reply, to)
    }

    fn stream(&self, native: &Node<'_>, to: &Encoding<'_>) -> Frames {
        answer::stream(native, to)
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[b"message-end"]
    }

    fn carries(&self) -> Carries {
        Carries {
            signatures: false,
            part_signatures: false,
            redacted: false,
            order: false,
            refusal: false,
            model: false,
            ..Carries::ALL
        }
    }

    fn finish_words(&self) -> Option<&'static FinishWords> {
        Some(&FINISH)
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    messages: Option<Vec<Turn<'a>>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(borrow, default)]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Str<'a>,
}

#[derive(Deserialize)]
struct ResponseFormat<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Str<'a>,
    /// A string, or parts.
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_call_id: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct PartIn<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    document: Option<Document<'a>>,
}

/// A tool's result. <https://docs.cohere.com/docs/tool-use-overview>
#[derive(Deserialize)]
struct Document<'a> {
    /// A string, or an object.
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl<'a> Turn<'a> {
    fn into_message(self) -> Message<'a> {
        let role = match &*self.role {
            "system" | "developer" => Role::System,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            _ => Role::User,
        };
        let text = self.content.map(|content| content_text(content.get())).unwrap_or_default();
        Message { role, text, tool_call_id: self.tool_call_id.map(|id| id.0) }
    }
}

/// The text of a string or of parts; other kinds of content have none.
fn content_text(json: &str) -> Cow<'_, str> {
    if json.starts_with('"') {
        return string_or_json(json);
    }
    let parts: Vec<PartIn<'_>> = serde_json::from_str(json).unwrap_or_default();
    let mut texts = parts.into_iter().filter_map(|part| match part.document.and_then(|d| d.data) {
        Some(data) => Some(string_or_json(data.get())),
        None => part.text.map(|text| text.0),
    });
    let Some(mut all) = texts.next() else { return Cow::Borrowed("") };
    for text in texts {
        all.to_mut().push_str(&text);
    }
    all
}

/// What a JSON string says, or the JSON itself.
fn string_or_json(json: &str) -> Cow<'_, str> {
    serde_json::from_str(json).map_or(Cow::Borrowed(json), |Str(text)| text)
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, carried, golden, hash, indifferent, native, round_trip, with_request};
    use super::super::super::{Encoding, Fault};
    use super::*;
    use crate::reply::{Part, Reply, ToolCall};
    use serde_json::Value;

    const PATH: &str = "/v2/chat";
    const ASK: &str = r#"{"model":"command-a-03-2025","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    const START: &str = r#"{"id":"m1","type":"message-start","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}"#;

    /// Events as the API sends them, each with its name.
    fn events(datas: &[&str]) -> Vec<u8> {
        let mut body = Vec::new();
        for data in datas {
            let event: Value = serde_json::from_str(data).unwrap();
            crate::frame::sse::encode(event["type"].as_str().unwrap(), data.as_bytes(), &mut body);
        }
        body
    }

    fn call(id: &str, arguments: &str) -> Part {
        let call = ToolCall {
            id: Some(id.into()),
            name: "f".into(),
            arguments: arguments.into(),
            signature: None,
            custom: false,
        };
        Part::ToolCall(call)
    }

    fn reasoning(text: &str) -> Part {
        Part::Reasoning { text: text.into(), signature: None }
    }

    #[test]
    fn request_with_every_kind_of_message() {
        let body = r#"{"model":"command-a-03-2025","stream":true,"response_format":{"type":"json_object"},
            "tools":[{"type":"function","function":{"name":"f","parameters":{}}}],
            "messages":[{"role":"system","content":"be \"brief\""},
                {"role":"user","content":[{"type":"text","text":"what is "},{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"this?"}]},
                {"role":"assistant","tool_plan":"I will look","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},
                {"role":"tool","tool_call_id":"c1","content":[{"type":"document","document":{"data":"sunny"}},{"type":"document","document":{"data":{"t":1}}}]}]}"#;
        with_request(PATH, body, |_, r| {
            assert_eq!((r.user_message(), &*r.system_text()), (Some("what is this?"), "be \"brief\""));
            assert_eq!((r.turn_index(), r.has_tool_result(), r.framing), (1, true, Framing::Sse));
            let result = r.last_tool_result().unwrap();
            assert_eq!((&*result.text, result.tool_call_id.as_deref()), ("sunny{\"t\":1}", Some("c1")));
            assert_eq!((&*r.tools[0], r.response_format.as_deref()), ("f", Some("json_object")));
        });
    }

    #[test]
    fn thinking_text_and_citations_of_a_stream() {
        let mut body = events(&[
            START,
            r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"thinking","thinking":""}}}}"#,
            r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"thinking":"hm"}}}}"#,
            r#"{"type":"content-end","index":0}"#,
            r#"{"type":"content-start","index":1,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
            r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"15\u00b0"}}}}"#,
            r#"{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":0,"end":3,"text":"15\u00b0","sources":[]}}}}"#,
            r#"{"type":"citation-end","index":0}"#,
            r#"{"type":"content-end","index":1}"#,
            r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"tokens":{"input_tokens":1,"output_tokens":2}}}}"#,
        ]);
        body.extend_from_slice(b"data: [DONE]\n\n");
        let reply = golden(&Chat, Framing::Sse, &body).turn();
        assert_eq!(reply.parts, [reasoning("hm"), Part::text("15°")]);
        let held = r#"{"id":"m1","message":{"role":"assistant","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"15°"}],"citations":[{"start":0,"end":3,"text":"15°","sources":[]}]},"finish_reason":"COMPLETE","usage":{"tokens":{"input_tokens":1,"output_tokens":2}}}"#;
        assert_eq!(native(&Chat, Framing::Sse, &body).to_json(), held);
        assert_eq!(native(&Chat, Framing::Whole, held.as_bytes()).to_json(), held);
        assert_eq!(golden(&Chat, Framing::Whole, held.as_bytes()).turn(), reply);
        assert_eq!((reply.id.as_deref(), reply.finish.as_deref()), (Some("m1"), Some("stop")));
    }

    #[test]
    fn a_tool_plan_and_calls_of_a_stream() {
        let body = events(&[
            START,
            r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I will"}}}"#,
            r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"c1","type":"function","function":{"name":"f","arguments":""}}}}}"#,
            r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"a\":"}}}}}"#,
            r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"1}"}}}}}"#,
            r#"{"type":"tool-call-end","index":0}"#,
            r#"{"type":"tool-call-start","index":1,"delta":{"message":{"tool_calls":{"id":"c2","type":"function","function":{"name":"f","arguments":""}}}}}"#,
            r#"{"type":"tool-call-end","index":1}"#,
            r#"{"type":"message-end","delta":{"finish_reason":"TOOL_CALL","usage":{}}}"#,
        ]);
        let reply = golden(&Chat, Framing::Sse, &body).turn();
        assert_eq!(reply.parts, [reasoning("I will"), call("c1", r#"{"a":1}"#), call("c2", "")]);
        assert_eq!((reply.finish.as_deref(), &reply.usage), (Some("tool_calls"), &None));
        let held = native(&Chat, Framing::Sse, &body);
        assert_eq!(held.at("/message/tool_plan").and_then(Node::as_str), Some("I will"));
        assert!(held.at("/message/content").is_none());
        with_request(PATH, ASK, |_, request| {
            let to = Encoding { request, chunk_chars: 3, now: 0, seed: 0 };
            let streamed = String::from_utf8(answer::stream(&held, &to).bytes).unwrap();
            assert!(streamed.contains(r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I w"}}}"#));
            assert!(streamed.ends_with("\n\ndata: [DONE]\n\n") && !streamed.contains("content-start"));
        });
    }

    #[test]
    fn a_plan_as_files_of_earlier_versions_keep_it() {
        let sources = serde_json::json!({"citations": [{"start": 0}]});
        let parts = vec![reasoning("hm"), reasoning("I will"), call("c1", "{}"), Part::verbatim(WIRE, &sources)];
        let reply = Reply { parts, reasoning_field: Some("tool_plan".into()), ..Reply::default() };
        with_request(PATH, ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 3, now: 0, seed: 0 };
            let whole: Value = serde_json::from_slice(&codec.encode_whole(&reply.into(), &to)).unwrap();
            let message = &whole["message"];
            assert_eq!((&message["tool_plan"], &message["citations"]), (&"I will".into(), &sources["citations"]));
            assert_eq!(message["content"], serde_json::json!([{"type": "thinking", "thinking": "hm"}]));
            assert_eq!(whole["finish_reason"], "TOOL_CALL");
        });
    }

    #[test]
    fn blocks_and_members_that_are_new_stay_in_their_place() {
        let body = events(&[
            r#"{"id":"m1","type":"message-start","delta":{"message":{"role":"assistant","content":[],"tone":"dry"}}}"#,
            r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
            r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"a"}}},"logprobs":{"text":"a","token_ids":[1],"logprobs":[-0.5]}}"#,
            r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"b"}}},"logprobs":{"text":"b","token_ids":[2]}}"#,
            r#"{"type":"content-end","index":0}"#,
            r#"{"type":"content-start","index":1,"delta":{"message":{"content":{"type":"image","url":"u"}}}}"#,
            r#"{"type":"content-end","index":1}"#,
            r#"{"type":"content-start","index":2,"delta":{"message":{"content":{"type":"text","text":"c"}}}}"#,
            r#"{"type":"content-end","index":2}"#,
            r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","error":null,"new":{"x":[]}}}"#,
        ]);
        assert_eq!(golden(&Chat, Framing::Sse, &body).turn().content(), "abc");
        assert_eq!(
            native(&Chat, Framing::Sse, &body).to_json(),
            r#"{"id":"m1","message":{"role":"assistant","tone":"dry","content":[{"type":"text","text":"ab"},{"type":"image","url":"u"},{"type":"text","text":"c"}]},"logprobs":[{"text":"a","token_ids":[1],"logprobs":[-0.5]},{"text":"b","token_ids":[2]}],"finish_reason":"COMPLETE","new":{"x":[]}}"#
        );
    }

    #[test]
    fn an_error_at_the_end_is_a_fault() {
        let end =
            r#"{"type":"message-end","delta":{"finish_reason":"ERROR","usage":{},"error":"invalid tool generation"}}"#;
        let outcome = golden(&Chat, Framing::Sse, &events(&[START, end]));
        assert_eq!(outcome, Outcome::Fault(Fault::Upstream("invalid tool generation".into())));
        assert_eq!(golden(&Chat, Framing::Sse, &events(&[START])), Outcome::Cut);
        let whole = br#"{"id":"1","message":{"content":[]},"finish_reason":"ERROR"}"#;
        assert!(matches!(golden(&Chat, Framing::Whole, whole), Outcome::Fault(Fault::Upstream(_))));
    }

    #[test]
    fn a_rich_turn_comes_back() {
        let reply = Reply {
            parts: vec![reasoning("hm"), Part::text("héllo 🌍 日本"), call("c1", "{\n\"a\": 1}"), call("c2", "oops")],
            finish: Some("tool_calls".into()),
            usage: serde_json::from_str(r#"{"tokens":{"output_tokens":8},"cached_tokens":1}"#).ok(),
            id: Some("m1".into()),
            ..Reply::default()
        };
        with_request(PATH, ASK, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!(whole.turn(), carried(&reply, &codec.carries()));
            assert_eq!(streamed.turn(), carried(&reply, &codec.carries()));
        });
    }

    #[test]
    fn text_alone_has_both_counts() {
        with_request(PATH, ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 3, now: 0, seed: 0 };
            let whole: Value = serde_json::from_slice(&codec.encode_whole(&Reply::text("").into(), &to)).unwrap();
            assert_eq!(whole["message"]["content"], serde_json::json!([{"type": "text", "text": ""}]));
            assert_eq!(whole["usage"]["billed_units"], whole["usage"]["tokens"]);
        });
    }

    #[test]
    fn whatever_a_model_sees_is_what_is_asked() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"u"}}]},
            {"role":"assistant","tool_plan":"go","content":[{"type":"thinking","thinking":"hm"}],"citations":[{"start":0,"sources":[{"id":"s"}]}],
                "tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"id\":\"c1\",\"n\":1}"}}]},
            {"role":"tool","tool_call_id":"c1","content":[{"type":"document","document":{"id":"d","data":{"tool_call_id":"c1"}}}]}],
            "documents":[{"id":"d1","data":{"text":"t"}}],"temperature":0.5}"#;
        assert_eq!(indifferent(PATH, body), Vec::<String>::new());
    }

    #[test]
    fn an_answer_is_one_however_it_is_echoed() {
        let asked = |turn: &str| {
            let body =
                format!(r#"{{"model":"m","messages":[{turn},{{"role":"tool","tool_call_id":"x","content":"5"}}]}}"#);
            hash(PATH, &Node::parse(&body).unwrap())
        };
        let sent = asked(
            r#"{"role":"assistant","tool_plan":"go","content":null,"citations":[],"tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}}]}"#,
        );
        let dumped = asked(
            r#"{"role":"assistant","tool_calls":[{"type":"function","id":"x","function":{"arguments":"{\"a\":1.0}","name":"f"}}],"tool_plan":"go"}"#,
        );
        assert_eq!(sent, dumped);
    }
}
