//! Converse and ConverseStream: one shape for every model.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>

use super::super::{
    AnswerHead, BadRequest, Call, CallId, Carries, Codec, Collapse, Encoding, Fault, FinishWords, Progress, UsageShape,
    answer_usage, finish_in, finish_out, parse_body, parse_frame, pieces,
};
use super::{padding, reported};
use crate::frame::{Frame, Frames, Framing, eventstream};
use crate::reply::{Answer, Part, Reply, ToolCall, Usage};
use crate::request::{Kind, Message, Request, Role, Str};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseResponse.html>, `stopReason`.
static FINISH: FinishWords = FinishWords {
    exact: &[
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("content_filtered", "content_filter"),
    ],
    near: &[
        ("stop_sequence", "stop"),
        ("guardrail_intervened", "content_filter"),
        ("malformed_model_output", "stop"),
        ("malformed_tool_use", "stop"),
        ("model_context_window_exceeded", "length"),
    ],
    otherwise: "end_turn",
};

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html>; the total counts cached
/// tokens, the input does not.
static USAGE: UsageShape = UsageShape {
    input: "/inputTokens",
    output: "/outputTokens",
    total: "/totalTokens",
    cached: "/cacheReadInputTokens",
    cache_write: "/cacheWriteInputTokens",
    reasoning: "",
    input_excludes_cached: true,
    output_excludes_reasoning: false,
};

/// The headers' end of the last event of a stream: the value of `:event-type`, with its type and length.
const METADATA: &[u8] = b":event-type\x07\x00\x08metadata";

/// The Converse wire.
#[derive(Debug)]
pub(super) struct Converse {
    /// The endpoint answers with a stream.
    pub(super) streamed: bool,
}

impl Codec for Converse {
    fn wire(&self) -> &'static str {
        "bedrock-converse"
    }

    fn kind(&self) -> Kind {
        Kind::Chat
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let body: Body<'a> = parse_body(call.body)?;
        let mut request = Request::new(Kind::Chat);
        request.model = call.param("id").cloned().unwrap_or_default();
        // A stored prompt brings its own messages.
        if body.messages.is_none() && !request.model.contains(":prompt/") {
            return Err(BadRequest::field("messages", "messages is required where the model is not a stored prompt"));
        }
        if self.streamed {
            request.framing = Framing::EventStream;
        }
        let system = body.system.into_iter().flatten().filter_map(Block::into_text);
        request.messages = system.map(|text| Message::new(Role::System, text)).collect();
        for turn in body.messages.into_iter().flatten() {
            turn.read(&mut request.messages);
        }
        let tools = body.tool_config.and_then(|config| config.tools).into_iter().flatten();
        request.tools = tools.filter_map(|t| t.tool_spec.or(t.system_tool)).map(|named| named.name.0).collect();
        let format = body.output_config.and_then(|config| config.text_format);
        request.response_format = format.and_then(|f| f.kind).map(|kind| kind.0);
        Ok(request)
    }

    fn encode_whole(&self, answer: &Answer, to: &Encoding<'_>) -> Vec<u8> {
        let Answer::Turn(reply) = answer else { return Vec::new() };
        let usage = answer_usage(&USAGE, reply, to.request);
        json(&Whole {
            metrics: METRICS,
            output: Output { message: MessageOut { content: blocks(reply, to), role: role(reply) } },
            stop_reason: &finish_out(&FINISH, reply.finish_word()),
            usage: &usage,
        })
    }

    fn encode_stream(&self, answer: &Answer, to: &Encoding<'_>) -> Frames {
        let Answer::Turn(reply) = answer else { return Frames::default() };
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

    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(Collapser { whole: answer.framing == Framing::Whole, ..Collapser::default() })
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[METADATA]
    }

    fn call_ids(&self) -> &'static [CallId] {
        &[CallId { key: "toolUseId", beside: "" }]
    }

    fn carries(&self) -> Carries {
        Carries { refusal: false, id: false, model: false, ..Carries::ALL }
    }

    fn finish_words(&self) -> Option<&'static FinishWords> {
        Some(&FINISH)
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&USAGE)
    }
}

// ---------------------------------------------------------------------------------------------------- the request

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow, default)]
    messages: Option<Vec<Turn<'a>>>,
    #[serde(borrow, default)]
    system: Option<Vec<Block<'a>>>,
    #[serde(borrow, default)]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(borrow, default)]
    output_config: Option<OutputConfig<'a>>,
}

