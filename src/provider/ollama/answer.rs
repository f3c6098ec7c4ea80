//! A turn as `/api/chat` and `/api/generate` give it: whole, or a line for each piece.
//! <https://docs.ollama.com/api/streaming>

use super::super::echo::says_nothing;
use super::super::{
    AnswerHead, Collapse, Encoding, Fault, FinishWords, Progress, UsageShape, answer_usage, arguments_object,
    finish_in, finish_out, parse_values, pieces, raw,
};
use crate::clock;
use crate::frame::{Frame, Frames, Framing, ndjson};
use crate::reply::{Answer, Part, Reply, ToolCall, Usage};
use crate::request::Str;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A turn with tool calls stops with `stop` too.
pub(super) static FINISH: FinishWords = FinishWords {
    exact: &[("stop", "stop"), ("length", "length")],
    near: &[("load", "stop"), ("unload", "stop")],
    otherwise: "stop",
};

/// The counts, beside which the durations stand (nanoseconds). `prompt_eval_count` is absent where the prompt was cached.
pub(super) static USAGE: UsageShape = UsageShape {
    input: "/prompt_eval_count",
    output: "/eval_count",
    total: "",
    cached: "",
    cache_write: "",
    reasoning: "",
    input_excludes_cached: false,
    output_excludes_reasoning: false,
};

/// The `context` of a generated text, which a client may send back, stands under this name.
const WIRE: &str = "ollama-generate";

const DURATIONS: [&str; 4] = ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"];

/// The two endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `/api/chat`: text, thinking and tool calls in a `message`.
    Chat,
    /// `/api/generate`: text as `response`, and `thinking`; no tool calls.
    Generate,
}

/// What a line holds of the turn.
#[derive(Default)]
struct Piece<'a> {
    text: &'a str,
    thinking: Option<&'a str>,
    calls: Vec<CallOut<'a>>,
}

pub(super) fn whole(shape: Shape, reply: &Reply, to: &Encoding<'_>) -> Vec<u8> {
    let (text, thinking) = (reply.content(), reply.reasoning());
    let calls = reply.tool_calls().enumerate().map(|(i, call)| CallOut::new(i, call)).collect();
    let piece = Piece { text: &text, thinking: Some(&*thinking).filter(|t| !t.is_empty()), calls };
    let lines = Lines::new(shape, reply, to);
    let finish = finish_out(&FINISH, reply.finish_word());
    json(&lines.line(piece, Some((&finish, &usage(reply, to)))))
}

pub(super) fn stream(shape: Shape, reply: &Reply, to: &Encoding<'_>) -> Frames {
    let lines = Lines::new(shape, reply, to);
    let mut frames = Frames::default();
    let mut push = |piece| frames.push(|out| ndjson::encode(&json(&lines.line(piece, None)), out));
    let mut index = 0;
    for part in &reply.parts {
        match part {
            Part::Text { text, .. } => {
                pieces(text, to.chunk_chars).for_each(|text| push(Piece { text, ..Piece::default() }));
            }
            Part::Reasoning { text, .. } => {
                pieces(text, to.chunk_chars).for_each(|t| push(Piece { thinking: Some(t), ..Piece::default() }));
            }
            Part::ToolCall(call) if shape == Shape::Chat => {
                push(Piece { calls: vec![CallOut::new(index, call)], ..Piece::default() });
                index += 1;
            }
            Part::ToolCall(_) | Part::RedactedReasoning(_) | Part::Verbatim(_) => {}
        }
    }
    let finish = finish_out(&FINISH, reply.finish_word());
    let last = json(&lines.line(Piece::default(), Some((&finish, &usage(reply, to)))));
    frames.push(|out| ndjson::encode(&last, out));
    frames
}

fn usage(reply: &Reply, to: &Encoding<'_>) -> Usage {
    let mut usage = answer_usage(&USAGE, reply, to.request);
    add_durations(&mut usage, reply.usage.as_ref(), &DURATIONS);
    usage
}

