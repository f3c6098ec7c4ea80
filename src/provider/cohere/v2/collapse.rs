//! Version 2's events, and its whole answer, put together.

use super::super::super::{AnswerHead, Collapse, Fault, Progress, finish_in, parse_frame, parse_member};
use super::{DONE, FINISH, TOOL_PLAN, WIRE};
use crate::frame::{Frame, Framing};
use crate::reply::{Answer, Part, Reply, ToolCall, Usage};
use crate::request::Str;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// An event, or the whole answer.
#[derive(Deserialize)]
struct EventIn<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(default)]
    index: Option<i64>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<Str<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct DeltaIn<'a> {
    #[serde(borrow, default)]
    message: Option<MessageIn<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Str<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<Str<'a>>,
}

/// Whole answers have lists where events have one element.
#[derive(Deserialize)]
struct MessageIn<'a> {
    #[serde(borrow, default)]
    role: Option<Str<'a>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_plan: Option<Str<'a>>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    citations: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct BlockIn<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct CallIn<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    function: Option<FunctionIn<'a>>,
}

#[derive(Deserialize)]
struct FunctionIn<'a> {
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    #[serde(borrow, default)]
    arguments: Option<Str<'a>>,
}

/// Puts events together, or reads the whole answer.
#[derive(Default)]
pub(super) struct Collapser {
    whole: bool,
    thinking: String,
    text: String,
    plan: String,
    /// With the event's index.
    calls: Vec<(Option<i64>, ToolCall)>,
    citations: Vec<Value>,
    cited: usize,
    reply: Reply,
    done: bool,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let data = frame.data.trim_ascii();
        if !data.is_empty() && data != DONE {
            let event: EventIn<'_> = parse_frame(frame)?;
            let kind = event.kind.as_deref().unwrap_or(frame.event);
            match kind {
                "" if event.message.is_some() || self.whole => self.whole(event)?,
                "error" => return Err(Fault::Upstream(String::from_utf8_lossy(data).into_owned())),
                "message-start" | "content-start" | "content-delta" | "tool-plan-delta" | "tool-call-start"
                | "tool-call-delta" | "citation-start" | "message-end" => {
                    let ends = kind == "message-end";
                    self.event(event)?;
                    self.done |= ends;
                }
                _ => {}
            }
        }
        Ok(if self.done { Progress::Done } else { Progress::More })
    }

    fn kept_bytes(&self) -> usize {
        let calls = self.calls.iter().map(|(_, call)| call.name.len() + call.arguments.len()).sum::<usize>();
        self.thinking.len() + self.text.len() + self.plan.len() + self.cited + calls
    }

    fn finish(&mut self) -> crate::provider::Collapsed {
        let answer: Answer = {
            let mut reply = std::mem::take(&mut self.reply);
            reply.push_reasoning(&self.thinking);
            if !self.plan.is_empty() {
                reply.parts.push(Part::Reasoning { text: std::mem::take(&mut self.plan), signature: None });
                reply.reasoning_field = Some(TOOL_PLAN.to_owned());
            }
            reply.push_text(&self.text);
            reply.parts.extend(self.calls.drain(..).map(|(_, call)| Part::ToolCall(call)));
            if !self.citations.is_empty() {
                reply.parts.push(Part::verbatim(WIRE, &json!({"citations": self.citations})));
            }
            Answer::Turn(reply)
        };
        answer.into()
    }
}

impl Collapser {
    pub(super) fn new(answer: &AnswerHead<'_>) -> Self {
        Collapser { whole: answer.framing == Framing::Whole, ..Collapser::default() }
    }

    fn whole(&mut self, answer: EventIn<'_>) -> Result<(), Fault> {
        let Some(message) = answer.message else { return Err(Fault::Unreadable("an answer without message".into())) };
        let message = parse_member(message)?;
        self.reply.id = answer.id.map(|id| id.0.into_owned());
        self.message(message, None)?;
        self.end(answer.finish_reason, answer.usage, None)?;
        self.done = true;
        Ok(())
    }

    fn event(&mut self, event: EventIn<'_>) -> Result<(), Fault> {
        if let Some(id) = event.id.filter(|_| self.reply.id.is_none()) {
            self.reply.id = Some(id.0.into_owned());
        }
        let Some(delta) = event.delta else { return Ok(()) };
        let delta: DeltaIn<'_> = parse_member(delta)?;
        if let Some(message) = delta.message {
            self.message(message, event.index)?;
        }
        self.end(delta.finish_reason, delta.usage, delta.error)
    }

    fn end(&mut self, reason: Option<Str<'_>>, usage: Option<&RawValue>, error: Option<Str<'_>>) -> Result<(), Fault> {
        if let Some(error) = error.filter(|e| !e.is_empty()) {
            return Err(Fault::Upstream(error.0.into_owned()));
        }
        if let Some(reason) = reason.filter(|r| !r.is_empty()) {
            if &*reason == "ERROR" {
                return Err(Fault::Upstream("the model stopped with finish_reason ERROR".into()));
            }
            self.reply.finish = Some(finish_in(&FINISH, &reason));
        }
        let usage = usage.and_then(|usage| serde_json::from_str::<Usage>(usage.get()).ok()); // null, or an object
        if let Some(usage) = usage.filter(|usage| !usage.is_empty()) {
            self.reply.usage = Some(usage);
        }
        Ok(())
    }

    fn message(&mut self, message: MessageIn<'_>, index: Option<i64>) -> Result<(), Fault> {
        if let Some(role) = message.role.filter(|r| !r.is_empty() && &**r != "assistant") {
            self.reply.role = Some(role.0.into_owned());
        }
        self.plan.push_str(message.tool_plan.as_deref().unwrap_or(""));
        for block in each::<BlockIn<'_>>(message.content)? {
            self.text.push_str(block.text.as_deref().unwrap_or(""));
            self.thinking.push_str(block.thinking.as_deref().unwrap_or(""));
        }
        self.cited += message.citations.map_or(0, |raw| raw.get().len());
        self.citations.extend(each::<Value>(message.citations)?);
        for call in each::<CallIn<'_>>(message.tool_calls)? {
            self.call(call, index);
        }
        Ok(())
    }

    /// A delta belongs to the call of its index; what has no index begins a call where it has an id.
    fn call(&mut self, piece: CallIn<'_>, index: Option<i64>) {
        let at = match index {
            Some(_) => self.calls.iter().position(|(i, _)| *i == index),
            None if piece.id.is_none() => self.calls.len().checked_sub(1),
            None => None,
        };
        let at = at.unwrap_or_else(|| {
            self.calls.push((index, ToolCall::default()));
            self.calls.len() - 1
        });
        let call = &mut self.calls[at].1;
        if let Some(id) = piece.id.filter(|id| call.id.is_none() && !id.is_empty()) {
            call.id = Some(id.0.into_owned());
        }
        let Some(function) = piece.function else { return };
        call.name.push_str(function.name.as_deref().unwrap_or(""));
        call.arguments.push_str(function.arguments.as_deref().unwrap_or(""));
    }
}

/// The elements of a list, or the one that stands in its place; none of anything else.
fn each<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Result<Vec<T>, Fault> {
    match raw {
        Some(list) if list.get().starts_with('[') => parse_member(list),
        Some(one) if one.get().starts_with('{') => parse_member(one).map(|one| vec![one]),
        _ => Ok(Vec::new()),
    }
}
