//! A turn as version 2 sends it, and an answer as its events.

use super::super::super::{Encoding, finish_in, finish_out, growth, pieces};
use super::super::usage;
use super::{DONE, FINISH, TEXTS, WIRE};
use crate::frame::{Frames, sse};
use crate::json::{Node, object};
use crate::reply::{Part, Reply, ToolCall};
use std::borrow::Cow;

/// The `reasoning_field` that files of earlier versions have where the last reasoning part is a plan.
const TOOL_PLAN: &str = "tool_plan";

pub(super) fn read(native: &Node<'_>) -> Reply {
    let mut reply = Reply {
        id: native.word("id").map(str::to_owned),
        finish: native.word("finish_reason").map(|own| finish_in(&FINISH, own)),
        usage: native.get("usage").map(Node::to_map).filter(|usage| !usage.is_empty()),
        ..Reply::default()
    };
    let Some(message) = native.get("message") else { return reply };
    reply.role = message.word("role").filter(|role| *role != "assistant").map(str::to_owned);
    let blocks = match message.get("content") {
        Some(Node::List(blocks)) => &blocks[..],
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let (mut thoughts, mut texts) = (Vec::new(), Vec::new());
    for block in blocks {
        thoughts.extend(block.word("thinking"));
        texts.extend(block.word("text").or(block.as_str().filter(|text| !text.is_empty())));
    }
    thoughts.extend(message.word(TOOL_PLAN));
    let reasoning = |text: &str| Part::Reasoning { text: text.to_owned(), signature: None };
    reply.parts.extend(thoughts.into_iter().map(reasoning));
    reply.parts.extend(texts.into_iter().map(Part::text));
    reply.parts.extend(message.get("tool_calls").map_or(&[][..], Node::items).iter().filter_map(call));
    reply
}

fn call(node: &Node<'_>) -> Option<Part> {
    let function = node.get("function")?;
    Some(Part::ToolCall(ToolCall {
        id: node.word("id").map(str::to_owned),
        name: function.word("name").unwrap_or("").to_owned(),
        arguments: growth::to_arguments(function.get("arguments")),
        ..ToolCall::default()
    }))
}

/// What was thought and what was said: the parts of each kind that have any text.
fn said(reply: &Reply) -> (Vec<&str>, Vec<&str>) {
    let (mut thoughts, mut texts) = (Vec::new(), Vec::new());
    for part in &reply.parts {
        match part {
            Part::Reasoning { text, .. } if !text.is_empty() => thoughts.push(&**text),
            Part::Text { text, .. } if !text.is_empty() => texts.push(&**text),
            _ => {}
        }
    }
    (thoughts, texts)
}

pub(super) fn write<'r>(reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
    let (mut thoughts, mut texts) = said(reply);
    let planned = reply.reasoning_field.as_deref() == Some(TOOL_PLAN);
    let plan = if planned { thoughts.pop() } else { None };
    let calls: Vec<_> = reply.tool_calls().enumerate().map(|(n, call)| call_node(call, n, to)).collect();
    if texts.is_empty() && calls.is_empty() && plan.is_none() {
        texts.push("");
    }
    let thoughts = thoughts.into_iter().map(|text| object! { "type": "thinking", "thinking": text });
    let content: Vec<_> =
        thoughts.chain(texts.into_iter().map(|text| object! { "type": "text", "text": text })).collect();
    let mut message = object! { "role": reply.role.as_deref().unwrap_or("assistant") };
    if !content.is_empty() {
        message.set("content", content);
    }
    if let Some(plan) = plan {
        message.set(TOOL_PLAN, plan);
    }
    if !calls.is_empty() {
        message.set("tool_calls", calls);
    }
    // What files of earlier versions keep of this wire alone: sources.
    for own in reply.parts.iter().filter_map(|part| Node::of(part.verbatim_of(WIRE)?).ok()) {
        own.members().iter().for_each(|(name, value)| message.set(name.clone(), value.clone()));
    }
    object! {
        "id": reply.id.as_deref().map_or_else(|| Cow::Owned(to.id("", 0)), Cow::Borrowed),
        "message": message,
        "finish_reason": finish_out(&FINISH, reply.finish_word()),
        "usage": usage(reply, to),
    }
}

fn call_node<'r>(call: &'r ToolCall, n: usize, to: &Encoding<'_>) -> Node<'r> {
    let id = call.id.as_deref().map_or_else(|| Cow::Owned(to.id("call_", n + 1)), Cow::Borrowed);
    let function = object! { "name": &*call.name, "arguments": &*call.arguments };
    object! { "id": id, "type": "function", "function": function }
}

// ---------------------------------------------------------------------------------------------------------- streams