/// Clients in typed languages want the durations: 0 where the usage is not what an Ollama sent.
pub(super) fn add_durations(usage: &mut Usage, recorded: Option<&Usage>, durations: &[&str]) {
    let own = |name: &&str| recorded.is_some_and(|r| r.contains_key(*name));
    if durations.iter().any(own) || [&"prompt_eval_count", &"eval_count"].into_iter().any(own) {
        return;
    }
    for name in durations {
        usage.insert((*name).to_owned(), Value::from(0));
    }
}

/// What all lines of an answer share.
struct Lines<'a> {
    shape: Shape,
    model: &'a str,
    created_at: String,
    role: &'a str,
    context: Option<&'a RawValue>,
}

impl<'a> Lines<'a> {
    fn new(shape: Shape, reply: &'a Reply, to: &Encoding<'a>) -> Self {
        Lines {
            shape,
            model: reply.model.as_deref().unwrap_or(&to.request.model),
            created_at: clock::rfc3339(reply.created.unwrap_or(to.now)),
            role: reply.role.as_deref().unwrap_or("assistant"),
            context: reply.parts.iter().find_map(context),
        }
    }

    fn line<'l>(&'l self, piece: Piece<'l>, end: Option<(&'l str, &'l Usage)>) -> LineOut<'l> {
        let Piece { text, thinking, calls } = piece;
        let mut line = LineOut {
            model: self.model,
            created_at: &self.created_at,
            message: None,
            response: None,
            thinking: None,
            done: end.is_some(),
            done_reason: end.map(|(finish, _)| finish),
            context: end.and(self.context).filter(|_| self.shape == Shape::Generate),
            usage: end.map(|(_, usage)| usage),
        };
        match self.shape {
            Shape::Chat => {
                line.message = Some(MessageOut { role: self.role, content: text, thinking, tool_calls: calls });
            }
            Shape::Generate => (line.response, line.thinking) = (Some(text), thinking),
        }
        line
    }
}

fn context(part: &Part) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Own<'a> {
        #[serde(borrow)]
        context: &'a RawValue,
    }
    serde_json::from_str::<Own<'_>>(part.verbatim_of(WIRE)?.get()).ok().map(|own| own.context)
}

#[derive(Serialize)]
struct LineOut<'a> {
    model: &'a str,
    created_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a str>,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a RawValue>,
    #[serde(flatten)]
    usage: Option<&'a Usage>,
}

#[derive(Serialize)]
struct MessageOut<'a> {
    role: &'a str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallOut<'a>>,
}

#[derive(Serialize)]
struct CallOut<'a> {
    /// Older servers give none, and clients do without: none is made up.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    function: FunctionOut<'a>,
}

#[derive(Serialize)]
struct FunctionOut<'a> {
    index: usize,
    name: &'a str,
    arguments: Box<RawValue>,
}

impl<'a> CallOut<'a> {
    fn new(index: usize, call: &'a ToolCall) -> Self {
        let function = FunctionOut { index, name: &call.name, arguments: arguments_object(&call.arguments) };
        CallOut { id: call.id.as_deref(), function }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these structs have string keys only")
}

// ------------------------------------------------------------------------------------------------------- collapse

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    created_at: Option<Str<'a>>,
    #[serde(borrow, default)]
    message: Option<MessageIn<'a>>,
    #[serde(borrow, default)]
    response: Option<Str<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Str<'a>>,
    #[serde(default)]
    done: Option<bool>,
    #[serde(borrow, default)]
    done_reason: Option<Str<'a>>,
    #[serde(default)]
    context: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    total_duration: Option<Value>,
    #[serde(default)]
    load_duration: Option<Value>,
    #[serde(default)]
    prompt_eval_count: Option<Value>,
    #[serde(default)]
    prompt_eval_duration: Option<Value>,
    #[serde(default)]
    eval_count: Option<Value>,
    #[serde(default)]
    eval_duration: Option<Value>,
}

