//! What of a message matching, people and other wires need.

use super::FINISH;
use crate::json::Node;
use crate::provider::{finish_in, growth};
use crate::reply::{Part, Reply, ToolCall};

/// Reads a message; blocks that are empty, or that no other wire knows, are no parts.
pub(in crate::provider) fn read(native: &Node<'_>) -> Reply {
    let word = |name: &str| native.word(name).map(str::to_owned);
    let blocks = match native.get("content") {
        Some(Node::List(blocks)) => &blocks[..],
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    Reply {
        parts: blocks.iter().filter_map(part).collect(),
        finish: word("stop_reason").map(|own| finish_in(&FINISH, &own)),
        usage: native.get("usage").map(Node::to_map).filter(|usage| !usage.is_empty()),
        id: word("id"),
        model: word("model"),
        role: word("role").filter(|role| role != "assistant"),
        ..Reply::default()
    }
}

fn part(block: &Node<'_>) -> Option<Part> {
    let text = |name: &str| block.str(name).unwrap_or("").to_owned();
    match block.str("type") {
        Some("text") => Some(Part::text(text("text"))).filter(|_| block.word("text").is_some()),
        Some("thinking") => {
            let signature = block.word("signature").map(str::to_owned);
            let said = signature.is_some() || block.word("thinking").is_some();
            said.then(|| Part::Reasoning { text: text("thinking"), signature })
        }
        Some("redacted_thinking") => Some(Part::RedactedReasoning(text("data"))),
        Some("tool_use") => Some(Part::ToolCall(ToolCall {
            id: block.word("id").map(str::to_owned),
            name: text("name"),
            arguments: growth::to_arguments(block.get("input")),
            ..ToolCall::default()
        })),
        _ => block.as_str().filter(|text| !text.is_empty()).map(Part::text),
    }
}
