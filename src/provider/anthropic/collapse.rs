//! One turn of many events, or of one whole message.

use super::FINISH;
use crate::frame::{Frame, Framing};
use crate::provider::{Collapse, Fault, Progress, finish_in, parse_frame};
use crate::reply::{Answer, Part, Reply, ToolCall, Usage};
use crate::request::Str;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Puts the events of one answer together, or reads a whole one; blocks that a turn has no part for (server tools and
/// their results, compaction) are left out.
pub(in crate::provider) struct Collapser {
    whole: bool,
    reply: Reply,
    blocks: Vec<Growing>,
    progress: Progress,
}

/// A content block as it grows.
struct Growing {
    index: u64,
    /// Its place in the reply's parts; `None` for a block that is left out.
    part: Option<usize>,
    /// A call's input as the block's first event had it; what counts where no delta follows.
    input: Option<String>,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let data = frame.data.trim_ascii();
        if !data.is_empty() && data != b"[DONE]" {
            let event: Event<'_> = parse_frame(frame)?;
            self.take(event, frame)?;
        }
        Ok(self.progress)
    }

    fn kept_bytes(&self) -> usize {
        self.reply.kept_bytes()
    }

    fn finish(&mut self) -> Answer {
        for block in self.blocks.drain(..) {
            let part = block.part.and_then(|at| self.reply.parts.get_mut(at));
            if let Some(Part::ToolCall(call)) = part
                && call.arguments.is_empty()
            {
                call.arguments = block.input.unwrap_or_else(|| "{}".to_owned());
            }
        }
        let mut reply = std::mem::take(&mut self.reply);
        reply.parts.retain(|part| match part {
            Part::Text { text, .. } => !text.is_empty(),
            Part::Reasoning { text, signature } => !text.is_empty() || signature.is_some(),
            Part::RedactedReasoning(_) | Part::ToolCall(_) => true,
        });
        Answer::Turn(reply)
    }
}

impl Collapser {
    /// A collapser for a body in this framing.
    pub(in crate::provider) fn new(framing: Framing) -> Self {
        Collapser {
            whole: framing == Framing::Whole,
            reply: Reply::default(),
            blocks: Vec::new(),
            progress: Progress::More,
        }
    }

    /// Takes one event's JSON, for services that send the events in a framing of their own.
    ///
    /// # Errors
    /// As [`Collapse::push`].
    pub(in crate::provider) fn event(&mut self, json: &[u8]) -> Result<Progress, Fault> {
        self.push(&Frame::data(json))
    }

    fn take(&mut self, event: Event<'_>, frame: &Frame<'_>) -> Result<(), Fault> {
        let kind = event.kind.as_deref().unwrap_or(frame.event);
        if kind == "error" || frame.event == "error" || event.error.is_some_and(|e| e.get() != "null") {
            return Err(Fault::Upstream(
                event
                    .error
                    .map_or_else(|| String::from_utf8_lossy(frame.data).into_owned(), |error| error.get().to_owned()),
            ));
        }
        match kind {
            "message_start" => self.head(event.message.unwrap_or_default()),
            "content_block_start" => self.start(event.index, event.content_block.unwrap_or_default()),
            "content_block_delta" => self.delta(event.index, event.delta.unwrap_or_default()),
            "message_delta" => {
                let delta = event.delta.unwrap_or_default();
                self.stop(delta.stop_reason);
                self.usage(event.usage);
            }
            "message_stop" => self.progress = Progress::Done,
            _ if event.content.is_some() => self.message(event),
            _ if self.whole => return Err(Fault::Unreadable("an answer without content".to_owned())),
            _ => {} // a ping, or an event of a later version
        }
        Ok(())
    }

    /// A whole answer.
    fn message(&mut self, event: Event<'_>) {
        let Event { id, model, role, usage, stop_reason, content, .. } = event;
        self.head(Head { id, model, role, usage });
        for (index, block) in content.into_iter().flatten().enumerate() {
            self.start(Some(index as u64), block);
        }
        self.stop(stop_reason);
        self.progress = Progress::Done;
    }

