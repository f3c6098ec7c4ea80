//! InvokeModel and InvokeModelWithResponseStream: the body is the model's own. Anthropic's models speak their Messages
//! here, other makers' answers are kept verbatim.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html>

use super::{padding, reported};
use crate::frame::{Frame, Frames, Framing, eventstream};
use crate::json::{self, Node, object};
use crate::provider::{
    AnswerHead, BadRequest, Call, Carries, ChatWire, Codec, Collapse, Collapsed, Encoding, Fault, FinishWords, Head,
    Places, Progress, Shape, UsageShape, VerbatimWire, anthropic, native_of, parse_body, raw,
};
use crate::reply::{RawAnswer, RawBody, Reply};
use crate::request::{Kind, Message, Request, Role, Str};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// The event that holds a piece of a model's answer; all others are exceptions.
const CHUNK: &str = "chunk";

/// The member that the service adds to a stream's last piece, whoever made the model.
const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// What of that member's name is in a chunk, one for each way it may lie across base64's groups of three bytes.
const METRICS_IN_BASE64: &[&[u8]] = &[
    b"YW1hem9uLWJlZHJvY2staW52b2NhdGlvbk1ldHJp",
    b"YXpvbi1iZWRyb2NrLWludm9jYXRpb25NZXRyaWNz",
    b"bWF6b24tYmVkcm9jay1pbnZvY2F0aW9uTWV0cmlj",
];

/// How the last event of Anthropic's begins in a chunk, also where it has no metrics; and those.
const STOP_OR_METRICS: &[&[u8]] =
    &[b"eyJ0eXBlIjoibWVzc2FnZV9zdG9w", METRICS_IN_BASE64[0], METRICS_IN_BASE64[1], METRICS_IN_BASE64[2]];

/// How a piece gives a reason to stop, in most makers' words (`stop_reason`, `finish_reason`, `completionReason`).
const REASON: &[u8] = b"eason\":\"";

/// Whether the path names a model of Anthropic's: `us.anthropic.claude-…`, or an ARN that ends so. An ARN of a profile
/// with a name of its own does not tell.
pub(super) fn of_anthropic(head: &Head<'_>) -> bool {
    head.path.contains("anthropic.")
}

/// Anthropic's Messages, with the model in the path and the events in chunks.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html>
#[derive(Debug)]
pub(super) struct Messages {
    /// The endpoint answers with a stream.
    pub(super) streamed: bool,
}

impl Codec for Messages {
    fn wire(&self) -> &'static str {
        "bedrock-messages"
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Chat(self)
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let framing = framing(self.streamed);
        let model = call.param("id").cloned();
        anthropic::decode_body(call, model.clone(), Some(framing)).or_else(|bad| {
            // Claude 2 was asked for a completion of one text.
            // <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-text-completion.html>
            let Ok(Completion { prompt: Some(prompt) }) = parse_body(call.body) else { return Err(bad) };
            let messages = vec![Message::new(Role::User, prompt.0)];
            Ok(Request { model: model.unwrap_or_default(), framing, messages, ..Request::new(Kind::Chat) })
        })
    }

    fn identity(&self) -> &'static Places {
        &anthropic::PLACES
    }
}

impl ChatWire for Messages {
    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        Box::new(Collapser {
            framing: answer.framing,
            verbatim: verbatim(answer),
            messages: None,
            progress: Progress::More,
        })
    }

    fn read(&self, native: &Node<'_>) -> Reply {
        anthropic::read(native)
    }

    fn write<'r>(&self, reply: &'r Reply, to: &Encoding<'r>) -> Node<'r> {
        let mut message = anthropic::write(reply, to);
        if to.request.streamed() {
            let metrics = metrics(message.get("usage"));
            message.set(METRICS, metrics);
        }
        message
    }

    fn stream(&self, native: &Node<'_>, to: &Encoding<'_>) -> Frames {
        let mut frames = Frames::default();
        anthropic::events(native, to.chunk_chars, METRICS, |_, json| {
            let p = padding(to, frames.ends.len());
            chunk(json, p, &mut frames);
        });
        frames
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        STOP_OR_METRICS
    }

    fn carries(&self) -> Carries {
        anthropic::CARRIES
    }

    fn finish_words(&self) -> Option<&'static FinishWords> {
        Some(&anthropic::FINISH)
    }

    fn usage_shape(&self) -> Option<&'static UsageShape> {
        Some(&anthropic::USAGE)
    }
}