#[derive(Deserialize)]
struct MessageIn<'a> {
    #[serde(borrow, default)]
    role: Option<Str<'a>>,
    #[serde(borrow, default)]
    content: Option<Str<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Str<'a>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<CallIn<'a>>>,
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
    /// An object; a string from some services.
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// Puts the lines of either endpoint together. A call comes whole in one line.
pub(super) struct Collapser {
    text: String,
    thinking: String,
    calls: Vec<ToolCall>,
    reply: Reply,
    progress: Progress,
    /// What a client may send back to go on from here.
    context: Option<Part>,
    /// A whole answer of another API that the server gave here: kept as it is.
    foreign: Option<Box<dyn Collapse>>,
    whole: Option<(u16, String)>,
}

impl Collapser {
    pub(super) fn new(answer: &AnswerHead<'_>) -> Self {
        Collapser {
            text: String::new(),
            thinking: String::new(),
            calls: Vec::new(),
            reply: Reply::default(),
            progress: Progress::More,
            context: None,
            foreign: None,
            whole: (answer.framing == Framing::Whole).then(|| (answer.status, answer.content_type.to_owned())),
        }
    }
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        for line in parse_values::<Line<'_>>(frame) {
            let line = line?;
            if let Some(error) = line.error.as_ref().filter(|e| !e.is_null()) {
                return Err(Fault::Upstream(error_text(error)));
            }
            if let Some((status, content_type)) = self.whole.as_ref().filter(|_| line.is_foreign()) {
                let head = AnswerHead { framing: Framing::Whole, status: *status, content_type };
                self.progress = self.foreign.insert(raw::collapser(&head)).push(frame)?;
                break;
            }
            self.take(line);
        }
        Ok(self.progress)
    }

    fn kept_bytes(&self) -> usize {
        let calls = self.calls.iter().map(|c| c.name.len() + c.arguments.len()).sum::<usize>();
        self.text.len() + self.thinking.len() + calls + self.foreign.as_ref().map_or(0, |f| f.kept_bytes())
    }

    fn finish(&mut self) -> crate::provider::Collapsed {
        let answer: Answer = (|| {
            if let Some(foreign) = &mut self.foreign {
                return foreign.finish().old();
            }
            let mut reply = std::mem::take(&mut self.reply);
            if !self.calls.is_empty() && reply.finish.as_deref() == Some("stop") {
                reply.finish = Some("tool_calls".to_owned());
            }
            reply.push_reasoning(&self.thinking);
            reply.push_text(&self.text);
            reply.parts.extend(self.calls.drain(..).map(Part::ToolCall));
            reply.parts.extend(self.context.take());
            Answer::Turn(reply)
        })();
        answer.into()
    }
}

impl Collapser {
    fn take(&mut self, line: Line<'_>) {
        let reply = &mut self.reply;
        if reply.model.is_none() {
            reply.model = line.model.filter(|m| !m.is_empty()).map(|m| m.0.into_owned());
        }
        if reply.created.is_none() {
            reply.created = line.created_at.and_then(|at| clock::parse_rfc3339(&at));
        }
        if line.done == Some(true) {
            self.progress = Progress::Done;
            let context = line.context.filter(|context| !says_nothing(context));
            self.context = context.map(|context| Part::verbatim(WIRE, &json!({ "context": context })));
            reply.finish = line.done_reason.filter(|r| !r.is_empty()).map(|reason| finish_in(&FINISH, &reason));
            reply.usage = counts([
                ("total_duration", line.total_duration),
                ("load_duration", line.load_duration),
                ("prompt_eval_count", line.prompt_eval_count),
                ("prompt_eval_duration", line.prompt_eval_duration),
                ("eval_count", line.eval_count),
                ("eval_duration", line.eval_duration),
            ]);
        }
        self.thinking.push_str(line.thinking.as_deref().unwrap_or(""));
        self.text.push_str(line.response.as_deref().unwrap_or(""));
        if let Some(message) = line.message {
            self.message(message);
        }
    }

