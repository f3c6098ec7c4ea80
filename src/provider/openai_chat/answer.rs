//! A turn as a chat completion: whole, or in chunks.
//! <https://platform.openai.com/docs/api-reference/chat-streaming>

use super::super::{Encoding, answer_usage, finish_out, pieces};
use super::{DONE, FINISH, USAGE};
use crate::frame::{Frames, sse};
use crate::reply::{Part, Reply, ToolCall, Usage};
use serde::Serialize;
use std::borrow::Cow;

pub(super) fn whole(reply: &Reply, to: &Encoding<'_>) -> Vec<u8> {
    let head = Head::new("chat.completion", reply, to);
    let message = WholeMessage::new(reply, to);
    let finish = finish_out(&FINISH, reply.finish_word());
    let usage = answer_usage(&USAGE, reply, to.request);
    let choices = [WholeChoice { index: 0, message, logprobs: (), finish_reason: &finish }];
    json(&Whole { head, choices, usage: &usage })
}

pub(super) fn stream(reply: &Reply, to: &Encoding<'_>) -> Frames {
    let mut stream = Stream::new(reply, to);
    let mut opening = Delta { role: Some(reply.role.as_deref().unwrap_or("assistant")), ..Delta::default() };
    if reply.tool_calls().next().is_none() && reply.refusal.is_none() {
        opening.content = Some("");
    }
    stream.delta(&opening, None, None);
    let legacy = reply.finish.as_deref() == Some("function_call");
    let mut index = 0;
    for part in &reply.parts {
        match part {
            Part::Text { text, .. } => {
                for piece in pieces(text, to.chunk_chars) {
                    stream.delta(&Delta { content: Some(piece), ..Delta::default() }, None, None);
                }
            }
            Part::Reasoning { text, .. } => {
                for piece in pieces(text, to.chunk_chars) {
                    stream.delta(&Delta::reasoning(reply, piece), None, None);
                }
            }
            Part::ToolCall(call) if legacy => stream.function_call(call, to),
            Part::ToolCall(call) => {
                stream.tool_call(call, index, to);
                index += 1;
            }
            Part::RedactedReasoning(_) => {}
        }
    }
    for piece in pieces(reply.refusal.as_deref().unwrap_or(""), to.chunk_chars) {
        stream.delta(&Delta { refusal: Some(piece), ..Delta::default() }, None, None);
    }
    let finish = finish_out(&FINISH, reply.finish_word());
    let usage = answer_usage(&USAGE, reply, to.request);
    let asked = to.request.include_usage;
    // A service that sends usage unasked puts it beside the finish reason: clients that did not ask for the extra
    // chunk fail on one without choices.
    let unasked = (!asked && reply.usage.is_some()).then_some(&usage);
    stream.delta(&Delta::default(), Some(&finish), unasked);
    if asked {
        stream.usage(&usage);
    }
    stream.done()
}

#[derive(Serialize)]
struct Head<'a> {
    id: Cow<'a, str>,
    object: &'static str,
    created: i64,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_fingerprint: Option<&'a str>,
}

impl<'a> Head<'a> {
    fn new(object: &'static str, reply: &'a Reply, to: &Encoding<'a>) -> Self {
        Head {
            id: reply.id.as_deref().map_or_else(|| Cow::Owned(to.id("chatcmpl-", 0)), Cow::Borrowed),
            object,
            created: reply.created.unwrap_or(to.now),
            model: reply.model.as_deref().unwrap_or(&to.request.model),
            system_fingerprint: reply.system_fingerprint.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    choices: [WholeChoice<'a>; 1],
    usage: &'a Usage,
}

#[derive(Serialize)]
struct WholeChoice<'a> {
    index: u32,
    message: WholeMessage<'a>,
    logprobs: (),
    finish_reason: &'a str,
}

#[derive(Serialize)]
struct WholeMessage<'a> {
    role: &'a str,
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionOut<'a>>,
}

impl<'a> WholeMessage<'a> {
    fn new(reply: &'a Reply, to: &Encoding<'_>) -> Self {
        let content = reply.content();
        let calls = reply.tool_calls().count() > 0;
        let reasoning = Some(reply.reasoning()).filter(|r| !r.is_empty());
        let (reasoning_content, reasoning) = if plain_reasoning(reply) { (None, reasoning) } else { (reasoning, None) };
        let legacy = reply.finish.as_deref() == Some("function_call");
        WholeMessage {
            role: reply.role.as_deref().unwrap_or("assistant"),
            content: if content.is_empty() && (calls || reply.refusal.is_some()) { None } else { Some(content) },
            reasoning_content,
            reasoning,
            refusal: reply.refusal.as_deref(),
            tool_calls: if legacy {
                Vec::new()
            } else {
                reply.tool_calls().enumerate().map(|(i, call)| CallOut::new(call, None, i, to)).collect()
            },
            function_call: reply
                .tool_calls()
                .next()
                .filter(|_| legacy)
                .map(|call| FunctionOut { name: Some(&call.name), arguments: &call.arguments }),
        }
    }
}

/// The service names the member `reasoning`, not `reasoning_content`.
fn plain_reasoning(reply: &Reply) -> bool {
    reply.reasoning_field.as_deref() == Some("reasoning")
}

#[derive(Serialize)]
struct CallOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(flatten)]
    called: Called<'a>,
}

