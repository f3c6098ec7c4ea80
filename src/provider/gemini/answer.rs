//! A turn as an answer, and an answer as chunks of the same shape.
//! <https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse>

use super::super::{Encoding, finish_out, growth, pieces, usage_node};
use super::{BLOCKED, FINISH, USAGE, WIRE, read, signature};
use crate::frame::{Frames, Framing, jsonarray, sse};
use crate::json::{self, Node, object};
use crate::reply::{Part, Reply};
use std::borrow::Cow;

pub(super) fn write<'r>(reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
    let finish = finish_out(&FINISH, reply.finish_word());
    let mut parts: Vec<_> = reply.parts.iter().filter_map(part).collect();
    let mut answer = match finish.strip_prefix(BLOCKED) {
        Some(reason) if parts.is_empty() => {
            object! { "promptFeedback": object! { "blockReason": reason.to_owned() } }
        }
        blocked => {
            if parts.is_empty() {
                // Clients look for a first part. The wire has no refusals, so one that stands alone is text.
                parts.push(object! { "text": reply.refusal.as_deref().unwrap_or("") });
            }
            let mut candidate = object! {
                "content": object! { "parts": parts, "role": "model" },
                "finishReason": blocked.unwrap_or(&finish).to_owned(),
                "index": 0i64,
            };
            reply.parts.iter().filter_map(own).filter(is_of_candidate).for_each(|members| {
                members.members().iter().for_each(|(name, value)| candidate.set(name.clone(), value.clone()));
            });
            object! { "candidates": vec![candidate] }
        }
    };
    answer.set("usageMetadata", usage_node(&USAGE, reply, to.request));
    answer.set("modelVersion", reply.model.as_deref().unwrap_or(&to.request.model));
    answer.set("responseId", reply.id.as_deref().map_or_else(|| Cow::Owned(to.id("", 0)), Cow::Borrowed));
    answer
}

/// <https://ai.google.dev/api/caching#Part>
fn part(part: &Part) -> Option<Node<'_>> {
    let (mut node, signature) = match part {
        Part::Text { text, signature } => (object! { "text": &**text }, signature),
        Part::Reasoning { text, signature } => (object! { "text": &**text, "thought": true }, signature),
        Part::ToolCall(call) => {
            let mut called = Node::Object(Vec::new());
            if let Some(id) = &call.id {
                called.set("id", &**id);
            }
            called.set("name", &*call.name);
            called.set("args", growth::of_arguments(&call.arguments, false));
            (object! { "functionCall": called }, &call.signature)
        }
        Part::RedactedReasoning(_) => return None,
        Part::Verbatim(_) => return own(part).filter(|members| !is_of_candidate(members)),
    };
    if let Some(signature) = signature {
        node.set("thoughtSignature", signature::out(signature));
    }
    Some(node)
}

/// What files of earlier versions keep of this wire alone.
fn own(part: &Part) -> Option<Node<'_>> {
    Node::of(part.verbatim_of(WIRE)?).ok()
}

/// Whether that are members of the candidate and no part.
fn is_of_candidate(own: &Node<'_>) -> bool {
    const MEMBERS: [&str; 4] = ["citationMetadata", "groundingMetadata", "urlContextMetadata", "finishMessage"];
    own.members().iter().all(|(name, _)| MEMBERS.contains(&&**name))
}

// ---------------------------------------------------------------------------------------------------------- streams

pub(super) fn stream(native: &Node<'_>, to: &Encoding<'_>) -> Frames {
    let mut chunks = Chunks { frames: Frames::default(), framing: to.request.framing };
    let Some((lead, candidate)) = read::first(native) else {
        chunks.push(&native.to_bytes(), true);
        return chunks.frames;
    };
    // The first candidate comes piece by piece; its last piece comes with all the rest.
    let mut parts = cut(candidate.at("/content/parts").map_or(&[][..], Node::items), to.chunk_chars);
    let last = parts.pop();
    let closing = closing(native, candidate);
    let mut chunk = Vec::new();
    for part in &parts {
        chunk.clear();
        chunk.extend_from_slice(b"{\"candidates\":[{\"content\":{\"parts\":[");
        part.write(&mut chunk);
        chunk.extend_from_slice(&closing);
        chunks.push(&chunk, false);
    }
    chunks.push(&end(native, lead, last).to_bytes(), true);
    chunks.frames
}

