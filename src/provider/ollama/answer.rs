//! A turn as `/api/chat` and `/api/generate` give it: whole, or a line for each piece.
//! <https://docs.ollama.com/api/streaming>

use super::super::{Encoding, FinishWords, UsageShape, answer_usage, finish_in, finish_out, growth, pieces};
use super::chat::Endpoint;
use crate::clock;
use crate::frame::{Frames, ndjson};
use crate::json::{Node, object};
use crate::reply::{Part, Reply, ToolCall, Usage};
use serde_json::Value;

/// A turn with tool calls stops with `stop` too.
pub(super) static FINISH: FinishWords = FinishWords {
    exact: &[("stop", "stop"), ("length", "length")],
    near: &[("load", "stop"), ("unload", "stop")],
    otherwise: "stop",
};

/// The counts, beside which the durations stand (nanoseconds). `prompt_eval_count` is absent where the prompt was cached.
pub(super) static USAGE: UsageShape = UsageShape {
    input: "/prompt_eval_count",
    output: "/eval_count",
    total: "",
    cached: "",
    cache_write: "",
    reasoning: "",
    input_excludes_cached: false,
    output_excludes_reasoning: false,
};

const DURATIONS: [&str; 4] = ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"];

pub(super) fn read(native: &Node<'_>) -> Reply {
    let mut reply = Reply {
        model: native.word("model").map(str::to_owned),
        created: native.str("created_at").and_then(clock::parse_rfc3339),
        finish: native.word("done_reason").map(|own| finish_in(&FINISH, own)),
        usage: usage_of(native),
        ..Reply::default()
    };
    let nothing = Node::Null;
    let message = native.get("message").unwrap_or(&nothing);
    reply.role = message.word("role").filter(|role| *role != "assistant").map(str::to_owned);
    let thoughts = [message, native].into_iter().filter_map(|said| said.str("thinking"));
    thoughts.for_each(|thinking| reply.push_reasoning(thinking));
    let texts = [message.str("content"), native.str("response")];
    texts.into_iter().flatten().for_each(|text| reply.push_text(text));
    reply.parts.extend(message.get("tool_calls").map_or(&[][..], Node::items).iter().filter_map(call));
    if reply.finish.as_deref() == Some("stop") && reply.tool_calls().next().is_some() {
        reply.finish = Some("tool_calls".to_owned());
    }
    reply
}

fn usage_of(native: &Node<'_>) -> Option<Usage> {
    let own = |name: &str| DURATIONS.contains(&name) || [&USAGE.input[1..], &USAGE.output[1..]].contains(&name);
    let members = native.members().iter().filter(|(name, value)| own(name) && matches!(value, Node::Number(_)));
    let usage: Usage = members.map(|(name, value)| (name.clone().into_owned(), value.to_value())).collect();
    (!usage.is_empty()).then_some(usage)
}

fn call(node: &Node<'_>) -> Option<Part> {
    let function = node.get("function")?;
    Some(Part::ToolCall(ToolCall {
        id: node.word("id").map(str::to_owned),
        name: function.word("name").unwrap_or("").to_owned(),
        arguments: growth::to_arguments(function.get("arguments")), // some services write them as text
        ..ToolCall::default()
    }))
}

