//! Version 2's events, and its whole answer, put together.

use super::super::super::{AnswerHead, Collapse, Collapsed, Fault, Progress, native_of};
use super::{DONE, TEXTS};
use crate::frame::{Frame, Framing};
use crate::json::Node;

/// The events that are known.
const KINDS: [&str; 11] = [
    "message-start",
    "content-start",
    "content-delta",
    "content-end",
    "tool-plan-delta",
    "tool-call-start",
    "tool-call-delta",
    "tool-call-end",
    "citation-start",
    "citation-end",
    END,
];

/// The last one.
const END: &str = "message-end";

/// Puts events together, or reads the whole answer.
pub(super) struct Collapser {
    whole: bool,
    answer: Node<'static>,
    message: Node<'static>,
    /// Blocks and calls, which have their place in the message, with their events' index.
    blocks: Vec<(Option<i64>, Node<'static>)>,
    calls: Vec<(Option<i64>, Node<'static>)>,
    /// Events that are not known.
    told: Node<'static>,
    kept_bytes: usize,
    done: bool,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let data = frame.data.trim_ascii();
        if !data.is_empty() && data != DONE {
            let event = native_of(frame.data)?;
            let kind = event.str("type").unwrap_or(frame.event).to_owned();
            match &*kind {
                "error" => return Err(Fault::Upstream(String::from_utf8_lossy(data).into_owned())),
                "" if self.whole || event.get("message").is_some() => self.take_whole(event, data.len())?,
                kind if KINDS.contains(&kind) => {
                    self.event(event, kind.ends_with("-start"))?;
                    self.done |= kind == END;
                }
                kind => self.told.set(kind.to_owned(), true),
            }
        }
        Ok(if self.done { Progress::Done } else { Progress::More })
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    fn finish(&mut self) -> Collapsed {
        let grown =
            |items: &mut Vec<(Option<i64>, Node<'static>)>| items.drain(..).map(|(_, item)| item).collect::<Vec<_>>();
        for (name, items) in [("content", grown(&mut self.blocks)), ("tool_calls", grown(&mut self.calls))] {
            if !items.is_empty() {
                self.message.set(name, items);
            }
        }
        let mut native = std::mem::take(&mut self.answer);
        if let Some(message) = native.get_mut("message").filter(|message| matches!(message, Node::Null)) {
            *message = std::mem::take(&mut self.message);
        }
        Collapsed::Native { native, told: std::mem::take(&mut self.told) }
    }
}

impl Collapser {
    pub(super) fn new(answer: &AnswerHead<'_>) -> Self {
        Collapser {
            whole: answer.framing == Framing::Whole,
            answer: Node::Object(Vec::new()),
            message: Node::Object(Vec::new()),
            blocks: Vec::new(),
            calls: Vec::new(),
            told: Node::Null,
            kept_bytes: 0,
            done: false,
        }
    }

    fn take_whole(&mut self, answer: Node<'_>, bytes: usize) -> Result<(), Fault> {
        if answer.get("message").is_none() {
            return Err(Fault::Unreadable("an answer without message".into()));
        }
        sound(&answer)?;
        self.answer = answer.into_owned();
        self.kept_bytes = bytes;
        self.done = true;
        Ok(())
    }

    fn event(&mut self, event: Node<'_>, begins: bool) -> Result<(), Fault> {
        let place = Place { index: event.get("index").and_then(Node::as_i64), begins };
        let Node::Object(members) = event else { return Ok(()) };
        for (name, value) in members {
            match (&*name, value) {
                ("type" | "index", _) => {}
                ("delta", delta) => {
                    sound(&delta)?;
                    let Node::Object(members) = delta else { continue };
                    members.into_iter().for_each(|(name, value)| self.delta(&name, value, place));
                }
                // <https://docs.cohere.com/reference/chat-stream>: an item with each piece, a list in a whole answer.
                ("logprobs", item @ Node::Object(_)) => {
                    self.kept_bytes += latest(&mut self.answer, "logprobs", Node::List(vec![item]));
                }
                (name, value) => self.kept_bytes += latest(&mut self.answer, name, value),
            }
        }
        Ok(())
    }

    fn delta(&mut self, name: &str, value: Node<'_>, place: Place) {
        match (name, value) {
            ("message", Node::Object(members)) => {
                self.answer.entry("message");
                for (name, value) in members {
                    self.kept_bytes += self.member(&name, value, place);
                }
            }
            (name, value) => self.kept_bytes += latest(&mut self.answer, name, value),
        }
    }

    /// A member of the message: one item where whole answers have a list. The bytes it takes more.
    fn member(&mut self, name: &str, value: Node<'_>, place: Place) -> usize {
        let items = match (name, value) {
            ("content" | "tool_calls" | "citations", Node::List(items)) => items,
            ("content" | "tool_calls" | "citations", one @ Node::Object(_)) => vec![one],
            ("tool_plan", Node::Text(text)) if text.is_empty() => return 0,
            (name, value) => return latest(&mut self.message, name, value),
        };
        if items.is_empty() {
            return 0; // the first event has it so
        }
        if name == "citations" {
            return latest(&mut self.message, name, Node::List(items));
        }
        self.message.entry(name);
        let grown = if name == "content" { &mut self.blocks } else { &mut self.calls };
        items.into_iter().map(|item| grow(grown, item, place)).sum()
    }
}

/// Whether an answer, or an event's delta, says that it broke off.
fn sound(answer: &Node<'_>) -> Result<(), Fault> {
    if let Some(error) = answer.get("error").filter(|error| !error.says_nothing()) {
        return Err(Fault::Upstream(error.as_str().map_or_else(|| error.to_json(), str::to_owned)));
    }
    match answer.str("finish_reason") {
        Some("ERROR") => Err(Fault::Upstream("the model stopped with finish_reason ERROR".into())),
        _ => Ok(()),
    }
}

/// Which item an event is about.
#[derive(Clone, Copy)]
struct Place {
    index: Option<i64>,
    begins: bool,
}

/// Adds to the item of its index, or begins one.
fn grow(items: &mut Vec<(Option<i64>, Node<'static>)>, piece: Node<'_>, Place { index, begins }: Place) -> usize {
    let at = match index {
        _ if begins => None,
        Some(_) => items.iter().rposition(|(i, _)| *i == index),
        None => items.len().checked_sub(1),
    };
    let at = at.unwrap_or_else(|| {
        items.push((index, Node::Object(Vec::new())));
        items.len() - 1
    });
    let Node::Object(members) = piece else { return 0 };
    members.into_iter().map(|(name, value)| latest(&mut items[at].1, &name, value)).sum()
}

/// Adds to a member: texts that come piece by piece and lists grow, objects take over members, of all else the last one
/// that says something counts. The bytes it takes more.
fn latest(object: &mut Node<'static>, name: &str, new: Node<'_>) -> usize {
    let grows = TEXTS.contains(&name) || ["tool_plan", "arguments"].contains(&name);
    let bytes = new.kept_bytes();
    match (object.get_mut(name), new) {
        (_, Node::Null) => return 0,
        (None | Some(Node::Null), new) => object.set(name.to_owned(), new.into_owned()),
        (Some(Node::Text(kept)), Node::Text(new)) if grows => kept.to_mut().push_str(&new),
        (Some(Node::List(kept)), Node::List(new)) => kept.extend(new.into_iter().map(Node::into_owned)),
        (Some(kept @ Node::Object(_)), Node::Object(new)) if name == "function" => {
            return new.into_iter().map(|(name, value)| latest(kept, &name, value)).sum();
        }
        (Some(kept), new) => {
            if !new.says_nothing() {
                *kept = new.into_owned();
            }
            return 0; // as long as the one before
        }
    }
    bytes
}
