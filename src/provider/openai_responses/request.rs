//! A request of the Responses API: `input` is a text or a list of items.
//! <https://platform.openai.com/docs/api-reference/responses/create>

use super::super::{BadRequest, Call};
use super::ECHOED;
use crate::frame::Framing;
use crate::request::{Content, Kind, Message, Request, Role, Str};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What of a request's body is read; what the answer repeats is kept as it came.
#[derive(Default)]
pub(super) struct Body<'a> {
    model: Option<Str<'a>>,
    input: Option<Input<'a>>,
    stream: bool,
    /// The input, or what comes before it, is stored at the service.
    stored: bool,
    echo: Vec<(&'static str, &'a RawValue)>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Body<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BodyVisitor)
    }
}

struct BodyVisitor;

impl<'de> de::Visitor<'de> for BodyVisitor {
    type Value = Body<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut members: A) -> Result<Body<'de>, A::Error> {
        let mut body = Body::default();
        while let Some(Str(name)) = members.next_key()? {
            match &*name {
                "model" => body.model = members.next_value()?,
                "input" => body.input = members.next_value()?,
                "stream" => body.stream = members.next_value::<Option<bool>>()?.unwrap_or(false),
                "conversation" => body.stored |= members.next_value::<Option<IgnoredAny>>()?.is_some(),
                name => match ECHOED.iter().find(|echoed| **echoed == name) {
                    Some(echoed) => body.echo.push((echoed, members.next_value()?)),
                    None => drop(members.next_value::<IgnoredAny>()?),
                },
            }
        }
        body.echo.retain(|(_, raw)| raw.get() != "null");
        body.stored |= body.echo.iter().any(|(name, _)| STORED.contains(name));
        Ok(body)
    }
}

/// Members that bring input which is stored at the service; a prompt may bring the model as well.
const PROMPT: &str = "prompt";
const STORED: [&str; 2] = [PROMPT, "previous_response_id"];

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    /// The tools of a namespace.
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
}

#[derive(Default, Deserialize)]
struct Text<'a> {
    #[serde(borrow, default)]
    format: Option<Format<'a>>,
}

#[derive(Deserialize)]
struct Format<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
}

impl<'a> Body<'a> {
    pub(super) fn into_request(self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let mut request = Request::new(Kind::Chat);
        let Content(instructions) = self.of("instructions")?;
        let (tools, text) = (self.of::<Option<Vec<Tool<'a>>>>("tools")?, self.of::<Text<'a>>("text")?);
        request.model = match (self.model, call.param("deployment")) {
            (Some(model), _) => model.0,
            (None, Some(deployment)) => deployment.clone(),
            (None, None) if self.echo.iter().any(|(name, _)| *name == PROMPT) => "".into(),
            (None, None) => return Err(BadRequest::field("model", "missing required parameter: 'model'")),
        };
        if self.input.is_none() && !self.stored {
            return Err(BadRequest::field("input", "missing required parameter: 'input'"));
        }
        if !instructions.is_empty() {
            request.messages.push(Message::new(Role::System, instructions));
        }
        request.messages.extend(self.input.into_iter().flat_map(|input| input.0));
        if self.stream {
            request.framing = Framing::Sse;
        }
        request.include_usage = true;
        tools.into_iter().flatten().for_each(|tool| tool.offer(&mut request));
        request.response_format = text.format.and_then(|format| format.kind).map(|kind| kind.0);
        request.echo = self.echo.into_iter().map(|(name, raw)| (name, Cow::Borrowed(raw))).collect();
        Ok(request)
    }

    /// Reads a member that was kept as it came.
    fn of<T: Deserialize<'a> + Default>(&self, name: &str) -> Result<T, BadRequest> {
        let Some((_, raw)) = self.echo.iter().find(|(echoed, _)| *echoed == name) else { return Ok(T::default()) };
        serde_json::from_str(raw.get()).map_err(|e| BadRequest::field(name, format!("'{name}' is not valid: {e}")))
    }
}

impl<'a> Tool<'a> {
    fn offer(self, request: &mut Request<'a>) {
        for tool in self.tools.into_iter().flatten() {
            tool.offer(request);
        }
        match self.kind.as_deref() {
            Some("function") | None => request.tools.extend(self.name.map(|n| n.0)),
            Some("custom") => {
                request.custom_tools.extend(self.name.clone().map(|n| n.0));
                request.tools.extend(self.name.map(|n| n.0));
            }
            _ => {}
        }
    }
}

/// The conversation.
#[derive(Default)]
struct Input<'a>(Vec<Message<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Input<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> de::Visitor<'de> for InputVisitor {
    type Value = Input<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of input items")
    }

    fn visit_borrowed_str<E: de::Error>(self, s: &'de str) -> Result<Input<'de>, E> {
        Ok(Input(vec![Message::new(Role::User, s)]))
    }

    fn visit_str<E: de::Error>(self, s: &str) -> Result<Input<'de>, E> {
        Ok(Input(vec![Message::new(Role::User, s.to_owned())]))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Input<'de>, A::Error> {
        let mut messages = Vec::new();
        while let Some(item) = items.next_element::<Item<'de>>()? {
            item.add_to(&mut messages);
        }
        Ok(Input(messages))
    }
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    role: Option<Str<'a>>,
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(borrow, default)]
    call_id: Option<Str<'a>>,
    #[serde(borrow, default)]
    output: Content<'a>,
}

