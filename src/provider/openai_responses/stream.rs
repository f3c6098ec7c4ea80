//! A response told event by event. <https://platform.openai.com/docs/api-reference/responses-streaming>

use super::super::pieces;
use super::{COMPLETED, GROWS, Grows, INCOMPLETE};
use crate::frame::Frames;
use crate::json::{self, Node};

/// Lists of parts, what numbers them, and what announces and ends each.
const LISTS: [(&str, &str, &str); 2] = [
    ("summary", "summary_index", "response.reasoning_summary_part"),
    ("content", "content_index", "response.content_part"),
];

/// A tool that the service runs.
/// <https://platform.openai.com/docs/api-reference/responses-streaming/response/web_search_call>
struct Running {
    /// The type of its item.
    item: &'static str,
    /// What is told of its progress before its text, and after it.
    before: &'static [&'static str],
    after: &'static [&'static str],
    /// Members that are known only then.
    late: &'static [&'static str],
}

const RUNNING: [Running; 6] = [
    running("web_search_call", &["in_progress", "searching"], &[COMPLETED], &["action"]),
    running("file_search_call", &["in_progress", "searching"], &[COMPLETED], &["queries", "results"]),
    running("code_interpreter_call", &["in_progress"], &["interpreting", COMPLETED], &["outputs"]),
    running("image_generation_call", &["in_progress", "generating"], &[COMPLETED], &["result"]),
    running("mcp_list_tools", &["in_progress"], &[COMPLETED], &["tools"]),
    running("mcp_call", &["in_progress"], &[COMPLETED], &["output", "error"]),
];

const fn running(
    item: &'static str,
    before: &'static [&'static str],
    after: &'static [&'static str],
    late: &'static [&'static str],
) -> Running {
    Running { item, before, after, late }
}

pub(super) fn stream(native: &Node<'_>, chunk_chars: usize) -> Frames {
    let mut stream = Stream { frames: Frames::default(), sent: 0, chunk_chars };
    let begun = begun(native).to_bytes();
    for kind in ["response.created", "response.in_progress"] {
        stream.event(kind, |out| {
            out.extend_from_slice(b",\"response\":");
            out.extend_from_slice(&begun);
        });
    }
    for (index, item) in native.get("output").map_or(&[][..], Node::items).iter().enumerate() {
        stream.item(index, item);
    }
    let incomplete = native.str("status") == Some(INCOMPLETE);
    let kind = if incomplete { "response.incomplete" } else { "response.completed" };
    stream.event(kind, |out| member("response", native, out));
    stream.frames
}

/// The response before anything was said.
fn begun<'n>(native: &Node<'n>) -> Node<'n> {
    let members = native.members().iter().filter_map(|(name, value)| {
        let value = match &**name {
            "status" => "in_progress".into(),
            "output" => Node::List(Vec::new()),
            "usage" | "incomplete_details" => Node::Null,
            "completed_at" => return None,
            _ => value.clone(),
        };
        Some((name.clone(), value))
    });
    Node::Object(members.collect())
}

/// An item as it is announced: nothing in it yet.
fn announced<'n>(item: &Node<'n>, kind: &str) -> Node<'n> {
    let late = RUNNING.iter().find(|row| row.item == kind).map_or(&[][..], |row| row.late);
    let grows = |name: &str| GROWS.iter().any(|row| row.item == kind && row.list.is_empty() && row.member == name);
    let lists = |name: &str| GROWS.iter().any(|row| row.item == kind && row.list == name);
    let members = item.members().iter().filter_map(|(name, value)| {
        let value = match (&**name, value) {
            ("encrypted_content", _) => return None,
            ("status", Node::Text(_)) => "in_progress".into(),
            (name, Node::Text(_)) if grows(name) => "".into(),
            (name, Node::List(_)) if lists(name) => Node::List(Vec::new()),
            (name, _) if late.contains(&name) => return None,
            (_, value) => value.clone(),
        };
        Some((name.clone(), value))
    });
    Node::Object(members.collect())
}

fn member(name: &str, value: &Node<'_>, out: &mut Vec<u8>) {
    out.push(b',');
    json::string(name, out);
    out.push(b':');
    value.write(out);
}

fn text_member(name: &str, text: &str, out: &mut Vec<u8>) {
    out.push(b',');
    json::string(name, out);
    out.push(b':');
    json::string(text, out);
}

struct Stream {
    frames: Frames,
    sent: i64,
    chunk_chars: usize,
}

