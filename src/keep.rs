//! From an upstream's answer to what a fixture keeps of it, and back: whether a replay would give a client what it got.

use crate::frame::{Decoder, Framing, Status};
use crate::json::Node;
use crate::native::{Native, Sources};
use crate::provider::{AnswerHead, ChatWire, Codec, Collapsed, Encoding, Fault, Shape, native_of, wire_named};
use crate::redact::Redactor;
use crate::reply::{Answer, RawAnswer};
use crate::request::Request;

/// How an answer is read and written: its wire, and what of its request has a say in that.
#[derive(Clone, Debug)]
pub struct AskedFor {
    /// The wire.
    pub codec: &'static dyn Codec,
    /// The request's [shape](Request::shape).
    pub request: Request<'static>,
}

/// What came, without secrets.
#[derive(Clone, Debug)]
pub struct Came {
    /// The native answer.
    pub native: Node<'static>,
    /// See [`Collapsed::Native`].
    pub told: Node<'static>,
}

/// What is kept of an answer.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its readable form.
    pub answer: Answer,
    /// What that does not say.
    pub native: Option<Native>,
    /// What a replay must give; of an answer that is kept as it came, nothing.
    pub came: Option<Came>,
    /// There was a secret in it.
    pub secret: bool,
}

impl Kept {
    /// An answer that is kept as it came.
    fn verbatim(answer: Answer) -> Self {
        Kept { answer, native: None, came: None, secret: false }
    }
}

impl AskedFor {
    fn encoding(&self) -> Encoding<'_> {
        // In one piece: what a text is cut into says nothing of it.
        Encoding { request: &self.request, chunk_chars: usize::MAX, now: 0, seed: 0 }
    }

    /// What a fixture keeps of an answer.
    ///
    /// # Errors
    /// [`Fault`]: it is no answer of this wire.
    pub fn keep(&self, collapsed: Collapsed, redactor: &Redactor) -> Result<Kept, Fault> {
        let success = |raw: &RawAnswer| (200..300).contains(&raw.status) && !self.request.vectors.opaque;
        let (native, told, body) = match (collapsed, self.codec.shape()) {
            (Collapsed::Native { native, told }, Shape::Chat(_)) => (native, told, None),
            (Collapsed::Body(raw), Shape::Embedding(_)) if success(&raw) => {
                (native_of(&raw.bytes())?.into_owned(), Node::Null, Some(raw))
            }
            (Collapsed::Body(raw), _) => return Ok(Kept::verbatim(Answer::Raw(raw))),
            (other, _) => return Ok(Kept::verbatim(other.answer(self.codec)?)),
        };
        let mut came = Came { native, told };
        let secret = redact(&mut came.native, redactor) | redact(&mut came.told, redactor);
        let answer = match (self.codec.shape(), body) {
            (Shape::Chat(wire), _) => Answer::Turn(wire.read(&came.native)),
            (Shape::Embedding(wire), Some(raw)) => match wire.read(&came.native)? {
                Some(embeddings) => Answer::Embeddings(embeddings),
                None => return Ok(Kept::verbatim(Answer::Raw(raw))),
            },
            _ => unreachable!("all else is kept as it came"),
        };
        let sources = if let Answer::Turn(reply) = &answer { Sources::of(reply) } else { Sources::default() };
        let written = self.codec.write(&answer, &self.encoding());
        let native = written.and_then(|written| Native::between(self.codec.wire(), &written, &came.native, &sources));
        Ok(Kept { native, came: Some(came), secret, answer })
    }

    /// Whether a replay of this fixture gives what came: as a whole, and event by event where events say it twice.
    pub fn gives(&self, answer: &Answer, native: Option<&Native>, came: &Came) -> bool {
        let verbatim = !matches!(answer, Answer::Turn(_) | Answer::Embeddings(_));
        let same = |(native, told): (Node<'_>, Node<'_>)| native.same(&came.native) && told.same(&came.told);
        verbatim || self.replayed(answer, native).is_some_and(same)
    }

    /// What a client makes of a replay of this fixture, and what single events told it.
    pub fn replayed(&self, answer: &Answer, beyond: Option<&Native>) -> Option<(Node<'static>, Node<'static>)> {
        let to = self.encoding();
        let mut native = self.codec.write(answer, &to)?;
        if beyond.is_some_and(|beyond| !beyond.lay_over(&mut native).is_empty()) {
            return None;
        }
        match self.codec.shape() {
            Shape::Chat(wire) if self.request.streamed() => streamed(wire, &native, &to),
            _ => Some((native.into_owned(), Node::Null)),
        }
    }
}

/// The places of native members that the readable form has no more, since it was edited; or the wire, where there is none
/// of that name.
pub fn lost(native: &Native, answer: &Answer) -> Vec<String> {
    let Some(codec) = wire_named(&native.wire) else { return vec![native.wire.clone()] };
    let asked = AskedFor { codec, request: Request::new(codec.kind()) };
    // On another wire nobody asks for it.
    asked.codec.write(answer, &asked.encoding()).map_or_else(Vec::new, |mut written| native.lay_over(&mut written))
}

/// What a client makes of a native answer's stream.
fn streamed(wire: &dyn ChatWire, native: &Node<'_>, to: &Encoding<'_>) -> Option<(Node<'static>, Node<'static>)> {
    let framing = to.request.framing;
    let frames = wire.stream(native, to);
    let mut collapser = wire.collapser(&AnswerHead { framing, status: 200, content_type: framing.content_type() });
    let mut decoder = Decoder::new(framing);
    let mut rest = &frames.bytes[..];
    while let Status::Frame { frame, used } = decoder.next(rest).ok()? {
        collapser.push(&frame).ok()?;
        rest = &rest[used..];
    }
    if let (Some(frame), true) = (decoder.end().ok()?, framing != Framing::Whole) {
        collapser.push(&frame).ok()?;
    }
    match collapser.finish() {
        Collapsed::Native { native, told } => Some((native, told)),
        Collapsed::Body(_) => None,
    }
}

/// Redacts an answer; whether there was anything to redact. Where there was not, it stays as it came, to the last digit.
fn redact(node: &mut Node<'static>, redactor: &Redactor) -> bool {
    let mut value = node.to_value();
    let found = redactor.redact_json(&mut value);
    if found {
        *node = Node::from(&value).into_owned();
    }
    found
}
