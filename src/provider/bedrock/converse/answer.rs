//! What a client gets, whole and as events; members in the order AWS sends them: by name.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html>

use super::super::padding;
use super::{FINISH, USAGE};
use crate::frame::{Frames, eventstream};
use crate::provider::{Encoding, answer_usage, finish_out, pieces};
use crate::reply::{Part, Reply, Usage};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The turn as one JSON object.
pub(super) fn whole(reply: &Reply, to: &Encoding<'_>) -> Vec<u8> {
    let usage = answer_usage(&USAGE, reply, to.request);
    json(&Whole {
        metrics: METRICS,
        output: Output { message: MessageOut { content: blocks(reply, to), role: role(reply) } },
        stop_reason: &finish_out(&FINISH, reply.finish_word()),
        usage: &usage,
    })
}

/// The turn as events.
pub(super) fn stream(reply: &Reply, to: &Encoding<'_>) -> Frames {
    let mut stream = Stream { frames: Frames::default(), to };
    stream.event("messageStart", |p| MessageStart { p, role: role(reply) });
    for (index, block) in blocks(reply, to).iter().enumerate() {
        stream.block(index, block);
    }
    let stop_reason = finish_out(&FINISH, reply.finish_word());
    stream.event("messageStop", |p| MessageStop { p, stop_reason: &stop_reason });
    let usage = answer_usage(&USAGE, reply, to.request);
    stream.event("metadata", |p| Metadata { metrics: METRICS, p, usage: &usage });
    stream.frames
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a> {
    metrics: Metrics,
    output: Output<'a>,
    stop_reason: &'a str,
    usage: &'a Usage,
}

/// A client may read it and must find it; a replay has no model that took its time.
const METRICS: Metrics = Metrics { latency_ms: 0 };

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    latency_ms: u64,
}

#[derive(Serialize)]
struct Output<'a> {
    message: MessageOut<'a>,
}

