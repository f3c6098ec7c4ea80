//! What every wire must obey; for the tests of the rooms and of the whole table.

mod table;

use super::{AnswerHead, Call, Carries, ChatWire, Codec, Collapsed, Encoding, Fault, Head, Progress, Shape};
use crate::frame::{Decoder, Frames, Framing, Status};
use crate::json::{Node, step, steps};
use crate::native::{Native, Sources};
use crate::redact::Redactor;
use crate::reply::{Answer, Part, Reply};
use crate::request::canonical::{Hash, Ignore, Subject, canonical};
use crate::request::{Kind, Request};
use hyper::HeaderMap;

/// How a body came out.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "tests keep a few")]
pub(crate) enum Outcome {
    /// Whole, with its answer.
    Whole(Answer),
    /// It ended without a terminal event or a finish reason.
    Cut,
    /// It must not be recorded.
    Fault(Fault),
    /// It could not be framed.
    Unframed,
}

impl Outcome {
    /// The turn of a whole answer.
    #[track_caller]
    pub(crate) fn turn(self) -> Reply {
        match self {
            Outcome::Whole(Answer::Turn(reply)) => reply,
            other => panic!("not a whole turn: {other:?}"),
        }
    }
}

/// Collapses a body fed in these chunks, as a relay does.
pub(crate) fn collapse<'c>(codec: &dyn Codec, framing: Framing, chunks: impl IntoIterator<Item = &'c [u8]>) -> Outcome {
    match collapsed(codec, framing, chunks).map(|collapsed| collapsed.answer(codec)) {
        Ok(Ok(answer)) => Outcome::Whole(answer),
        Ok(Err(fault)) => Outcome::Fault(fault),
        Err(outcome) => outcome,
    }
}

/// What a relay makes of a body fed in these chunks; how it came out, where it is not whole.
#[expect(clippy::result_large_err, reason = "tests keep a few")]
fn collapsed<'c>(
    codec: &dyn Codec,
    framing: Framing,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<Collapsed, Outcome> {
    let mut decoder = Decoder::new(framing);
    let mut collapser = codec.collapser(&AnswerHead { framing, status: 200, content_type: framing.content_type() });
    let mut progress = Progress::More;
    for chunk in chunks {
        let mut rest = chunk;
        loop {
            match decoder.next(rest) {
                Ok(Status::Frame { frame, used }) => {
                    match collapser.push(&frame) {
                        Ok(p) => progress = p,
                        Err(fault) => return Err(Outcome::Fault(fault)),
                    }
                    rest = &rest[used..];
                }
                Ok(Status::Incomplete) => break,
                Err(_) => return Err(Outcome::Unframed),
            }
        }
    }
    match decoder.end() {
        Ok(None) => {}
        Ok(Some(frame)) => match collapser.push(&frame) {
            Ok(p) => progress = p,
            Err(fault) => return Err(Outcome::Fault(fault)),
        },
        Err(_) if progress == Progress::Done => {}
        Err(_) => return Err(Outcome::Unframed),
    }
    if progress == Progress::More { Err(Outcome::Cut) } else { Ok(collapser.finish()) }
}

/// Collapses a golden body whole, byte by byte and cut at every offset; the outcome, which must always be the same.
#[track_caller]
pub(crate) fn golden(codec: &dyn Codec, framing: Framing, body: &[u8]) -> Outcome {
    let whole = collapse(codec, framing, [body]);
    assert_eq!(collapse(codec, framing, body.chunks(1)), whole, "byte by byte");
    for cut in 0..=body.len() {
        assert_eq!(collapse(codec, framing, [&body[..cut], &body[cut..]]), whole, "cut at {cut}");
    }
    if let (Ok(Collapsed::Native { native, told }), Shape::Chat(wire)) =
        (collapsed(codec, framing, [body]), codec.shape())
    {
        comes_back(codec, wire, framing, (&native, &told));
    }
    whole
}

/// The native answer in a whole body.
#[track_caller]
pub(crate) fn native(codec: &dyn Codec, framing: Framing, body: &[u8]) -> Node<'static> {
    match collapsed(codec, framing, [body]) {
        Ok(Collapsed::Native { native, .. }) => native,
        other => panic!("not a whole answer: {other:?}"),
    }
}

/// The laws of a native answer: `collapse(stream(n)) = n` however it is cut, and what its readable form does not say is
/// laid over that.
#[track_caller]
fn comes_back(codec: &dyn Codec, wire: &dyn ChatWire, framing: Framing, (native, told): (&Node<'_>, &Node<'_>)) {
    let streamed = framing != Framing::Whole;
    let request = Request { framing, include_usage: streamed, ..Request::new(Kind::Chat) };
    let reply = wire.read(native);
    for chunk_chars in [1, 7, usize::MAX] {
        let to = Encoding { request: &request, chunk_chars, now: 5, seed: 7 };
        let written = wire.write(&reply, &to);
        let beyond = Native::between(codec.wire(), &written, native, &Sources::of(&reply));
        let mut again = written.clone();
        assert_eq!(beyond.map(|beyond| beyond.lay_over(&mut again)).unwrap_or_default(), Vec::<String>::new());
        assert!(again.same(native), "laid over: {} is not {}", again.to_json(), native.to_json());
        if streamed {
            let frames = wire.stream(&again, &to);
            match collapsed(codec, framing, [&frames.bytes[..]]) {
                Ok(Collapsed::Native { native: back, told: retold }) => {
                    assert!(back.same(native), "streamed: {} is not {}", back.to_json(), native.to_json());
                    assert!(retold.same(told), "told: {} is not {}", retold.to_json(), told.to_json());
                }
                other => panic!("streamed: {other:?}"),
            }
        }
    }
}

