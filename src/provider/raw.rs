//! Everything that has no room of its own: kept verbatim, matched on method, path and canonical body.

use super::{AnswerHead, BadRequest, Call, Codec, Collapse, Collapsed, Fault, Progress, Shape, VerbatimWire};
use crate::frame::{Frame, Framing};
use crate::json;
use crate::reply::{RawAnswer, RawBody};
use crate::request::{Kind, Request};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// The wire of endpoints that no codec reads.
#[derive(Debug)]
pub(super) struct Raw;

impl Codec for Raw {
    fn wire(&self) -> &'static str {
        "raw"
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Verbatim(self)
    }

    fn decode<'a>(&self, _call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        Ok(Request::new(Kind::Raw))
    }
}

impl VerbatimWire for Raw {
    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        match answer.framing {
            Framing::Whole | Framing::JsonArray => collapser(answer),
            Framing::Sse | Framing::Ndjson | Framing::EventStream => Box::new(Stream::new(answer)),
        }
    }

    fn framing(&self, told: Framing) -> Framing {
        if told == Framing::JsonArray { Framing::Whole } else { told }
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[TERMINAL]
    }
}

/// Keeps an answer verbatim; for the `Raw` codec and for codecs whose endpoint has answers of other kinds.
pub(super) fn collapser(answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
    Box::new(Keep::new(answer))
}

#[derive(Default)]
struct Keep {
    status: u16,
    content_type: String,
    body: Vec<u8>,
}

impl Keep {
    fn new(answer: &AnswerHead<'_>) -> Self {
        Keep { status: answer.status, content_type: answer.content_type.to_owned(), body: Vec::new() }
    }

    fn is_json(&self) -> bool {
        let media = self.content_type.split(';').next().unwrap_or("").trim();
        media.eq_ignore_ascii_case("application/json") || media.ends_with("+json")
    }
}

impl Collapse for Keep {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let first = self.body.is_empty();
        self.body.extend_from_slice(frame.data);
        // Of all that is kept as it is, JSON alone shows that it was cut.
        let cut = |data| json::parse::<IgnoredAny>(data).is_err_and(|e| e.is_eof());
        let cut = first && self.is_json() && cut(frame.data);
        Ok(if cut { Progress::More } else { Progress::Finished })
    }

    fn kept_bytes(&self) -> usize {
        self.body.len()
    }

    fn finish(&mut self) -> Collapsed {
        let Keep { status, content_type, body } = std::mem::take(self);
        let json = content_type.contains("json").then(|| json::parse(&body).ok()).flatten();
        let body = json.map_or(RawBody::Bytes(body), RawBody::Json);
        Collapsed::Body(RawAnswer { status, content_type, retry_after: None, body })
    }
}

/// Keeps a stream as it came, and looks at its frames to tell whether it is a whole success.
///
/// Nobody knows whose words it speaks, so it is judged by those that are common: an error in it is a fault; a stream that
/// speaks of a finish was cut where none came; any other is whole where its body ended cleanly and had a frame at all.
struct Stream {
    keep: Keep,
    /// Lines of a file, each of which may tell of an error of its own.
    is_file: bool,
    seen: Seen,
}

/// How far a stream is, from the beginning to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Nothing,
    /// Frames that say nothing of an end.
    Frames,
    /// A frame that says that there will be a finish.
    Begun,
    Finish,
    Terminal,
}

/// What tells that there will be no other frame. OpenAI's
/// <https://platform.openai.com/docs/api-reference/completions/create#completions-create-stream>.
const TERMINAL: &[u8] = b"[DONE]";

/// Members that are null, false or empty until the answer is finished: OpenAI's and Gemini's, Anthropic's and Bedrock's,
/// Ollama's.
const FINISH: [&str; 5] = ["finish_reason", "finishReason", "stop_reason", "stopReason", "done"];

/// Lists whose entries have these members.
const CHOICES: [&str; 2] = ["choices", "candidates"];

/// How the types of events end after which there is more, and after which there need not be: OpenAI's images, sounds and
/// transcripts (<https://platform.openai.com/docs/api-reference/images-streaming>), and Anthropic's.
const BEGUN_EVENTS: [&str; 3] = [".delta", ".partial_image", "message_start"];
const FINISH_EVENTS: [&str; 3] = [".done", ".completed", "message_stop"];