#[derive(Deserialize)]
struct ToolConfig<'a> {
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    #[serde(borrow, default)]
    tool_spec: Option<Named<'a>>,
    #[serde(borrow, default)]
    system_tool: Option<Named<'a>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Str<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutputConfig<'a> {
    #[serde(borrow, default)]
    text_format: Option<TextFormat<'a>>,
}

#[derive(Deserialize)]
struct TextFormat<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Str<'a>,
    #[serde(borrow, default)]
    content: Option<Vec<Block<'a>>>,
}

impl<'a> Turn<'a> {
    /// Tool results become messages of their own, before what else the message says.
    fn read(self, messages: &mut Vec<Message<'a>>) {
        let mut text = Cow::Borrowed("");
        let mut results = 0;
        for block in self.content.into_iter().flatten() {
            if let Some(result) = block.tool_result {
                results += 1;
                messages.push(result.into_message());
            } else if let Some(more) = block.into_text() {
                append(&mut text, more);
            }
        }
        let role = if &*self.role == "assistant" { Role::Assistant } else { Role::User };
        if results == 0 || !text.is_empty() {
            messages.push(Message::new(role, text));
        }
    }
}

/// A block of content: of each kind only what matching needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    guard_content: Option<Guarded<'a>>,
    #[serde(borrow, default)]
    tool_result: Option<ToolResult<'a>>,
}

impl<'a> Block<'a> {
    fn into_text(self) -> Option<Cow<'a, str>> {
        let guarded = || self.guard_content.and_then(|guarded| guarded.text).and_then(|text| text.text);
        self.text.or_else(guarded).map(|text| text.0)
    }
}

/// Text that a guardrail is to look at.
#[derive(Deserialize)]
struct Guarded<'a> {
    #[serde(borrow, default)]
    text: Option<GuardedText<'a>>,
}

#[derive(Deserialize)]
struct GuardedText<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult<'a> {
    #[serde(borrow)]
    tool_use_id: Str<'a>,
    #[serde(borrow, default)]
    content: Option<Vec<ResultBlock<'a>>>,
}

#[derive(Deserialize)]
struct ResultBlock<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    json: Option<&'a RawValue>,
}

impl<'a> ToolResult<'a> {
    fn into_message(self) -> Message<'a> {
        let mut text = Cow::Borrowed("");
        for block in self.content.into_iter().flatten() {
            let json = block.json.map(|json| Cow::Borrowed(json.get()));
            append(&mut text, block.text.map(|text| text.0).or(json).unwrap_or_default());
        }
        Message { role: Role::Tool, text, tool_call_id: Some(self.tool_use_id.0) }
    }
}

fn append<'a>(text: &mut Cow<'a, str>, more: Cow<'a, str>) {
    if text.is_empty() {
        *text = more;
    } else {
        text.to_mut().push_str(&more);
    }
}

// ----------------------------------------------------------------------------------------------------- the answer
// Members in the order AWS sends them: by name.

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

/// The way back from [`blob`].
fn from_blob(base64: &str) -> String {
    let text = BASE64.decode(base64).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let foreign = |text: &String| !text.contains(char::is_control) && BASE64.decode(text).is_err();
    text.filter(foreign).unwrap_or_else(|| base64.to_owned())
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
                pieces(text, chars).for_each(|piece| self.delta(content_block_index, DeltaOut::Text(piece)))
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

// ------------------------------------------------------------------------------------------------------- collapse

/// Any event of a stream, or the whole answer: of each only what is kept.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow, default)]
    role: Option<Str<'a>>,
    #[serde(default)]
    content_block_index: Option<u64>,
    #[serde(borrow, default)]
    start: Option<Piece<'a>>,
    #[serde(borrow, default)]
    delta: Option<Piece<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<Str<'a>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(borrow, default)]
    output: Option<OutputIn<'a>>,
    #[serde(borrow, default)]
    message: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct OutputIn<'a> {
    #[serde(borrow, default)]
    message: Option<MessageIn<'a>>,
}

#[derive(Deserialize)]
struct MessageIn<'a> {
    #[serde(borrow, default)]
    role: Option<Str<'a>>,
    #[serde(borrow, default)]
    content: Option<Vec<Piece<'a>>>,
}

