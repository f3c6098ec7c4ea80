//! Chat, version 1: JSON lines (server-sent events where the client accepts those), or one object.
//! <https://docs.cohere.com/v1/reference/chat>, <https://docs.cohere.com/v1/reference/chat-stream>
//!
//! The last event holds the whole answer once more. What a model says before it calls tools is the answer's text; while
//! it is streamed, the events that bring it are those of the calls.

mod answer;
mod collapse;

use super::super::{
    AnswerHead, BadRequest, Call, Carries, ChatWire, Codec, Collapse, Encoding, FinishWords, Places, Shape, UsageShape,
    openai_chat, parse_body,
};
use super::{BILLED, NEAR};
use crate::frame::{Frames, Framing};
use crate::json::Node;
use crate::reply::Reply;
use crate::request::{Content, Kind, Message, Request, Role, Str};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The last event.
const END: &str = "stream-end";

/// A turn with tool calls is complete too.
static FINISH: FinishWords =
    FinishWords { exact: &[("COMPLETE", "stop"), ("MAX_TOKENS", "length")], near: NEAR, otherwise: "COMPLETE" };

/// The API has no ids of calls; LangChain adds its own. What stands in `messages` is of Writer's API.
static PLACES: Places = Places {
    ids: &[
        "/chat_history/*/tool_calls/*/id",
        "/chat_history/*/tool_results/*/call/id",
        "/tool_results/*/call/id",
        "/messages/*/tool_calls/*/id",
        "/messages/*/tool_call_id",
    ],
    json: &["/messages/*/tool_calls/*/function/arguments"],
    plain: &["/chat_history/*", "/chat_history/*/tool_calls/*", "/messages/*"],
    unseen: &[],
    results: None,
};

/// The chat wire.
#[derive(Debug)]
pub(super) struct Chat;

impl Codec for Chat {
    fn wire(&self) -> &'static str {
        "cohere-v1-chat"
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Chat(self)
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let body: Body<'a> = parse_body(call.body)?;
        let message = match body.message {
            Some(message) => message,
            // Writer's API, which is OpenAI's at this path. <https://dev.writer.com/api-reference/completion-api>
            None if body.messages.is_some() => return openai_chat::Chat.decode(call),
            None => return Err(BadRequest::field("message", "message is required")),
        };
        let Str(said) = typed("message", message)?;
        let history: Vec<Turn<'a>> = body.chat_history.map_or(Ok(Vec::new()), |raw| typed("chat_history", raw))?;
        let results: Option<Vec<ToolResult<'a>>> =
            body.tool_results.map(|raw| typed("tool_results", raw)).transpose()?;
        let mut request = Request::new(Kind::Chat);
        request.model = body.model.map(|m| m.0).unwrap_or_default(); // there is a default
        let echo =
            [("chat_history", body.chat_history), ("message", Some(message)), ("tool_results", body.tool_results)];
        request.echo = echo.into_iter().filter_map(|(name, raw)| Some((name, Cow::Borrowed(raw?)))).collect();
        if body.stream.unwrap_or(false) {
            let events = call.head.header("accept").is_some_and(|a| a.contains(Framing::Sse.content_type()));
            request.framing = if events { Framing::Sse } else { Framing::Ndjson };
        }
        let preamble = body.preamble.filter(|p| !p.is_empty()).map(|text| Message::new(Role::System, text.0));
        request.messages.extend(preamble);
        history.into_iter().for_each(|turn| turn.push_to(&mut request.messages));
        // It is empty where tools' results continue the history.
        if !said.is_empty() || results.is_none() {
            request.messages.push(Message::new(Role::User, said));
        }
        request.messages.extend(results.into_iter().flatten().map(ToolResult::into_message));
        request.tools = body.tools.into_iter().flatten().filter_map(|t| Some(t.name?.0)).collect();
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
        const { &[END.as_bytes()] }
    }

    fn carries(&self) -> Carries {
        Carries {
            reasoning: false,
            signatures: false,
            part_signatures: false,
            redacted: false,
            order: false,
            call_ids: false,
            refusal: false,
            model: false,
            ..Carries::ALL
        }
    }

    fn finish_words(&self) -> Option<&'static FinishWords> {
        Some(&FINISH)
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&BILLED) // the older answers have these alone
    }
}