impl Stream {
    fn new(answer: &AnswerHead<'_>) -> Self {
        let is_file = answer.framing == Framing::Ndjson && answer.content_type.contains("jsonl");
        Stream { keep: Keep::new(answer), is_file, seen: Seen::Nothing }
    }

    fn look(&self, frame: &Frame<'_>) -> Result<Seen, Fault> {
        if self.is_file {
            return Ok(Seen::Frames);
        }
        let data = frame.data.trim_ascii();
        if frame.exception || frame.event == "error" {
            let said: String = String::from_utf8_lossy(data).chars().take(super::MAX_QUOTED_CHARS).collect();
            return Err(Fault::Upstream(said));
        }
        if data == TERMINAL {
            return Ok(Seen::Terminal);
        }
        let Ok(object) = json::parse::<Map<String, Value>>(data) else { return Ok(Seen::Frames) };
        match error_in(&object) {
            Some(said) => Err(Fault::Upstream(said)),
            None => Ok(seen_in(frame.event, &object)),
        }
    }
}

/// What an object says of an error. A JSON-RPC error is an answer like any other.
fn error_in(object: &Map<String, Value>) -> Option<String> {
    let error = object.get("error").filter(|error| says_something(error) && !object.contains_key("jsonrpc"));
    let is_one = object.get("type").is_some_and(|kind| kind == "error");
    let message = |value: &Value| value.get("message").and_then(Value::as_str).map(str::to_owned);
    match error {
        Some(Value::String(said)) => Some(said.clone()),
        Some(error) => Some(message(error).unwrap_or_else(|| error.to_string())),
        None => is_one.then(|| object.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned()),
    }
}

fn seen_in(event: &str, object: &Map<String, Value>) -> Seen {
    let lists = || CHOICES.iter().filter_map(|name| object.get(*name)?.as_array());
    let entries = lists().flatten().filter_map(Value::as_object);
    let told = entries.chain([object]).flat_map(|o| FINISH.iter().filter_map(|name| o.get(*name)));
    let seen = told.map(|value| if says_something(value) { Seen::Finish } else { Seen::Begun }).max();
    let kind = object.get("type").and_then(Value::as_str).unwrap_or(event);
    let ends = |endings: &[&str]| endings.iter().any(|ending| kind.ends_with(ending));
    let begun = ends(&BEGUN_EVENTS) || lists().next().is_some();
    let by_kind = if ends(&FINISH_EVENTS) {
        Seen::Finish
    } else if begun {
        Seen::Begun
    } else {
        Seen::Frames
    };
    seen.map_or(by_kind, |seen| seen.max(by_kind))
}

/// Whether a member is more than a place that is kept for what may come.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.values().any(says_something),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