    fn message(&mut self, message: MessageIn<'_>) {
        if let Some(role) = message.role.filter(|r| !r.is_empty() && &**r != "assistant") {
            self.reply.role = Some(role.0.into_owned());
        }
        self.thinking.push_str(message.thinking.as_deref().unwrap_or(""));
        self.text.push_str(message.content.as_deref().unwrap_or(""));
        for call in message.tool_calls.into_iter().flatten() {
            let Some(function) = call.function else { continue };
            self.calls.push(ToolCall {
                id: call.id.filter(|id| !id.is_empty()).map(|id| id.0.into_owned()),
                name: function.name.map(|n| n.0.into_owned()).unwrap_or_default(),
                arguments: function.arguments.map(arguments_text).unwrap_or_default(),
                signature: None,
                custom: false,
            });
        }
    }
}

impl Line<'_> {
    /// It has nothing that an answer of this API has.
    fn is_foreign(&self) -> bool {
        self.message.is_none() && self.response.is_none() && self.done.is_none()
    }
}

fn arguments_text(raw: &RawValue) -> String {
    match serde_json::from_str(raw.get()) {
        Ok(Str(text)) => text.into_owned(),
        Err(_) if raw.get() == "null" => String::new(),
        Err(_) => raw.get().to_owned(),
    }
}

/// The numbers among these, by name; `None` where there are none.
pub(super) fn counts<const N: usize>(named: [(&str, Option<Value>); N]) -> Option<Usage> {
    let number = |(name, value): (&str, Option<Value>)| Some((name.to_owned(), value.filter(Value::is_number)?));
    let usage: Usage = named.into_iter().filter_map(number).collect();
    (!usage.is_empty()).then_some(usage)
}

