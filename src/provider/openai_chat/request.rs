//! A request of the chat completions API. <https://platform.openai.com/docs/api-reference/chat/create>

use super::super::{BadRequest, Call};
use crate::frame::Framing;
use crate::request::{Content, Kind, Message, Request, Role, Str};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Body<'a> {
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    messages: Option<Vec<Turn<'a>>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(borrow, default)]
    functions: Option<Vec<Named<'a>>>,
    #[serde(borrow, default)]
    response_format: Option<ResponseFormat<'a>>,
}

impl<'a> Body<'a> {
    pub(super) fn into_request(self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let mut request = Request::new(Kind::Chat);
        // Azure names the model in the path.
        request.model = match (self.model, call.param("deployment")) {
            (Some(model), _) => model.0,
            (None, Some(deployment)) => deployment.clone(),
            (None, None) => return Err(BadRequest::field("model", "you must provide a model parameter")),
        };
        let Some(messages) = self.messages else {
            return Err(BadRequest::field("messages", "missing required parameter: 'messages'"));
        };
        request.messages = messages.into_iter().map(Turn::into_message).collect();
        if self.stream.unwrap_or(false) {
            request.framing = Framing::Sse;
        }
        request.include_usage = self.stream_options.is_some_and(|o| o.include_usage.unwrap_or(false));
        for tool in self.tools.into_iter().flatten() {
            if let Some(custom) = tool.custom {
                request.custom_tools.push(custom.name.0.clone());
                request.tools.push(custom.name.0);
            }
            request.tools.extend(tool.function.map(|f| f.name).or(tool.name).map(|n| n.0));
        }
        request.tools.extend(self.functions.into_iter().flatten().map(|f| f.name.0));
        request.response_format = self.response_format.and_then(|f| f.kind).map(|k| k.0);
        Ok(request)
    }
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default)]
    function: Option<Named<'a>>,
    #[serde(borrow, default)]
    custom: Option<Named<'a>>,
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Named<'a> {
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
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(borrow, default)]
    tool_call_id: Option<Str<'a>>,
}

impl<'a> Turn<'a> {
    fn into_message(self) -> Message<'a> {
        let role = match &*self.role {
            "system" | "developer" => Role::System,
            "assistant" => Role::Assistant,
            "tool" | "function" => Role::Tool,
            _ => Role::User,
        };
        Message { role, text: self.content.0, tool_call_id: self.tool_call_id.map(|id| id.0) }
    }
}
