//! Puts a completion together of its chunks, as the official SDK does: what a delta has is added to the message.

use super::super::{AnswerHead, Collapse, Collapsed, Fault, Progress, native_of};
use super::{DONE, grows, is_text, plain};
use crate::frame::{Frame, Framing};
use crate::json::{Node, object};
use std::borrow::Cow;

/// Reasons of services whose answer broke off: <https://docs.mistral.ai/api/>, <https://openrouter.ai/docs/api/reference>,
/// vLLM's aborted requests, <https://api-docs.deepseek.com/api/create-chat-completion>.
const BROKEN_OFF: [&str; 3] = ["error", "abort", "insufficient_system_resource"];

/// Members that the first chunk which has them decides: they come again with every chunk.
const STEADY: [&str; 4] = ["id", "model", "created", "object"];

/// Padding, and what a delta repeats: all there is so far (Perplexity).
const PADDING: &str = "obfuscation";

/// Whether an `error` member reports one: services also send it empty.
fn says_something(error: &Node<'_>) -> bool {
    !error.says_nothing() && !matches!(error, Node::Bool(false))
}

/// One choice as it grows.
struct Choice {
    index: i64,
    message: Node<'static>,
    calls: Vec<Growing>,
    /// All else: `finish_reason`, `logprobs`, filter results.
    more: Node<'static>,
}

/// One tool call as it grows.
struct Growing {
    index: Option<i64>,
    call: Node<'static>,
}

/// Puts the chunks together.
pub(super) struct Collapser {
    whole: bool,
    answer: Node<'static>,
    choices: Vec<Choice>,
    kept_bytes: usize,
    /// There was a choice.
    chosen: bool,
    progress: Progress,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        if frame.data.trim_ascii() == DONE {
            if !self.chosen {
                return Err(Fault::Unreadable("a stream without choices".into()));
            }
            self.progress = Progress::Done;
        } else if let Some(literal) = self.plain(frame) {
            self.text(literal)?;
        } else if !frame.data.trim_ascii().is_empty() {
            let chunk = native_of(frame.data)?;
            if let Some(error) = chunk.get("error").filter(|e| says_something(e)) {
                return Err(Fault::Upstream(error.to_json()));
            }
            if frame.event == "error" || chunk.str("object") == Some("error") {
                return Err(Fault::Upstream(String::from_utf8_lossy(frame.data).into_owned()));
            }
            let choices = chunk.get("choices").map_or(&[][..], Node::items);
            if self.whole && choices.is_empty() {
                return Err(Fault::Unreadable("an answer without choices".into()));
            }
            choices.iter().try_for_each(unbroken)?;
            self.chosen |= !choices.is_empty();
            if self.whole {
                self.answer = chunk.into_owned();
                self.kept_bytes = frame.data.len();
                self.progress = Progress::Done;
            } else {
                self.take(chunk);
            }
        }
        Ok(self.progress)
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    fn finish(&mut self) -> Collapsed {
        let mut answer = std::mem::take(&mut self.answer);
        if self.whole {
            return answer.into();
        }
        self.choices.sort_by_key(|choice| choice.index);
        let choices = self.choices.drain(..).map(Choice::finish).collect::<Vec<_>>();
        // `choices` stands where OpenAI has it: before the usage.
        let usage = answer.remove("usage");
        answer.set("choices", choices);
        if let Some(usage) = usage {
            answer.set("usage", usage);
        }
        answer.into()
    }
}

/// Whether a choice says that the answer broke off.
fn unbroken(choice: &Node<'_>) -> Result<(), Fault> {
    // <https://openrouter.ai/docs/api/reference/overview#completionsresponse-format>
    if let Some(error) = choice.get("error").filter(|e| says_something(e)) {
        return Err(Fault::Upstream(error.to_json()));
    }
    match choice.str("finish_reason") {
        Some(word) if BROKEN_OFF.contains(&word) => {
            Err(Fault::Upstream(format!("the model stopped with finish_reason {word}")))
        }
        _ => Ok(()),
    }
}

