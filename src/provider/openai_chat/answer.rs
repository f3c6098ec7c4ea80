//! A turn as a chat completion, and a completion as chunks.
//! <https://platform.openai.com/docs/api-reference/chat-streaming>

use super::super::{Encoding, finish_out, pieces, usage_node};
use super::{DONE, FINISH, LEGACY_CALL, REASONING, USAGE, WIRE};
use crate::frame::{Frames, sse};
use crate::json::{self, Node, object};
use crate::reply::{Part, Reply, ToolCall};
use std::borrow::Cow;

/// Room for what stands around an answer's text, or comes after it.
const WHOLE_BYTES: usize = 512;

/// Room for what chunks begin with.
const HEAD_BYTES: usize = 256;

/// Chunks that follow those of a text, nearly always.
const CLOSING_CHUNKS: usize = 3;

/// What stands around a chunk's text, after what all chunks begin with.
const TEXT_OPENS: &[u8] = b"{\"index\":0,\"delta\":{\"content\":\"";
const TEXT_CLOSES: &[u8] = b"\"},\"finish_reason\":null}]}\n\n";

pub(super) fn write<'r>(reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
    let mut answer = object! {
        "id": reply.id.as_deref().map_or_else(|| Cow::Owned(to.id("chatcmpl-", 0)), Cow::Borrowed),
        "object": "chat.completion",
        "created": reply.created.unwrap_or(to.now),
        "model": reply.model.as_deref().unwrap_or(&to.request.model),
    };
    if let Some(fingerprint) = &reply.system_fingerprint {
        answer.set("system_fingerprint", &**fingerprint);
    }
    let choice = object! {
        "index": 0i64,
        "message": message(reply, to),
        "logprobs": Node::Null,
        "finish_reason": finish_out(&FINISH, reply.finish_word()),
    };
    answer.set("choices", vec![choice]);
    // A stream tells it where it is asked for, or where it was recorded.
    if !to.request.streamed() || to.request.include_usage || reply.usage.is_some() {
        answer.set("usage", usage_node(&USAGE, reply, to.request));
    }
    for (name, value) in own(reply).filter(|(name, _)| OF_ANSWER.contains(&&**name)) {
        answer.set(name, value);
    }
    answer
}

fn message<'r>(reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
    let mut texts =
        reply.parts.iter().filter_map(|part| if let Part::Text { text, .. } = part { Some(text) } else { None });
    let content = match (texts.next(), texts.next()) {
        (None, _) => Cow::Borrowed(""),
        (Some(text), None) => Cow::Borrowed(&**text),
        _ => Cow::Owned(reply.content()),
    };
    let calls = reply.tool_calls().next().is_some();
    let content = if content.is_empty() && (calls || reply.refusal.is_some()) { Node::Null } else { content.into() };
    let mut message = object! { "role": reply.role.as_deref().unwrap_or("assistant"), "content": content };
    let reasoning = reply.reasoning();
    if !reasoning.is_empty() {
        message.set(REASONING, reasoning);
    }
    message.set("refusal", reply.refusal.as_deref());
    if let Some(first) = reply.tool_calls().next() {
        if reply.finish.as_deref() == Some(LEGACY_CALL) {
            message.set(LEGACY_CALL, object! { "name": &*first.name, "arguments": &*first.arguments });
        } else {
            let calls = reply.tool_calls().enumerate().map(|(n, call)| call_node(call, n, to));
            message.set("tool_calls", calls.collect::<Vec<_>>());
        }
    }
    for (name, value) in own(reply).filter(|(name, _)| !OF_ANSWER.contains(&&**name)) {
        message.set(name, value);
    }
    message
}

fn call_node<'r>(call: &'r ToolCall, n: usize, to: &Encoding<'_>) -> Node<'r> {
    let id = call.id.as_deref().map_or_else(|| Cow::Owned(to.id("call_", n + 1)), Cow::Borrowed);
    let custom = call.custom || to.request.custom_tools.iter().any(|name| *name == call.name);
    let (kind, arguments) = if custom { ("custom", "input") } else { ("function", "arguments") };
    let called = vec![("name".into(), (&*call.name).into()), (arguments.into(), (&*call.arguments).into())];
    let mut node = object! { "id": id, "type": kind };
    node.set(kind, Node::Object(called));
    if let Some(signature) = &call.signature {
        // <https://ai.google.dev/gemini-api/docs/thought-signatures#openai>
        node.set("extra_content", object! { "google": object! { "thought_signature": &**signature } });
    }
    node
}

/// Members of the answer itself, not of its message, in files of earlier versions.
const OF_ANSWER: [&str; 2] = ["citations", "search_results"];

