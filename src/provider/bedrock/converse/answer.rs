//! A turn as an answer, and an answer as events; members in the order AWS sends them: by name.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html>

use super::super::padding;
use super::{BASE64, FINISH, USAGE};
use crate::frame::{Frames, eventstream};
use crate::json::{self, Members, Node, object};
use crate::provider::{Encoding, finish_out, growth, pieces, usage_node};
use crate::reply::{Part, Reply};
use base64::Engine;
use std::borrow::Cow;

/// Members of an answer that come with the event that ends its message; all others come with the last event.
const OF_STOP: [&str; 2] = ["additionalModelResponseFields", "stopReason"];

pub(super) fn write<'r>(reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
    let mut calls = 0;
    let mut blocks: Vec<Node<'r>> = reply.parts.iter().filter_map(|part| block(part, &mut calls, to)).collect();
    // A refusal, which has no member of its own here, stands for text that is not there.
    let refusal = reply.refusal.as_deref().filter(|_| reply.content().is_empty());
    blocks.extend(refusal.map(|text| object! { "text": text }));
    object! {
        // A client may read it and must find it; a replay has no model that took its time.
        "metrics": object! { "latencyMs": 0i64 },
        "output": object! {
            "message": object! { "content": blocks, "role": reply.role.as_deref().unwrap_or("assistant") },
        },
        "stopReason": finish_out(&FINISH, reply.finish_word()),
        "usage": usage_node(&USAGE, reply, to.request),
    }
}

fn block<'r>(part: &'r Part, calls: &mut usize, to: &Encoding<'_>) -> Option<Node<'r>> {
    Some(match part {
        Part::Text { text, .. } if text.is_empty() => return None,
        Part::Text { text, .. } => object! { "text": &**text },
        Part::Reasoning { text, signature: None } if text.is_empty() => return None,
        Part::Reasoning { text, signature } => {
            let mut said = object! { "text": &**text };
            if let Some(signature) = signature {
                said = object! { "signature": &**signature, "text": &**text };
            }
            object! { "reasoningContent": object! { "reasoningText": said } }
        }
        Part::RedactedReasoning(data) => object! { "reasoningContent": object! { "redactedContent": blob(data) } },
        Part::Verbatim(_) => return None,
        Part::ToolCall(call) => {
            *calls += 1;
            object! { "toolUse": object! {
                "input": growth::of_arguments(&call.arguments, to.request.streamed()),
                "name": &*call.name,
                "toolUseId": call.id.as_deref().map_or_else(|| Cow::Owned(to.id("tooluse_", *calls)), Cow::Borrowed),
            } }
        }
    })
}

/// Redacted reasoning as SDKs decode it: base64, also where another provider's is not.
fn blob(data: &str) -> Cow<'_, str> {
    if BASE64.decode(data).is_ok() { Cow::Borrowed(data) } else { Cow::Owned(BASE64.encode(data)) }
}

// ---------------------------------------------------------------------------------------------------------- streams

pub(super) fn stream(native: &Node<'_>, to: &Encoding<'_>) -> Frames {
    let mut stream = Stream { frames: Frames::default(), to, index: 0 };
    let message = native.at("/output/message").unwrap_or(&Node::Null);
    stream.event("messageStart", without(message, &["content"]));
    for block in message.get("content").map_or(&[][..], Node::items) {
        stream.block(block);
        stream.event("contentBlockStop", stream.numbered());
        stream.index += 1;
    }
    let (stop, mut last): (Members<'_>, Members<'_>) =
        without(native, &["output"]).into_iter().partition(|(name, _)| OF_STOP.contains(&&**name));
    // What else it may put out has no event of its own.
    let output = native.get("output").map(|output| without(output, &["message"])).unwrap_or_default();
    if !output.is_empty() {
        last.push(("output".into(), Node::Object(output)));
    }
    stream.event("messageStop", stop);
    stream.event("metadata", last);
    stream.frames
}

/// An object's members that say more than null, without these.
fn without<'n>(object: &Node<'n>, names: &[&str]) -> Members<'n> {
    let said = |(name, value): &&(Cow<'n, str>, Node<'n>)| !names.contains(&&**name) && !matches!(value, Node::Null);
    object.members().iter().filter(said).cloned().collect()
}

/// The events of a streamed answer.
struct Stream<'a> {
    frames: Frames,
    to: &'a Encoding<'a>,
    /// The block that is being sent.
    index: usize,
}