impl Collapser {
    pub(super) fn new(answer: &AnswerHead<'_>) -> Self {
        Collapser {
            whole: answer.framing == Framing::Whole,
            answer: Node::Object(Vec::new()),
            choices: Vec::new(),
            kept_bytes: 0,
            chosen: false,
            progress: Progress::More,
        }
    }

    /// What a chunk of text alone adds.
    fn plain<'a>(&self, frame: &Frame<'a>) -> Option<&'a str> {
        if self.whole || !frame.event.is_empty() {
            return None;
        }
        // There is a text to add to.
        self.choices.first().filter(|c| c.index == 0 && matches!(c.message.get("content"), Some(Node::Text(_))))?;
        plain::text(std::str::from_utf8(frame.data).ok()?, &self.answer)
    }

    fn text(&mut self, literal: &str) -> Result<(), Fault> {
        let content = self.choices.first_mut().and_then(|choice| choice.message.get_mut("content"));
        if let Some(Node::Text(text)) = content {
            let inner = &literal[1..literal.len() - 1];
            self.kept_bytes += inner.len();
            match inner.contains('\\') {
                false => text.to_mut().push_str(inner),
                true => text.to_mut().push_str(
                    Node::parse(literal).map_err(|e| Fault::Unreadable(e.to_string()))?.as_str().unwrap_or(""),
                ),
            }
        }
        Ok(())
    }

    fn take(&mut self, chunk: Node<'_>) {
        let Node::Object(members) = chunk else { return };
        for (name, value) in members {
            match (&*name, value) {
                (PADDING, _) => {}
                ("choices", Node::List(choices)) => choices.into_iter().for_each(|choice| self.choice(choice)),
                ("object", Node::Text(kind)) if kind == "chat.completion.chunk" => {
                    steady(&mut self.answer, "object", "chat.completion".into());
                }
                (name, value) if STEADY.contains(&name) => steady(&mut self.answer, name, value),
                (name, value) => {
                    self.kept_bytes += latest(&mut self.answer, name, value);
                }
            }
        }
    }

    fn choice(&mut self, choice: Node<'_>) {
        let index = choice.get("index").and_then(Node::as_i64).unwrap_or(0);
        let at = self.choices.iter().position(|c| c.index == index).unwrap_or_else(|| {
            let (message, more) = (Node::Object(Vec::new()), Node::Object(Vec::new()));
            self.choices.push(Choice { index, message, calls: Vec::new(), more });
            self.choices.len() - 1
        });
        let Node::Object(members) = choice else { return };
        let has_delta = members.iter().any(|(name, value)| name == "delta" && !matches!(value, Node::Null));
        let choice = &mut self.choices[at];
        for (name, value) in members {
            match (&*name, value) {
                ("index", _) => {}
                ("delta", delta) => self.kept_bytes += choice.add(delta),
                // Perplexity sends both in every chunk: what is new, and all there is so far.
                ("message", _) if has_delta => {}
                ("message", message) => self.kept_bytes += choice.add(message),
                ("finish_reason", word) if word.says_nothing() || word.as_str() == Some("null") => {}
                ("finish_reason", word) => {
                    choice.more.set("finish_reason", word.into_owned());
                    if self.progress == Progress::More {
                        self.progress = Progress::Finished;
                    }
                }
                ("logprobs", Node::Object(lists)) => {
                    let kept = choice.more.entry("logprobs");
                    for (name, value) in lists {
                        self.kept_bytes += grow(kept, &name, value);
                    }
                }
                (name, value) => self.kept_bytes += latest(&mut choice.more, name, value),
            }
        }
    }
}

/// Sets a member once: the first value that says something.
fn steady(object: &mut Node<'static>, name: &str, value: Node<'_>) {
    let nothing = value.says_nothing() || (name == "created" && value.as_i64() == Some(0));
    if !nothing && object.member(name).is_none() {
        object.set(name.to_owned(), value.into_owned());
    }
}

