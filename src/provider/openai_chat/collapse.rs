//! Puts a completion together: from its chunks, or from the whole of it.

use super::super::{AnswerHead, Collapse, Fault, Progress, finish_in, parse_frame};
use super::{DONE, FINISH};
use crate::frame::{Frame, Framing};
use crate::reply::{Answer, Part, Reply, ToolCall};
use crate::request::Str;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(default)]
    created: Option<f64>,
    #[serde(borrow, default)]
    system_fingerprint: Option<Str<'a>>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    x_groq: Option<Groq<'a>>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(borrow, default)]
    object: Option<Str<'a>>,
}

/// Groq puts a stream's usage into a member of its own. <https://console.groq.com/docs/api-reference>
#[derive(Deserialize)]
struct Groq<'a> {
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Option<i64>,
    #[serde(borrow, default)]
    delta: Option<Piece<'a>>,
    #[serde(borrow, default)]
    message: Option<Piece<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow, default)]
    role: Option<Str<'a>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<Str<'a>>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<Str<'a>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<CallPiece<'a>>>,
    #[serde(borrow, default)]
    function_call: Option<FunctionPiece<'a>>,
}

#[derive(Deserialize)]
struct CallPiece<'a> {
    #[serde(default)]
    index: Option<i64>,
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    function: Option<FunctionPiece<'a>>,
    /// A tool that takes text.
    #[serde(borrow, default)]
    custom: Option<FunctionPiece<'a>>,
}

#[derive(Deserialize)]
struct FunctionPiece<'a> {
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    /// A string; some services send an object.
    #[serde(borrow, default, alias = "input")]
    arguments: Option<&'a RawValue>,
}

/// One tool call as it grows.
#[derive(Default)]
struct Growing {
    index: Option<i64>,
    call: ToolCall,
}

/// Puts the chunks of choice 0 together.
#[derive(Default)]
pub(super) struct Collapser {
    whole: bool,
    text: String,
    reasoning: String,
    calls: Vec<Growing>,
    reply: Reply,
    progress: Option<Progress>,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        if frame.data.trim_ascii() == DONE {
            self.progress = Some(Progress::Done);
        } else if !frame.data.trim_ascii().is_empty() {
            let chunk: Chunk<'_> = parse_frame(frame)?;
            if let Some(error) = chunk.error.as_ref().filter(|e| !e.is_null()) {
                return Err(Fault::Upstream(error.to_string()));
            }
            if frame.event == "error" || chunk.object.as_deref() == Some("error") {
                return Err(Fault::Upstream(String::from_utf8_lossy(frame.data).into_owned()));
            }
            if self.whole && chunk.choices.as_ref().is_none_or(Vec::is_empty) {
                return Err(Fault::Unreadable("an answer without choices".into()));
            }
            self.take(chunk)?;
        }
        Ok(self.progress.unwrap_or(Progress::More))
    }

    fn kept_bytes(&self) -> usize {
        let calls = self.calls.iter().map(|g| g.call.arguments.len() + g.call.name.len());
        self.text.len() + self.reasoning.len() + calls.sum::<usize>()
    }

    fn finish(&mut self) -> Answer {
        let mut reply = std::mem::take(&mut self.reply);
        if !self.reasoning.is_empty() {
            reply.parts.push(Part::Reasoning { text: std::mem::take(&mut self.reasoning), signature: None });
        }
        if !self.text.is_empty() {
            reply.parts.push(Part::text(std::mem::take(&mut self.text)));
        }
        reply.parts.extend(self.calls.drain(..).map(|g| Part::ToolCall(g.call)));
        Answer::Turn(reply)
    }
}

impl Collapser {
    pub(super) fn new(answer: &AnswerHead<'_>) -> Self {
        Collapser { whole: answer.framing == Framing::Whole, ..Collapser::default() }
    }

    fn take(&mut self, chunk: Chunk<'_>) -> Result<(), Fault> {
        let reply = &mut self.reply;
        let id = chunk.id.and_then(|id| serde_json::from_str::<String>(id.get()).ok());
        keep(&mut reply.id, id.as_deref());
        keep(&mut reply.model, chunk.model.as_deref());
        keep(&mut reply.system_fingerprint, chunk.system_fingerprint.as_deref());
        if reply.created.is_none() {
            reply.created = chunk.created.map(|c| c as i64).filter(|c| *c != 0);
        }
        for usage in [chunk.x_groq.and_then(|g| g.usage), chunk.usage].into_iter().flatten() {
            // null, or an object
            if let Ok(Value::Object(usage)) = serde_json::from_str(usage.get()) {
                reply.usage = Some(usage);
            }
        }
        for choice in chunk.choices.into_iter().flatten().filter(|c| c.index.unwrap_or(0) == 0) {
            if let Some(word) = choice.finish_reason.filter(|word| !word.is_empty()) {
                self.reply.finish = Some(finish_in(&FINISH, &word));
                self.progress.get_or_insert(Progress::Finished);
            }
            // Perplexity sends both in every chunk: what is new, and all there is so far.
            let (first, second) =
                if self.whole { (choice.message, choice.delta) } else { (choice.delta, choice.message) };
            if let Some(piece) = first.or(second) {
                self.piece(piece)?;
            }
        }
        if self.whole {
            self.progress = Some(Progress::Done);
        }
        Ok(())
    }