/// A block's start, a piece of it, or all of it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    tool_use: Option<ToolUsePiece<'a>>,
    #[serde(borrow, default)]
    reasoning_content: Option<ReasoningPiece<'a>>,
    /// Text with its sources; in a stream the text comes on its own.
    #[serde(borrow, default)]
    citations_content: Option<Cited<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUsePiece<'a> {
    #[serde(borrow, default)]
    tool_use_id: Option<Str<'a>>,
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    /// A piece of its JSON text, or the JSON itself where the answer is whole.
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningPiece<'a> {
    #[serde(borrow, default)]
    reasoning_text: Option<ReasoningText<'a>>,
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    signature: Option<Str<'a>>,
    #[serde(borrow, default)]
    redacted_content: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct ReasoningText<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    signature: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Cited<'a> {
    #[serde(borrow, default)]
    content: Option<Vec<Piece<'a>>>,
}

/// Puts the events of a stream, or the blocks of a whole answer, together.
#[derive(Default)]
struct Collapser {
    whole: bool,
    reply: Reply,
    /// The block that each part of the reply came from.
    blocks: Vec<u64>,
    progress: Option<Progress>,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        if frame.exception {
            return Err(Fault::Upstream(reported(frame)));
        }
        let event: Event<'_> = parse_frame(frame)?;
        if self.whole {
            self.take_whole(event)?;
        } else {
            self.take_event(event, frame.event);
        }
        Ok(self.progress.unwrap_or(Progress::More))
    }

    fn kept_bytes(&self) -> usize {
        self.reply.kept_bytes()
    }

    fn finish(&mut self) -> Answer {
        let mut reply = std::mem::take(&mut self.reply);
        reply.parts.retain(|part| match part {
            Part::Text { text, .. } | Part::Reasoning { text, signature: None } => !text.is_empty(),
            _ => true,
        });
        for part in &mut reply.parts {
            if let Part::ToolCall(call) = part
                && call.arguments.is_empty()
            {
                call.arguments.push_str("{}"); // a tool without arguments may come without a delta
            }
        }
        Answer::Turn(reply)
    }
}

impl Collapser {
    fn take_event(&mut self, event: Event<'_>, name: &str) {
        self.keep_role(event.role);
        let block = event.content_block_index.unwrap_or(0);
        for piece in [event.start, event.delta].into_iter().flatten() {
            self.take(block, piece);
        }
        self.keep_end(event.stop_reason, event.usage);
        if name == "metadata" && self.progress == Some(Progress::Finished) {
            self.progress = Some(Progress::Done);
        }
    }

    fn take_whole(&mut self, event: Event<'_>) -> Result<(), Fault> {
        let Some(message) = event.output.and_then(|output| output.message) else {
            return Err(match event.message {
                Some(message) => Fault::Upstream(message.0.into_owned()),
                None => Fault::Unreadable("an answer without output.message".into()),
            });
        };
        self.keep_role(message.role);
        for (block, piece) in (0..).zip(message.content.into_iter().flatten()) {
            self.take(block, piece);
        }
        self.keep_end(event.stop_reason, event.usage);
        self.progress = Some(Progress::Done);
        Ok(())
    }

    fn keep_role(&mut self, role: Option<Str<'_>>) {
        if let Some(role) = role.filter(|role| &**role != "assistant") {
            self.reply.role = Some(role.0.into_owned());
        }
    }

    fn keep_end(&mut self, stop_reason: Option<Str<'_>>, usage: Option<Usage>) {
        if let Some(word) = stop_reason {
            self.reply.finish = Some(finish_in(&FINISH, &word));
            self.progress.get_or_insert(Progress::Finished);
        }
        if usage.is_some() {
            self.reply.usage = usage;
        }
    }

    fn take(&mut self, block: u64, piece: Piece<'_>) {
        let cited = piece.citations_content.and_then(|cited| cited.content).into_iter().flatten();
        for more in piece.text.into_iter().chain(cited.filter_map(|cited| cited.text)) {
            let part = self.part(block, |part| matches!(part, Part::Text { .. }), || Part::text(""));
            if let Part::Text { text, .. } = part {
                text.push_str(&more);
            }
        }
        if let Some(piece) = piece.tool_use {
            self.take_call(block, piece);
        }
        if let Some(piece) = piece.reasoning_content {
            self.take_reasoning(block, piece);
        }
    }

