//! A turn as version 1 sends it.

use super::super::super::{Encoding, arguments_object, finish_out, pieces};
use super::super::{meta, usage};
use super::{END, FINISH};
use crate::frame::{Frames, Framing, ndjson, sse};
use crate::reply::{Reply, ToolCall, Usage};
use crate::request::{Message, Role};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

pub(super) fn whole(reply: &Reply, to: &Encoding<'_>) -> Vec<u8> {
    json(&Whole::new(reply, to))
}

pub(super) fn stream(reply: &Reply, to: &Encoding<'_>) -> Frames {
    let whole = Whole::new(reply, to);
    let mut stream = Stream { frames: Frames::default(), framing: to.request.framing };
    stream.push(Event { generation_id: Some(&whole.generation_id), ..Event::new("stream-start") });
    let kind = if whole.tool_calls.is_empty() { "text-generation" } else { "tool-calls-chunk" };
    for text in pieces(&whole.text, to.chunk_chars) {
        stream.push(Event { text: Some(text), ..Event::new(kind) });
    }
    for (index, call) in whole.tool_calls.iter().enumerate() {
        let chunk = |tool_call_delta| Event { tool_call_delta, ..Event::new("tool-calls-chunk") };
        stream.push(chunk(Some(CallDelta { index, name: Some(call.name), parameters: None })));
        for piece in pieces(call.parameters.get(), to.chunk_chars) {
            stream.push(chunk(Some(CallDelta { index, name: None, parameters: Some(piece) })));
        }
    }
    if !whole.tool_calls.is_empty() {
        let text = Some(&*whole.text).filter(|text| !text.is_empty());
        stream.push(Event { text, tool_calls: &whole.tool_calls, ..Event::new("tool-calls-generation") });
    }
    let finish_reason = Some(&*whole.finish_reason);
    stream.push(Event { is_finished: true, response: Some(&whole), finish_reason, ..Event::new(END) });
    stream.frames
}

#[derive(Serialize)]
struct Whole<'a> {
    response_id: String,
    text: String,
    generation_id: Cow<'a, str>,
    chat_history: Vec<TurnOut<'a>>,
    finish_reason: String,
    meta: Usage,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallOut<'a>>,
}

/// What a client sends back as its next request's history. Instructions and tools' results it has itself.
#[derive(Serialize)]
struct TurnOut<'a> {
    role: &'static str,
    message: Cow<'a, str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallOut<'a>>,
}

#[derive(Clone, Serialize)]
struct CallOut<'a> {
    name: &'a str,
    parameters: Box<RawValue>,
}

impl<'a> Whole<'a> {
    fn new(reply: &'a Reply, to: &Encoding<'a>) -> Self {
        let call = |call: &'a ToolCall| CallOut { name: &call.name, parameters: arguments_object(&call.arguments) };
        let tool_calls: Vec<_> = reply.tool_calls().map(call).collect();
        let text = reply.content();
        let mut chat_history: Vec<_> = to.request.messages.iter().filter_map(TurnOut::before).collect();
        chat_history.push(TurnOut { role: "CHATBOT", message: text.clone().into(), tool_calls: tool_calls.clone() });
        Whole {
            response_id: to.id("", 1),
            text,
            generation_id: reply.id.as_deref().map_or_else(|| Cow::Owned(to.id("", 0)), Cow::Borrowed),
            chat_history,
            finish_reason: finish_out(&FINISH, reply.finish_word()),
            meta: meta("1", usage(reply, to)),
            tool_calls,
        }
    }
}

impl<'a> TurnOut<'a> {
    fn before(message: &'a Message<'_>) -> Option<Self> {
        let role = match message.role {
            Role::User => "USER",
            Role::Assistant => "CHATBOT",
            Role::System | Role::Tool => return None,
        };
        Some(TurnOut { role, message: Cow::Borrowed(&message.text), tool_calls: Vec::new() })
    }
}

#[derive(Serialize)]
struct Event<'a> {
    is_finished: bool,
    event_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_delta: Option<CallDelta<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tool_calls: &'a [CallOut<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a Whole<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'a str>,
}

#[derive(Serialize)]
struct CallDelta<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a str>,
}

impl Event<'_> {
    fn new(event_type: &'static str) -> Self {
        Event {
            is_finished: false,
            event_type,
            generation_id: None,
            text: None,
            tool_call_delta: None,
            tool_calls: &[],
            response: None,
            finish_reason: None,
        }
    }
}

struct Stream {
    frames: Frames,
    framing: Framing,
}

impl Stream {
    fn push(&mut self, event: Event<'_>) {
        let data = json(&event);
        self.frames.push(|out| match self.framing {
            Framing::Sse => sse::encode(event.event_type, &data, out),
            _ => ndjson::encode(&data, out),
        });
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these structs have string keys only")
}