impl Stream<'_> {
    /// An event of these members and its padding.
    fn event(&mut self, name: &str, mut members: Members<'_>) {
        members.push(("p".into(), padding(self.to, self.frames.ends.len()).into()));
        members.sort_by(|a, b| a.0.cmp(&b.0));
        let json = Node::Object(members).to_bytes();
        self.frames.push(|out| eventstream::encode(name, &json, out));
    }

    fn numbered(&self) -> Members<'static> {
        vec![("contentBlockIndex".into(), self.index.into())]
    }

    fn start(&mut self, block: Node<'_>) {
        let mut members: Members<'_> = self.numbered();
        members.push(("start".into(), block));
        self.event("contentBlockStart", members);
    }

    fn delta(&mut self, delta: Node<'_>) {
        let mut members: Members<'_> = self.numbered();
        members.push(("delta".into(), delta));
        self.event("contentBlockDelta", members);
    }

    /// The deltas of a text, written once but for its pieces: what stands around one, what an empty text needs.
    fn texts(&mut self, text: &str, (opens, closes): (&str, &str)) {
        let empty = text.is_empty().then_some("");
        for piece in empty.into_iter().chain(pieces(text, self.to.chunk_chars)) {
            let mut json = format!(r#"{{"contentBlockIndex":{},"delta":{opens}"#, self.index).into_bytes();
            json::string(piece, &mut json);
            json.extend_from_slice(closes.as_bytes());
            json.extend_from_slice(b",\"p\":");
            json::string(padding(self.to, self.frames.ends.len()), &mut json);
            json.push(b'}');
            self.frames.push(|out| eventstream::encode("contentBlockDelta", &json, out));
        }
    }

    fn text(&mut self, text: &str) {
        self.texts(text, (r#"{"text":"#, "}"));
    }

    /// Only tools and their like have a start; what else a block is, its first delta says. A block of a kind that has no
    /// delta is all in its start.
    fn block(&mut self, block: &Node<'_>) {
        match block.members() {
            [(kind, Node::Text(text))] if kind == "text" => self.text(text),
            [(kind, cited)] if kind == "citationsContent" && is_cited(cited) => self.cited(cited),
            [(kind, reasoning)] if kind == "reasoningContent" && is_reasoning(reasoning) => self.reasoning(reasoning),
            [(kind, tool @ Node::Object(_))] if kind == "toolUse" => {
                self.start(Node::Object(vec![(kind.clone(), Node::Object(without(tool, &["input"])))]));
                if let Some(text) = tool.get("input").and_then(growth::to_pieces) {
                    self.texts(&text, (r#"{"toolUse":{"input":"#, "}}"));
                }
            }
            [(kind, result @ Node::Object(_))] if kind == "toolResult" => {
                self.start(Node::Object(vec![(kind.clone(), Node::Object(without(result, &["content"])))]));
                for item in result.get("content").map_or(&[][..], Node::items) {
                    self.delta(object! { "toolResult": vec![item.clone()] });
                }
            }
            [(kind, image @ Node::Object(_))] if kind == "image" => {
                let of_delta = ["source", "error"];
                self.start(Node::Object(vec![(kind.clone(), Node::Object(without(image, &of_delta)))]));
                let rest = without(image, &[]).into_iter().filter(|(name, _)| of_delta.contains(&&**name));
                self.delta(object! { "image": Node::Object(rest.collect()) });
            }
            _ => self.start(block.clone()),
        }
    }

    fn cited(&mut self, cited: &Node<'_>) {
        let texts = cited.get("content").map_or(&[][..], Node::items);
        if !texts.is_empty() {
            self.text(&texts.iter().filter_map(|text| text.str("text")).collect::<String>());
        }
        for citation in cited.get("citations").map_or(&[][..], Node::items) {
            self.delta(object! { "citation": citation.clone() });
        }
    }

    fn reasoning(&mut self, reasoning: &Node<'_>) {
        if reasoning.get("redactedContent").is_some() {
            return self.delta(object! { "reasoningContent": reasoning.clone() });
        }
        let said = reasoning.get("reasoningText").unwrap_or(&Node::Null);
        if let Some(text) = said.str("text") {
            self.texts(text, (r#"{"reasoningContent":{"text":"#, "}}"));
        }
        for member in without(said, &["text"]) {
            self.delta(object! { "reasoningContent": Node::Object(vec![member]) });
        }
    }
}

/// Text with its sources, in the form that deltas make: one text at most. What is whole may have several, which a stream
/// has no way to tell apart: they come as one.
fn is_cited(cited: &Node<'_>) -> bool {
    let texts = |node: &Node<'_>| matches!(node.members(), [(name, Node::Text(_))] if name == "text");
    let member = |(name, value): &(Cow<'_, str>, Node<'_>)| match (&**name, value) {
        ("content", Node::List(items)) => !items.is_empty() && items.iter().all(texts),
        ("citations", Node::List(_)) => true,
        _ => false,
    };
    !cited.members().is_empty() && cited.members().iter().all(member)
}

/// Reasoning in one of its two forms.
fn is_reasoning(reasoning: &Node<'_>) -> bool {
    match reasoning.members() {
        [(name, Node::Object(said))] if name == "reasoningText" => !said.is_empty(),
        [(name, Node::Text(_))] => name == "redactedContent",
        _ => false,
    }
}
