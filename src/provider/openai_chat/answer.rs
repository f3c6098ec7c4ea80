//! A turn as a chat completion: whole, or in chunks.
//! <https://platform.openai.com/docs/api-reference/chat-streaming>

use super::super::{Encoding, finish_out, pieces, write_answer_usage};
use super::{DONE, FINISH, REASONING, REASONING_DETAILS, USAGE, WIRE};
use crate::frame::{Frames, sse};
use crate::json;
use crate::reply::{Part, Reply, ToolCall};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Room for what stands around an answer's text, or comes after it.
const WHOLE_BYTES: usize = 512;

/// Room for what whole answers and chunks begin with.
const HEAD_BYTES: usize = 256;

/// Chunks that follow those of a text, nearly always.
const CLOSING_CHUNKS: usize = 3;

/// What stands around a chunk's text, after what all chunks begin with.
const TEXT_OPENS: &[u8] = b"{\"index\":0,\"delta\":{\"content\":\"";
const TEXT_CLOSES: &[u8] = b"\"},\"finish_reason\":null}]}\n\n";

pub(super) fn whole(reply: &Reply, to: &Encoding<'_>) -> Vec<u8> {
    let texts = reply.parts.iter().map(|part| if let Part::Text { text, .. } = part { text.len() } else { 0 });
    let mut out = Vec::with_capacity(WHOLE_BYTES + texts.sum::<usize>());
    head("chat.completion", reply, to, &mut out);
    out.extend_from_slice(b",\"choices\":[{\"index\":0,\"message\":");
    message(reply, to, &mut out);
    out.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":");
    json::string(&finish_out(&FINISH, reply.finish_word()), &mut out);
    out.extend_from_slice(b"}],\"usage\":");
    write_answer_usage(&USAGE, reply, to.request, &mut out);
    answer_members(reply, &mut out);
    out.push(b'}');
    out
}

/// What whole answers and chunks begin with, up to `choices`.
fn head(object: &str, reply: &Reply, to: &Encoding<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    match &reply.id {
        Some(id) => json::string(id, out),
        None => json::string(&to.id("chatcmpl-", 0), out),
    }
    out.extend_from_slice(b",\"object\":");
    json::string(object, out);
    out.extend_from_slice(b",\"created\":");
    json::number(reply.created.unwrap_or(to.now), out);
    out.extend_from_slice(b",\"model\":");
    json::string(reply.model.as_deref().unwrap_or(&to.request.model), out);
    if let Some(fingerprint) = &reply.system_fingerprint {
        out.extend_from_slice(b",\"system_fingerprint\":");
        json::string(fingerprint, out);
    }
}

fn message(reply: &Reply, to: &Encoding<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"role\":");
    json::string(reply.role.as_deref().unwrap_or("assistant"), out);
    out.extend_from_slice(b",\"content\":");
    let begin = out.len();
    out.push(b'"');
    for part in &reply.parts {
        if let Part::Text { text, .. } = part {
            json::escaped(text, out);
        }
    }
    out.push(b'"');
    let no_text = out.len() - begin == 2;
    let calls = reply.tool_calls().next().is_some();
    if no_text && (calls || reply.refusal.is_some()) {
        out.truncate(begin);
        out.extend_from_slice(b"null");
    }
    let reasoning = reply.reasoning();
    if !reasoning.is_empty() {
        match reply.reasoning_field.as_deref() {
            Some(REASONING) => member(REASONING, &reasoning, out),
            Some(REASONING_DETAILS) => member(REASONING_DETAILS, &[Detail::new(&reasoning)], out),
            _ => member("reasoning_content", &reasoning, out),
        }
    }
    out.extend_from_slice(b",\"refusal\":");
    match &reply.refusal {
        Some(refusal) => json::string(refusal, out),
        None => out.extend_from_slice(b"null"),
    }
    if let Some(first) = reply.tool_calls().next() {
        if legacy(reply) {
            member("function_call", &FunctionOut { name: Some(&first.name), arguments: &first.arguments }, out);
        } else {
            let calls = reply.tool_calls().enumerate().map(|(i, call)| CallOut::new(call, None, i, to));
            member("tool_calls", &calls.collect::<Vec<_>>(), out);
        }
    }
    for (name, value) in message_members(reply) {
        member(&name, &value, out);
    }
    out.push(b'}');
}

/// Members of the answer itself, not of its message.
const OF_ANSWER: [&str; 2] = ["citations", "search_results"];

/// Writes the members of the answer that no other wire knows.
fn answer_members(reply: &Reply, out: &mut Vec<u8>) {
    for (name, value) in own(reply).filter(|(name, _)| OF_ANSWER.contains(&&**name)) {
        member(&name, &value, out);
    }
}