/// A tool that takes JSON, or one that takes text.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Called<'a> {
    Function(FunctionOut<'a>),
    Custom(CustomOut<'a>),
}

#[derive(Serialize)]
struct FunctionOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

#[derive(Serialize)]
struct CustomOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    input: &'a str,
}

impl<'a> CallOut<'a> {
    /// The call without its arguments where it has an index: they follow.
    fn new(call: &'a ToolCall, index: Option<usize>, n: usize, to: &Encoding<'_>) -> Self {
        let id = call.id.as_deref().map_or_else(|| Cow::Owned(to.id("call_", n + 1)), Cow::Borrowed);
        let custom = to.request.custom_tools.iter().any(|name| *name == call.name);
        let arguments = if index.is_none() { &*call.arguments } else { "" };
        CallOut {
            index,
            id: Some(id),
            kind: Some(if custom { "custom" } else { "function" }),
            called: Called::new(custom, Some(&call.name), arguments),
        }
    }
}

impl<'a> Called<'a> {
    fn new(custom: bool, name: Option<&'a str>, arguments: &'a str) -> Self {
        if custom {
            Called::Custom(CustomOut { name, input: arguments })
        } else {
            Called::Function(FunctionOut { name, arguments })
        }
    }
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallOut<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionOut<'a>>,
}

impl<'a> Delta<'a> {
    fn reasoning(reply: &Reply, piece: &'a str) -> Self {
        if plain_reasoning(reply) {
            Delta { reasoning: Some(piece), ..Delta::default() }
        } else {
            Delta { reasoning_content: Some(piece), ..Delta::default() }
        }
    }
}

/// The chunks of a streamed answer; what all of them begin with is written once.
struct Stream {
    frames: Frames,
    opening: Vec<u8>,
}

impl Stream {
    fn new(reply: &Reply, to: &Encoding<'_>) -> Self {
        let mut opening = b"data: ".to_vec();
        opening.extend_from_slice(&json(&Head::new("chat.completion.chunk", reply, to)));
        opening.pop(); // the closing brace
        opening.extend_from_slice(b",\"choices\":[");
        Stream { frames: Frames::default(), opening }
    }

    fn delta(&mut self, delta: &Delta<'_>, finish: Option<&str>, usage: Option<&Usage>) {
        let opening = &self.opening;
        self.frames.push(|out| {
            out.extend_from_slice(opening);
            out.extend_from_slice(b"{\"index\":0,\"delta\":");
            out.extend_from_slice(&json(delta));
            out.extend_from_slice(b",\"finish_reason\":");
            out.extend_from_slice(&json(&finish));
            out.extend_from_slice(b"}]");
            if let Some(usage) = usage {
                out.extend_from_slice(b",\"usage\":");
                out.extend_from_slice(&json(usage));
            }
            out.extend_from_slice(b"}\n\n");
        });
    }

    fn tool_call(&mut self, call: &ToolCall, index: usize, to: &Encoding<'_>) {
        let first = CallOut::new(call, Some(index), index, to);
        let custom = matches!(first.called, Called::Custom(_));
        self.delta(&Delta { tool_calls: Some([first]), ..Delta::default() }, None, None);
        for piece in pieces(&call.arguments, to.chunk_chars) {
            let called = Called::new(custom, None, piece);
            let more = CallOut { index: Some(index), id: None, kind: None, called };
            self.delta(&Delta { tool_calls: Some([more]), ..Delta::default() }, None, None);
        }
    }

    fn function_call(&mut self, call: &ToolCall, to: &Encoding<'_>) {
        let first = FunctionOut { name: Some(&call.name), arguments: "" };
        self.delta(&Delta { function_call: Some(first), ..Delta::default() }, None, None);
        for piece in pieces(&call.arguments, to.chunk_chars) {
            let more = FunctionOut { name: None, arguments: piece };
            self.delta(&Delta { function_call: Some(more), ..Delta::default() }, None, None);
        }
    }

    fn usage(&mut self, usage: &Usage) {
        let opening = &self.opening;
        self.frames.push(|out| {
            out.extend_from_slice(opening);
            out.extend_from_slice(b"],\"usage\":");
            out.extend_from_slice(&json(usage));
            out.extend_from_slice(b"}\n\n");
        });
    }

    fn done(mut self) -> Frames {
        self.frames.push(|out| sse::encode("", DONE, out));
        self.frames
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these structs have string keys only")
}
