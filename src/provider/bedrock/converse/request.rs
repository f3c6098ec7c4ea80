//! What a client asks. <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>

use crate::frame::Framing;
use crate::provider::{BadRequest, Call, parse_body};
use crate::request::{Kind, Message, Request, Role, Str};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Reads a request; the endpoint, not the body, says how it is answered.
pub(super) fn decode<'a>(call: &Call<'a>, framing: Framing) -> Result<Request<'a>, BadRequest> {
    let body: Body<'a> = parse_body(call.body)?;
    let mut request = Request { framing, ..Request::new(Kind::Chat) };
    request.model = call.param("id").cloned().unwrap_or_default();
    // A stored prompt brings its own messages.
    if body.messages.is_none() && !request.model.contains(":prompt/") {
        return Err(BadRequest::field("messages", "messages is required where the model is not a stored prompt"));
    }
    let system = body.system.into_iter().flatten().filter_map(Block::into_text);
    request.messages = system.map(|text| Message::new(Role::System, text)).collect();
    for turn in body.messages.into_iter().flatten() {
        turn.read(&mut request.messages);
    }
    let tools = body.tool_config.and_then(|config| config.tools).into_iter().flatten();
    request.tools = tools.filter_map(|t| t.tool_spec.or(t.system_tool)).map(|named| named.name.0).collect();
    let format = body.output_config.and_then(|config| config.text_format);
    request.response_format = format.and_then(|f| f.kind).map(|kind| kind.0);
    Ok(request)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow, default)]
    messages: Option<Vec<Turn<'a>>>,
    #[serde(borrow, default)]
    system: Option<Vec<Block<'a>>>,
    #[serde(borrow, default)]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(borrow, default)]
    output_config: Option<OutputConfig<'a>>,
}

#[derive(Deserialize)]
struct ToolConfig<'a> {
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    #[serde(borrow, default)]
    tool_spec: Option<Named<'a>>,
    #[serde(borrow, default)]
    system_tool: Option<Named<'a>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Str<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutputConfig<'a> {
    #[serde(borrow, default)]
    text_format: Option<TextFormat<'a>>,
}

#[derive(Deserialize)]
struct TextFormat<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Str<'a>,
    #[serde(borrow, default)]
    content: Option<Vec<Block<'a>>>,
}

impl<'a> Turn<'a> {
    /// Tool results become messages of their own, before what else the message says.
    fn read(self, messages: &mut Vec<Message<'a>>) {
        let mut text = Cow::Borrowed("");
        let mut answered = None;
        for block in self.content.into_iter().flatten() {
            if let Some(result) = block.tool_result {
                answered = Some(result.tool_use_id.0.clone());
                messages.push(result.into_message());
            } else if let Some(more) = block.into_text() {
                append(&mut text, more);
            }
        }
        let role = if &*self.role == "assistant" { Role::Assistant } else { Role::User };
        if answered.is_none() || !text.is_empty() {
            messages.push(Message { role, text, tool_call_id: answered });
        }
    }
}

/// A block of content: of each kind only what matching needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    guard_content: Option<Guarded<'a>>,
    #[serde(borrow, default)]
    tool_result: Option<ToolResult<'a>>,
}

impl<'a> Block<'a> {
    fn into_text(self) -> Option<Cow<'a, str>> {
        let guarded = || self.guard_content.and_then(|guarded| guarded.text).and_then(|text| text.text);
        self.text.or_else(guarded).map(|text| text.0)
    }
}

/// Text that a guardrail is to look at.
#[derive(Deserialize)]
struct Guarded<'a> {
    #[serde(borrow, default)]
    text: Option<GuardedText<'a>>,
}

#[derive(Deserialize)]
struct GuardedText<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult<'a> {
    #[serde(borrow)]
    tool_use_id: Str<'a>,
    #[serde(borrow, default)]
    content: Option<Vec<ResultBlock<'a>>>,
}

#[derive(Deserialize)]
struct ResultBlock<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    json: Option<&'a RawValue>,
}

impl<'a> ToolResult<'a> {
    fn into_message(self) -> Message<'a> {
        let mut text = Cow::Borrowed("");
        for block in self.content.into_iter().flatten() {
            let json = block.json.map(|json| Cow::Borrowed(json.get()));
            append(&mut text, block.text.map(|text| text.0).or(json).unwrap_or_default());
        }
        Message { role: Role::Tool, text, tool_call_id: Some(self.tool_use_id.0) }
    }
}

fn append<'a>(text: &mut Cow<'a, str>, more: Cow<'a, str>) {
    if text.is_empty() {
        *text = more;
    } else {
        text.to_mut().push_str(&more);
    }
}