/// Members of the message that no other wire knows.
fn message_members(reply: &Reply) -> impl Iterator<Item = (String, &RawValue)> {
    own(reply).filter(|(name, _)| !OF_ANSWER.contains(&&**name))
}

fn own(reply: &Reply) -> impl Iterator<Item = (String, &RawValue)> {
    let objects = reply.parts.iter().filter_map(|part| part.verbatim_of(WIRE));
    objects.flat_map(|raw| serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()).unwrap_or_default())
}

fn member(name: &str, value: &impl Serialize, out: &mut Vec<u8>) {
    out.push(b',');
    json::string(name, out);
    out.push(b':');
    write(value, out);
}

/// The call was made in the older way.
fn legacy(reply: &Reply) -> bool {
    reply.finish.as_deref() == Some("function_call")
}

pub(super) fn stream(reply: &Reply, to: &Encoding<'_>) -> Frames {
    let mut stream = Stream::new(reply, to);
    let mut opening = Delta { role: Some(reply.role.as_deref().unwrap_or("assistant")), ..Delta::default() };
    if reply.tool_calls().next().is_none() && reply.refusal.is_none() {
        opening.content = Some("");
    }
    stream.delta(&opening, None, None);
    let legacy = legacy(reply);
    let mut index = 0;
    for part in &reply.parts {
        match part {
            Part::Text { text, .. } => stream.text(text, to.chunk_chars),
            Part::Reasoning { text, .. } => {
                for piece in pieces(text, to.chunk_chars) {
                    stream.delta(&Delta::reasoning(reply, piece), None, None);
                }
            }
            Part::ToolCall(call) if legacy => stream.function_call(call, to),
            Part::ToolCall(call) => {
                stream.tool_call(call, index, to);
                index += 1;
            }
            Part::RedactedReasoning(_) | Part::Verbatim(_) => {}
        }
    }
    for (name, value) in message_members(reply) {
        stream.own(&name, value);
    }
    for piece in pieces(reply.refusal.as_deref().unwrap_or(""), to.chunk_chars) {
        stream.delta(&Delta { refusal: Some(piece), ..Delta::default() }, None, None);
    }
    let finish = finish_out(&FINISH, reply.finish_word());
    let mut usage = Vec::with_capacity(HEAD_BYTES);
    write_answer_usage(&USAGE, reply, to.request, &mut usage);
    let asked = to.request.include_usage;
    // A service that sends usage unasked puts it beside the finish reason: clients that did not ask for the extra
    // chunk fail on one without choices.
    let unasked = (!asked && reply.usage.is_some()).then_some(&*usage);
    answer_members(reply, &mut stream.closing);
    stream.delta(&Delta::default(), Some(&finish), unasked);
    if asked {
        stream.usage(&usage);
    }
    stream.done()
}

#[derive(Serialize)]
struct CallOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(flatten)]
    called: Called<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Extra<'a>>,
}

/// What Google adds to a call. <https://ai.google.dev/gemini-api/docs/thought-signatures#openai>
#[derive(Serialize)]
struct Extra<'a> {
    google: GoogleExtra<'a>,
}

#[derive(Serialize)]
struct GoogleExtra<'a> {
    thought_signature: &'a str,
}

/// One of `reasoning_details`.
#[derive(Serialize)]
struct Detail<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    text: &'a str,
    index: usize,
}

impl<'a> Detail<'a> {
    fn new(text: &'a str) -> Self {
        Detail { kind: "reasoning.text", text, index: 0 }
    }
}

/// A tool that takes JSON, or one that takes text.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Called<'a> {
    Function(FunctionOut<'a>),
    Custom(CustomOut<'a>),
}

#[derive(Serialize)]
struct FunctionOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

#[derive(Serialize)]
struct CustomOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    input: &'a str,
}

impl<'a> CallOut<'a> {
    /// The call without its arguments where it has an index: they follow.
    fn new(call: &'a ToolCall, index: Option<usize>, n: usize, to: &Encoding<'_>) -> Self {
        let id = call.id.as_deref().map_or_else(|| Cow::Owned(to.id("call_", n + 1)), Cow::Borrowed);
        let custom = to.request.custom_tools.iter().any(|name| *name == call.name);
        let arguments = if index.is_none() { &*call.arguments } else { "" };
        CallOut {
            index,
            id: Some(id),
            kind: Some(if custom { "custom" } else { "function" }),
            called: Called::new(custom, Some(&call.name), arguments),
            extra_content: call.signature.as_deref().map(|s| Extra { google: GoogleExtra { thought_signature: s } }),
        }
    }
}