impl Collapse for Stream {
    fn keep(&mut self, bytes: &[u8]) {
        self.keep.body.extend_from_slice(bytes);
    }

    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        self.seen = self.seen.max(self.look(frame)?);
        Ok(match self.seen {
            Seen::Nothing | Seen::Begun => Progress::More,
            Seen::Frames | Seen::Finish => Progress::Finished,
            Seen::Terminal => Progress::Done,
        })
    }

    fn kept_bytes(&self) -> usize {
        self.keep.kept_bytes()
    }

    fn finish(&mut self) -> Collapsed {
        let Keep { status, content_type, body } = std::mem::take(&mut self.keep);
        Collapsed::Body(RawAnswer { status, content_type, retry_after: None, body: RawBody::Bytes(body) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Decoder, Status};

    fn progress(content_type: &str, body: &str) -> Progress {
        let head = AnswerHead { framing: Framing::Whole, status: 200, content_type };
        collapser(&head).push(&Frame::data(body.as_bytes())).expect("nothing is refused")
    }

    #[test]
    fn json_shows_that_it_was_cut_and_nothing_else_does() {
        for whole in ["{\"a\":[1]}", " [] \n", "{\"a\":1}{\"a\":2}", "no JSON"] {
            assert_eq!(progress("application/json; charset=utf-8", whole), Progress::Finished, "{whole}");
        }
        for cut in ["", "{\"a\":[1", "[", "{\"a\":\"b"] {
            assert_eq!(progress("application/json", cut), Progress::More, "{cut}");
            assert_eq!(progress("text/plain", cut), Progress::Finished, "{cut}");
        }
    }

    /// How a stream of these frames stands at its end.
    fn stream(framing: Framing, content_type: &str, body: &str) -> Result<Progress, String> {
        let mut stream = Stream::new(&AnswerHead { framing, status: 200, content_type });
        let (mut decoder, mut rest) = (Decoder::new(framing), body.as_bytes());
        let mut progress = Progress::More;
        let text = |fault| if let Fault::Upstream(said) = fault { said } else { String::new() };
        stream.keep(rest);
        while let Status::Frame { frame, used } = decoder.next(rest).expect("it can be framed") {
            progress = stream.push(&frame).map_err(text)?;
            rest = &rest[used..];
        }
        let Collapsed::Body(kept) = stream.finish() else { panic!("a stream is kept as it is") };
        assert_eq!(kept.body, RawBody::Bytes(body.as_bytes().to_vec()));
        Ok(progress)
    }

    fn events(data: &[&str]) -> Result<Progress, String> {
        let body: String = data.iter().map(|data| format!("data: {data}\n\n")).collect();
        stream(Framing::Sse, "text/event-stream", &body)
    }

    #[test]
    fn a_stream_is_whole_by_its_terminal_event_its_finish_or_a_clean_end_of_what_speaks_of_none() {
        let open = r#"{"choices":[{"text":"a","finish_reason":null}]}"#;
        let stop = r#"{"choices":[{"text":"","finish_reason":"length"}]}"#;
        let usage = r#"{"choices":[],"usage":{"total_tokens":3}}"#;
        for (data, progress) in [
            (&[][..], Progress::More),
            (&[open], Progress::More),
            (&[r#"{"choices":[{"text":"a"}]}"#], Progress::More),
            (&[open, stop], Progress::Finished),
            (&[open, stop, open, usage], Progress::Finished),
            (&[usage, "news"], Progress::More),
            (&[open, "[DONE]"], Progress::Done),
            (&[r#"{"candidates":[{"content":{}}]}"#], Progress::More),
            (&[r#"{"candidates":[{"finishReason":"STOP"}]}"#], Progress::Finished),
            (&[r#"{"type":"completion","completion":"a","stop_reason":null}"#], Progress::More),
            (&[r#"{"type":"completion","completion":"","stop_reason":"stop_sequence"}"#], Progress::Finished),
            (&[r#"{"type":"image_generation.partial_image","b64_json":"AA=="}"#], Progress::More),
            (&[r#"{"type":"image_generation.completed","b64_json":"AA=="}"#], Progress::Finished),
            (&[r#"{"type":"transcript.text.delta"}"#], Progress::More),
            (&[r#"{"type":"transcript.text.delta"}"#, r#"{"type":"transcript.text.done"}"#], Progress::Finished),
            (&[r#"{"progress":0.5}"#, "plain words", "[1,2]"], Progress::Finished),
            (&[r#"{"error":null,"errors":1}"#, r#"{"error":{"code":null,"message":""}}"#], Progress::Finished),
            (&[r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such method"}}"#], Progress::Finished),
        ] {
            assert_eq!(events(data), Ok(progress), "{data:?}");
        }
        let lines = |content_type: &str, body: &str| stream(Framing::Ndjson, content_type, body);
        assert_eq!(lines("application/x-ndjson", "{\"done\":false}\n"), Ok(Progress::More));
        assert_eq!(lines("application/x-ndjson", "{\"done\":false}\n{\"done\":true}\n"), Ok(Progress::Finished));
        let batch = "{\"custom_id\":\"1\",\"error\":{\"message\":\"expired\"}}\n";
        assert_eq!(lines("application/jsonl", batch), Ok(Progress::Finished), "lines of a file are no stream");
    }

    #[test]
    fn an_error_in_a_stream_is_a_fault_that_says_what_it_was() {
        let named = "event: error\ndata: {\"code\":1}\n\n";
        assert_eq!(stream(Framing::Sse, "text/event-stream", named), Err("{\"code\":1}".into()));
        for (data, said) in [
            (r#"{"error":{"message":"overloaded","type":"server_error"}}"#, "overloaded"),
            (r#"{"error":"model not found"}"#, "model not found"),
            (r#"{"error":{"code":7}}"#, r#"{"code":7}"#),
            (r#"{"type":"error","message":"slow down"}"#, "slow down"),
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, "Overloaded"),
        ] {
            let first = r#"{"choices":[{"text":"a","finish_reason":"stop"}]}"#;
            assert_eq!(events(&[first, data]), Err(said.to_owned()), "{data}");
            assert_eq!(stream(Framing::Ndjson, "application/x-ndjson", &format!("{data}\n")), Err(said.to_owned()));
        }
    }
}
