//! Version 1's events, and its whole answer, put together.

use super::super::super::{AnswerHead, Collapse, Fault, Progress, finish_in, parse_member, parse_values, raw};
use super::super::usage_of;
use super::{END, FINISH};
use crate::frame::{Frame, Framing, ndjson, sse};
use crate::reply::{Answer, Part, Reply, ToolCall};
use crate::request::Str;
use serde::Deserialize;
use serde_json::value::RawValue;

/// An event; or a whole answer, which has no `event_type`.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    event_type: Option<Str<'a>>,
    /// The last event's: the whole answer.
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    generation_id: Option<Str<'a>>,
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<Call<'a>>>,
    #[serde(borrow, default)]
    finish_reason: Option<Str<'a>>,
    #[serde(borrow, default)]
    meta: Option<&'a RawValue>,
    /// What OpenAI's shape has.
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    finish_reason: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
}

/// Puts events together, or reads the whole answer.
pub(super) struct Collapser {
    text: String,
    calls: Vec<ToolCall>,
    reply: Reply,
    progress: Progress,
    framing: Framing,
    /// Keeps an answer in OpenAI's shape, which Writer gives at this path, as it is.
    verbatim: Box<dyn Collapse>,
    foreign: bool,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        if frame.data != b"[DONE]" {
            for event in parse_values::<Event<'_>>(frame) {
                self.event(event?)?;
            }
        }
        if self.foreign {
            self.keep(frame)?;
        }
        Ok(self.progress)
    }

    fn kept_bytes(&self) -> usize {
        let calls = self.calls.iter().map(|call| call.name.len() + call.arguments.len()).sum::<usize>();
        self.text.len() + calls + self.verbatim.kept_bytes()
    }

    fn finish(&mut self) -> crate::provider::Collapsed {
        let answer: Answer = (|| {
            if self.foreign {
                return self.verbatim.finish().old();
            }
            let mut reply = std::mem::take(&mut self.reply);
            if !self.calls.is_empty() && reply.finish.as_deref() == Some("stop") {
                reply.finish = Some("tool_calls".to_owned());
            }
            reply.push_text(&self.text);
            reply.parts.extend(self.calls.drain(..).map(Part::ToolCall));
            Answer::Turn(reply)
        })();
        answer.into()
    }
}

impl Collapser {
    pub(super) fn new(answer: &AnswerHead<'_>) -> Self {
        Collapser {
            text: String::new(),
            calls: Vec::new(),
            reply: Reply::default(),
            progress: Progress::More,
            framing: answer.framing,
            verbatim: raw::collapser(answer),
            foreign: false,
        }
    }

    /// The frame as it was on the wire.
    fn keep(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let mut wire = Vec::with_capacity(frame.data.len());
        match self.framing {
            Framing::Sse => sse::encode(frame.event, frame.data, &mut wire),
            Framing::Ndjson => ndjson::encode(frame.data, &mut wire),
            _ => wire.extend_from_slice(frame.data),
        }
        self.verbatim.push(&Frame::data(&wire)).map(|_| ())
    }

    fn event(&mut self, event: Event<'_>) -> Result<(), Fault> {
        if let Some(choices) = event.choices {
            self.foreign = true;
            if choices.iter().any(|c| c.finish_reason.is_some()) {
                self.progress = Progress::Finished;
            }
            return Ok(());
        }
        match event.event_type.as_deref() {
            None if event.text.is_none() && event.tool_calls.is_none() => {
                if self.framing != Framing::Whole {
                    return Ok(()); // an event that is not known
                }
                return Err(Fault::Unreadable("an answer without text and tool calls".into()));
            }
            None | Some(END) => {
                self.progress = Progress::Done;
                let whole = event.response.map(parse_member::<Event<'_>>).transpose();
                self.answer(event)?;
                whole?.map_or(Ok(()), |whole| self.answer(whole))?;
            }
            Some("stream-start") => self.answer(event)?,
            Some("text-generation" | "tool-calls-chunk") => self.text.push_str(event.text.as_deref().unwrap_or("")),
            // Its text came in chunks.
            Some("tool-calls-generation") => self.answer(Event { text: None, ..event })?,
            Some(_) => {}
        }
        Ok(())
    }

    /// Takes what stands for the answer as a whole, in place of what came before.
    fn answer(&mut self, answer: Event<'_>) -> Result<(), Fault> {
        if let Some(text) = answer.text {
            self.text = text.0.into_owned();
        }
        if let Some(calls) = answer.tool_calls {
            self.calls = calls.into_iter().map(Call::into_call).collect();
        }
        if let Some(id) = answer.generation_id {
            self.reply.id = Some(id.0.into_owned());
        }
        if let Some(usage) = answer.meta.and_then(|meta| usage_of(meta.get())) {
            self.reply.usage = Some(usage);
        }
        match answer.finish_reason.as_deref().filter(|reason| !reason.is_empty()) {
            Some("ERROR") => Err(Fault::Upstream("the model stopped with finish_reason ERROR".into())),
            Some(reason) => {
                self.reply.finish = Some(finish_in(&FINISH, reason));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Call<'_> {
    fn into_call(self) -> ToolCall {
        ToolCall {
            id: None,
            name: self.name.map(|name| name.0.into_owned()).unwrap_or_default(),
            arguments: self.parameters.map(RawValue::get).filter(|p| *p != "null").unwrap_or_default().to_owned(),
            signature: None,
            custom: false,
        }
    }
}