/// Sets a member to the last value that says something; objects take over members. The bytes it takes more.
fn latest(object: &mut Node<'static>, name: &str, value: Node<'_>) -> usize {
    if let Some(old) = object.get_mut(name) {
        if value.says_nothing() {
            return 0;
        }
        if let (Node::Object(_), Node::Object(members)) = (&*old, &value)
            && name != "usage"
        {
            members.iter().for_each(|(name, value)| old.set(name.clone().into_owned(), value.clone().into_owned()));
            return 0;
        }
        *old = value.into_owned();
        return 0; // as long as the one before
    }
    let nothing = matches!(value, Node::Null) || (name == "usage" && value.says_nothing());
    if nothing {
        return 0;
    }
    let value = value.into_owned();
    let bytes = value.kept_bytes();
    object.set(name.to_owned(), value);
    bytes
}

/// Members that are said once, however often.
const ONCE: [&str; 8] = ["id", "type", "name", "role", "format", "index", "object", "signature"];

/// Adds what a delta has for a member: texts and lists grow, all else is replaced. The bytes it takes more.
fn grow(object: &mut Node<'static>, name: &str, new: Node<'_>) -> usize {
    if matches!(new, Node::Null) {
        return 0;
    }
    let bytes = new.kept_bytes();
    let kept = object.entry(name);
    match (&mut *kept, new) {
        (Node::Text(kept), Node::Text(new)) if !ONCE.contains(&name) => kept.to_mut().push_str(&new),
        (Node::Text(kept), Node::Text(new)) if !kept.is_empty() || new.is_empty() => {}
        (Node::List(kept), Node::List(new)) => new.into_iter().for_each(|item| grow_list(kept, item)),
        (Node::Object(_), Node::Object(new)) => {
            for (name, value) in new {
                grow(kept, &name, value);
            }
        }
        (kept, new) => *kept = new.into_owned(),
    }
    bytes
}

/// Adds an item to a list: to the one of its `index` and type, where it has one.
fn grow_list(kept: &mut Vec<Node<'static>>, item: Node<'_>) {
    let index = item.get("index").and_then(Node::as_i64);
    let one = |old: &&mut Node<'static>| {
        let kind = item.str("type");
        old.get("index").and_then(Node::as_i64) == index && (kind.is_none() || old.str("type") == kind)
    };
    match index.and_then(|_| kept.iter_mut().rev().find(one)) {
        Some(old) => {
            let Node::Object(members) = item else { return };
            for (name, value) in members {
                // What is said in one piece may come twice; what comes piece by piece is text.
                if grows(&name) || matches!(value, Node::Object(_) | Node::List(_)) {
                    grow(old, &name, value);
                } else if !value.says_nothing() {
                    old.set(name.into_owned(), value.into_owned());
                }
            }
        }
        None => kept.push(item.into_owned()),
    }
}