/// What files of earlier versions keep of this wire alone.
fn own(reply: &Reply) -> impl Iterator<Item = (Cow<'_, str>, Node<'_>)> {
    let members = reply.parts.iter().filter_map(|part| match part.verbatim_of(WIRE).map(Node::of) {
        Some(Ok(Node::Object(members))) => Some(members),
        _ => None,
    });
    members.flatten()
}

// ---------------------------------------------------------------------------------------------------------- streams

/// Members that say what the model thought, in the order of preference; they go before what it said.
const BEFORE_CONTENT: [&str; 3] = [REASONING, "reasoning", "reasoning_details"];

pub(super) fn stream(native: &Node<'_>, to: &Encoding<'_>) -> Frames {
    let mut stream = Stream::new(native, to.chunk_chars);
    let choices = native.get("choices").map_or(&[][..], Node::items);
    let usage = native.get("usage");
    let asked = to.request.include_usage;
    for (n, choice) in choices.iter().enumerate() {
        // A service that sends usage unasked puts it beside the finish reason: clients that did not ask for the extra
        // chunk fail on one without choices.
        let unasked = usage.filter(|_| !asked && n + 1 == choices.len());
        stream.choice(choice, unasked);
    }
    if let Some(usage) = usage.filter(|_| asked || choices.is_empty()) {
        stream.frame(|out| {
            out.extend_from_slice(b"],\"usage\":");
            usage.write(out);
            out.extend_from_slice(b"}\n\n");
        });
    }
    stream.frames.push(|out| sse::encode("", DONE, out));
    stream.frames
}

/// The chunks of a streamed answer; what all of them begin with is written once.
struct Stream {
    frames: Frames,
    opening: Vec<u8>,
    /// Lists and objects of the answer: the first chunk has them.
    once: Vec<u8>,
    chunk_chars: usize,
}

impl Stream {
    fn new(native: &Node<'_>, chunk_chars: usize) -> Self {
        let mut opening = Vec::with_capacity(HEAD_BYTES);
        let mut once = Vec::new();
        opening.extend_from_slice(b"data: {");
        for (name, value) in native.members() {
            let out = match (&**name, value) {
                ("choices" | "usage", _) | (_, Node::Null) => continue,
                (_, Node::List(_) | Node::Object(_)) => &mut once,
                _ => &mut opening,
            };
            json::string(name, out);
            out.push(b':');
            match (&**name, value) {
                ("object", Node::Text(kind)) if kind == "chat.completion" => {
                    out.extend_from_slice(b"\"chat.completion.chunk\"");
                }
                _ => value.write(out),
            }
            out.push(b',');
        }
        opening.extend_from_slice(b"\"choices\":[");
        let mut frames = Frames::default();
        frames.bytes.reserve(WHOLE_BYTES); // where there is no text
        Stream { frames, opening, once, chunk_chars }
    }

    /// A chunk, after what all begin with; the first one also has what only one has.
    fn frame(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let (opening, once) = (&self.opening, std::mem::take(&mut self.once));
        self.frames.push(|out| {
            let (head, choices) = opening.split_at(opening.len() - "\"choices\":[".len());
            out.extend_from_slice(head);
            out.extend_from_slice(&once);
            out.extend_from_slice(choices);
            write(out);
        });
    }

    fn choice(&mut self, choice: &Node<'_>, usage: Option<&Node<'_>>) {
        const EMPTY: &Node<'static> = &Node::Null;
        let index = choice.get("index").and_then(Node::as_i64).unwrap_or(0);
        let message = choice.get("message").unwrap_or(EMPTY);
        self.open(index, message);
        for name in BEFORE_CONTENT {
            if let Some(value) = message.get(name) {
                self.member(index, name, value);
            }
        }
        match message.get("content") {
            Some(Node::Text(text)) if index == 0 => self.text(text),
            Some(content) => self.member(index, "content", content),
            None => {}
        }
        let said = |name: &str| name == "role" || name == "content" || BEFORE_CONTENT.contains(&name);
        for (name, value) in message.members().iter().filter(|(name, _)| !said(name)) {
            self.member(index, name, value);
        }
        self.frame(|out| {
            out.extend_from_slice(b"{\"index\":");
            json::number(index, out);
            out.extend_from_slice(b",\"delta\":{}");
            for (name, value) in choice.members().iter().filter(|(name, _)| *name != "index" && *name != "message") {
                out.push(b',');
                json::string(name, out);
                out.push(b':');
                value.write(out);
            }
            out.extend_from_slice(b"}]");
            if let Some(usage) = usage {
                out.extend_from_slice(b",\"usage\":");
                usage.write(out);
            }
            out.extend_from_slice(b"}\n\n");
        });
    }

    fn open(&mut self, index: i64, message: &Node<'_>) {
        let empty = matches!(message.get("content"), Some(Node::Text(_)));
        self.delta(index, |out| {
            if let Some(role) = message.get("role") {
                out.extend_from_slice(b"\"role\":");
                role.write(out);
            }
            if empty {
                out.extend_from_slice(if message.get("role").is_some() {
                    b",\"content\":\"\""
                } else {
                    b"\"content\":\"\""
                });
            }
        });
    }