impl Stream {
    fn event(&mut self, kind: &str, members: impl FnOnce(&mut Vec<u8>)) {
        let sent = self.sent;
        self.frames.push(|out| {
            for text in ["event: ", kind, "\ndata: {\"type\":\"", kind, "\",\"sequence_number\":"] {
                out.extend_from_slice(text.as_bytes());
            }
            json::number(sent, out);
            members(out);
            out.extend_from_slice(b"}\n\n");
        });
        self.sent += 1;
    }

    fn item(&mut self, index: usize, item: &Node<'_>) {
        let kind = item.str("type").unwrap_or("");
        let mut at = Vec::new();
        if let Some(id) = item.get("id") {
            member("item_id", id, &mut at);
        }
        let output_index = Node::from(index);
        member("output_index", &output_index, &mut at);
        let whole = |stream: &mut Self, event, item: &Node<'_>| {
            stream.event(event, |out| {
                member("output_index", &output_index, out);
                member("item", item, out);
            });
        };
        whole(self, "response.output_item.added", &announced(item, kind));
        let running = RUNNING.iter().find(|row| row.item == kind);
        self.progress(running.map_or(&[], |row| row.before), item, &at);
        for (list, index_name, event) in LISTS {
            let parts = item.get(list).filter(|_| GROWS.iter().any(|row| row.item == kind && row.list == list));
            for (n, part) in parts.map_or(&[][..], Node::items).iter().enumerate() {
                let mut at = at.clone();
                member(index_name, &n.into(), &mut at);
                self.part(part, list, event, &at);
            }
        }
        if let Some(row) = GROWS.iter().find(|row| row.item == kind && row.list.is_empty()) {
            self.text(row, item, &at);
        }
        self.progress(running.map_or(&[], |row| row.after), item, &at);
        whole(self, "response.output_item.done", item);
    }

    /// What the service tells of a tool that it runs.
    fn progress(&mut self, words: &[&str], item: &Node<'_>, at: &[u8]) {
        let kind = item.str("type").unwrap_or("");
        for word in words {
            let failed = *word == COMPLETED && kind.starts_with("mcp_") && item.get("error").is_some();
            let word = if failed { "failed" } else { word };
            self.event(&format!("response.{kind}.{word}"), |out| out.extend_from_slice(at));
        }
    }

    fn part(&mut self, part: &Node<'_>, list: &str, event: &str, at: &[u8]) {
        let row = GROWS.iter().find(|row| row.list == list && Some(row.part) == part.str("type"));
        let mut begun = part.clone();
        if let Some(text) = row.and_then(|row| begun.get_mut(row.member)) {
            *text = "".into();
        }
        for name in ["annotations", "logprobs"] {
            if let Some(said @ Node::List(_)) = begun.get_mut(name) {
                *said = Node::List(Vec::new());
            }
        }
        let whole = |stream: &mut Self, event: String, part: &Node<'_>| {
            stream.event(&event, |out| {
                out.extend_from_slice(at);
                member("part", part, out);
            });
        };
        whole(self, format!("{event}.added"), &begun);
        if let Some(row) = row {
            self.text(row, part, at);
        }
        whole(self, format!("{event}.done"), part);
    }

    /// A text in pieces and then whole, and what stands beside it.
    fn text(&mut self, row: &Grows, holder: &Node<'_>, at: &[u8]) {
        let Some(text) = holder.get(row.member).and_then(Node::as_str) else { return };
        let delta = format!("{}.delta", row.event);
        let has_logprobs = row.part == "output_text";
        match tokens(holder, text).filter(|_| has_logprobs) {
            Some(tokens) => {
                for token in tokens {
                    self.event(&delta, |out| {
                        out.extend_from_slice(at);
                        text_member("delta", token.str("token").unwrap_or(""), out);
                        member("logprobs", &Node::List(vec![token.clone()]), out);
                    });
                }
            }
            None => {
                for piece in pieces(text, self.chunk_chars) {
                    self.event(&delta, |out| {
                        out.extend_from_slice(at);
                        text_member("delta", piece, out);
                        if has_logprobs {
                            out.extend_from_slice(b",\"logprobs\":[]");
                        }
                    });
                }
            }
        }
        let annotations = holder.get("annotations").map_or(&[][..], Node::items);
        for (n, annotation) in annotations.iter().enumerate() {
            self.event("response.output_text.annotation.added", |out| {
                out.extend_from_slice(at);
                member("annotation_index", &n.into(), out);
                member("annotation", annotation, out);
            });
        }
        self.event(&format!("{}.done", row.event), |out| {
            out.extend_from_slice(at);
            if let Some(name) = holder.get("name") {
                member("name", name, out);
            }
            text_member(row.member, text, out);
            if has_logprobs {
                member("logprobs", holder.get("logprobs").unwrap_or(&Node::List(Vec::new())), out);
            }
        });
    }
}

