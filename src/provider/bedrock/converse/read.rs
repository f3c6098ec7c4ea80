//! What of an answer matching, people and other wires need.

use super::{BASE64, FINISH};
use crate::json::Node;
use crate::provider::{finish_in, growth};
use crate::reply::{Part, Reply, ToolCall};
use base64::Engine;

/// A tool of this type is the provider's own: it has run it already, and no client is to.
const SERVER_TOOL: &str = "server_tool_use";

pub(super) fn read(native: &Node<'_>) -> Reply {
    let message = native.at("/output/message");
    let blocks = message.and_then(|message| message.get("content")).map_or(&[][..], Node::items);
    let role = message.and_then(|message| message.word("role"));
    Reply {
        parts: blocks.iter().flat_map(parts).collect(),
        finish: native.word("stopReason").map(|own| finish_in(&FINISH, own)),
        usage: native.get("usage").map(Node::to_map).filter(|usage| !usage.is_empty()),
        role: role.filter(|role| *role != "assistant").map(str::to_owned),
        ..Reply::default()
    }
}

/// A block's parts: one, but for texts that have their sources beside them.
fn parts(block: &Node<'_>) -> Vec<Part> {
    let text = |node: &Node<'_>| node.word("text").map(Part::text);
    let of = |name: &str| block.get(name);
    let part = match (of("toolUse"), of("reasoningContent")) {
        (Some(tool), _) if tool.str("type") != Some(SERVER_TOOL) => Some(Part::ToolCall(ToolCall {
            id: tool.word("toolUseId").map(str::to_owned),
            name: tool.word("name").unwrap_or("").to_owned(),
            arguments: growth::to_arguments(tool.get("input")),
            ..ToolCall::default()
        })),
        (_, Some(reasoning)) => thought(reasoning),
        _ => text(block),
    };
    let cited = of("citationsContent").and_then(|cited| cited.get("content")).map_or(&[][..], Node::items);
    part.into_iter().chain(cited.iter().filter_map(text)).collect()
}

fn thought(reasoning: &Node<'_>) -> Option<Part> {
    if let Some(data) = reasoning.str("redactedContent") {
        return Some(Part::RedactedReasoning(from_blob(data)));
    }
    let said = reasoning.get("reasoningText")?;
    let (text, signature) = (said.word("text").unwrap_or("").to_owned(), said.word("signature").map(str::to_owned));
    (!text.is_empty() || signature.is_some()).then_some(Part::Reasoning { text, signature })
}

/// Redacted reasoning as it was before it was written as base64, where it was not base64 itself.
fn from_blob(base64: &str) -> String {
    let text = BASE64.decode(base64).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let foreign = |text: &String| !text.contains(char::is_control) && BASE64.decode(text).is_err();
    text.filter(foreign).unwrap_or_else(|| base64.to_owned())
}