/// Reads a request body as the endpoint at `path` would.
#[track_caller]
pub(crate) fn with_request<T>(path: &str, body: &str, then: impl FnOnce(&dyn Codec, &Request<'_>) -> T) -> T {
    let headers = HeaderMap::new();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let head = Head { method: "POST", path, query, headers: &headers };
    let found = super::route(&head);
    assert!(found.known, "no route for {path}");
    let call = Call { head, params: found.params, body: body.as_bytes() };
    let request = found.codec.decode(&call).expect("a good request");
    then(found.codec, &request)
}

/// The hash of a request.
#[track_caller]
pub(crate) fn hash(path: &str, body: &Node<'_>) -> Hash {
    let body = body.to_json();
    with_request(path, &body, |codec, request| {
        let (model, body) = (&*request.model, body.as_bytes());
        let subject = Subject { wire: codec.wire(), model, body, content_type: "", codec };
        canonical(&subject, &Redactor::default(), &Ignore::default()).request
    })
}

/// The law of identity: a request that differs in one value is another one, but where no model sees it. The pointers of
/// those values that make no difference.
#[track_caller]
pub(crate) fn indifferent(path: &str, body: &str) -> Vec<String> {
    fn leaves(node: &Node<'_>, place: &str, found: &mut Vec<String>) {
        for (name, value) in node.members() {
            leaves(value, &format!("{place}/{}", step(name)), found);
        }
        for (i, item) in node.items().iter().enumerate() {
            leaves(item, &format!("{place}/{i}"), found);
        }
        if !matches!(node, Node::Object(_) | Node::List(_) | Node::Null) {
            found.push(place.to_owned());
        }
    }
    let body = Node::parse(body).expect("JSON");
    let (whole, mut places) = (hash(path, &body), Vec::new());
    leaves(&body, "", &mut places);
    let changed = |place: &String| {
        let mut body = body.clone();
        let leaf = steps(place).try_fold(&mut body, |node, step| match node {
            Node::List(items) => items.get_mut(step.parse::<usize>().ok()?),
            object => object.get_mut(&step),
        });
        match leaf.expect("it was found there") {
            Node::Text(text) => text.to_mut().push('x'),
            number @ Node::Number(_) => *number = number.as_i64().unwrap_or(0).wrapping_add(1).into(),
            Node::Bool(flag) => *flag = !*flag,
            other => panic!("no leaf: {other:?}"),
        }
        hash(path, &body)
    };
    places.retain(|place| changed(place) == whole);
    places
}

/// What a client gets for this answer, put together again: whole and streamed.
pub(crate) fn round_trip(codec: &dyn Codec, answer: &Answer, request: &Request<'_>) -> (Outcome, Outcome) {
    let to = Encoding { request, chunk_chars: 3, now: 1_700_000_000, seed: 7 };
    let whole = codec.encode_whole(answer, &to);
    let streamed = codec.encode_stream(answer, &to);
    let framing = if request.streamed() { request.framing } else { Framing::Whole };
    (collapse(codec, Framing::Whole, [&whole[..]]), collapse(codec, framing, [&streamed.bytes[..]]))
}

/// A turn without what the wire cannot carry, in the order in which it comes back.
pub(crate) fn carried(reply: &Reply, carries: &Carries) -> Reply {
    let mut reply = reply.clone();
    reply.parts.retain_mut(|part| match part {
        Part::Text { text, signature } => {
            *signature = signature.take().filter(|_| carries.part_signatures);
            !text.is_empty() || signature.is_some()
        }
        Part::Reasoning { text, signature } => {
            *signature = signature.take().filter(|_| carries.signatures);
            carries.reasoning && (!text.is_empty() || signature.is_some())
        }
        Part::RedactedReasoning(_) => carries.redacted,
        Part::Verbatim(_) => true,
        Part::ToolCall(call) => {
            if !carries.call_ids {
                call.id = None;
            }
            if !carries.part_signatures {
                call.signature = None;
            }
            carries.tool_calls
        }
    });
    if !carries.order {
        let mut texts = Reply::default();
        let mut calls = Vec::new();
        let (mut text, mut reasoning) = (String::new(), String::new());
        for part in reply.parts.drain(..) {
            match part {
                Part::Text { text: t, .. } => text.push_str(&t),
                Part::Reasoning { text: t, .. } => reasoning.push_str(&t),
                other => calls.push(other),
            }
        }
        texts.push_reasoning(&reasoning);
        texts.push_text(&text);
        texts.parts.extend(calls);
        reply.parts = texts.parts;
    }
    if !carries.refusal {
        reply.refusal = None;
    }
    if !carries.id {
        reply.id = None;
    }
    if !carries.model {
        reply.model = None;
    }
    reply
}

impl dyn Codec + '_ {
    /// The whole answer's bytes.
    #[track_caller]
    pub(crate) fn encode_whole(&self, answer: &Answer, to: &Encoding<'_>) -> Vec<u8> {
        self.write(answer, to).expect("an answer of its kind").to_bytes()
    }

    /// The streamed answer; nothing where it is never streamed.
    #[track_caller]
    pub(crate) fn encode_stream(&self, answer: &Answer, to: &Encoding<'_>) -> Frames {
        match self.shape() {
            Shape::Chat(wire) => wire.stream(&self.write(answer, to).expect("an answer of its kind"), to),
            _ => Frames::default(),
        }
    }
}
