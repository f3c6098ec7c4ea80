//! Puts a response together: from the object that its terminal event holds, or from the events before it.

use super::super::{AnswerHead, Collapse, Collapsed, Fault, Progress, growth, native_of, raw};
use super::plain::{self, Piece};
use super::{COMPLETED, GROWS, Grows, INCOMPLETE, texts};
use crate::frame::{Frame, Framing};
use crate::json::{Node, object};
use std::borrow::Cow;

const DONE: &[u8] = b"[DONE]";

/// Most parts of an item that are put together of events.
const MAX_PARTS: usize = 4096;

/// One collapser for streams and whole answers.
pub(super) struct Collapser {
    whole: bool,
    /// The response, as the last event that holds one has it.
    response: Node<'static>,
    /// The items as the events tell them.
    slots: Vec<Slot>,
    kept_bytes: usize,
    progress: Progress,
    verbatim: Box<dyn Collapse>,
    /// A whole answer that is not over (a background task) is kept as it came.
    is_verbatim: bool,
}

/// An item as events tell it.
struct Slot {
    output_index: Option<usize>,
    item: Node<'static>,
    /// The event that ends it came.
    done: bool,
    /// The item as that event had it, where others told more.
    told: Option<Node<'static>>,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        if self.whole {
            self.take_whole(frame)?;
        } else if !matches!(frame.data.trim_ascii(), DONE | b"") && !self.plain(frame.data) {
            self.take_event(frame)?;
        }
        Ok(self.progress)
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes + self.verbatim.kept_bytes()
    }

    fn finish(&mut self) -> Collapsed {
        if self.is_verbatim {
            return self.verbatim.finish();
        }
        let mut native = std::mem::take(&mut self.response);
        let slots = std::mem::take(&mut self.slots);
        if self.whole {
            return native.into();
        }
        let listed = native.get("output").map_or(&[][..], Node::items);
        // Several services end with a list that is absent, or has nothing in it.
        if listed.iter().all(is_hollow) && !slots.is_empty() {
            native.set("output", slots.into_iter().map(|slot| slot.item).collect::<Vec<_>>());
            return native.into();
        }
        let told = told(slots, listed);
        Collapsed::Native { native, told }
    }
}

