//! Version 1's events, and its whole answer, put together.

use super::super::super::{AnswerHead, Collapse, Collapsed, Fault, Progress, parse_values, raw};
use super::END;
use crate::frame::{Frame, Framing, ndjson, sse};
use crate::json::Node;

/// Puts events together, or reads the whole answer.
pub(super) struct Collapser {
    /// What the events say.
    events: Node<'static>,
    /// The answer that the last one holds, or the whole one.
    answer: Option<Node<'static>>,
    kept_bytes: usize,
    progress: Progress,
    framing: Framing,
    /// Keeps an answer in OpenAI's shape, which Writer gives at this path, as it is.
    verbatim: Box<dyn Collapse>,
    foreign: bool,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        if frame.data != b"[DONE]" {
            for event in parse_values(frame) {
                self.event(Node::of(event?).map_err(|e| Fault::Unreadable(e.to_string()))?)?;
            }
        }
        if self.foreign {
            self.keep(frame)?;
        }
        Ok(self.progress)
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes + self.verbatim.kept_bytes()
    }

    fn finish(&mut self) -> Collapsed {
        if self.foreign {
            return self.verbatim.finish();
        }
        let (events, mut told) = (std::mem::take(&mut self.events), Node::Null);
        let Some(mut native) = self.answer.take() else { return events.into() };
        // The answer has it all once more; clients have seen both.
        let Node::Object(members) = events else { return native.into() };
        for (name, value) in members {
            match native.get(&name) {
                Some(said) if said.same(&value) => {}
                said => {
                    if said.is_none() {
                        native.set(name.clone(), value);
                    }
                    told.set(name, true);
                }
            }
        }
        Collapsed::Native { native, told }
    }
}

impl Collapser {
    pub(super) fn new(answer: &AnswerHead<'_>) -> Self {
        Collapser {
            events: Node::Object(Vec::new()),
            answer: None,
            kept_bytes: 0,
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

    fn event(&mut self, event: Node<'_>) -> Result<(), Fault> {
        if let Some(choices) = event.get("choices") {
            self.foreign = true;
            if choices.items().iter().any(|choice| choice.get("finish_reason").is_some()) {
                self.progress = Progress::Finished;
            }
            return Ok(());
        }
        sound(&event)?;
        match event.str("event_type").map(str::to_owned).as_deref() {
            None if event.get("text").is_none() && event.get("tool_calls").is_none() => {
                if self.framing == Framing::Whole {
                    return Err(Fault::Unreadable("an answer without text and tool calls".into()));
                }
                self.take(event); // an event that is not known
            }
            None => {
                self.kept_bytes += event.kept_bytes();
                self.answer = Some(event.into_owned());
                self.progress = Progress::Done;
            }
            Some(END) => {
                let mut event = event;
                if let Some(answer @ Node::Object(_)) = event.remove("response") {
                    sound(&answer)?;
                    self.kept_bytes += answer.kept_bytes();
                    self.answer = Some(answer.into_owned());
                }
                self.take(event);
                self.progress = Progress::Done;
            }
            Some("text-generation" | "tool-calls-chunk") => {
                if let Some(Node::Text(more)) = event.get("text") {
                    self.kept_bytes += more.len();
                    match self.events.get_mut("text") {
                        Some(Node::Text(text)) => text.to_mut().push_str(more),
                        _ => self.events.set("text", more.clone().into_owned()),
                    }
                }
            }
            Some(_) => self.take(event),
        }
        Ok(())
    }

    /// What an event says beside a piece of the text: lists grow.
    fn take(&mut self, event: Node<'_>) {
        let Node::Object(members) = event else { return };
        for (name, value) in members {
            let bytes = value.kept_bytes();
            match (&*name, self.events.get_mut(&name), value) {
                ("event_type" | "is_finished" | "index", ..) | (_, _, Node::Null) => continue,
                (_, Some(Node::List(kept)), Node::List(new)) => kept.extend(new.into_iter().map(Node::into_owned)),
                (_, _, value) => self.events.set(name.clone().into_owned(), value.into_owned()),
            }
            self.kept_bytes += bytes;
        }
    }
}

/// Whether an answer, or its last event, says that it broke off.
fn sound(answer: &Node<'_>) -> Result<(), Fault> {
    match answer.str("finish_reason") {
        Some("ERROR") => Err(Fault::Upstream("the model stopped with finish_reason ERROR".into())),
        _ => Ok(()),
    }
}