    fn head(&mut self, head: Head<'_>) {
        let owned = |s: Option<Str<'_>>| s.filter(|s| !s.is_empty()).map(|s| s.0.into_owned());
        self.reply.id = owned(head.id);
        self.reply.model = owned(head.model);
        self.reply.role = owned(head.role).filter(|role| role != "assistant");
        self.usage(head.usage);
    }

    fn start(&mut self, index: Option<u64>, block: Block<'_>) {
        let text = |s: Option<Str<'_>>| s.map(|s| s.0.into_owned()).unwrap_or_default();
        let signature = block.signature.filter(|s| !s.is_empty()).map(|s| s.0.into_owned());
        let part = match block.kind.as_deref() {
            Some("text") => Some(Part::text(text(block.text))),
            Some("thinking") => Some(Part::Reasoning { text: text(block.thinking), signature }),
            Some("redacted_thinking") => Some(Part::RedactedReasoning(text(block.data))),
            Some("tool_use") => Some(Part::ToolCall(ToolCall {
                id: block.id.map(|id| id.0.into_owned()),
                name: text(block.name),
                ..ToolCall::default()
            })),
            _ => None,
        };
        let input = block.input.filter(|_| matches!(part, Some(Part::ToolCall(_)))).map(|raw| raw.get().to_owned());
        let at = part.map(|part| {
            self.reply.parts.push(part);
            self.reply.parts.len() - 1
        });
        let index = index.unwrap_or(self.blocks.len() as u64);
        self.blocks.push(Growing { index, part: at, input });
    }

    fn delta(&mut self, index: Option<u64>, delta: Delta<'_>) {
        let block = match index {
            Some(index) => self.blocks.iter().rev().find(|b| b.index == index),
            None => self.blocks.last(),
        };
        let Some(part) = block.and_then(|b| b.part).and_then(|at| self.reply.parts.get_mut(at)) else { return };
        let more = |into: &mut String, new: Option<Str<'_>>| new.into_iter().for_each(|s| into.push_str(&s));
        match (delta.kind.as_deref().unwrap_or(""), part) {
            ("text_delta", Part::Text { text, .. }) => more(text, delta.text),
            ("thinking_delta", Part::Reasoning { text, .. }) => more(text, delta.thinking),
            ("signature_delta", Part::Reasoning { signature, .. }) => {
                if let Some(new) = delta.signature.filter(|s| !s.is_empty()) {
                    signature.get_or_insert_default().push_str(&new);
                }
            }
            ("input_json_delta", Part::ToolCall(call)) => more(&mut call.arguments, delta.partial_json),
            _ => {} // citations and what later versions bring
        }
    }

    fn stop(&mut self, reason: Option<Str<'_>>) {
        if let Some(own) = reason.filter(|own| !own.is_empty()) {
            self.reply.finish = Some(finish_in(&FINISH, &own));
            if self.progress == Progress::More {
                self.progress = Progress::Finished;
            }
        }
    }

    /// Counts come with the first event and again, final, with the last: the later ones hold.
    fn usage(&mut self, raw: Option<&RawValue>) {
        let Some(usage) = raw.and_then(|raw| serde_json::from_str::<Option<Usage>>(raw.get()).ok()).flatten() else {
            return;
        };
        let kept = self.reply.usage.get_or_insert_default();
        for (name, count) in usage {
            if !(count.is_null() && kept.contains_key(&name)) {
                kept.insert(name, count);
            }
        }
    }
}

/// Any event, and the whole message, which has no event around it.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    message: Option<Head<'a>>,
    #[serde(borrow, default)]
    content_block: Option<Block<'a>>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    role: Option<Str<'a>>,
    #[serde(borrow, default)]
    content: Option<Vec<Block<'a>>>,
    #[serde(borrow, default)]
    stop_reason: Option<Str<'a>>,
}

#[derive(Default, Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    role: Option<Str<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Str<'a>>,
    #[serde(borrow, default)]
    signature: Option<Str<'a>>,
    #[serde(borrow, default)]
    data: Option<Str<'a>>,
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Str<'a>>,
    #[serde(borrow, default)]
    signature: Option<Str<'a>>,
    #[serde(borrow, default)]
    partial_json: Option<Str<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<Str<'a>>,
}