/// Reads what its answer repeats as well.
fn typed<'a, T: Deserialize<'a>>(name: &str, raw: &'a RawValue) -> Result<T, BadRequest> {
    serde_json::from_str(raw.get()).map_err(|e| BadRequest::field(name, format!("{name} is not valid: {e}")))
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(default)]
    messages: Option<IgnoredAny>,
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(borrow, default)]
    preamble: Option<Str<'a>>,
    #[serde(borrow, default)]
    chat_history: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(borrow, default)]
    tool_results: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    /// Writer's tools hold it in a member `function`.
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
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
    #[serde(borrow, default)]
    message: Content<'a>,
    #[serde(borrow, default)]
    tool_results: Option<Vec<ToolResult<'a>>>,
}

#[derive(Deserialize)]
struct ToolResult<'a> {
    /// A list of objects.
    #[serde(borrow, default)]
    outputs: Option<&'a RawValue>,
}

impl<'a> Turn<'a> {
    fn push_to(self, messages: &mut Vec<Message<'a>>) {
        // Any case is taken: the documentation has capitals, the older SDKs capitalise.
        let is = |role: &str| self.role.eq_ignore_ascii_case(role);
        let role = if is("TOOL") {
            return messages.extend(self.tool_results.into_iter().flatten().map(ToolResult::into_message));
        } else if is("CHATBOT") {
            Role::Assistant
        } else if is("SYSTEM") {
            Role::System
        } else {
            Role::User
        };
        messages.push(Message::new(role, self.message.0));
    }
}

