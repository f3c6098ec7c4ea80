//! `/api/chat` and `/api/generate`: the requests. Their answers differ in little: see `answer`.
//! <https://docs.ollama.com/api/chat>, <https://docs.ollama.com/api/generate>

use super::super::{
    AnswerHead, BadRequest, Call, CallId, Carries, Codec, Collapse, Encoding, FinishWords, UsageShape, echo, parse_body,
};
use super::answer::{self, Collapser, FINISH, Shape, USAGE};
use crate::frame::{Frames, Framing};
use crate::reply::Answer;
use crate::request::{Content, Kind, Message, Request, Role, Str};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

impl Codec for Shape {
    fn wire(&self) -> &'static str {
        match self {
            Shape::Chat => "ollama-chat",
            Shape::Generate => "ollama-generate",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Chat
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let body: Body<'a> = parse_body(call.body)?;
        let mut request = Request::new(Kind::Chat);
        request.model = body.model.ok_or_else(|| BadRequest::field("model", "model is required"))?.0;
        if body.stream.unwrap_or(true) {
            request.framing = Framing::Ndjson;
        }
        request.response_format = body.format.and_then(format).map(Into::into);
        // Neither messages nor a prompt: the model is to be loaded, which is answered like the rest.
        match self {
            Shape::Chat => {
                request.messages = body.messages.into_iter().flatten().map(Turn::into_message).collect();
                let names = body.tools.into_iter().flatten().filter_map(|t| t.function).map(|f| f.name.0);
                request.tools = names.collect();
            }
            Shape::Generate => {
                let system = body.system.map(|text| Message::new(Role::System, text.0));
                let prompt = body.prompt.map(|text| Message::new(Role::User, text.0));
                request.messages = system.into_iter().chain(prompt).collect();
            }
        }
        Ok(request)
    }

    fn encode_whole(&self, answer: &Answer, to: &Encoding<'_>) -> Vec<u8> {
        let Answer::Turn(reply) = answer else { return Vec::new() };
        answer::whole(*self, reply, to)
    }

    fn encode_stream(&self, answer: &Answer, to: &Encoding<'_>) -> Frames {
        let Answer::Turn(reply) = answer else { return Frames::default() };
        answer::stream(*self, reply, to)
    }

    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(Collapser::new(answer))
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[b"\"done\":true"]
    }

    fn call_ids(&self) -> &'static [CallId] {
        &[CallId { key: "tool_call_id", beside: "" }, CallId { key: "id", beside: "function" }]
    }

    /// Newer servers number the calls and give them ids, others do not.
    fn old_form(&self, body: &mut Value) {
        for message in echo::of_model(body) {
            echo::drop_empty(message, &["images", "thinking", "tool_calls", "tool_name"]);
            for call in echo::objects(message.get_mut("tool_calls")) {
                call.retain(|name, _| name == "id" || name == "function");
                call.insert("type".to_owned(), "function".into());
                if let Some(Value::Object(function)) = call.get_mut("function") {
                    function.shift_remove("index");
                }
            }
        }
    }

    fn carries(&self) -> Carries {
        Carries {
            signatures: false,
            part_signatures: false,
            redacted: false,
            order: false,
            refusal: false,
            id: false,
            tool_calls: *self == Shape::Chat,
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
    #[serde(default)]
    stream: Option<bool>,
    /// `"json"`, or a JSON schema.
    #[serde(borrow, default)]
    format: Option<&'a RawValue>,
    #[serde(borrow, default)]
    messages: Option<Vec<Turn<'a>>>,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(borrow, default)]
    system: Option<Str<'a>>,
    #[serde(borrow, default)]
    prompt: Option<Str<'a>>,
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
struct Turn<'a> {
    #[serde(borrow)]
    role: Str<'a>,
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(borrow, default)]
    tool_call_id: Option<Str<'a>>,
}

impl<'a> Turn<'a> {
    fn into_message(self) -> Message<'a> {
        let role = match &*self.role {
            "system" => Role::System,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            _ => Role::User,
        };
        Message { role, text: self.content.0, tool_call_id: self.tool_call_id.map(|id| id.0) }
    }
}

fn format(raw: &RawValue) -> Option<&'static str> {
    match raw.get() {
        "\"json\"" => Some("json_object"),
        schema if schema.starts_with('{') => Some("json_schema"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::with_request;
    use super::*;

    #[test]
    fn chat_with_every_kind_of_message() {
        let body = r#"{"model":"qwen3:4b","format":"json","options":{"temperature":0},"think":true,
            "tools":[{"type":"function","function":{"name":"get_weather","parameters":{}}}],
            "messages":[{"role":"system","content":"be \"brief\""},
                {"role":"user","content":"what is this?","images":["aGk="]},
                {"role":"assistant","content":"","thinking":"hm","tool_calls":[{"id":"c1","function":{"name":"get_weather","arguments":{"a":1}}}]},
                {"role":"tool","tool_name":"get_weather","tool_call_id":"c1","content":"sunny"}]}"#;
        with_request("/api/chat", body, |_, r| {
            assert_eq!((r.user_message(), &*r.system_text()), (Some("what is this?"), "be \"brief\""));
            assert_eq!((r.turn_index(), r.has_tool_result(), r.framing), (1, true, Framing::Ndjson));
            assert_eq!(r.last_tool_result().and_then(|m| m.tool_call_id.as_deref()), Some("c1"));
            assert_eq!((&*r.tools[0], r.response_format.as_deref()), ("get_weather", Some("json_object")));
        });
    }

    #[test]
    fn generate_with_a_schema() {
        let body = r#"{"model":"gemma3:1b","system":"be brief","prompt":"hi","context":[1,2],"stream":false,
            "format":{"type":"object"}}"#;
        with_request("/api/generate", body, |_, r| {
            assert_eq!((r.user_message(), &*r.system_text(), r.streamed()), (Some("hi"), "be brief", false));
            assert_eq!(r.response_format.as_deref(), Some("json_schema"));
        });
    }

    #[test]
    fn a_model_is_required() {
        let headers = hyper::HeaderMap::new();
        let head = super::super::super::Head { method: "POST", path: "/api/chat", query: "", headers: &headers };
        let refused = Shape::Chat.decode(&Call { head, params: Vec::new(), body: b"{\"messages\":[]}" });
        assert_eq!(refused.map(|_| ()).unwrap_err().param.as_deref(), Some("model"));
    }
}