pub(super) fn stream(native: &Node<'_>, to: &Encoding<'_>) -> Frames {
    let mut stream = Stream { frames: Frames::default(), chunk_chars: to.chunk_chars };
    let nothing = Node::Null;
    let message = native.get("message").unwrap_or(&nothing);
    stream.start(native, message);
    let logprobs = native.get("logprobs");
    let blocks = match message.get("content") {
        Some(Node::List(blocks)) => &blocks[..],
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    for (n, block) in blocks.iter().enumerate() {
        let probabilities = logprobs.filter(|_| n + 1 == blocks.len()).map_or(&[][..], Node::items);
        stream.block(n, block, probabilities);
    }
    for (n, citation) in message.get("citations").map_or(&[][..], Node::items).iter().enumerate() {
        stream.message("citation-start", Some(n), "citations", citation.clone());
        stream.end("citation-end", n);
    }
    for piece in pieces(message.str(TOOL_PLAN).unwrap_or(""), to.chunk_chars) {
        stream.message("tool-plan-delta", None, TOOL_PLAN, piece.into());
    }
    for (n, call) in message.get("tool_calls").map_or(&[][..], Node::items).iter().enumerate() {
        stream.tool_call(n, call);
    }
    let told = |name: &str| name == "id" || name == "message" || (name == "logprobs" && !blocks.is_empty());
    let rest = native.members().iter().filter(|(name, _)| !told(name)).cloned();
    stream.event("message-end", object! { "type": "message-end", "delta": Node::Object(rest.collect()) });
    stream.frames.push(|out| sse::encode("", DONE, out));
    stream.frames
}

struct Stream {
    frames: Frames,
    chunk_chars: usize,
}

impl Stream {
    fn event(&mut self, kind: &str, event: Node<'_>) {
        self.frames.push(|out| sse::encode(kind, &event.to_bytes(), out));
    }

    /// The message without what follows piece by piece.
    fn start(&mut self, native: &Node<'_>, message: &Node<'_>) {
        const FOLLOWS: [&str; 4] = ["content", TOOL_PLAN, "tool_calls", "citations"];
        let stays = |(name, value): &&(Cow<'_, str>, Node<'_>)| match &**name {
            "content" => value.get("type").is_none() && !matches!(value, Node::List(_) | Node::Text(_)),
            TOOL_PLAN => !matches!(value, Node::Text(_)),
            name => !FOLLOWS.contains(&name) || !matches!(value, Node::List(_)),
        };
        let mut begun = Node::Object(message.members().iter().filter(stays).cloned().collect());
        for name in FOLLOWS.into_iter().filter(|name| begun.get(name).is_none()).collect::<Vec<_>>() {
            begun.set(name, if name == TOOL_PLAN { "".into() } else { Node::List(Vec::new()) });
        }
        let mut event = Node::Object(Vec::new());
        native.get("id").into_iter().for_each(|id| event.set("id", id.clone()));
        event.set("type", "message-start");
        event.set("delta", object! { "message": begun });
        self.event("message-start", event);
    }

    /// An event with one member of the message.
    fn message(&mut self, kind: &'static str, index: Option<usize>, name: &'static str, value: Node<'_>) {
        self.event(kind, message(kind, index, name, value));
    }

    fn end(&mut self, kind: &'static str, index: usize) {
        self.event(kind, object! { "type": kind, "index": index });
    }

    fn block(&mut self, n: usize, block: &Node<'_>, logprobs: &[Node<'_>]) {
        let whole = match block {
            Node::Text(text) => object! { "type": "text", "text": &**text },
            block => block.clone(),
        };
        let grown = TEXTS.into_iter().find_map(|name| Some((name, whole.str(name)?.to_owned())));
        let mut first = whole;
        if let Some((name, _)) = &grown {
            first.set(*name, "");
        }
        self.message("content-start", Some(n), "content", first);
        if let Some((name, text)) = &grown {
            for piece in pieces(text, self.chunk_chars) {
                self.message("content-delta", Some(n), "content", Node::Object(vec![((*name).into(), piece.into())]));
            }
        }
        for item in logprobs {
            let mut event = message("content-delta", Some(n), "content", object! { "text": "" });
            event.set("logprobs", item.clone());
            self.event("content-delta", event);
        }
        self.end("content-end", n);
    }

    fn tool_call(&mut self, n: usize, call: &Node<'_>) {
        let arguments = call.get("function").and_then(|function| function.str("arguments")).unwrap_or("");
        let mut first = call.clone();
        if let Some(Node::Text(text)) = first.get_mut("function").and_then(|function| function.get_mut("arguments")) {
            *text = Cow::Borrowed("");
        }
        self.message("tool-call-start", Some(n), "tool_calls", first);
        for piece in pieces(arguments, self.chunk_chars) {
            let function = object! { "function": object! { "arguments": piece } };
            self.message("tool-call-delta", Some(n), "tool_calls", function);
        }
        self.end("tool-call-end", n);
    }
}

fn message<'n>(kind: &'static str, index: Option<usize>, name: &'static str, value: Node<'n>) -> Node<'n> {
    let mut event = object! { "type": kind };
    index.into_iter().for_each(|index| event.set("index", index));
    event.set("delta", object! { "message": Node::Object(vec![(name.into(), value)]) });
    event
}