impl Choice {
    fn finish(self) -> Node<'static> {
        let mut message = self.message;
        if let Some(calls) = message.get_mut("tool_calls") {
            *calls = self.calls.into_iter().map(|growing| growing.call).collect::<Vec<_>>().into();
        }
        let mut choice = object! { "index": self.index, "message": message };
        if let Node::Object(more) = self.more {
            more.into_iter().for_each(|(name, value)| choice.set(name, value));
        }
        choice
    }

    /// Adds a delta; the bytes it takes more.
    fn add(&mut self, delta: Node<'_>) -> usize {
        let Node::Object(members) = delta else { return 0 };
        let mut bytes = 0;
        for (name, value) in members {
            bytes += match (&*name, value) {
                ("content", content) => self.content(content),
                ("tool_calls", Node::Null) => 0,
                ("tool_calls", calls) => {
                    self.message.entry("tool_calls");
                    // Loosely typed services send a single one as it is.
                    let calls = if let Node::List(calls) = calls { calls } else { vec![calls] };
                    calls.into_iter().map(|call| self.call(call)).sum()
                }
                ("reasoning_details", Node::List(details)) if details.is_empty() => 0,
                (name, value) => grow(&mut self.message, name, value),
            };
        }
        bytes
    }

    /// A text, or a list of parts (<https://docs.mistral.ai/capabilities/reasoning/>,
    /// <https://docs.databricks.com/aws/en/machine-learning/model-serving/query-reason-models>).
    fn content(&mut self, content: Node<'_>) -> usize {
        let bytes = content.kept_bytes();
        let kept = self.message.entry("content");
        match (&mut *kept, content) {
            (_, Node::Null) => return 0,
            (Node::Text(text), Node::Text(new)) => text.to_mut().push_str(&new),
            (Node::List(parts), Node::Text(new)) => add_text(parts, &new),
            (Node::List(parts), Node::List(new)) => new.into_iter().for_each(|part| add_part(parts, part)),
            (Node::Text(text), Node::List(new)) => {
                let mut parts = Vec::new();
                add_text(&mut parts, text);
                new.into_iter().for_each(|part| add_part(&mut parts, part));
                *kept = Node::List(parts);
            }
            (Node::List(parts), part @ Node::Object(_)) => add_part(parts, part),
            (kept, content) => *kept = content.into_owned(),
        }
        bytes
    }

    /// Finds the call that a delta belongs to: by index, where it has one and the id does not say otherwise; by id;
    /// else the last one.
    fn call(&mut self, piece: Node<'_>) -> usize {
        let id = piece.word("id").map(str::to_owned);
        let name = ["function", "custom"].into_iter().find_map(|kind| piece.get(kind)?.word("name")).map(str::to_owned);
        let index = piece.get("index").and_then(Node::as_i64).filter(|i| *i >= 0);
        // Some number all calls 0, others make up an id for every delta: only a call that is complete ends so.
        let same_id = |g: &Growing| match (&id, g.call.word("id")) {
            (Some(new), Some(old)) => new == old || name.is_none() || g.is_open(),
            _ => true,
        };
        let calls = &mut self.calls;
        let at = match index {
            Some(i) => calls.iter().rposition(|g| g.index == Some(i) && same_id(g)),
            None if id.is_some() => calls.iter().rposition(|g| g.call.word("id") == id.as_deref()),
            None => {
                let names_another = name.as_ref().is_some_and(|name| {
                    calls.last().is_some_and(|g| g.name() != Some(name) || g.call.word("id").is_none())
                });
                if names_another { None } else { calls.len().checked_sub(1) }
            }
        };
        let at = at.unwrap_or_else(|| {
            calls.push(Growing { index, call: Node::Object(Vec::new()) });
            calls.len() - 1
        });
        calls[at].grow(piece)
    }
}

/// Adds text to a list of parts.
fn add_text(parts: &mut Vec<Node<'static>>, new: &str) {
    if new.is_empty() {
        return;
    }
    match parts.last_mut().filter(|part| is_text(part)).and_then(|part| part.get_mut("text")) {
        Some(Node::Text(text)) => text.to_mut().push_str(new),
        _ => parts.push(object! { "type": "text", "text": new.to_owned() }),
    }
}

/// Adds a part: to the last one, where that is of its type and both are nothing but a text or thoughts.
fn add_part(parts: &mut Vec<Node<'static>>, part: Node<'_>) {
    if let Node::Text(text) = &part {
        return add_text(parts, text);
    }
    if let Some(last) = parts.last_mut().filter(|last| last.str("type") == part.str("type")) {
        let grown = [("text", is_text(&part)), ("thinking", true), ("summary", true)];
        for name in grown.into_iter().filter(|(_, may)| *may).map(|(name, _)| name) {
            match (last.get_mut(name), part.get(name)) {
                (Some(Node::Text(kept)), Some(Node::Text(new))) => return kept.to_mut().push_str(new),
                (Some(Node::List(kept)), Some(Node::List(new))) => {
                    return new.iter().for_each(|part| add_part(kept, part.clone()));
                }
                _ => {}
            }
        }
    }
    parts.push(part.into_owned());
}