#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(borrow, default)]
    prompt: Option<Str<'a>>,
}

fn framing(streamed: bool) -> Framing {
    if streamed { Framing::EventStream } else { Framing::Whole }
}

/// The service's own counts. A replay has no model that took its time.
fn metrics(usage: Option<&Node<'_>>) -> Node<'static> {
    let count = |name: &str| usage.and_then(|usage| usage.get(name)).and_then(Node::as_i64).unwrap_or(0);
    object! {
        "inputTokenCount": count("input_tokens"),
        "outputTokenCount": count("output_tokens"),
        "invocationLatency": 0i64,
        "firstByteLatency": 0i64,
    }
}

fn chunk(event: &[u8], p: &str, frames: &mut Frames) {
    let payload = format!("{{\"bytes\":\"{}\",\"p\":\"{p}\"}}", BASE64.encode(event));
    frames.push(|out| eventstream::encode(CHUNK, payload.as_bytes(), out));
}

/// What a frame of a stream holds of the model's answer; `None` where it holds nothing.
///
/// # Errors
/// [`Fault::Upstream`] for an exception, [`Fault::Unreadable`] for a chunk that is none.
fn piece(frame: &Frame<'_>) -> Result<Option<Vec<u8>>, Fault> {
    if frame.exception {
        return Err(Fault::Upstream(reported(frame)));
    }
    if frame.event != CHUNK {
        return Ok(None);
    }
    let chunk = native_of(frame.data)?;
    let piece = BASE64.decode(chunk.str("bytes").unwrap_or("?"));
    piece.map(Some).map_err(|e| Fault::Unreadable(format!("bytes of a chunk: {e}")))
}

/// Puts a Messages answer together; a completion, whose wire no turn fits, is kept verbatim.
struct Collapser {
    framing: Framing,
    verbatim: Box<dyn Collapse>,
    /// There once the first piece was seen not to be a completion.
    messages: Option<anthropic::Collapser>,
    progress: Progress,
}

impl Collapse for Collapser {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let piece = match self.framing {
            Framing::EventStream => piece(frame)?.map(Cow::Owned),
            _ => Some(Cow::Borrowed(frame.data)),
        };
        if let Some(piece) = piece {
            self.progress = match &mut self.messages {
                None if self.verbatim.kept_bytes() > 0 || is_completion(&piece) => self.verbatim.push(frame)?,
                messages => messages.get_or_insert_with(|| anthropic::Collapser::new(self.framing)).event(&piece)?,
            };
        }
        Ok(self.progress)
    }

    fn kept_bytes(&self) -> usize {
        self.messages.as_ref().map_or(self.verbatim.kept_bytes(), Collapse::kept_bytes)
    }

    fn finish(&mut self) -> Collapsed {
        self.messages.as_mut().map_or_else(|| self.verbatim.finish(), Collapse::finish)
    }
}

fn is_completion(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Peek {
        completion: Option<IgnoredAny>,
    }
    json::parse(json).is_ok_and(|peek: Peek| peek.completion.is_some())
}

/// Models of other makers: what they are asked and what they answer is kept as it is.
#[derive(Debug)]
pub(super) struct Other {
    /// The endpoint answers with a stream.
    pub(super) streamed: bool,
}

impl Codec for Other {
    fn wire(&self) -> &'static str {
        "bedrock-invoke"
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Verbatim(self)
    }

    fn decode<'a>(&self, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        let model = call.param("id").cloned().unwrap_or_default();
        Ok(Request { model, framing: framing(self.streamed), ..Request::new(Kind::Raw) })
    }
}

