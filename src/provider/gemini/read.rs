//! What of an answer matching, people and other wires need: its first candidate.

use super::super::{finish_in, growth};
use super::{BLOCKED, FINISH, signature};
use crate::json::Node;
use crate::reply::{Part, Reply, ToolCall};

/// The numbers that stand for finish reasons where a client asks for `enum-encoding=int`; those after 5 are not the same
/// in the Gemini API and Vertex AI. <https://ai.google.dev/api/generate-content#FinishReason>
const FINISH_REASONS: [&str; 6] = ["", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER"];

/// The same for block reasons. <https://ai.google.dev/api/generate-content#BlockReason>
const BLOCK_REASONS: [&str; 5] = ["", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT"];

pub(super) fn read(native: &Node<'_>) -> Reply {
    let word = |name: &str| native.word(name).map(str::to_owned);
    let mut reply = Reply {
        id: word("responseId"),
        model: word("modelVersion"),
        usage: native.get("usageMetadata").map(Node::to_map).filter(|usage| !usage.is_empty()),
        ..Reply::default()
    };
    let Some(candidate) = first(native).map(|(_, candidate)| candidate) else {
        reply.finish = block_reason(native).map(|reason| format!("{BLOCKED}{reason}"));
        return reply;
    };
    let parts = candidate.at("/content/parts").map_or(&[][..], Node::items);
    reply.parts = parts.iter().filter_map(part).collect();
    reply.finish = candidate.get("finishReason").and_then(finish_reason).map(|own| finish_in(&FINISH, &own));
    if reply.finish.as_deref() == Some("stop") && reply.tool_calls().next().is_some() {
        reply.finish = Some("tool_calls".into());
    }
    reply
}

/// The candidate that an answer is read from, and its place.
pub(super) fn first<'n, 'a>(native: &'n Node<'a>) -> Option<(usize, &'n Node<'a>)> {
    let candidates = native.get("candidates")?.items();
    let at = candidates.iter().position(|c| c.get("index").and_then(Node::as_i64).unwrap_or(0) == 0).unwrap_or(0);
    candidates.get(at).map(|candidate| (at, candidate))
}

/// Why a prompt was refused.
pub(super) fn block_reason(native: &Node<'_>) -> Option<String> {
    word(native.get("promptFeedback")?.get("blockReason")?, &BLOCK_REASONS)
}

/// Why a candidate ended; `None` where it says nothing.
pub(super) fn finish_reason(reason: &Node<'_>) -> Option<String> {
    word(reason, &FINISH_REASONS)
}

/// An enum's word, whichever way it is written.
fn word(node: &Node<'_>, words: &[&str]) -> Option<String> {
    let word = match node {
        Node::Text(word) => word.clone().into_owned(),
        Node::Number(number) => {
            let known = number.parse().ok().and_then(|n: usize| words.get(n));
            known.map_or_else(|| number.clone().into_owned(), |word| (*word).to_owned())
        }
        _ => return None,
    };
    Some(word).filter(|word| !word.is_empty() && word != "FINISH_REASON_UNSPECIFIED")
}

/// A text, a thought or a call. Images, files, code and its results, and tools that Google runs are this wire's own; an
/// empty text says nothing without a signature.
fn part(node: &Node<'_>) -> Option<Part> {
    let signature = node.word("thoughtSignature").map(signature::back);
    if let Some(call) = node.get("functionCall") {
        let call = ToolCall {
            id: call.word("id").map(str::to_owned),
            name: call.word("name")?.to_owned(),
            arguments: growth::to_arguments(call.get("args")),
            signature,
            custom: false,
        };
        return Some(Part::ToolCall(call));
    }
    let text = node.str("text").filter(|text| !text.is_empty() || signature.is_some())?.to_owned();
    Some(match node.get("thought") {
        Some(Node::Bool(true)) => Part::Reasoning { text, signature },
        _ => Part::Text { text, signature },
    })
}
