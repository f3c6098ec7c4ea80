//! A turn as version 1 sends it, and an answer as its events.

use super::super::super::{Encoding, finish_in, finish_out, growth, pieces};
use super::super::usage;
use super::{END, FINISH};
use crate::frame::{Frames, Framing, ndjson, sse};
use crate::json::{Node, object};
use crate::reply::{Part, Reply, ToolCall};
use serde_json::value::RawValue;
use std::borrow::Cow;

pub(super) fn read(native: &Node<'_>) -> Reply {
    let mut reply = Reply {
        id: native.word("generation_id").map(str::to_owned),
        finish: native.word("finish_reason").map(|own| finish_in(&FINISH, own)),
        usage: native.get("meta").map(|meta| {
            let counts = meta.members().iter().filter(|(name, _)| name != "api_version");
            counts.map(|(name, value)| (name.clone().into_owned(), value.to_value())).collect()
        }),
        ..Reply::default()
    };
    reply.usage = reply.usage.filter(|usage| !usage.is_empty());
    reply.parts.extend(native.word("text").map(Part::text));
    reply.parts.extend(native.get("tool_calls").map_or(&[][..], Node::items).iter().map(call));
    if reply.finish.as_deref() == Some("stop") && reply.tool_calls().next().is_some() {
        reply.finish = Some("tool_calls".to_owned());
    }
    reply
}

fn call(node: &Node<'_>) -> Part {
    Part::ToolCall(ToolCall {
        name: node.word("name").unwrap_or("").to_owned(),
        arguments: growth::to_arguments(node.get("parameters")),
        ..ToolCall::default()
    })
}

pub(super) fn write<'r>(reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
    let text = reply.content();
    let calls: Vec<_> = reply
        .tool_calls()
        .map(|call| object! { "name": &*call.name, "parameters": growth::of_arguments(&call.arguments, false) })
        .collect();
    let mut history = before(&to.request.echo);
    let mut turn = object! { "role": "CHATBOT", "message": text.clone() };
    let mut meta = object! { "api_version": object! { "version": "1" } };
    if let Node::Object(counts) = usage(reply, to) {
        counts.into_iter().for_each(|(name, value)| meta.set(name, value));
    }
    if !calls.is_empty() {
        turn.set("tool_calls", calls.clone());
    }
    history.push(turn);
    let mut answer = object! {
        "response_id": to.id("", 1),
        "text": text,
        "generation_id": reply.id.as_deref().map_or_else(|| Cow::Owned(to.id("", 0)), Cow::Borrowed),
        "chat_history": history,
        "finish_reason": finish_out(&FINISH, reply.finish_word()),
        "meta": meta,
    };
    if !calls.is_empty() {
        answer.set("tool_calls", calls);
    }
    answer
}

/// The conversation so far, which a client sends back as its next request's history.
fn before<'r>(request: &'r [(&'static str, Cow<'r, RawValue>)]) -> Vec<Node<'r>> {
    let mut history = Vec::new();
    for (name, raw) in request {
        match (*name, Node::of(raw)) {
            ("chat_history", Ok(Node::List(turns))) => history.extend(turns),
            ("message", Ok(message)) if !message.says_nothing() => {
                history.push(object! { "role": "USER", "message": message });
            }
            ("tool_results", Ok(results)) => history.push(object! { "role": "TOOL", "tool_results": results }),
            _ => {}
        }
    }
    for turn in &mut history {
        // Any case is taken.
        let role = turn.str("role").map(str::to_ascii_uppercase);
        role.into_iter().for_each(|role| turn.set("role", role));
    }
    history
}

// ---------------------------------------------------------------------------------------------------------- streams

/// Events, and the members of the answer that each tells.
const SOURCES: [(&str, &[&str]); 2] =
    [("search-queries-generation", &["search_queries"]), ("search-results", &["search_results", "documents"])];

pub(super) fn stream(native: &Node<'_>, to: &Encoding<'_>) -> Frames {
    let mut stream = Stream { frames: Frames::default(), framing: to.request.framing };
    let list = |name: &str| native.get(name).map_or(&[][..], Node::items);
    stream.push("stream-start", [("generation_id", native.get("generation_id").cloned())]);
    for (kind, names) in SOURCES {
        if names.iter().any(|name| !list(name).is_empty()) {
            stream.push(kind, names.iter().map(|name| (*name, native.get(name).cloned())));
        }
    }
    let (text, calls) = (native.str("text").unwrap_or(""), list("tool_calls"));
    let kind = if calls.is_empty() { "text-generation" } else { "tool-calls-chunk" };
    for piece in pieces(text, to.chunk_chars) {
        stream.push(kind, [("text", Some(piece.into()))]);
    }
    for citation in list("citations") {
        stream.push("citation-generation", [("citations", Some(vec![citation.clone()].into()))]);
    }
    for (index, call) in calls.iter().enumerate() {
        let mut chunk = |name: &'static str, value: Node<'_>| {
            let mut delta = object! { "index": index };
            delta.set(name, value);
            stream.push("tool-calls-chunk", [("tool_call_delta", Some(delta))]);
        };
        chunk("name", call.get("name").cloned().into());
        let parameters = call.get("parameters").map(Node::to_json).unwrap_or_default();
        pieces(&parameters, to.chunk_chars).for_each(|piece| chunk("parameters", piece.into()));
    }
    if !calls.is_empty() {
        let text = Some(text).filter(|text| !text.is_empty()).map(Node::from);
        stream.push("tool-calls-generation", [("text", text), ("tool_calls", native.get("tool_calls").cloned())]);
    }
    let finish = native.get("finish_reason").cloned();
    stream.push(END, [("response", Some(native.clone())), ("finish_reason", finish)]);
    stream.frames
}

struct Stream {
    frames: Frames,
    framing: Framing,
}

impl Stream {
    fn push<'n>(&mut self, kind: &'static str, members: impl IntoIterator<Item = (&'static str, Option<Node<'n>>)>) {
        let mut event = object! { "is_finished": kind == END, "event_type": kind };
        for (name, value) in members {
            value.into_iter().for_each(|value| event.set(name, value));
        }
        let data = event.to_bytes();
        self.frames.push(|out| match self.framing {
            Framing::Sse => sse::encode(kind, &data, out),
            _ => ndjson::encode(&data, out),
        });
    }
}
