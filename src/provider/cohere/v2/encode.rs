//! A turn as version 2 sends it.

use super::super::super::{Encoding, finish_out, pieces};
use super::super::usage;
use super::{DONE, FINISH, TOOL_PLAN, WIRE};
use crate::frame::{Frames, sse};
use crate::reply::{Part, Reply, ToolCall, Usage};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;

pub(super) fn whole(reply: &Reply, to: &Encoding<'_>) -> Vec<u8> {
    let said = Said::new(reply);
    let calls: Vec<_> = reply.tool_calls().enumerate().map(|(n, call)| CallOut::new(n, call, to)).collect();
    let mut content = Vec::new();
    if !said.thinking.is_empty() {
        content.push(Block::Thinking { thinking: &said.thinking });
    }
    if !said.text.is_empty() || (calls.is_empty() && said.plan.is_empty()) {
        content.push(Block::Text { text: &said.text });
    }
    let message = MessageOut {
        role: reply.role.as_deref().unwrap_or("assistant"),
        content,
        tool_plan: Some(said.plan).filter(|plan| !plan.is_empty()),
        tool_calls: calls,
        citations: said.citations,
    };
    let finish_reason = finish_out(&FINISH, reply.finish_word());
    json(&Whole { id: id(reply, to), message, finish_reason: &finish_reason, usage: &usage(reply, to) })
}

pub(super) fn stream(reply: &Reply, to: &Encoding<'_>) -> Frames {
    let said = Said::new(reply);
    let mut stream = Stream { frames: Frames::default(), chunk_chars: to.chunk_chars, blocks: 0 };
    let role = reply.role.as_deref().unwrap_or("assistant");
    stream.event(
        "message-start",
        &json!({
            "id": id(reply, to),
            "type": "message-start",
            "delta": {"message": {"role": role, "content": [], "tool_plan": "", "tool_calls": [], "citations": []}},
        }),
    );
    if !said.thinking.is_empty() {
        stream.content(&said.thinking, |thinking| Block::Thinking { thinking });
    }
    if !said.text.is_empty() || (reply.tool_calls().next().is_none() && said.plan.is_empty()) {
        stream.content(&said.text, |text| Block::Text { text });
    }
    for (n, citations) in said.citations.into_iter().enumerate() {
        let delta = MessageDelta { citations: Some(citations), ..MessageDelta::default() };
        stream.message("citation-start", Some(n), delta);
        stream.end("citation-end", n);
    }
    for piece in pieces(said.plan, to.chunk_chars) {
        stream.message("tool-plan-delta", None, MessageDelta { tool_plan: Some(piece), ..MessageDelta::default() });
    }
    for (n, call) in reply.tool_calls().enumerate() {
        stream.tool_call(n, call, to);
    }
    let finish_reason = finish_out(&FINISH, reply.finish_word());
    let delta = EndDelta { finish_reason: &finish_reason, usage: &usage(reply, to) };
    stream.event("message-end", &Event { kind: "message-end", index: None, delta: Some(delta) });
    stream.frames.push(|out| sse::encode("", DONE, out));
    stream.frames
}

/// A turn as this wire divides it.
struct Said<'a> {
    thinking: String,
    text: String,
    plan: &'a str,
    citations: Vec<&'a RawValue>,
}

/// What the text is taken from.
#[derive(Deserialize)]
struct Sources<'a> {
    #[serde(borrow)]
    citations: Vec<&'a RawValue>,
}