/// The tokens that a text's probabilities are of, where they are all of it: clients read them with the pieces.
fn tokens<'n, 't>(part: &'n Node<'t>, text: &str) -> Option<&'n [Node<'t>]> {
    let tokens = part.get("logprobs").map_or(&[][..], Node::items);
    let said = tokens.iter().map(|token| token.str("token")).collect::<Option<String>>()?;
    (said == text && !text.is_empty()).then_some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The events.
    fn events(native: &Value) -> Vec<Value> {
        let frames = stream(&Node::from(native), 2);
        let mut events = Vec::new();
        for (n, frame) in frames.iter().enumerate() {
            let (event, data) = std::str::from_utf8(frame).unwrap().split_once("\ndata: ").unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            let named = (event.strip_prefix("event: "), &data["sequence_number"]);
            assert_eq!(named, (data["type"].as_str(), &json!(n)));
            events.push(data);
        }
        events
    }

    /// The events' types, deltas once in a row.
    fn kinds(native: &Value) -> Vec<String> {
        let kind =
            |event: &Value| event["type"].as_str().and_then(|kind| kind.strip_prefix("response.")).map(str::to_owned);
        let mut kinds: Vec<String> = events(native).iter().filter_map(kind).collect();
        kinds.dedup();
        kinds
    }

    fn message(text: &str) -> Value {
        let part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text});
        json!({"id": "m", "type": "message", "status": "completed", "role": "assistant", "content": [part]})
    }

    #[test]
    fn the_events_of_a_text() {
        assert_eq!(
            kinds(&json!({"status": "completed", "output": [message("hello")]})),
            [
                "created",
                "in_progress",
                "output_item.added",
                "content_part.added",
                "output_text.delta",
                "output_text.done",
                "content_part.done",
                "output_item.done",
                "completed"
            ]
        );
    }

    #[test]
    fn the_events_of_reasoning_and_a_call() {
        let reasoning = json!({"id": "r", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hmm"}],
            "encrypted_content": "e"});
        let call = json!({"id": "f", "type": "function_call", "status": "incomplete", "arguments": "{\"a\":1}",
            "call_id": "c", "name": "f"});
        let native = json!({"status": "incomplete", "output": [reasoning, call], "completed_at": 5, "usage": {}});
        assert_eq!(
            kinds(&native),
            [
                "created",
                "in_progress",
                "output_item.added",
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
                "output_item.done",
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
                "incomplete"
            ]
        );
        let events = events(&native);
        assert_eq!(events[0]["response"], json!({"status": "in_progress", "output": [], "usage": null}));
        let items: Vec<&Value> = events.iter().filter_map(|event| event.get("item")).collect();
        assert_eq!(items[0], &json!({"id": "r", "type": "reasoning", "summary": []}));
        assert_eq!((&items[2]["status"], &items[2]["arguments"]), (&json!("in_progress"), &json!("")));
        assert_eq!((items[1], items[3]), (&reasoning, &call));
    }

    #[test]
    fn the_events_of_tools_that_the_service_runs() {
        let code = json!({"id": "ci", "type": "code_interpreter_call", "status": "completed", "code": "1+1",
            "container_id": "cntr", "outputs": []});
        let call = json!({"id": "mcp", "type": "mcp_call", "name": "f", "arguments": "{}", "error": "no"});
        let kinds = kinds(&json!({"output": [code, call, {"id": "x", "type": "new_thing", "data": [1]}]}));
        assert_eq!(
            kinds[2..kinds.len() - 1],
            [
                "output_item.added",
                "code_interpreter_call.in_progress",
                "code_interpreter_call_code.delta",
                "code_interpreter_call_code.done",
                "code_interpreter_call.interpreting",
                "code_interpreter_call.completed",
                "output_item.done",
                "output_item.added",
                "mcp_call.in_progress",
                "mcp_call_arguments.delta",
                "mcp_call_arguments.done",
                "mcp_call.failed",
                "output_item.done",
                "output_item.added",
                "output_item.done",
            ]
        );
    }

    #[test]
    fn probabilities_come_with_the_pieces_that_they_are_of() {
        let mut item = message("hello");
        item["content"][0]["logprobs"] = json!([{"token": "hel", "logprob": -0.5}, {"token": "lo", "logprob": 0}]);
        let deltas: Vec<Value> =
            events(&json!({"output": [item]})).into_iter().filter(|event| event.get("delta").is_some()).collect();
        assert_eq!((&deltas[0]["delta"], &deltas[1]["delta"]), (&json!("hel"), &json!("lo")));
        assert_eq!(deltas[1]["logprobs"], json!([{"token": "lo", "logprob": 0}]));
    }
}