/// The items that the events which end them have otherwise than the response, by their place.
fn told(slots: Vec<Slot>, listed: &[Node<'_>]) -> Node<'static> {
    let mut told = Node::Null;
    for (n, slot) in slots.into_iter().enumerate().filter(|(_, slot)| slot.done) {
        let item = slot.told.unwrap_or(slot.item);
        // At its place, nearly always; the list may lack one that stood before it.
        if !listed.iter().any(|listed| listed.same(&item)) {
            told.set(slot.output_index.unwrap_or(n).to_string(), item);
        }
    }
    told
}

/// A message without a word.
fn is_hollow(item: &Node<'_>) -> bool {
    let content = item.get("content");
    let says = |part: &Node<'_>| ["text", "refusal"].into_iter().any(|name| part.word(name).is_some());
    item.str("type") == Some("message")
        && texts(content).all(str::is_empty)
        && !content.map_or(&[][..], Node::items).iter().any(says)
}

impl Collapser {
    pub(super) fn new(answer: &AnswerHead<'_>) -> Self {
        Collapser {
            whole: answer.framing == Framing::Whole,
            response: Node::Object(Vec::new()),
            slots: Vec::new(),
            kept_bytes: 0,
            progress: Progress::More,
            verbatim: raw::collapser(answer),
            is_verbatim: false,
        }
    }

    fn take_whole(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let response = native_of(frame.data)?;
        if matches!(response.str("status"), Some("queued" | "in_progress" | "cancelled")) {
            self.verbatim.push(frame)?;
            self.is_verbatim = true;
        } else {
            unfailed(&response)?;
            if response.get("output").is_none() {
                return Err(Fault::Unreadable("a response without output".into()));
            }
            self.keep(response);
        }
        self.progress = Progress::Done;
        Ok(())
    }

    fn keep(&mut self, response: Node<'_>) {
        self.kept_bytes = self.kept_bytes.saturating_sub(self.response.kept_bytes()) + response.kept_bytes();
        self.response = response.into_owned();
    }

    /// Adds a piece of text to an item that is there; `false` where the event is another one.
    fn plain(&mut self, data: &[u8]) -> bool {
        let Some(piece) = std::str::from_utf8(data).ok().and_then(plain::piece) else { return false };
        let Piece { row, output_index, index, literal } = piece;
        let Some(slot) = self.slots.iter_mut().rfind(|slot| slot.output_index == Some(output_index)) else {
            return false;
        };
        let Some(text) = text_of(&mut slot.item, row, index) else { return true };
        self.kept_bytes += growth::append(text, literal);
        true
    }

    fn take_event(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let mut event = native_of(frame.data)?;
        let kind = event.str("type").unwrap_or(frame.event).to_owned();
        let failed = matches!(&*kind, "error" | "response.error" | "response.failed" | "response.cancelled");
        if failed || event.get("error").is_some() {
            return Err(Fault::Upstream(String::from_utf8_lossy(frame.data).into_owned()));
        }
        match (&*kind, event.remove("response")) {
            ("response.completed" | "response.incomplete", response) => {
                if let Some(response @ Node::Object(_)) = response {
                    unfailed(&response)?;
                    self.keep(response);
                } else {
                    self.response.set("status", COMPLETED);
                }
                if kind == "response.incomplete" {
                    self.response.set("status", INCOMPLETE);
                }
                self.progress = Progress::Done;
            }
            ("response.created" | "response.in_progress" | "response.queued", Some(response @ Node::Object(_))) => {
                self.keep(response);
            }
            ("response.output_item.added" | "response.output_item.done", _) => {
                if let Some(item @ Node::Object(_)) = event.remove("item") {
                    self.item(&event, item, kind.ends_with(".done"));
                }
            }
            (kind, _) => self.grow(kind, event),
        }
        Ok(())
    }

    fn item(&mut self, event: &Node<'_>, item: Node<'_>, done: bool) {
        let mut item = item.into_owned();
        let bytes = item.kept_bytes();
        let slot = self.slot(event, item.word("id"));
        let before = std::mem::take(&mut slot.item);
        if lacks(&item, &before) {
            slot.told = done.then(|| item.clone());
            fill(&mut item, before);
        }
        slot.item = item;
        slot.done |= done;
        self.kept_bytes += bytes;
    }

    fn grow(&mut self, kind: &str, mut event: Node<'_>) {
        let Some((stem, step)) = kind.rsplit_once('.') else { return };
        let index = ["content_index", "summary_index"].into_iter().find_map(|name| event.get(name)?.as_i64());
        let index = index.and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
        self.kept_bytes += event.kept_bytes();
        if let Some(part @ Node::Object(_)) = event.remove("part") {
            let list = if event.get("summary_index").is_some() { "summary" } else { "content" };
            let mut part = part.into_owned();
            if let Some(before) = part_of(&mut self.slot(&event, None).item, list, index) {
                fill(&mut part, std::mem::take(before));
                *before = part;
            }
        } else if kind == "response.output_text.annotation.added" {
            let Some(annotation) = event.remove("annotation") else { return };
            let Some(part) = part_of(&mut self.slot(&event, None).item, "content", index) else { return };
            match part.entry("annotations") {
                Node::List(annotations) => annotations.push(annotation.into_owned()),
                none => *none = vec![annotation.into_owned()].into(),
            }
        } else if let Some(row) = GROWS.iter().find(|row| row.event == stem) {
            let Some(said) = event.remove(if step == "delta" { "delta" } else { row.member }) else { return };
            let Some(text) = text_of(&mut self.slot(&event, None).item, row, index) else { return };
            if step == "delta" || text.is_empty() {
                text.push_str(&match said {
                    Node::Text(text) => text,
                    Node::Null => Cow::Borrowed(""),
                    other => Cow::Owned(other.to_json()),
                });
            }
        }
    }

    /// The item that an event is about: by its place in the output, else by its id, else the last one.
    fn slot(&mut self, event: &Node<'_>, own_id: Option<&str>) -> &mut Slot {
        let output_index = event.get("output_index").and_then(Node::as_i64).and_then(|n| usize::try_from(n).ok());
        let id = event.word("item_id").or(own_id);
        let is_it = |slot: &Slot| match output_index {
            Some(_) => slot.output_index == output_index,
            None => id.is_none() || slot.item.word("id") == id,
        };
        let at = self.slots.iter().rposition(is_it).unwrap_or_else(|| {
            let item = id.map_or(Node::Object(Vec::new()), |id| object! { "id": id.to_owned() });
            self.slots.push(Slot { output_index, item, done: false, told: None });
            self.slots.len() - 1
        });
        &mut self.slots[at]
    }
}

/// Whether a response says that it failed.
fn unfailed(response: &Node<'_>) -> Result<(), Fault> {
    match (response.get("error"), response.str("status")) {
        (Some(error), _) => Err(Fault::Upstream(error.to_json())),
        (None, Some("failed")) => Err(Fault::Upstream("the response's status is failed".into())),
        _ => Ok(()),
    }
}

/// The text that a piece is of.
fn text_of<'i>(item: &'i mut Node<'static>, row: &Grows, index: usize) -> Option<&'i mut String> {
    if item.get("type").is_none() {
        item.set("type", row.item);
    }
    let holder = match row.list {
        "" => item,
        list => {
            let part = part_of(item, list, index)?;
            if part.get("type").is_none() {
                part.set("type", row.part);
            }
            part
        }
    };
    let text = holder.entry(row.member);
    if text.as_str().is_none() {
        *text = Node::text("");
    }
    if let Node::Text(text) = text { Some(text.to_mut()) } else { None }
}

/// A part of an item, made where there was none.
fn part_of<'i>(item: &'i mut Node<'static>, list: &str, index: usize) -> Option<&'i mut Node<'static>> {
    let parts = item.entry(list);
    if !matches!(parts, Node::List(_)) {
        *parts = Node::List(Vec::new());
    }
    let Node::List(parts) = parts else { return None };
    if index < MAX_PARTS && parts.len() <= index {
        parts.resize(index + 1, Node::Object(Vec::new()));
    }
    parts.get_mut(index)
}

/// Whether an older telling says something that a newer one does not.
fn lacks(new: &Node<'_>, old: &Node<'_>) -> bool {
    match (new, old) {
        (Node::Object(_), Node::Object(old)) => {
            old.iter().any(|(name, old)| lacks(new.member(name).unwrap_or(&Node::Null), old))
        }
        (Node::List(new), Node::List(old)) if !new.is_empty() => new.iter().zip(old).any(|(new, old)| lacks(new, old)),
        _ => new.says_nothing() && !old.says_nothing(),
    }
}

/// Adds what an older telling alone says.
fn fill(new: &mut Node<'static>, old: Node<'static>) {
    match (&mut *new, old) {
        (Node::Object(_), Node::Object(old)) => {
            old.into_iter().for_each(|(name, old)| fill(new.entry(&name), old));
        }
        (Node::List(new), Node::List(old)) if !new.is_empty() => {
            new.iter_mut().zip(old).for_each(|(new, old)| fill(new, old));
        }
        (new, old) if new.says_nothing() && !old.says_nothing() => *new = old,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, golden, native};
    use super::super::Responses;
    use super::*;
    use crate::reply::{Answer, Part, RawAnswer, RawBody};

    fn streamed(events: &[&str]) -> Outcome {
        let body: String = events.iter().map(|e| format!("data: {e}\n\n")).collect();
        golden(&Responses, Framing::Sse, body.as_bytes())
    }

    fn whole(body: &str) -> Outcome {
        golden(&Responses, Framing::Whole, body.as_bytes())
    }

    const TEXT: &str = r#"{"type":"response.output_text.delta","item_id":"m","output_index":0,"delta":"hi"}"#;
    const ENDED: &str = r#"{"type":"response.completed","response":{"id":"r","status":"completed"}}"#;

    #[test]
    fn completed_without_output_leaves_what_the_events_told() {
        let added = r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","id":"fc","call_id":"c","name":"f","arguments":""}}"#;
        let delta =
            r#"{"type":"response.function_call_arguments.delta","item_id":"other","output_index":0,"delta":"{\"a\":"}"#;
        let more = r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"1}"}"#;
        let done = r#"{"type":"response.function_call_arguments.done","output_index":0,"arguments":"{\"a\":1}"}"#;
        let reply = streamed(&[added, delta, more, done, ENDED, "[DONE]"]).turn();
        let call = reply.tool_calls().next().unwrap();
        assert_eq!((call.id.as_deref(), &*call.name, &*call.arguments), (Some("c"), "f", r#"{"a":1}"#));
        assert_eq!((reply.finish.as_deref(), reply.id.as_deref()), (Some("tool_calls"), Some("r")));
    }

    /// What is kept of a stream.
    fn kept(events: &[&str]) -> Node<'static> {
        let body: String = events.iter().map(|e| format!("data: {e}\n\n")).collect();
        golden(&Responses, Framing::Sse, body.as_bytes());
        native(&Responses, Framing::Sse, body.as_bytes())
    }

    #[test]
    fn completed_with_output_is_what_counts() {
        let ended = r#"{"type":"response.completed","response":{"status":"completed","output":[
            {"type":"reasoning","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}],"encrypted_content":"e"},
            {"type":"web_search_call","id":"ws","action":{"type":"search"}},
            {"type":"message","phase":"final_answer","content":[{"type":"output_text","text":"x","annotations":[{"type":"url_citation","url":"u"}]},{"type":"output_text","text":"y"}]}]}}"#;
        let ended = ended.replace('\n', "");
        let reply = streamed(&[TEXT, &ended]).turn();
        assert_eq!((reply.content(), reply.reasoning()), ("xy".into(), "ab".into()));
        let thought = |text: &str, signature: Option<&str>| Part::Reasoning {
            text: text.into(),
            signature: signature.map(str::to_owned),
        };
        assert_eq!(reply.parts, [thought("a", None), thought("b", Some("e")), Part::text("x"), Part::text("y")]);
        let event = Node::parse(&ended).unwrap();
        assert_eq!(Some(&kept(&[TEXT, &ended])), event.get("response"));
    }

    #[test]
    fn only_the_events_that_tell_all_of_a_text() {
        let done = r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"all"}"#;
        assert_eq!(streamed(&[done, ENDED]).turn().content(), "all");
        let item = r#"{"type":"response.output_item.done","item":{"type":"message","id":"m","content":[{"type":"output_text","text":"item"}]}}"#;
        assert_eq!(streamed(&[item, ENDED]).turn().content(), "item");
    }

    #[test]
    fn an_event_named_outside_its_data() {
        let body =
            "event: response.output_text.delta\ndata: {\"delta\":\"hi\"}\n\nevent: response.completed\ndata: {}\n\n";
        let reply = golden(&Responses, Framing::Sse, body.as_bytes()).turn();
        assert_eq!((reply.content(), reply.finish.as_deref()), ("hi".into(), Some("stop")));
    }

    #[test]
    fn why_it_is_incomplete() {
        let event =
            |rest: &str| format!(r#"{{"type":"response.incomplete","response":{{"status":"incomplete"{rest}}}}}"#);
        let finish = |rest| streamed(&[TEXT, &event(rest)]).turn().finish;
        assert_eq!(finish(r#","incomplete_details":{"reason":"max_output_tokens"}"#).as_deref(), Some("length"));
        assert_eq!(finish(r#","incomplete_details":{"reason":"content_filter"}"#).as_deref(), Some("content_filter"));
        assert_eq!(finish("").as_deref(), Some("incomplete"));
    }

    #[test]
    fn reasoning_and_refusal_from_events_alone() {
        let reasoning = r#"{"type":"response.reasoning_text.delta","output_index":0,"content_index":0,"delta":"hm"}"#;
        let refusal = r#"{"type":"response.refusal.delta","output_index":1,"content_index":0,"delta":"no"}"#;
        let reply = streamed(&[reasoning, refusal, refusal, ENDED]).turn();
        assert_eq!((reply.reasoning(), reply.refusal.as_deref()), ("hm".into(), Some("nono")));
        let item = r#"{"type":"reasoning","content":[{"text":"hm","type":"reasoning_text"}]}"#;
        assert_eq!(kept(&[reasoning, ENDED]).at("/output/0"), Node::parse(item).ok().as_ref());
    }

    #[test]
    fn failures_are_faults() {
        for failed in [
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"}}}"#,
            r#"{"type":"error","code":"x","message":"slow"}"#,
            r#"{"error":{"message":"slow"}}"#,
        ] {
            assert!(matches!(streamed(&[TEXT, failed]), Outcome::Fault(Fault::Upstream(m)) if m.contains("slow")));
        }
        assert!(matches!(whole(r#"{"status":"failed","output":[]}"#), Outcome::Fault(Fault::Upstream(_))));
        assert!(matches!(whole(r#"{"error":{"message":"no"}}"#), Outcome::Fault(Fault::Upstream(_))));
        assert!(matches!(whole("{}"), Outcome::Fault(Fault::Unreadable(_))));
    }

    #[test]
    fn done_alone_or_nothing_is_a_cut() {
        assert_eq!(streamed(&[TEXT]), Outcome::Cut);
        assert_eq!(streamed(&[TEXT, "[DONE]"]), Outcome::Cut);
    }

    #[test]
    fn a_task_in_the_background_is_kept_as_it_came() {
        let Outcome::Whole(Answer::Raw(RawAnswer { body: RawBody::Json(body), .. })) =
            whole(r#"{"id":"r","status":"queued","output":[]}"#)
        else {
            panic!("not verbatim")
        };
        assert_eq!(body["status"], "queued");
    }
}