impl<'a> Said<'a> {
    fn new(reply: &'a Reply) -> Self {
        let planned = reply.reasoning_field.as_deref() == Some(TOOL_PLAN);
        let mut reasoning: Vec<&str> = reply
            .parts
            .iter()
            .filter_map(|part| if let Part::Reasoning { text, .. } = part { Some(&**text) } else { None })
            .collect();
        let plan = if planned { reasoning.pop().unwrap_or("") } else { "" };
        let own = reply.parts.iter().filter_map(|part| part.verbatim_of(WIRE));
        let sources = own.filter_map(|own| serde_json::from_str::<Sources<'_>>(own.get()).ok());
        let citations = sources.flat_map(|sources| sources.citations).collect();
        Said { thinking: reasoning.concat(), text: reply.content(), plan, citations }
    }
}

fn id<'a>(reply: &'a Reply, to: &Encoding<'_>) -> Cow<'a, str> {
    reply.id.as_deref().map_or_else(|| Cow::Owned(to.id("", 0)), Cow::Borrowed)
}

#[derive(Serialize)]
struct Whole<'a> {
    id: Cow<'a, str>,
    message: MessageOut<'a>,
    finish_reason: &'a str,
    usage: &'a Usage,
}

#[derive(Serialize)]
struct MessageOut<'a> {
    role: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    content: Vec<Block<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_plan: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallOut<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    citations: Vec<&'a RawValue>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Block<'a> {
    Text { text: &'a str },
    Thinking { thinking: &'a str },
}

#[derive(Serialize)]
struct CallOut<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: FunctionOut<'a>,
}

impl<'a> CallOut<'a> {
    fn new(n: usize, call: &'a ToolCall, to: &Encoding<'_>) -> Self {
        CallOut {
            id: call.id.as_deref().map_or_else(|| Cow::Owned(to.id("call_", n + 1)), Cow::Borrowed),
            kind: "function",
            function: FunctionOut { name: Some(&call.name), arguments: &call.arguments },
        }
    }
}

#[derive(Serialize)]
struct FunctionOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

#[derive(Serialize)]
struct Event<D> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<D>,
}

#[derive(Serialize)]
struct EndDelta<'a> {
    finish_reason: &'a str,
    usage: &'a Usage,
}

#[derive(Serialize)]
struct Delta<'a> {
    message: MessageDelta<'a>,
}

#[derive(Default, Serialize)]
struct MessageDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<ContentDelta<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_plan: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<CallDelta<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    citations: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ContentDelta<'a> {
    /// With its type.
    First(Block<'a>),
    Text {
        text: &'a str,
    },
    Thinking {
        thinking: &'a str,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum CallDelta<'a> {
    First(CallOut<'a>),
    More { function: FunctionOut<'a> },
}

struct Stream {
    frames: Frames,
    chunk_chars: usize,
    blocks: usize,
}

impl Stream {
    fn event(&mut self, kind: &str, event: &impl Serialize) {
        self.frames.push(|out| sse::encode(kind, &json(event), out));
    }

    fn message(&mut self, kind: &'static str, index: Option<usize>, message: MessageDelta<'_>) {
        self.event(kind, &Event { kind, index, delta: Some(Delta { message }) });
    }

    fn end(&mut self, kind: &'static str, index: usize) {
        self.event(kind, &Event { kind, index: Some(index), delta: None::<()> });
    }

    fn content<'t>(&mut self, text: &'t str, block: fn(&'t str) -> Block<'t>) {
        let index = self.blocks;
        self.blocks += 1;
        let content = |content| MessageDelta { content: Some(content), ..MessageDelta::default() };
        self.message("content-start", Some(index), content(ContentDelta::First(block(""))));
        for piece in pieces(text, self.chunk_chars) {
            let delta = match block(piece) {
                Block::Text { text } => ContentDelta::Text { text },
                Block::Thinking { thinking } => ContentDelta::Thinking { thinking },
            };
            self.message("content-delta", Some(index), content(delta));
        }
        self.end("content-end", index);
    }

    fn tool_call(&mut self, n: usize, call: &ToolCall, to: &Encoding<'_>) {
        let calls = |delta| MessageDelta { tool_calls: Some(delta), ..MessageDelta::default() };
        let mut first = CallOut::new(n, call, to);
        first.function.arguments = "";
        self.message("tool-call-start", Some(n), calls(CallDelta::First(first)));
        for arguments in pieces(&call.arguments, to.chunk_chars) {
            let function = FunctionOut { name: None, arguments };
            self.message("tool-call-delta", Some(n), calls(CallDelta::More { function }));
        }
        self.end("tool-call-end", n);
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these structs have string keys only")
}