impl Growing {
    fn called(&self) -> Option<&Node<'static>> {
        self.call.get("function").or_else(|| self.call.get("custom"))
    }

    fn name(&self) -> Option<&str> {
        self.called()?.word("name")
    }

    /// Its arguments have begun and not ended.
    fn is_open(&self) -> bool {
        let arguments = self.called().and_then(|called| called.str("arguments")).unwrap_or("");
        !arguments.is_empty() && Node::parse(arguments).is_err()
    }

    fn grow(&mut self, piece: Node<'_>) -> usize {
        let Node::Object(members) = piece else { return 0 };
        let mut bytes = 0;
        for (name, value) in members {
            bytes += match (&*name, value) {
                // Its place in the list tells.
                ("index", _) => 0,
                ("function" | "custom", Node::Object(called)) => {
                    let kept = self.call.entry(&name);
                    if matches!(kept, Node::Null) {
                        *kept = Node::Object(Vec::new());
                    }
                    called.into_iter().map(|(name, value)| grow_called(kept, name, value)).sum()
                }
                ("id", value) if value.says_nothing() => 0,
                (name, value) => grow(&mut self.call, name, value),
            };
        }
        bytes
    }
}

/// Adds to a call's name and arguments; some services send arguments as an object, or null.
fn grow_called(called: &mut Node<'static>, name: Cow<'_, str>, value: Node<'_>) -> usize {
    match (called.get_mut(&name), value) {
        (_, Node::Null) => 0,
        (Some(Node::Text(kept)), object @ Node::Object(_)) if kept.is_empty() => {
            *kept = Cow::Owned(object.to_json());
            kept.len()
        }
        (_, value) => grow(called, &name, value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, golden, native};
    use super::super::Chat;
    use super::*;
    use crate::reply::Reply;

    const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

    fn streamed(chunks: &[&str]) -> Outcome {
        let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        golden(&Chat, Framing::Sse, body.as_bytes())
    }

    /// A chunk of one choice with this delta.
    fn delta(delta: &str) -> String {
        format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#)
    }

    fn whole(message: &str) -> Outcome {
        let body = format!(r#"{{"choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}]}}"#);
        golden(&Chat, Framing::Whole, body.as_bytes())
    }

    fn calls(reply: &Reply) -> Vec<(Option<&str>, &str, &str)> {
        reply.tool_calls().map(|c| (c.id.as_deref(), &*c.name, &*c.arguments)).collect()
    }

    #[test]
    fn a_member_twice_in_one_object() {
        let twice = r#"{"role":"assistant","reasoning_content":"hm","content":"a","reasoning_content":"hm"}"#;
        for reply in [streamed(&[&delta(twice), STOP]).turn(), whole(twice).turn()] {
            assert_eq!((reply.reasoning(), reply.content()), ("hm".into(), "a".into()));
        }
    }

    #[test]
    fn members_of_another_kind_than_openai_s() {
        let chunk = r#"{"id":7,"created":"1700000000","system_fingerprint":{},"choices":[{"index":"0","delta":
            {"role":0,"content":"a","tool_calls":{"index":"0","id":5,"function":{"name":"f","arguments":{"x":1}}}},"finish_reason":""}]}"#;
        let reply = streamed(&[&chunk.replace('\n', ""), STOP]).turn();
        assert_eq!((reply.content(), reply.created), ("a".into(), Some(1_700_000_000)));
        assert_eq!(calls(&reply), [(Some("5"), "f", r#"{"x":1}"#)]);
    }

    #[test]
    fn an_answer_that_broke_off_is_a_fault() {
        for reason in BROKEN_OFF {
            let end = STOP.replace("stop", reason);
            assert!(matches!(streamed(&[&delta(r#"{"content":"a"}"#), &end]), Outcome::Fault(Fault::Upstream(_))));
        }
        let in_choice = r#"{"choices":[{"index":0,"message":{"content":""},"error":{"code":502,"message":"gone"}}]}"#;
        let outcome = golden(&Chat, Framing::Whole, in_choice.as_bytes());
        assert!(matches!(outcome, Outcome::Fault(Fault::Upstream(m)) if m.contains("gone")));
    }

    #[test]
    fn an_error_that_says_nothing_is_none() {
        for nothing in ["null", "\"\"", "{}", "false"] {
            let chunk = STOP.replacen('{', &format!("{{\"error\":{nothing},"), 1);
            assert_eq!(streamed(&[&delta(r#"{"content":"a"}"#), &chunk]).turn().content(), "a", "{nothing}");
        }
    }

    #[test]
    fn done_alone_is_no_answer() {
        assert!(matches!(streamed(&["[DONE]"]), Outcome::Fault(Fault::Unreadable(_))));
        assert!(matches!(streamed(&[r#"{"choices":[]}"#, "[DONE]"]), Outcome::Fault(Fault::Unreadable(_))));
    }

    #[test]
    fn empty_usage_takes_nothing_back() {
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":1}}"#;
        let reply = streamed(&[STOP, usage, r#"{"choices":[],"usage":{}}"#, "[DONE]"]).turn();
        assert_eq!(reply.usage.map(|usage| usage.len()), Some(1));
        assert_eq!(streamed(&[STOP, r#"{"usage":null}"#, "[DONE]"]).turn().usage, None);
    }

    #[test]
    fn a_new_id_in_every_delta_of_one_call() {
        let piece = |id: &str, name: &str, arguments: &str| {
            delta(&format!(
                r#"{{"tool_calls":[{{"index":0,"id":"{id}","function":{{"name":{name},"arguments":"{arguments}"}}}}]}}"#
            ))
        };
        for name in ["\"f\"", "null"] {
            let reply = streamed(&[&piece("a", "\"f\"", "{"), &piece("b", name, "}"), STOP]).turn();
            assert_eq!(calls(&reply), [(Some("a"), "f", "{}")], "{name}");
        }
    }

    #[test]
    fn a_name_that_follows_its_arguments() {
        let first = delta(r#"{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"{"}}]}"#);
        let second = delta(r#"{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"}"}}]}"#);
        assert_eq!(calls(&streamed(&[&first, &second, STOP]).turn()), [(Some("a"), "f", "{}")]);
    }

    /// The first choice's message.
    fn message(chunks: &[&str]) -> String {
        let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        native(&Chat, Framing::Sse, body.as_bytes()).at("/choices/0/message").expect("a message").to_json()
    }

    #[test]
    fn reasoning_in_details_is_one_detail_an_index_and_type() {
        let details = |text: &str| {
            delta(&format!(
                r#"{{"content":"","reasoning":null,"reasoning_details":[{{"type":"reasoning.text","text":"{text}","index":0}}]}}"#
            ))
        };
        let sealed = delta(r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"x","index":0}]}"#);
        let chunks = [&*details("h"), &details("m"), &sealed, STOP];
        assert_eq!(streamed(&chunks).turn().reasoning(), "hm");
        assert_eq!(
            message(&chunks),
            r#"{"content":"","reasoning_details":[{"type":"reasoning.text","text":"hm","index":0},{"type":"reasoning.encrypted","data":"x","index":0}]}"#
        );
    }

    #[test]
    fn reasoning_in_content_parts() {
        let message = r#"{"content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]},{"type":"text","text":"a"}]}"#;
        let reply = whole(message).turn();
        assert_eq!((reply.reasoning(), reply.content()), ("hm".into(), "a".into()));
        assert_eq!(whole(r#"{"content":{"type":"text","text":"b"}}"#).turn().content(), "b");
    }

    #[test]
    fn thoughts_in_content_stay_there() {
        let part = |text: &str| {
            delta(&format!(r#"{{"content":[{{"type":"thinking","thinking":[{{"type":"text","text":"{text}"}}]}}]}}"#))
        };
        let chunks = [&*part("h"), &part("m"), &delta(r#"{"content":"a"}"#), &delta(r#"{"content":"b"}"#), STOP];
        let turn = streamed(&chunks).turn();
        assert_eq!((turn.reasoning(), turn.content()), ("hm".into(), "ab".into()));
        assert_eq!(
            message(&chunks),
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"ab"}]}"#
        );
    }

    #[test]
    fn sources_that_come_with_every_chunk_stand_once() {
        let sources = r#"{"citations":["u"],"search_results":[{"url":"u"}],"#;
        let text = delta(r#"{"content":"a"}"#).replacen('{', sources, 1);
        let body = format!("data: {text}\n\ndata: {text}\n\ndata: {STOP}\n\n");
        golden(&Chat, Framing::Sse, body.as_bytes());
        let kept = native(&Chat, Framing::Sse, body.as_bytes());
        assert_eq!(kept.get("citations").map(Node::to_json).as_deref(), Some(r#"["u"]"#));
    }

    #[test]
    fn sources_sound_and_images_grow() {
        let sound = |data: &str| delta(&format!(r#"{{"audio":{{"id":"audio_1","data":"{data}","transcript":"a"}}}}"#));
        let more = delta(r#"{"content":"a","annotations":[{"type":"url_citation"}],"images":[{"type":"image_url"}]}"#);
        let chunks = [&*sound("AAAA"), &sound("AAAA"), &more, &delta(r#"{"annotations":[]}"#), STOP];
        streamed(&chunks).turn();
        assert_eq!(
            message(&chunks),
            r#"{"audio":{"id":"audio_1","data":"AAAAAAAA","transcript":"aa"},"content":"a","annotations":[{"type":"url_citation"}],"images":[{"type":"image_url"}]}"#
        );
    }

    #[test]
    fn all_choices_and_what_stands_beside_them() {
        let chunk = |index: u8, text: &str, more: &str| {
            format!(
                r#"{{"id":"i","service_tier":"default","choices":[{{"index":{index},"delta":{{"content":"{text}"}}{more}}}]}}"#
            )
        };
        let end = |index: u8| {
            chunk(index, "", r#","finish_reason":"stop","content_filter_results":{"hate":{"filtered":false}}"#)
        };
        let logprobs = r#","logprobs":{"content":[{"token":"a"}]}"#;
        let chunks = [
            r#"{"choices":[],"id":"","model":"","prompt_filter_results":[{"prompt_index":0}]}"#,
            &chunk(1, "b", ""),
            &chunk(0, "a", logprobs),
            &chunk(0, "a", logprobs),
            &end(0),
            &end(1),
            "[DONE]",
        ];
        let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        assert_eq!(golden(&Chat, Framing::Sse, body.as_bytes()).turn().content(), "aa");
        assert_eq!(
            native(&Chat, Framing::Sse, body.as_bytes()).to_json(),
            r#"{"prompt_filter_results":[{"prompt_index":0}],"id":"i","service_tier":"default","choices":[{"index":0,"message":{"content":"aa"},"logprobs":{"content":[{"token":"a"},{"token":"a"}]},"finish_reason":"stop","content_filter_results":{"hate":{"filtered":false}}},{"index":1,"message":{"content":"b"},"finish_reason":"stop","content_filter_results":{"hate":{"filtered":false}}}]}"#
        );
    }

    #[test]
    fn a_call_that_says_nothing_is_none() {
        let nothing = r#"{"content":"a","tool_calls":null,"function_call":{"name":"","arguments":""}}"#;
        let reply = streamed(&[&delta(nothing), STOP]).turn();
        assert_eq!(reply.tool_calls().count(), 0);
    }

    #[test]
    fn a_thought_signature_of_google_comes_back() {
        let call = r#"{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{}"},
            "extra_content":{"google":{"thought_signature":"sig"}}}]}"#
            .replace('\n', "");
        let reply = streamed(&[&delta(&call), STOP]).turn();
        assert_eq!(reply.tool_calls().next().and_then(|c| c.signature.as_deref()), Some("sig"));
    }
}