impl VerbatimWire for Other {
    /// A stream's messages are looked into, so that exceptions are found, and its end.
    fn framing(&self, told: Framing) -> Framing {
        told
    }

    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        verbatim(answer)
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        METRICS_IN_BASE64
    }
}

fn verbatim(answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
    match answer.framing {
        Framing::EventStream => Box::new(Verbatim {
            status: answer.status,
            content_type: answer.content_type.to_owned(),
            body: Vec::new(),
            progress: Progress::More,
        }),
        _ => raw::collapser(answer),
    }
}

/// Keeps a stream's messages as they came.
struct Verbatim {
    status: u16,
    content_type: String,
    body: Vec<u8>,
    progress: Progress,
}

impl Collapse for Verbatim {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let piece = piece(frame)?.unwrap_or_default();
        eventstream::encode(frame.event, frame.data, &mut self.body);
        if memmem::find(&piece, METRICS.as_bytes()).is_some() {
            self.progress = Progress::Done;
        } else if self.progress == Progress::More && memmem::find(&piece, REASON).is_some() {
            self.progress = Progress::Finished;
        }
        Ok(self.progress)
    }

    fn kept_bytes(&self) -> usize {
        self.body.len()
    }

    fn finish(&mut self) -> Collapsed {
        Collapsed::Body(RawAnswer {
            status: self.status,
            content_type: std::mem::take(&mut self.content_type),
            retry_after: None,
            body: RawBody::Bytes(std::mem::take(&mut self.body)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::laws::{Outcome, carried, golden, native, round_trip, with_request};
    use crate::reply::{Answer, Part, ToolCall};

    const STREAM: Messages = Messages { streamed: true };
    const PATH: &str = "/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/invoke-with-response-stream";
    const ASK: &str =
        r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;

    fn body(events: &[&str]) -> Vec<u8> {
        let mut frames = Frames::default();
        events.iter().for_each(|event| chunk(event.as_bytes(), "abc", &mut frames));
        frames.bytes
    }

    fn bytes(outcome: Outcome) -> Vec<u8> {
        match outcome {
            Outcome::Whole(Answer::Raw(RawAnswer {
                body: RawBody::Bytes(bytes), status: 200, content_type, ..
            })) => {
                assert_eq!(content_type, eventstream::CONTENT_TYPE);
                bytes
            }
            other => panic!("{other:?}"),
        }
    }

    const MESSAGES: &[&str] = &[
        r#"{"type":"message_start","message":{"model":"claude-x","id":"msg_bdrk_1","type":"message","role":"assistant","content":[],"stop_reason":null,"usage":{"input_tokens":5,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hé"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}"#,
        r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":5,"outputTokenCount":2,"invocationLatency":9,"firstByteLatency":8}}"#,
    ];

    #[test]
    fn messages_in_chunks() {
        let reply = golden(&STREAM, Framing::EventStream, &body(MESSAGES)).turn();
        assert_eq!(
            (reply.content(), reply.finish.as_deref(), reply.id.as_deref()),
            ("Hé".into(), Some("stop"), Some("msg_bdrk_1"))
        );
        assert_eq!(golden(&STREAM, Framing::EventStream, &body(&MESSAGES[..4])), Outcome::Cut);
        let metrics = native(&STREAM, Framing::EventStream, &body(MESSAGES)).get(METRICS).map(Node::to_json);
        let expected = r#"{"inputTokenCount":5,"outputTokenCount":2,"invocationLatency":9,"firstByteLatency":8}"#;
        assert_eq!(metrics.as_deref(), Some(expected));
    }

    #[test]
    fn an_exception_is_a_fault() {
        let mut cut = body(&MESSAGES[..3]);
        eventstream::encode_exception("throttlingException", br#"{"message":"slow down"}"#, &mut cut);
        for codec in [&STREAM as &dyn Codec, &Other { streamed: true }] {
            let outcome = golden(codec, Framing::EventStream, &cut);
            assert!(matches!(outcome, Outcome::Fault(Fault::Upstream(m)) if m.contains("slow down")));
        }
    }

    #[test]
    fn a_turn_comes_back_from_both_encoders() {
        let call = ToolCall {
            id: Some("toolu_1".into()),
            name: "f".into(),
            arguments: r#"{"a":1}"#.into(),
            ..ToolCall::default()
        };
        let reply = Reply {
            parts: vec![
                Part::Reasoning { text: "hm".into(), signature: Some("sig".into()) },
                Part::RedactedReasoning("AAEC".into()),
                Part::text("Hé 🌍"),
                Part::ToolCall(call),
            ],
            finish: Some("tool_calls".into()),
            id: Some("msg_bdrk_1".into()),
            model: Some("claude-x".into()),
            usage: serde_json::from_str(r#"{"input_tokens":5,"output_tokens":2}"#).ok(),
            ..Reply::default()
        };
        with_request(PATH, ASK, |codec, request| {
            assert_eq!(
                (&*request.model, request.user_message()),
                ("us.anthropic.claude-sonnet-4-20250514-v1:0", Some("hi"))
            );
            let (whole, streamed) = round_trip(codec, &reply.clone().into(), request);
            assert_eq!(whole.turn(), carried(&reply, &codec.carries()));
            assert_eq!(streamed.turn(), carried(&reply, &codec.carries()));
        });
    }

    #[test]
    fn the_last_chunk_has_the_metrics_and_the_end_mark() {
        with_request(PATH, ASK, |codec, request| {
            let to = Encoding { request, chunk_chars: 20, now: 0, seed: 7 };
            let frames = codec.encode_stream(&Reply::text("hi").into(), &to);
            let last = frames.iter().last().unwrap();
            assert!(codec.end_markers().iter().any(|mark| memmem::find(last, mark).is_some()));
            let payload = eventstream::parse(last).unwrap().payload;
            assert!(memmem::find(payload, STOP_OR_METRICS[0]).is_some());
            let piece = piece(&Frame::event(CHUNK, payload)).unwrap().unwrap();
            assert!(memmem::find(&piece, br#""amazon-bedrock-invocationMetrics":{"inputTokenCount":"#).is_some());
        });
    }

    #[test]
    fn metrics_are_found_wherever_they_lie() {
        for before in ["", "a", "ab", "abc"] {
            let frames = body(&[&format!("{{\"{before}\":1,\"{METRICS}\":{{}}}}")]);
            assert_eq!(METRICS_IN_BASE64.iter().filter(|mark| memmem::find(&frames, mark).is_some()).count(), 1);
        }
    }

    #[test]
    fn completions_are_kept_verbatim() {
        let ask = r#"{"prompt":"\n\nHuman: hi\n\nAssistant:","max_tokens_to_sample":9}"#;
        with_request(PATH, ask, |_, request| assert_eq!(request.user_message(), Some("\n\nHuman: hi\n\nAssistant:")));
        let body = body(&[
            r#"{"completion":" He","stop_reason":null,"stop":null}"#,
            r#"{"completion":"y","stop_reason":"stop_sequence","stop":"x","amazon-bedrock-invocationMetrics":{}}"#,
        ]);
        assert_eq!(bytes(golden(&STREAM, Framing::EventStream, &body)), body);
        let whole = br#"{"completion":" Hey","stop_reason":"stop_sequence"}"#;
        let outcome = golden(&STREAM, Framing::Whole, whole);
        assert!(matches!(outcome, Outcome::Whole(Answer::Raw(RawAnswer { body: RawBody::Json(_), .. }))));
    }

    #[test]
    fn streams_of_other_models_are_kept_verbatim_once_they_are_whole() {
        let other = Other { streamed: true };
        for end in
            [r#"{"outputText":"b","amazon-bedrock-invocationMetrics":{}}"#, r#"{"choices":[{"finish_reason":"stop"}]}"#]
        {
            let whole = body(&[r#"{"outputText":"a","completionReason":null}"#, end]);
            assert_eq!(bytes(golden(&other, Framing::EventStream, &whole)), whole);
        }
        let cut = body(&[r#"{"outputText":"a","completionReason":null}"#]);
        assert_eq!(golden(&other, Framing::EventStream, &cut), Outcome::Cut);
    }
}