#[derive(Serialize)]
struct MessageOut<'a> {
    content: Vec<BlockOut<'a>>,
    role: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum BlockOut<'a> {
    Text(&'a str),
    ReasoningContent(ReasoningOut<'a>),
    ToolUse(ToolUseOut<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum ReasoningOut<'a> {
    ReasoningText {
        #[serde(skip_serializing_if = "Option::is_none")]
        signature: Option<&'a str>,
        text: &'a str,
    },
    RedactedContent(Cow<'a, str>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolUseOut<'a> {
    #[serde(serialize_with = "document")]
    input: &'a str,
    name: &'a str,
    tool_use_id: Cow<'a, str>,
}

/// Writes arguments as the JSON they are; what is no JSON (a call cut at its token limit) as an object that holds it.
fn document<S: Serializer>(arguments: &&str, serializer: S) -> Result<S::Ok, S::Error> {
    match serde_json::from_str::<&RawValue>(arguments) {
        Ok(raw) => raw.serialize(serializer),
        Err(_) if arguments.trim_ascii().is_empty() => serializer.serialize_map(Some(0))?.end(),
        Err(_) => serializer.collect_map([("_raw", arguments)]),
    }
}

/// A turn's blocks. A refusal, which has no member of its own here, stands for text that is not there.
fn blocks<'a>(reply: &'a Reply, to: &Encoding<'_>) -> Vec<BlockOut<'a>> {
    let mut calls = 0;
    let mut blocks: Vec<_> = reply.parts.iter().filter_map(|part| block(part, &mut calls, to)).collect();
    if let Some(refusal) = reply.refusal.as_deref().filter(|_| reply.content().is_empty()) {
        blocks.push(BlockOut::Text(refusal));
    }
    blocks
}

fn block<'a>(part: &'a Part, calls: &mut usize, to: &Encoding<'_>) -> Option<BlockOut<'a>> {
    Some(match part {
        Part::Text { text, .. } if text.is_empty() => return None,
        Part::Text { text, .. } => BlockOut::Text(text),
        Part::Reasoning { text, signature: None } if text.is_empty() => return None,
        Part::Reasoning { text, signature } => {
            BlockOut::ReasoningContent(ReasoningOut::ReasoningText { signature: signature.as_deref(), text })
        }
        Part::RedactedReasoning(data) => BlockOut::ReasoningContent(ReasoningOut::RedactedContent(blob(data))),
        Part::Verbatim(_) => return None,
        Part::ToolCall(call) => {
            *calls += 1;
            let made_up = || Cow::Owned(to.id("tooluse_", *calls));
            let tool_use_id = call.id.as_deref().map_or_else(made_up, Cow::Borrowed);
            BlockOut::ToolUse(ToolUseOut { input: &call.arguments, name: &call.name, tool_use_id })
        }
    })
}

/// Redacted reasoning as SDKs decode it: base64, also where another provider's is not.
fn blob(data: &str) -> Cow<'_, str> {
    if BASE64.decode(data).is_ok() { Cow::Borrowed(data) } else { Cow::Owned(BASE64.encode(data)) }
}

fn role(reply: &Reply) -> &str {
    reply.role.as_deref().unwrap_or("assistant")
}

#[derive(Serialize)]
struct MessageStart<'a> {
    p: &'a str,
    role: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockStart<'a> {
    content_block_index: usize,
    p: &'a str,
    start: StartOut<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum StartOut<'a> {
    #[serde(rename_all = "camelCase")]
    ToolUse { name: &'a str, tool_use_id: &'a str },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockDelta<'a> {
    content_block_index: usize,
    delta: DeltaOut<'a>,
    p: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum DeltaOut<'a> {
    Text(&'a str),
    ToolUse { input: &'a str },
    ReasoningContent(ReasoningDeltaOut<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum ReasoningDeltaOut<'a> {
    Text(&'a str),
    Signature(&'a str),
    RedactedContent(&'a str),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockStop<'a> {
    content_block_index: usize,
    p: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageStop<'a> {
    p: &'a str,
    stop_reason: &'a str,
}

#[derive(Serialize)]
struct Metadata<'a> {
    metrics: Metrics,
    p: &'a str,
    usage: &'a Usage,
}

/// The events of a streamed answer.
struct Stream<'a> {
    frames: Frames,
    to: &'a Encoding<'a>,
}

impl Stream<'_> {
    fn event<T: Serialize>(&mut self, name: &str, event: impl FnOnce(&'static str) -> T) {
        let json = json(&event(padding(self.to, self.frames.ends.len())));
        self.frames.push(|out| eventstream::encode(name, &json, out));
    }

    /// Only tools have a start; what else a block is, its first delta says.
    fn block(&mut self, content_block_index: usize, block: &BlockOut<'_>) {
        let chars = self.to.chunk_chars;
        match block {
            BlockOut::Text(text) => {
                pieces(text, chars).for_each(|piece| self.delta(content_block_index, DeltaOut::Text(piece)));
            }
            BlockOut::ReasoningContent(ReasoningOut::ReasoningText { signature, text }) => {
                let pieces = pieces(text, chars).map(ReasoningDeltaOut::Text);
                for delta in pieces.chain(signature.map(ReasoningDeltaOut::Signature)) {
                    self.delta(content_block_index, DeltaOut::ReasoningContent(delta));
                }
            }
            BlockOut::ReasoningContent(ReasoningOut::RedactedContent(data)) => {
                let delta = DeltaOut::ReasoningContent(ReasoningDeltaOut::RedactedContent(data));
                self.delta(content_block_index, delta);
            }
            BlockOut::ToolUse(ToolUseOut { input, name, tool_use_id }) => {
                let start = StartOut::ToolUse { name, tool_use_id };
                self.event("contentBlockStart", |p| BlockStart { content_block_index, p, start });
                pieces(input, chars).for_each(|input| self.delta(content_block_index, DeltaOut::ToolUse { input }));
            }
        }
        self.event("contentBlockStop", |p| BlockStop { content_block_index, p });
    }

    fn delta(&mut self, content_block_index: usize, delta: DeltaOut<'_>) {
        self.event("contentBlockDelta", |p| BlockDelta { content_block_index, delta, p });
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these structs have string keys only")
}