pub(super) fn write<'r>(endpoint: Endpoint, reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
    let mut answer = object! {
        "model": reply.model.as_deref().unwrap_or(&to.request.model),
        "created_at": clock::rfc3339(reply.created.unwrap_or(to.now)),
    };
    let thinking = reply.reasoning();
    let said = match endpoint {
        Endpoint::Chat => {
            let role = reply.role.as_deref().unwrap_or("assistant");
            answer.set("message", object! { "role": role, "content": reply.content() });
            answer.entry("message")
        }
        Endpoint::Generate => {
            answer.set("response", reply.content());
            &mut answer
        }
    };
    if !thinking.is_empty() {
        said.set("thinking", thinking);
    }
    let calls: Vec<_> = reply.tool_calls().map(call_node).collect();
    if !calls.is_empty() && endpoint == Endpoint::Chat {
        said.set("tool_calls", calls);
    }
    answer.set("done", true);
    answer.set("done_reason", finish_out(&FINISH, reply.finish_word()));
    let mut usage = answer_usage(&USAGE, reply, to.request);
    add_durations(&mut usage, reply.usage.as_ref(), &DURATIONS);
    // What files of earlier versions keep of this wire alone: what a generated text goes on from.
    let own = reply.parts.iter().filter_map(|part| Node::of(part.verbatim_of(Endpoint::GENERATE)?).ok());
    for members in own.filter(|_| endpoint == Endpoint::Generate).chain([Node::from(&usage).into_owned()]) {
        members.members().iter().for_each(|(name, value)| answer.set(name.clone(), value.clone()));
    }
    answer
}

/// Older servers give no ids, and clients do without: none is made up.
fn call_node(call: &ToolCall) -> Node<'_> {
    let mut node = Node::Object(Vec::new());
    if let Some(id) = &call.id {
        node.set("id", &**id);
    }
    node.set("function", object! { "name": &*call.name, "arguments": growth::of_arguments(&call.arguments, false) });
    node
}

/// Clients in typed languages want the durations: 0 where the usage is not what an Ollama sent.
pub(super) fn add_durations(usage: &mut Usage, recorded: Option<&Usage>, durations: &[&str]) {
    let own = |name: &&str| recorded.is_some_and(|r| r.contains_key(*name));
    if durations.iter().any(own) || [&"prompt_eval_count", &"eval_count"].into_iter().any(own) {
        return;
    }
    for name in durations {
        usage.insert((*name).to_owned(), Value::from(0));
    }
}

// ---------------------------------------------------------------------------------------------------------- streams

pub(super) fn stream(native: &Node<'_>, to: &Encoding<'_>) -> Frames {
    let mut frames = Frames::default();
    let mut last = native.clone();
    let (said, text) = match native.get("message") {
        Some(message) => (message, "content"),
        None => (native, "response"),
    };
    let left = if text == "content" { last.entry("message") } else { &mut last };
    let mut push = |members: Vec<(&'static str, Node<'_>)>| {
        frames.push(|out| ndjson::encode(&line(native, said, text, members).to_bytes(), out));
    };
    for name in ["thinking", text] {
        if let Some(Node::Text(said)) = left.get_mut(name) {
            pieces(&std::mem::take(said), to.chunk_chars).for_each(|piece| push(vec![(name, piece.into())]));
        }
    }
    if let Some(Node::List(calls)) = left.get_mut("tool_calls") {
        std::mem::take(calls).into_iter().for_each(|call| push(vec![("tool_calls", Node::List(vec![call]))]));
    }
    // The last line has what is left; a text is there, thoughts and calls are where there was one.
    for name in ["thinking", "tool_calls"] {
        if said.get(name).is_some_and(|node| !node.says_nothing()) && left.get(name).is_some_and(Node::says_nothing) {
            left.remove(name);
        }
    }
    frames.push(|out| ndjson::encode(&last.to_bytes(), out));
    frames
}

/// A line with a piece of what is said.
fn line<'n>(native: &Node<'n>, said: &Node<'n>, text: &'static str, piece: Vec<(&'static str, Node<'n>)>) -> Node<'n> {
    let copied = |from: &Node<'n>, name: &'static str| from.get(name).map(|value| (name.into(), value.clone()));
    let mut line: Vec<_> = ["model", "created_at"].into_iter().filter_map(|name| copied(native, name)).collect();
    let mut pieces = Node::Object(copied(said, "role").into_iter().collect());
    if said.get(text).is_some() {
        pieces.set(text, "");
    }
    piece.into_iter().for_each(|(name, value)| pieces.set(name, value));
    match (text, pieces) {
        ("content", message) => line.push(("message".into(), message)),
        (_, Node::Object(members)) => line.extend(members),
        _ => {}
    }
    line.push(("done".into(), false.into()));
    Node::Object(line)
}