    fn take_call(&mut self, block: u64, piece: ToolUsePiece<'_>) {
        let whole = self.whole;
        let new = || Part::ToolCall(ToolCall::default());
        let Part::ToolCall(call) = self.part(block, |part| matches!(part, Part::ToolCall(_)), new) else { return };
        if let Some(name) = piece.name {
            call.name = name.0.into_owned();
        }
        if let Some(id) = piece.tool_use_id {
            call.id = Some(id.0.into_owned());
        }
        let Some(input) = piece.input else { return };
        match serde_json::from_str(input.get()) {
            Ok(Str(text)) if !whole => call.arguments.push_str(&text),
            _ => call.arguments.push_str(input.get()),
        }
    }

    fn take_reasoning(&mut self, block: u64, piece: ReasoningPiece<'_>) {
        if let Some(data) = piece.redacted_content {
            self.blocks.push(block);
            self.reply.parts.push(Part::RedactedReasoning(from_blob(&data)));
            return;
        }
        let (more, proof) = match piece.reasoning_text {
            Some(whole) => (whole.text, whole.signature),
            None => (piece.text, piece.signature),
        };
        let new = || Part::Reasoning { text: String::new(), signature: None };
        let part = self.part(block, |part| matches!(part, Part::Reasoning { .. }), new);
        let Part::Reasoning { text, signature } = part else { return };
        text.push_str(more.as_deref().unwrap_or(""));
        if let Some(proof) = proof {
            signature.get_or_insert_default().push_str(&proof);
        }
    }

    /// The part of this kind that this block grows; a new one at its first piece.
    fn part(&mut self, block: u64, kind: fn(&Part) -> bool, new: impl FnOnce() -> Part) -> &mut Part {
        let parts = &mut self.reply.parts;
        let at = self.blocks.iter().zip(parts.iter()).rposition(|(b, part)| *b == block && kind(part));
        let at = at.unwrap_or_else(|| {
            self.blocks.push(block);
            parts.push(new());
            parts.len() - 1
        });
        &mut parts[at]
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, carried, golden, round_trip, with_request};
    use super::*;

    const STREAM: Converse = Converse { streamed: true };
    const PATH: &str = "/model/us.amazon.nova-lite-v1%3A0/converse-stream";
    const ASK: &str = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#;

    fn body(events: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        events.iter().for_each(|(name, json)| eventstream::encode(name, json.as_bytes(), &mut out));
        out
    }

    fn stream(events: &[(&str, &str)]) -> Outcome {
        golden(&STREAM, Framing::EventStream, &body(events))
    }

    fn whole(json: &str) -> Outcome {
        golden(&Converse { streamed: false }, Framing::Whole, json.as_bytes())
    }

    fn call(id: &str, name: &str, arguments: &str) -> Part {
        let (id, name, arguments) = (Some(id.to_owned()), name.to_owned(), arguments.to_owned());
        Part::ToolCall(ToolCall { id, name, arguments, signature: None })
    }

    #[test]
    fn request_with_every_kind_of_block() {
        let body = r#"{"system":[{"text":"be \"brief\""},{"cachePoint":{"type":"default"}}],
            "messages":[
                {"role":"user","content":[{"text":"what is "},{"image":{"format":"png","source":{"bytes":"eA=="}}},{"guardContent":{"text":{"text":"this?"}}}]},
                {"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}},{"text":"I look"},{"toolUse":{"toolUseId":"t1","name":"look","input":{}}}]},
                {"role":"user","content":[{"toolResult":{"toolUseId":"t1","content":[{"text":"a "},{"json":{"b": 1}}],"status":"success"}},
                    {"toolResult":{"toolUseId":"t2","content":[]}},{"text":"so?"}]}],
            "toolConfig":{"tools":[{"toolSpec":{"name":"look","inputSchema":{"json":{}}}},{"cachePoint":{"type":"default"}},{"systemTool":{"name":"nova_grounding"}}],"toolChoice":{"auto":{}}},
            "outputConfig":{"textFormat":{"type":"json_schema","structure":{}}},
            "inferenceConfig":{"maxTokens":9}}"#;
        with_request(PATH, body, |codec, r| {
            assert_eq!(
                (codec.wire(), &*r.model, r.framing),
                ("bedrock-converse", "us.amazon.nova-lite-v1:0", Framing::EventStream)
            );
            assert_eq!(r.system_text(), "be \"brief\"");
            let seen: Vec<_> = r.messages.iter().map(|m| (m.role, &*m.text, m.tool_call_id.as_deref())).collect();
            assert_eq!(
                seen[1..],
                [
                    (Role::User, "what is this?", None),
                    (Role::Assistant, "I look", None),
                    (Role::Tool, "a {\"b\": 1}", Some("t1")),
                    (Role::Tool, "", Some("t2")),
                    (Role::User, "so?", None),
                ]
            );
            assert_eq!(r.tools, ["look", "nova_grounding"]);
            assert_eq!(r.response_format.as_deref(), Some("json_schema"));
        });
    }