    /// A chunk with a delta's members.
    fn delta(&mut self, index: i64, members: impl FnOnce(&mut Vec<u8>)) {
        self.frame(|out| {
            out.extend_from_slice(b"{\"index\":");
            json::number(index, out);
            out.extend_from_slice(b",\"delta\":{");
            members(out);
            out.extend_from_slice(b"},\"finish_reason\":null}]}\n\n");
        });
    }

    /// A delta of one member.
    fn one(&mut self, index: i64, name: &str, value: &Node<'_>) {
        self.delta(index, |out| {
            json::string(name, out);
            out.push(b':');
            value.write(out);
        });
    }

    /// A member of the message, in as many chunks as it takes.
    fn member(&mut self, index: i64, name: &str, value: &Node<'_>) {
        match (name, value) {
            (_, Node::Null) => {}
            ("tool_calls", Node::List(calls)) => {
                for (n, call) in calls.iter().enumerate() {
                    self.call(index, n, call);
                }
                if calls.is_empty() {
                    self.one(index, name, value);
                }
            }
            ("function_call", Node::Object(_)) => {
                let (begun, arguments) = begun(value, "arguments");
                self.one(index, name, &begun);
                for piece in pieces(&arguments, self.chunk_chars) {
                    self.one(index, name, &object! { "arguments": piece });
                }
            }
            ("content", Node::List(parts)) => {
                for (n, part) in parts.iter().enumerate() {
                    match part.str("text").filter(|_| n > 0 && super::is_text(part)) {
                        Some(text) => pieces(text, self.chunk_chars).for_each(|p| self.one(index, name, &p.into())),
                        None => self.one(index, name, &vec![part.clone()].into()),
                    }
                }
                if parts.is_empty() {
                    self.one(index, name, value);
                }
            }
            (_, Node::Text(text)) if super::grows(name) && !text.is_empty() => {
                for piece in pieces(text, self.chunk_chars) {
                    self.one(index, name, &piece.into());
                }
            }
            _ => self.one(index, name, value),
        }
    }

    fn call(&mut self, index: i64, n: usize, call: &Node<'_>) {
        let kind = ["function", "custom"].into_iter().find(|kind| call.get(kind).is_some());
        let Some((kind, called)) = kind.and_then(|kind| Some((kind, call.get(kind)?))) else {
            let mut first = object! { "index": n };
            call.members().iter().for_each(|(name, value)| first.set(name.clone(), value.clone()));
            return self.one(index, "tool_calls", &vec![first].into());
        };
        let arguments_name = if kind == "custom" { "input" } else { "arguments" };
        let (called, arguments) = begun(called, arguments_name);
        let mut first = object! { "index": n };
        for (name, value) in call.members().iter().filter(|(name, _)| *name != "index") {
            first.set(name.clone(), if *name == kind { called.clone() } else { value.clone() });
        }
        self.one(index, "tool_calls", &vec![first].into());
        for piece in pieces(&arguments, self.chunk_chars) {
            let mut more = object! { "index": n };
            more.set(kind, Node::Object(vec![(arguments_name.into(), piece.into())]));
            self.one(index, "tool_calls", &vec![more].into());
        }
    }

    /// A text's chunks, of choice 0.
    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        // What ends a chunk and what begins the next one are written as one.
        let between = [TEXT_CLOSES, &*self.opening, TEXT_OPENS].concat();
        let (closes, opens) = between.split_at(TEXT_CLOSES.len());
        let Frames { bytes, ends } = &mut self.frames;
        let chunks = text.len() / self.chunk_chars.max(1) + 1;
        ends.reserve(chunks + CLOSING_CHUNKS);
        bytes.reserve(text.len() + chunks * between.len() + WHOLE_BYTES);
        let plain = json::is_plain(text);
        for (n, piece) in pieces(text, self.chunk_chars).enumerate() {
            if n > 0 {
                ends.push(bytes.len() + closes.len());
            }
            bytes.extend_from_slice(if n > 0 { &between } else { opens });
            if plain {
                bytes.extend_from_slice(piece.as_bytes());
            } else {
                json::escaped(piece, bytes);
            }
        }
        bytes.extend_from_slice(closes);
        ends.push(bytes.len());
    }
}

/// A call without its arguments, which follow it; where they are no text, they do not.
fn begun<'n>(called: &Node<'n>, arguments: &str) -> (Node<'n>, String) {
    let mut begun = called.clone();
    match begun.get_mut(arguments) {
        Some(node @ Node::Text(_)) => {
            let text = std::mem::replace(node, "".into());
            (begun, text.as_str().unwrap_or("").to_owned())
        }
        _ => (begun, String::new()),
    }
}