struct Chunks {
    frames: Frames,
    framing: Framing,
}

impl Chunks {
    fn push(&mut self, chunk: &[u8], last: bool) {
        let first = self.frames.ends.is_empty();
        self.frames.push(|out| match self.framing {
            Framing::JsonArray => jsonarray::encode(chunk, first, last, out),
            _ => sse::encode("", chunk, out),
        });
    }
}

/// What a chunk holds of the parts.
struct Piece<'n> {
    part: &'n Node<'n>,
    /// In place of the part's text.
    text: Option<&'n str>,
}

impl Piece<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let Some(piece) = self.text else { return self.part.write(out) };
        for (i, (name, value)) in self.part.members().iter().enumerate() {
            out.push(if i == 0 { b'{' } else { b',' });
            json::string(name, out);
            out.push(b':');
            if name == "text" { json::string(piece, out) } else { value.write(out) }
        }
        out.push(b'}');
    }

    fn node(&self) -> Node<'_> {
        let mut node = self.part.clone();
        if let Some(text) = self.text {
            node.set("text", text);
        }
        node
    }
}

/// The parts as they come: text in pieces, but for what is signed, as its signature is that of the whole.
fn cut<'n>(parts: &'n [Node<'n>], chars: usize) -> Vec<Piece<'n>> {
    let mut cut = Vec::new();
    for part in parts {
        match super::plain_text(part).filter(|(text, _)| !text.is_empty()) {
            Some((text, _)) => cut.extend(pieces(text, chars).map(|piece| Piece { part, text: Some(piece) })),
            None => cut.push(Piece { part, text: None }),
        }
    }
    cut
}

/// What follows a part in a chunk: what else each has of the candidate, and what they all say.
fn closing(native: &Node<'_>, candidate: &Node<'_>) -> Vec<u8> {
    let mut out = b"]".to_vec();
    let member = |name: &str, value: &Node<'_>, out: &mut Vec<u8>| {
        out.push(b',');
        json::string(name, out);
        out.push(b':');
        value.write(out);
    };
    let content = candidate.get("content").map_or(&[][..], Node::members);
    content.iter().filter(|(name, _)| name != "parts").for_each(|(name, value)| member(name, value, &mut out));
    out.push(b'}');
    candidate.get("index").into_iter().for_each(|index| member("index", index, &mut out));
    out.extend_from_slice(b"}]");
    let simple = native.members().iter().filter(|(_, value)| matches!(value, Node::Text(_) | Node::Number(_)));
    simple.for_each(|(name, value)| member(name, value, &mut out));
    out.push(b'}');
    out
}

/// The last chunk: the answer with what is left of its first candidate's parts. A stream ends with a finish reason, also
/// where the answer, which came whole, had none.
fn end<'n>(native: &'n Node<'n>, lead: usize, last: Option<Piece<'n>>) -> Node<'n> {
    let with = |node: &'n Node<'n>, name: &str, then: &dyn Fn(&'n Node<'n>) -> Node<'n>| {
        let members = node.members().iter();
        Node::Object(members.map(|(n, v)| (n.clone(), if n == name { then(v) } else { v.clone() })).collect())
    };
    let parts = |parts: &'n Node<'n>| match &last {
        Some(last) => Node::List(vec![last.node().into_owned()]),
        None => parts.clone(),
    };
    let first = |candidate: &'n Node<'n>| {
        let mut candidate = with(candidate, "content", &|content| with(content, "parts", &parts));
        if candidate.get("finishReason").is_none() {
            candidate.set("finishReason", FINISH.otherwise);
        }
        candidate
    };
    with(native, "candidates", &|candidates| {
        let candidates = candidates.items().iter().enumerate();
        Node::List(candidates.map(|(i, c)| if i == lead { first(c) } else { c.clone() }).collect())
    })
}