    #[test]
    fn request_that_ends_in_a_tool_result() {
        let body =
            r#"{"messages":[{"role":"user","content":[{"toolResult":{"toolUseId":"t1","content":[{"text":"ok"}]}}]}]}"#;
        with_request("/model/x/converse", body, |_, r| {
            assert_eq!(r.last_tool_result().and_then(|m| m.tool_call_id.as_deref()), Some("t1"));
            assert!(!r.streamed());
        });
    }

    #[test]
    fn only_a_stored_prompt_may_lack_messages() {
        let headers = hyper::HeaderMap::new();
        let decode = |id: &'static str| {
            let head = super::super::Head { method: "POST", path: "/", query: "", headers: &headers };
            STREAM.decode(&Call { head, params: vec![("id", id.into())], body: b"{}" }).map(|r| r.messages.len())
        };
        assert_eq!(decode("x").unwrap_err().param.as_deref(), Some("messages"));
        assert_eq!(decode("arn:aws:bedrock:us-east-1:1:prompt/P:1"), Ok(0));
    }

    const RICH: &[(&str, &str)] = &[
        ("messageStart", r#"{"p":"abc","role":"assistant"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"h"}},"p":"ab"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"m"}},"p":"ab"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"sig"}},"p":"ab"}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0,"p":"ab"}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"reasoningContent":{"redactedContent":"AAEC"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"text":"Hé"}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"text":"llo"}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":2}"#),
        ("contentBlockStart", r#"{"contentBlockIndex":3,"start":{"toolUse":{"name":"f","toolUseId":"t1"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"{\"a\":"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"1}"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":3}"#),
        ("messageStop", r#"{"p":"ab","stopReason":"tool_use"}"#),
        (
            "metadata",
            r#"{"metrics":{"latencyMs":5},"p":"ab","usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}"#,
        ),
    ];

    fn rich() -> Reply {
        Reply {
            parts: vec![
                Part::Reasoning { text: "hm".into(), signature: Some("sig".into()) },
                Part::RedactedReasoning("AAEC".into()),
                Part::text("Héllo"),
                call("t1", "f", r#"{"a":1}"#),
            ],
            finish: Some("tool_calls".into()),
            usage: serde_json::from_str(r#"{"inputTokens":1,"outputTokens":2,"totalTokens":3}"#).ok(),
            ..Reply::default()
        }
    }

    #[test]
    fn every_kind_of_block_streamed_without_starts() {
        assert_eq!(stream(RICH).turn(), rich());
    }

    #[test]
    fn every_kind_of_block_whole() {
        let json = r#" {"metrics":{"latencyMs":5},"output":{"message":{"content":[
            {"reasoningContent":{"reasoningText":{"signature":"sig","text":"hm"}}},
            {"reasoningContent":{"redactedContent":"AAEC"}},{"text":"Héllo"},
            {"toolUse":{"input":{"a":1},"name":"f","toolUseId":"t1","type":"tool_use"}}],"role":"assistant"}},
            "stopReason":"tool_use","usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}"#;
        assert_eq!(whole(json).turn(), rich());
    }

    #[test]
    fn a_turn_comes_back_from_both_encoders() {
        let mut reply = rich();
        reply.parts.extend([
            Part::Reasoning { text: String::new(), signature: Some("only".into()) },
            Part::RedactedReasoning("not base64".into()),
            call("t2", "g", "{}"),
            Part::text("after"),
        ]);
        with_request(PATH, ASK, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!(whole.turn(), carried(&reply, &codec.carries()));
            assert_eq!(streamed.turn(), carried(&reply, &codec.carries()));
        });
    }

    #[test]
    fn own_finish_words_stay_and_others_are_translated() {
        for (kept, back) in [("guardrail_intervened", "guardrail_intervened"), ("length", "length"), ("stop", "stop")] {
            let reply = Reply { finish: Some(kept.into()), ..Reply::text("x") };
            with_request(PATH, ASK, |codec, request| {
                let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
                assert_eq!(whole.turn().finish.as_deref(), Some(back));
                assert_eq!(streamed.turn().finish.as_deref(), Some(back));
            });
        }
    }

    #[test]
    fn arguments_that_are_no_json_lose_nothing() {
        for (arguments, back) in [("", "{}"), ("{\"a\":", r#"{"_raw":"{\"a\":"}"#)] {
            let reply = Reply::tool_call("f", arguments);
            with_request(PATH, ASK, |codec, request| {
                let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
                assert_eq!(whole.turn().tool_calls().next().map(|c| &*c.arguments), Some(back));
                let kept = if arguments.is_empty() { "{}" } else { arguments };
                let streamed = streamed.turn();
                assert_eq!(streamed.tool_calls().next().map(|c| &*c.arguments), Some(kept));
                assert!(streamed.tool_calls().all(|c| c.id.as_deref().is_some_and(|id| id.starts_with("tooluse_"))));
            });
        }
    }

    #[test]
    fn a_refusal_stands_for_text() {
        let reply = Reply { refusal: Some("no".into()), ..Reply::default() };
        with_request(PATH, ASK, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!((whole.turn().content(), streamed.turn().content()), ("no".into(), "no".into()));
        });
    }

    #[test]
    fn events_as_aws_sends_them() {
        with_request(PATH, ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 20, now: 0, seed: 7 };
            let frames = codec.encode_stream(&Reply::text("hi").into(), &to);
            let names: Vec<String> = frames
                .iter()
                .map(|frame| {
                    let headers: Result<Vec<_>, _> = eventstream::parse(frame).unwrap().headers.collect();
                    format!("{:?}", headers.unwrap()[0].1)
                })
                .collect();
            assert_eq!(
                names.join(" "),
                r#"Str("messageStart") Str("contentBlockDelta") Str("contentBlockStop") Str("messageStop") Str("metadata")"#
            );
            let last = frames.iter().last().unwrap();
            assert!(memchr::memmem::find(last, METADATA).is_some());
            let payload = String::from_utf8_lossy(eventstream::parse(frames.iter().nth(1).unwrap()).unwrap().payload)
                .into_owned();
            assert!(payload.starts_with(r#"{"contentBlockIndex":0,"delta":{"text":"hi"},"p":"ab"#), "{payload}");
        });
    }

    #[test]
    fn empty_text_block_and_server_tools_are_passed_over() {
        let reply = stream(&[
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":""}}"#),
            (
                "contentBlockStart",
                r#"{"contentBlockIndex":1,"start":{"toolResult":{"toolUseId":"t","status":"success"}}}"#,
            ),
            ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"toolResult":[{"text":"x"}]}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"citation":{"title":"x"}}}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"text":"a"}}"#),
            ("someNewEvent", r#"{"x":1}"#),
            ("messageStop", r#"{"stopReason":"end_turn"}"#),
        ])
        .turn();
        assert_eq!((reply.parts, reply.usage), (vec![Part::text("a")], None));
    }

    #[test]
    fn text_of_citations_is_kept() {
        let json = r#"{"output":{"message":{"role":"assistant","content":[{"text":"so "},
            {"citationsContent":{"citations":[{"title":"x"}],"content":[{"text":"it is"}]}}]}},"stopReason":"end_turn"}"#;
        assert_eq!(whole(json).turn().content(), "so it is");
    }

    #[test]
    fn an_exception_is_a_fault_and_a_missing_end_a_cut() {
        let mut exception = body(&RICH[..8]);
        eventstream::encode_exception("modelStreamErrorException", br#"{"message":"oops"}"#, &mut exception);
        let outcome = golden(&STREAM, Framing::EventStream, &exception);
        assert!(
            matches!(outcome, Outcome::Fault(Fault::Upstream(m)) if m.contains("modelStreamErrorException") && m.contains("oops"))
        );
        assert_eq!(stream(&RICH[..RICH.len() - 2]), Outcome::Cut);
        assert!(matches!(stream(&RICH[..RICH.len() - 1]), Outcome::Whole(_)));
        let cut = body(RICH);
        assert_eq!(golden(&STREAM, Framing::EventStream, &cut[..cut.len() - 1]), Outcome::Unframed);
        assert!(matches!(whole(r#"{"message":"no"}"#), Outcome::Fault(Fault::Upstream(m)) if m == "no"));
        assert!(matches!(whole(r#"{"Output":{}}"#), Outcome::Fault(Fault::Unreadable(_))));
    }
}