    fn piece(&mut self, piece: Piece<'_>) -> Result<(), Fault> {
        if let Some(role) = piece.role.filter(|r| !r.is_empty() && &**r != "assistant") {
            self.reply.role = Some(role.0.into_owned());
        }
        if let Some(content) = piece.content {
            self.content(content)?;
        }
        match (piece.reasoning_content.filter(|t| !t.is_empty()), piece.reasoning) {
            (Some(text), _) => self.reasoning.push_str(&text),
            (None, Some(raw)) => {
                if let Ok(Str(text)) = serde_json::from_str(raw.get())
                    && !text.is_empty()
                {
                    self.reasoning.push_str(&text);
                    self.reply.reasoning_field = Some("reasoning".into());
                }
            }
            (None, None) => {}
        }
        if let Some(refusal) = piece.refusal.filter(|r| !r.is_empty()) {
            self.reply.refusal.get_or_insert_default().push_str(&refusal);
        }
        for call in piece.tool_calls.into_iter().flatten() {
            self.call(call);
        }
        if let Some(function) = piece.function_call {
            if self.calls.is_empty() {
                self.calls.push(Growing::default());
            }
            if let Some(growing) = self.calls.last_mut() {
                growing.grow(None, Some(function));
            }
        }
        Ok(())
    }

    /// A string, null, or a list of text and thinking parts
    /// (<https://docs.mistral.ai/capabilities/reasoning/>).
    fn content(&mut self, raw: &RawValue) -> Result<(), Fault> {
        if raw.get().starts_with('"') {
            let Str(text) = serde_json::from_str(raw.get()).map_err(|e| Fault::Unreadable(e.to_string()))?;
            self.text.push_str(&text);
            return Ok(());
        }
        let parts: Option<Vec<Value>> = serde_json::from_str(raw.get())
            .map_err(|e| Fault::Unreadable(format!("content is neither a string nor a list: {e}")))?;
        for part in parts.into_iter().flatten() {
            if let Some(text) = part.get("text").and_then(Value::as_str).or_else(|| part.as_str()) {
                self.text.push_str(text);
            }
            match part.get("thinking") {
                Some(Value::String(text)) => self.reasoning.push_str(text),
                Some(Value::Array(parts)) => {
                    let texts = parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str));
                    texts.for_each(|t| self.reasoning.push_str(t));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Finds the call that a delta belongs to: by index, where it has one and the id does not say otherwise; by id;
    /// else the last one.
    fn call(&mut self, piece: CallPiece<'_>) {
        let id = piece.id.filter(|id| !id.is_empty());
        let function = piece.function.or(piece.custom);
        let index = piece.index.filter(|i| *i >= 0 && !self.whole);
        let same_id = |g: &Growing| match (&id, &g.call.id) {
            (Some(new), Some(old)) => **new == **old,
            _ => true,
        };
        let at = match index {
            Some(i) => self.calls.iter().rposition(|g| g.index == Some(i) && same_id(g)),
            None if self.whole => None,
            None if id.is_some() => self.calls.iter().rposition(|g| g.call.id.as_deref() == id.as_deref()),
            None => {
                let names_another = function.as_ref().and_then(|f| f.name.as_deref()).is_some_and(|name| {
                    !name.is_empty() && self.calls.last().is_some_and(|g| g.call.name != name || g.call.id.is_none())
                });
                if names_another { None } else { self.calls.len().checked_sub(1) }
            }
        };
        let at = at.unwrap_or_else(|| {
            self.calls.push(Growing { index, ..Growing::default() });
            self.calls.len() - 1
        });
        self.calls[at].grow(id, function);
    }
}

impl Growing {
    fn grow(&mut self, id: Option<Str<'_>>, function: Option<FunctionPiece<'_>>) {
        if self.call.id.is_none() {
            self.call.id = id.map(|id| id.0.into_owned());
        }
        let Some(function) = function else { return };
        if let Some(name) = function.name.filter(|_| self.call.name.is_empty()) {
            self.call.name.push_str(&name);
        }
        let Some(raw) = function.arguments.map(RawValue::get) else { return };
        match serde_json::from_str(raw) {
            Ok(Str(text)) => self.call.arguments.push_str(&text),
            Err(_) if raw == "null" => {}
            Err(_) => self.call.arguments.push_str(raw),
        }
    }
}

fn keep(kept: &mut Option<String>, new: Option<&str>) {
    if let Some(new) = new.filter(|new| kept.is_none() && !new.is_empty()) {
        *kept = Some(new.to_owned());
    }
}