/// What an `error` member says: a string, or whatever else it is.
pub(super) fn error_text(error: &Value) -> String {
    error.as_str().map_or_else(|| error.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::{Outcome, carried, golden, round_trip, with_request};
    use super::*;

    fn chat(body: &str) -> Outcome {
        golden(&Shape::Chat, Framing::Ndjson, body.as_bytes())
    }

    fn call(id: Option<&str>, arguments: &str) -> Part {
        let call = ToolCall {
            id: id.map(str::to_owned),
            name: "f".into(),
            arguments: arguments.into(),
            signature: None,
            custom: false,
        };
        Part::ToolCall(call)
    }

    #[test]
    fn what_a_generated_text_goes_on_from_comes_back() {
        let body = r#"{"model":"m","response":"a","done":true,"done_reason":"stop","context":[1,2]}"#;
        let reply = golden(&Shape::Generate, Framing::Ndjson, body.as_bytes()).turn();
        assert_eq!(reply.parts, [Part::text("a"), Part::verbatim(WIRE, &json!({"context": [1, 2]}))]);
        with_request("/api/generate", r#"{"model":"m","prompt":"hi"}"#, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!((whole.turn().parts, streamed.turn().parts), (reply.parts.clone(), reply.parts.clone()));
        });
    }

    const CHAT: &str = r#"{"model":"qwen3:4b","messages":[{"role":"user","content":"hi"}]}"#;

    #[test]
    fn thinking_text_and_calls_of_a_stream() {
        let body = concat!(
            r#"{"model":"m","created_at":"2026-08-04T19:59:11.820116Z","message":{"role":"assistant","content":"","thinking":"h\u00e9"},"done":false}"#,
            "\n",
            r#"{"model":"m","created_at":"2026-08-04T19:59:12Z","message":{"role":"assistant","content":"a"},"done":false}"#,
            "\n",
            r#"{"model":"m","message":{"role":"assistant","content":"","tool_calls":[{"id":"c1","function":{"index":0,"name":"f","arguments":{"x": 2}}}]},"done":false}"#,
            "\n",
            r#"{"model":"m","message":{"role":"assistant","content":"b"},"done_reason":"stop","done":true,"total_duration":9,"eval_count":5}"#,
        );
        let reply = chat(body).turn();
        assert_eq!((reply.reasoning(), reply.content()), ("h\u{e9}".into(), "ab".into()));
        assert_eq!(reply.parts[2], call(Some("c1"), r#"{"x": 2}"#));
        assert_eq!((reply.created, reply.finish.as_deref()), (Some(1_785_873_551), Some("tool_calls")));
        assert_eq!(serde_json::to_string(&reply.usage).unwrap(), r#"{"total_duration":9,"eval_count":5}"#);
    }

    #[test]
    fn a_stream_without_its_last_line_was_cut() {
        assert_eq!(chat("{\"message\":{\"content\":\"a\"},\"done\":false}\n"), Outcome::Cut);
    }

    #[test]
    fn an_error_line_is_a_fault() {
        let body = "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"error\":\"out of memory\"}\n";
        assert_eq!(chat(body), Outcome::Fault(Fault::Upstream("out of memory".into())));
    }

    #[test]
    fn lines_under_the_content_type_of_a_whole_answer() {
        let body = b"{\"response\":\"a\",\"done\":false}\n{\"response\":\"b\",\"done\":true}\n";
        let reply = golden(&Shape::Generate, Framing::Whole, body).turn();
        assert_eq!((reply.content(), reply.finish), ("ab".into(), None));
    }

    #[test]
    fn an_answer_of_another_api_is_kept_as_it_is() {
        let body = br#"{"object":"chat.completion","choices":[]}"#;
        assert!(matches!(golden(&Shape::Chat, Framing::Whole, body), Outcome::Whole(Answer::Raw(_))));
    }

    #[test]
    fn a_rich_turn_comes_back() {
        let reply = Reply {
            parts: vec![
                Part::Reasoning { text: "h\u{e9}llo".into(), signature: None },
                Part::text("\u{1f30d} \u{65e5}"),
                call(Some("c1"), r#"{"a":[1,{"b":"\n"}]}"#),
                call(None, "{}"),
            ],
            finish: Some("tool_calls".into()),
            usage: serde_json::from_str(r#"{"load_duration":1,"eval_count":2}"#).ok(),
            model: Some("qwen3:4b-q8".into()),
            created: Some(1_785_873_551),
            ..Reply::default()
        };
        with_request("/api/chat", CHAT, |codec, request| {
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!(whole.turn(), carried(&reply, &codec.carries()));
            assert_eq!(streamed.turn(), carried(&reply, &codec.carries()));
        });
        let text = Reply { parts: reply.parts[..2].to_vec(), finish: Some("length".into()), ..reply };
        with_request("/api/generate", r#"{"model":"m","prompt":"hi"}"#, |codec, request| {
            let (whole, streamed) = round_trip(codec, &text.clone().into(), request);
            assert_eq!(whole.turn(), text);
            assert_eq!(streamed.turn(), text);
        });
    }

    #[test]
    fn a_turn_of_another_provider() {
        let reply = Reply { usage: None, ..Reply::tool_call("f", "{\n\"a\": 1\n}") };
        with_request("/api/chat", CHAT, |codec, request| {
            let to = Encoding { request, chunk_chars: 2, now: 0, seed: 0 };
            let frames = codec.encode_stream(&reply.clone().into(), &to);
            let lines: Vec<_> = frames.iter().map(|f| String::from_utf8_lossy(f).into_owned()).collect();
            assert_eq!(
                lines[0],
                concat!(
                    r#"{"model":"qwen3:4b","created_at":"1970-01-01T00:00:00Z","message":{"role":"assistant","content":"","#,
                    r#""tool_calls":[{"function":{"index":0,"name":"f","arguments":{"a": 1}}}]},"done":false}"#,
                    "\n"
                )
            );
            let last: Value = serde_json::from_str(&lines[1]).unwrap();
            assert_eq!(
                (&last["done"], &last["done_reason"], &last["total_duration"]),
                (&true.into(), &"stop".into(), &0.into())
            );
        });
    }
}