impl<'a> Item<'a> {
    fn add_to(self, messages: &mut Vec<Message<'a>>) {
        match self.kind.as_deref().unwrap_or("message") {
            "message" => messages.push(Message::new(role(self.role.as_deref()), self.content.0)),
            // Calls that follow a message or each other are one turn of the model, and so are references to what is stored:
            // clients refer to what the model said. Without a call's id it is a tool that OpenAI ran.
            kind if kind == "item_reference" || (kind.ends_with("_call") && self.call_id.is_some()) => {
                let goes_on = messages.last().is_some_and(|last| last.role == Role::Assistant);
                messages.extend((!goes_on).then(|| Message::new(Role::Assistant, "")));
            }
            kind if kind.ends_with("_call_output") => {
                let tool_call_id = self.call_id.map(|id| id.0);
                messages.push(Message { tool_call_id, ..Message::new(Role::Tool, self.output.0) });
            }
            _ => {} // reasoning, tools of OpenAI's own
        }
    }
}

fn role(word: Option<&str>) -> Role {
    match word {
        Some("system" | "developer") => Role::System,
        Some("assistant") => Role::Assistant,
        _ => Role::User,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::with_request;
    use super::super::super::{BadRequest, Call, Head, route};
    use hyper::HeaderMap;

    #[test]
    fn items_of_every_kind() {
        let body = r#"{"model":"gpt-5","stream":true,"instructions":"be \"brief\"","text":{"format":{"type":"json_schema"}},
            "tools":[{"type":"function","name":"get_weather","parameters":{}},{"type":"web_search"},{"type":"custom","name":"sh"}],
            "input":[{"role":"user","content":"what is "},{"type":"message","role":"user","content":[
                {"type":"input_text","text":"what is "},{"type":"input_image","image_url":"x"},{"type":"input_text","text":"this?"}]},
              {"type":"reasoning","id":"rs_1","summary":[],"content":null,"encrypted_content":"x"},
              {"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"hm","annotations":[]}]},
              {"type":"function_call","id":"fc_1","call_id":"c1","name":"get_weather","arguments":"{}"},
              {"type":"function_call","id":"fc_2","call_id":"c2","name":"get_weather","arguments":"{}"},
              {"type":"web_search_call","id":"ws_1","action":{"type":"search"},"status":"completed"},
              {"type":"item_reference","id":"x"},
              {"type":"function_call_output","call_id":"c1","output":"sunny"},
              {"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"rain"}]}]}"#;
        with_request("/v1/responses", body, |codec, r| {
            assert_eq!(codec.wire(), "openai-responses");
            assert_eq!((r.user_message(), &*r.system_text()), (Some("what is this?"), "be \"brief\""));
            assert_eq!((r.turn_index(), r.has_tool_result(), r.streamed()), (1, true, true));
            let last = r.last_tool_result().unwrap();
            assert_eq!((last.tool_call_id.as_deref(), &*last.text), (Some("c2"), "rain"));
            assert_eq!(
                (&r.tools[..], &r.custom_tools[..]),
                (&["get_weather".into(), "sh".into()][..], &["sh".into()][..])
            );
            assert_eq!(r.response_format.as_deref(), Some("json_schema"));
        });
    }

    #[test]
    fn a_text_is_what_the_user_says() {
        for path in ["/v1/responses", "/responses", "/openai/responses", "/backend-api/codex/responses"] {
            with_request(path, r#"{"model":"m","input":"hi \"you\""}"#, |codec, r| {
                assert_eq!((codec.wire(), r.user_message()), ("openai-responses", Some("hi \"you\"")));
                assert!(!r.streamed());
            });
        }
    }

    fn refused(body: &str) -> Option<BadRequest> {
        let headers = HeaderMap::new();
        let head = Head { method: "POST", path: "/v1/responses", query: "", headers: &headers };
        let found = route(&head);
        found.codec.decode(&Call { head, params: found.params, body: body.as_bytes() }).err()
    }

    #[test]
    fn what_the_api_requires() {
        assert_eq!(refused(r#"{"input":"hi"}"#).unwrap().param.as_deref(), Some("model"));
        assert_eq!(refused(r#"{"model":"m"}"#).unwrap().param.as_deref(), Some("input"));
        assert_eq!(refused("{").unwrap().code, "invalid_json");
        assert_eq!(refused(r#"{"model":"m","input":5}"#).unwrap().code, "invalid_request");
        assert_eq!(refused(r#"{"prompt":{"id":"pmpt_1"}}"#), None);
        assert_eq!(refused(r#"{"model":"m","previous_response_id":"resp_1"}"#), None);
    }
}
