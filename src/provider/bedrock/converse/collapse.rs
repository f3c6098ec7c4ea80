//! One turn of many events, or of one whole answer.

use super::super::reported;
use super::FINISH;
use crate::frame::{Frame, Framing};
use crate::provider::{Collapse, Fault, Progress, finish_in, parse_frame};
use crate::reply::{Answer, Part, Reply, ToolCall, Usage};
use crate::request::Str;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Puts the events of a stream, or the blocks of a whole answer, together.
#[derive(Default)]
pub(super) struct Collapser {
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

    fn finish(&mut self) -> crate::provider::Collapsed {
        let answer: Answer = {
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
        };
        answer.into()
    }
}

impl Collapser {
    /// A collapser for a body in this framing.
    pub(super) fn new(framing: Framing) -> Self {
        Collapser { whole: framing == Framing::Whole, ..Collapser::default() }
    }

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

/// Redacted reasoning as it was before an encoder made base64 of it, where it was not base64 itself.
fn from_blob(base64: &str) -> String {
    let text = BASE64.decode(base64).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let foreign = |text: &String| !text.contains(char::is_control) && BASE64.decode(text).is_err();
    text.filter(foreign).unwrap_or_else(|| base64.to_owned())
}

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