impl<'a> ToolResult<'a> {
    fn into_message(self) -> Message<'a> {
        Message::new(Role::Tool, self.outputs.map_or("", RawValue::get))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, carried, golden, indifferent, native, round_trip, with_request};
    use super::super::super::{Encoding, Fault, Head};
    use super::*;
    use crate::frame::Frame;
    use crate::provider::Collapsed;
    use crate::reply::{Answer, Part, RawBody, Reply, ToolCall};
    use hyper::HeaderMap;
    use serde_json::Value;

    const PATH: &str = "/v1/chat";
    const ASK: &str = r#"{"message":"hi","stream":true}"#;

    fn rich() -> Reply {
        let arguments = r#"{"a":[1,{"b":"é"}]}"#.to_owned();
        let call = ToolCall { id: None, name: "f".into(), arguments, signature: None, custom: false };
        Reply {
            parts: vec![Part::text("I will 日本 "), Part::ToolCall(call.clone()), Part::ToolCall(call)],
            finish: Some("tool_calls".into()),
            usage: serde_json::from_str(r#"{"billed_units":{"output_tokens":2},"tokens":{"output_tokens":8}}"#).ok(),
            id: Some("2b59".into()),
            ..Reply::default()
        }
    }

    #[test]
    fn request_with_history_and_tool_results() {
        let body = r#"{"message":"","preamble":"be brief","response_format":{"type":"json_object"},
            "tools":[{"name":"f","parameter_definitions":{}}],
            "chat_history":[{"role":"System","message":"and kind"},{"role":"USER","message":"what is it?"},
                {"role":"CHATBOT","message":"I will look","tool_calls":[{"name":"f","parameters":{}}]}],
            "tool_results":[{"call":{"name":"f","parameters":{}},"outputs":[{"output":"5"}]}]}"#;
        with_request(PATH, body, |_, r| {
            assert_eq!((r.user_message(), &*r.system_text()), (Some("what is it?"), "be brief\nand kind"));
            assert_eq!((r.turn_index(), r.has_tool_result(), r.streamed()), (1, true, false));
            assert_eq!(r.last_tool_result().map(|m| &*m.text), Some(r#"[{"output":"5"}]"#));
            assert_eq!((&*r.tools[0], r.response_format.as_deref()), ("f", Some("json_object")));
        });
    }

    #[test]
    fn events_or_lines_as_the_client_accepts() {
        let mut headers = HeaderMap::new();
        let framing = |headers: &HeaderMap| {
            let head = Head { method: "POST", path: PATH, query: "", headers };
            Chat.decode(&Call { head, params: Vec::new(), body: ASK.as_bytes() }).unwrap().framing
        };
        assert_eq!(framing(&headers), Framing::Ndjson);
        headers.insert("accept", "text/event-stream".parse().unwrap());
        assert_eq!(framing(&headers), Framing::Sse);
    }

    #[test]
    fn a_plan_in_chunks_of_the_calls_is_text() {
        let body = concat!(
            r#"{"is_finished":false,"event_type":"stream-start","generation_id":"g"}"#,
            "\n",
            r#"{"is_finished":false,"event_type":"tool-calls-chunk","text":"I w"}"#,
            "\n",
            r#"{"is_finished":false,"event_type":"tool-calls-chunk","text":"ill"}"#,
            "\n",
            r#"{"is_finished":false,"event_type":"tool-calls-chunk","tool_call_delta":{"index":0,"name":"f"}}"#,
            "\n",
            r#"{"is_finished":false,"event_type":"tool-calls-generation","text":"I will","tool_calls":[{"name":"f","parameters":{"a": 1}}]}"#,
            "\n",
            r#"{"is_finished":true,"event_type":"stream-end","response":{"response_id":"r","text":"I will","generation_id":"g","finish_reason":"COMPLETE","meta":{"api_version":{"version":"1"},"tokens":{"output_tokens":3}},"tool_calls":[{"name":"f","parameters":{"a": 1}}]},"finish_reason":"COMPLETE"}"#,
            "\n",
        );
        let reply = golden(&Chat, Framing::Ndjson, body.as_bytes()).turn();
        assert_eq!((&*reply.content(), reply.finish.as_deref()), ("I will", Some("tool_calls")));
        assert_eq!(reply.tool_calls().map(|c| &*c.arguments).collect::<Vec<_>>(), [r#"{"a":1}"#]);
        assert_eq!(serde_json::to_string(&reply.usage).unwrap(), r#"{"tokens":{"output_tokens":3}}"#);
    }

    /// A stream's lines.
    fn lines(events: &[&str]) -> String {
        events.iter().map(|event| format!("{event}\n")).collect()
    }

    const SOURCES: &str = r#""search_queries":[{"text":"q","generation_id":"g"}],"search_results":[{"document_ids":["d"]}],"documents":[{"id":"d","text":"t"}],"citations":[{"start":0,"end":1,"text":"a","document_ids":["d"]}]"#;

    #[test]
    fn sources_come_back() {
        let answer = format!(
            r#"{{"response_id":"r","text":"a","generation_id":"g","chat_history":[{{"role":"USER","message":"hi"}},{{"role":"CHATBOT","message":"a"}}],"finish_reason":"COMPLETE","meta":{{"api_version":{{"version":"1"}},"warnings":["w"]}},{SOURCES},"is_search_required":true,"new":{{"x":1.50}}}}"#
        );
        let end = format!(
            r#"{{"is_finished":true,"event_type":"stream-end","response":{answer},"finish_reason":"COMPLETE"}}"#
        );
        let body = lines(&[
            r#"{"is_finished":false,"event_type":"stream-start","generation_id":"g"}"#,
            r#"{"is_finished":false,"event_type":"search-queries-generation","search_queries":[{"text":"q","generation_id":"g"}]}"#,
            r#"{"is_finished":false,"event_type":"search-results","search_results":[{"document_ids":["d"]}],"documents":[{"id":"d","text":"t"}]}"#,
            r#"{"is_finished":false,"event_type":"text-generation","text":"a"}"#,
            r#"{"is_finished":false,"event_type":"citation-generation","citations":[{"start":0,"end":1,"text":"a","document_ids":["d"]}]}"#,
            &end,
        ]);
        let of_stream = golden(&Chat, Framing::Ndjson, body.as_bytes()).turn();
        assert_eq!(of_stream, golden(&Chat, Framing::Whole, answer.as_bytes()).turn());
        assert_eq!(native(&Chat, Framing::Ndjson, body.as_bytes()).to_json(), answer);
        with_request(PATH, ASK, |_, request| {
            let to = Encoding { request, chunk_chars: 9, now: 0, seed: 0 };
            let streamed = answer::stream(&native(&Chat, Framing::Ndjson, body.as_bytes()), &to);
            let kinds = |body: &str| {
                let kind = |line: &str| serde_json::from_str::<Value>(line).unwrap()["event_type"].clone();
                body.lines().map(kind).collect::<Vec<_>>()
            };
            assert_eq!(kinds(&String::from_utf8(streamed.bytes).unwrap()), kinds(&body));
        });
    }

    #[test]
    fn what_events_say_and_the_answer_does_not_is_told() {
        let end = r#"{"event_type":"stream-end","finish_reason":"MAX_TOKENS","response":{"text":"a","documents":[]}}"#;
        let documents = r#"{"event_type":"search-results","documents":[{"id":"d"}]}"#;
        let head = AnswerHead { framing: Framing::Ndjson, status: 200, content_type: "" };
        let mut collapser = collapse::Collapser::new(&head);
        for event in [documents, r#"{"event_type":"text-generation","text":"a"}"#, end] {
            collapser.push(&Frame::data(event.as_bytes())).unwrap();
        }
        let Collapsed::Native { native, told } = collapser.finish() else { panic!("another kind of answer") };
        assert_eq!(told.to_json(), r#"{"documents":true,"finish_reason":true}"#);
        assert_eq!(native.to_json(), r#"{"text":"a","documents":[],"finish_reason":"MAX_TOKENS"}"#);
        assert_eq!(answer::read(&native).finish.as_deref(), Some("length"));
    }

    #[test]
    fn a_last_event_without_the_answer() {
        let text = "{\"event_type\":\"text-generation\",\"text\":\"a\"}\n";
        assert_eq!(golden(&Chat, Framing::Ndjson, text.as_bytes()), Outcome::Cut);
        let end = "{\"event_type\":\"stream-end\",\"finish_reason\":\"MAX_TOKENS\"}";
        let reply = golden(&Chat, Framing::Ndjson, [text, end].concat().as_bytes()).turn();
        assert_eq!((&*reply.content(), reply.finish.as_deref()), ("a", Some("length")));
        let error = "{\"event_type\":\"stream-end\",\"finish_reason\":\"ERROR\"}";
        let outcome = golden(&Chat, Framing::Ndjson, [text, error].concat().as_bytes());
        assert!(matches!(outcome, Outcome::Fault(Fault::Upstream(_))));
    }

    #[test]
    fn openai_s_shape_is_kept_as_it_is() {
        let body = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
        assert_eq!(golden(&Chat, Framing::Sse, body.as_bytes()), Outcome::Cut);
        let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        let all = [body, end].concat();
        let Outcome::Whole(Answer::Raw(raw)) = golden(&Chat, Framing::Sse, all.as_bytes()) else { panic!("not raw") };
        assert_eq!(raw.body, RawBody::Bytes(all.into_bytes()));
        with_request(PATH, r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#, |_, r| {
            assert_eq!((r.user_message(), r.framing), (Some("hi"), Framing::Sse));
        });
    }

    #[test]
    fn a_rich_turn_comes_back() {
        with_request(PATH, ASK, |codec, request| {
            let mut request = request.clone();
            for framing in [Framing::Ndjson, Framing::Sse] {
                request.framing = framing;
                let (whole, streamed) = round_trip(codec, &rich().into(), &request);
                assert_eq!(whole.turn(), carried(&rich(), &codec.carries()));
                assert_eq!(streamed.turn(), carried(&rich(), &codec.carries()));
            }
        });
    }

    #[test]
    fn the_history_holds_this_turn() {
        with_request(PATH, ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
            let whole: Value = serde_json::from_slice(&codec.encode_whole(&rich().into(), &to)).unwrap();
            assert_eq!(whole["finish_reason"], "COMPLETE");
            assert_eq!(whole["chat_history"][0], serde_json::json!({"role": "USER", "message": "hi"}));
            assert_eq!(whole["chat_history"][1]["tool_calls"], whole["tool_calls"]);
        });
    }

    #[test]
    fn whatever_a_model_sees_is_what_is_asked() {
        let body = r#"{"model":"m","message":"hi","preamble":"be brief","temperature":0.5,"chat_history":[{"role":"USER","message":"a"},
            {"role":"CHATBOT","message":"b","tool_calls":[{"name":"f","parameters":{"id":"1"}}]}],
            "tool_results":[{"call":{"name":"f","parameters":{"id":"42","name":"Bob"},"id":"c"},"outputs":[{"id":"42","call":{"id":"x"}}]}],
            "documents":[{"id":"d","text":"t"}],"connectors":[{"id":"web-search"}]}"#;
        assert_eq!(indifferent(PATH, body), ["/tool_results/0/call/id"]);
    }

    #[test]
    fn a_replay_says_what_was_asked_before() {
        let ask = r#"{"message":"and then?","chat_history":[{"role":"USER","message":"hi"},{"role":"Chatbot","message":"a"}]}"#;
        with_request(PATH, ask, |_, request| {
            let history = |request: &Request<'_>| {
                let to = Encoding { request, chunk_chars: 9, now: 0, seed: 0 };
                answer::write(&Reply::text("b"), &to).get("chat_history").map(Node::to_json)
            };
            let repeated = r#"[{"role":"USER","message":"hi"},{"role":"CHATBOT","message":"a"},{"role":"USER","message":"and then?"},{"role":"CHATBOT","message":"b"}]"#;
            assert_eq!(history(request).as_deref(), Some(repeated));
            assert_eq!(history(&request.shape()).as_deref(), Some(repeated), "when it is recorded, too");
        });
    }
}