impl<'a> Called<'a> {
    fn new(custom: bool, name: Option<&'a str>, arguments: &'a str) -> Self {
        if custom {
            Called::Custom(CustomOut { name, input: arguments })
        } else {
            Called::Function(FunctionOut { name, arguments })
        }
    }
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_details: Option<[Detail<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallOut<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionOut<'a>>,
}

impl<'a> Delta<'a> {
    fn reasoning(reply: &Reply, piece: &'a str) -> Self {
        match reply.reasoning_field.as_deref() {
            Some(REASONING) => Delta { reasoning: Some(piece), ..Delta::default() },
            Some(REASONING_DETAILS) => Delta { reasoning_details: Some([Detail::new(piece)]), ..Delta::default() },
            _ => Delta { reasoning_content: Some(piece), ..Delta::default() },
        }
    }
}

/// The chunks of a streamed answer; what all of them begin with is written once.
struct Stream {
    frames: Frames,
    opening: Vec<u8>,
    /// What the chunk that finishes has beside the rest.
    closing: Vec<u8>,
}

impl Stream {
    fn new(reply: &Reply, to: &Encoding<'_>) -> Self {
        let mut opening = Vec::with_capacity(HEAD_BYTES);
        opening.extend_from_slice(b"data: ");
        head("chat.completion.chunk", reply, to, &mut opening);
        opening.extend_from_slice(b",\"choices\":[");
        let mut frames = Frames::default();
        frames.bytes.reserve(WHOLE_BYTES); // where there is no text
        Stream { frames, opening, closing: Vec::new() }
    }

    /// A text's chunks.
    fn text(&mut self, text: &str, chunk_chars: usize) {
        if text.is_empty() {
            return;
        }
        // What ends a chunk and what begins the next one are written as one.
        let between = [TEXT_CLOSES, &*self.opening, TEXT_OPENS].concat();
        let (closes, opens) = between.split_at(TEXT_CLOSES.len());
        let Frames { bytes, ends } = &mut self.frames;
        let chunks = text.len() / chunk_chars + 1;
        ends.reserve(chunks + CLOSING_CHUNKS);
        bytes.reserve(text.len() + chunks * between.len() + WHOLE_BYTES);
        let plain = json::is_plain(text);
        for (n, piece) in pieces(text, chunk_chars).enumerate() {
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

    fn delta(&mut self, delta: &Delta<'_>, finish: Option<&str>, usage: Option<&[u8]>) {
        let (opening, closing) = (&self.opening, &self.closing);
        self.frames.push(|out| {
            out.extend_from_slice(opening);
            out.extend_from_slice(b"{\"index\":0,\"delta\":");
            write(delta, out);
            out.extend_from_slice(b",\"finish_reason\":");
            write(&finish, out);
            out.extend_from_slice(b"}]");
            if let Some(usage) = usage {
                out.extend_from_slice(b",\"usage\":");
                out.extend_from_slice(usage);
            }
            if finish.is_some() {
                out.extend_from_slice(closing);
            }
            out.extend_from_slice(b"}\n\n");
        });
    }

    /// A delta of one member.
    fn own(&mut self, name: &str, value: &RawValue) {
        let opening = &self.opening;
        self.frames.push(|out| {
            out.extend_from_slice(opening);
            out.extend_from_slice(b"{\"index\":0,\"delta\":{");
            json::string(name, out);
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
            out.extend_from_slice(b"},\"finish_reason\":null}]}\n\n");
        });
    }

    fn tool_call(&mut self, call: &ToolCall, index: usize, to: &Encoding<'_>) {
        let first = CallOut::new(call, Some(index), index, to);
        let custom = matches!(first.called, Called::Custom(_));
        self.delta(&Delta { tool_calls: Some([first]), ..Delta::default() }, None, None);
        for piece in pieces(&call.arguments, to.chunk_chars) {
            let called = Called::new(custom, None, piece);
            let more = CallOut { index: Some(index), id: None, kind: None, called, extra_content: None };
            self.delta(&Delta { tool_calls: Some([more]), ..Delta::default() }, None, None);
        }
    }

    fn function_call(&mut self, call: &ToolCall, to: &Encoding<'_>) {
        let first = FunctionOut { name: Some(&call.name), arguments: "" };
        self.delta(&Delta { function_call: Some(first), ..Delta::default() }, None, None);
        for piece in pieces(&call.arguments, to.chunk_chars) {
            let more = FunctionOut { name: None, arguments: piece };
            self.delta(&Delta { function_call: Some(more), ..Delta::default() }, None, None);
        }
    }

    fn usage(&mut self, usage: &[u8]) {
        let opening = &self.opening;
        self.frames.push(|out| {
            out.extend_from_slice(opening);
            out.extend_from_slice(b"],\"usage\":");
            out.extend_from_slice(usage);
            out.extend_from_slice(b"}\n\n");
        });
    }

    fn done(mut self) -> Frames {
        self.frames.push(|out| sse::encode("", DONE, out));
        self.frames
    }
}

fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("these structs have string keys only, and a Vec takes all bytes");
}
