//! `/api/chat` and `/api/generate`: the requests. Their answers differ in little: see `answer`.
//! <https://docs.ollama.com/api/chat>, <https://docs.ollama.com/api/generate>

use super::super::{
    AnswerHead, BadRequest, Call, Carries, ChatWire, Codec, Collapse, Encoding, FinishWords, Places, Results, Shape,
    UsageShape, parse_body,
};
use super::answer::{self, FINISH, USAGE};
use super::collapse::Collapser;
use crate::frame::{Frames, Framing};
use crate::json::Node;
use crate::reply::Reply;
use crate::request::{Content, Kind, Message, Request, Role, Str};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The two endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/api/chat`: text, thinking and tool calls in a `message`.
    Chat,
    /// `/api/generate`: text as `response`, and `thinking`; no tool calls.
    Generate,
}

/// Newer servers number the calls and give them ids, others do not.
static PLACES: Places = Places {
    ids: &["/messages/*/tool_calls/*/id", "/messages/*/tool_call_id"],
    json: &["/messages/*/tool_calls/*/function/arguments"],
    plain: &["/messages/*", "/messages/*/tool_calls/*"],
    unseen: &["/messages/*/tool_calls/*/type", "/messages/*/tool_calls/*/function/index"],
    results: Some(Results { list: "/messages", call: "/tool_call_id", beside: "" }),
};

impl Endpoint {
    /// The name of the second one's wire.
    pub(super) const GENERATE: &'static str = "ollama-generate";
}

impl Codec for Endpoint {
    fn wire(&self) -> &'static str {
        match self {
            Endpoint::Chat => "ollama-chat",
            Endpoint::Generate => Endpoint::GENERATE,
        }
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Chat(self)
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
            Endpoint::Chat => {
                request.messages = body.messages.into_iter().flatten().map(Turn::into_message).collect();
                let names = body.tools.into_iter().flatten().filter_map(|t| t.function).map(|f| f.name.0);
                request.tools = names.collect();
            }
            Endpoint::Generate => {
                let system = body.system.map(|text| Message::new(Role::System, text.0));
                let prompt = body.prompt.map(|text| Message::new(Role::User, text.0));
                request.messages = system.into_iter().chain(prompt).collect();
            }
        }
        Ok(request)
    }

    fn identity(&self) -> &'static Places {
        &PLACES
    }
}

impl ChatWire for Endpoint {
    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(Collapser::new(answer))
    }

    fn read(&self, native: &Node<'_>) -> Reply {
        answer::read(native)
    }

    fn write<'r>(&self, reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
        answer::write(*self, reply, to)
    }

    fn stream(&self, native: &Node<'_>, to: &Encoding<'_>) -> Frames {
        answer::stream(native, to)
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[b"\"done\":true"]
    }

    fn carries(&self) -> Carries {
        Carries {
            signatures: false,
            part_signatures: false,
            redacted: false,
            order: false,
            refusal: false,
            id: false,
            tool_calls: *self == Endpoint::Chat,
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
    use super::super::super::laws::{hash, indifferent, with_request};
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
        let refused = Endpoint::Chat.decode(&Call { head, params: Vec::new(), body: b"{\"messages\":[]}" });
        assert_eq!(refused.map(|_| ()).unwrap_err().param.as_deref(), Some("model"));
    }

    #[test]
    fn whatever_a_model_sees_is_what_is_asked() {
        let chat = r#"{"model":"m","options":{"temperature":0.5},"think":"low","messages":[{"role":"system","content":"be brief"},
            {"role":"user","content":"hi","images":["aGk="]},
            {"role":"assistant","content":"a","thinking":"hm","images":["aGk="],"tool_calls":[{"id":"c1","type":"function","function":
                {"index":0,"name":"f","arguments":{"id":"42","function":{"index":1,"id":"x"},"tool_call_id":"y"}}}]},
            {"role":"tool","tool_name":"f","tool_call_id":"c1","content":"sunny"}]}"#;
        let unseen = ["/messages/2/tool_calls/0/type", "/messages/2/tool_calls/0/function/index"];
        assert_eq!(indifferent("/api/chat", chat), unseen);
        let generate =
            r#"{"model":"m","prompt":"hi","system":"be brief","context":[1,2],"images":["aGk="],"format":"json"}"#;
        assert_eq!(indifferent("/api/generate", generate), Vec::<String>::new());
    }

    #[test]
    fn an_answer_is_one_however_it_is_echoed() {
        let asked = |turn: &str| {
            let body = format!(r#"{{"model":"m","messages":[{turn},{{"role":"tool","content":"5"}}]}}"#);
            hash("/api/chat", &Node::parse(&body).unwrap())
        };
        let sent = asked(
            r#"{"role":"assistant","content":"","thinking":"","images":null,"tool_calls":[{"id":"x","type":"function","function":{"index":1,"name":"f","arguments":{"a":1}}}]}"#,
        );
        let dumped =
            asked(r#"{"role":"assistant","tool_calls":[{"function":{"arguments":{"a":1.0},"name":"f"},"id":"y"}]}"#);
        assert_eq!(sent, dumped);
    }
}
