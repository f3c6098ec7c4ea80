//! Sans-IO framing: bytes in, frames out, and back.
//!
//! A decoder is fed the chunks of a body as they arrive. It borrows a frame from the chunk when the chunk holds all of
//! it, and copies only a frame that spans chunks. Incomplete input is a [`Status`], not an error. Nothing here reads a
//! socket, a file or a clock.

pub mod eventstream;
pub mod jsonarray;
pub mod ndjson;
pub mod sse;

use std::fmt;

/// The longest single frame that is decoded, in bytes. A longer one is a [`FrameError::TooLong`].
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// How a body is cut into frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// The whole body is one frame (a plain JSON answer).
    #[default]
    Whole,
    /// Server-sent events, <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
    Sse,
    /// One JSON value a line.
    Ndjson,
    /// One JSON array whose elements are the frames (Gemini without `alt=sse`).
    JsonArray,
    /// `application/vnd.amazon.eventstream`,
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html>.
    EventStream,
}

impl Framing {
    /// The `content-type` that a body of this framing is sent with.
    pub fn content_type(self) -> &'static str {
        match self {
            Framing::Whole | Framing::JsonArray => "application/json",
            Framing::Sse => "text/event-stream",
            Framing::Ndjson => "application/x-ndjson",
            Framing::EventStream => eventstream::CONTENT_TYPE,
        }
    }
}

/// One unit of a streamed body, borrowed from the chunk or from the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// SSE `event:` name, or the event stream's `:event-type` / `:exception-type`; empty where there is none.
    pub event: &'a str,
    /// SSE `data:` lines joined by newline, the JSON text of an NDJSON line or array element, or the payload.
    pub data: &'a [u8],
    /// An event stream message whose `:message-type` is `exception` or `error`.
    pub exception: bool,
}

impl<'a> Frame<'a> {
    /// A frame with data only.
    pub fn data(data: &'a [u8]) -> Self {
        Frame { event: "", data, exception: false }
    }

    /// A named frame.
    pub fn event(event: &'a str, data: &'a [u8]) -> Self {
        Frame { event, data, exception: false }
    }
}

/// What one call of a decoder found.
#[derive(Debug, PartialEq, Eq)]
pub enum Status<'a> {
    /// A frame, and how many bytes of the input were used up to its end.
    Frame {
        /// The frame.
        frame: Frame<'a>,
        /// Bytes of the input used, the frame's last one included.
        used: usize,
    },
    /// All of the input was taken, and no frame ends in it.
    Incomplete,
}

/// A body that cannot be framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A frame longer than the limit.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Bytes that the framing does not allow.
    Corrupt {
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: String,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong { limit } => write!(f, "a frame is longer than {limit} bytes"),
            FrameError::Corrupt { expected, found } => write!(f, "expected {expected}, found {found}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// An incremental decoder of any framing.
#[derive(Debug)]
pub enum Decoder {
    /// See [`Framing::Whole`].
    Whole(Whole),
    /// See [`Framing::Sse`].
    Sse(sse::Decoder),
    /// See [`Framing::Ndjson`].
    Ndjson(ndjson::Decoder),
    /// See [`Framing::JsonArray`].
    JsonArray(jsonarray::Decoder),
    /// See [`Framing::EventStream`].
    EventStream(eventstream::Decoder),
}

impl Decoder {
    /// A decoder for a body of this framing.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Whole => Decoder::Whole(Whole::default()),
            Framing::Sse => Decoder::Sse(sse::Decoder::default()),
            Framing::Ndjson => Decoder::Ndjson(ndjson::Decoder::default()),
            Framing::JsonArray => Decoder::JsonArray(jsonarray::Decoder::default()),
            Framing::EventStream => Decoder::EventStream(eventstream::Decoder::default()),
        }
    }

    /// Looks for the next frame in `input`. Call again with what is left after `used`, until [`Status::Incomplete`].
    ///
    /// # Errors
    /// [`FrameError`]: the body cannot be framed from here on.
    pub fn next<'a>(&'a mut self, input: &'a [u8]) -> Result<Status<'a>, FrameError> {
        match self {
            Decoder::Whole(d) => d.next(input),
            Decoder::Sse(d) => d.next(input),
            Decoder::Ndjson(d) => d.next(input),
            Decoder::JsonArray(d) => d.next(input),
            Decoder::EventStream(d) => d.next(input),
        }
    }

    /// The body ended: the frame that its end completes, if there is one.
    ///
    /// # Errors
    /// [`FrameError::Corrupt`]: the body ended inside a frame that its framing does not let end there.
    pub fn end(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        match self {
            Decoder::Whole(d) => Ok(Some(d.end())),
            Decoder::Sse(d) => Ok(d.end()),
            Decoder::Ndjson(d) => d.end(),
            Decoder::JsonArray(d) => d.end(),
            Decoder::EventStream(d) => d.end(),
        }
    }

    /// The bytes of the frame that has begun and not ended.
    pub fn pending(&self) -> &[u8] {
        match self {
            Decoder::Whole(d) => &d.body,
            Decoder::Sse(d) => d.pending(),
            Decoder::Ndjson(d) => d.pending(),
            Decoder::JsonArray(d) => d.pending(),
            Decoder::EventStream(d) => d.pending(),
        }
    }
}

/// Keeps the body until it ends. Its caller bounds it: a whole answer may be longer than a frame.
#[derive(Debug, Default)]
pub struct Whole {
    body: Vec<u8>,
}

impl Whole {
    fn next<'a>(&'a mut self, input: &'a [u8]) -> Result<Status<'a>, FrameError> {
        self.body.extend_from_slice(input);
        Ok(Status::Incomplete)
    }

    /// A body may be empty.
    fn end(&mut self) -> Frame<'_> {
        Frame::data(&self.body)
    }
}

/// An encoded body with the places where its frames end, so that it can be sent at once or paced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// The body's bytes.
    pub bytes: Vec<u8>,
    /// End offset of each frame in `bytes`, ascending; the last one is `bytes.len()`.
    pub ends: Vec<usize>,
}

impl Frames {
    /// Appends one frame: what `write` adds to the body.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The frames, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let frame = &self.bytes[start..end];
            start = end;
            frame
        })
    }
}

#[cfg(test)]
pub(crate) mod laws {
    //! What every decoder must obey, whatever the framing: where the input is cut changes nothing.

    use super::{Decoder, FrameError, Framing, Status};

    /// A frame that owns its parts.
    pub(crate) type Owned = (String, Vec<u8>, bool);

    /// Feeds the chunks, each until nothing is left of it, then the end.
    pub(crate) fn decode<'c>(
        framing: Framing,
        chunks: impl IntoIterator<Item = &'c [u8]>,
    ) -> Result<Vec<Owned>, FrameError> {
        let mut decoder = Decoder::new(framing);
        let mut frames = Vec::new();
        for chunk in chunks {
            let mut rest = chunk;
            while let Status::Frame { frame, used } = decoder.next(rest)? {
                frames.push((frame.event.to_owned(), frame.data.to_vec(), frame.exception));
                rest = &rest[used..];
            }
        }
        if let Some(frame) = decoder.end()? {
            frames.push((frame.event.to_owned(), frame.data.to_vec(), frame.exception));
        }
        Ok(frames)
    }

    /// Whole, byte by byte, and cut at every offset: the same frames, or the same kind of failure.
    pub(crate) fn cuts_change_nothing(framing: Framing, body: &[u8]) -> Result<Vec<Owned>, FrameError> {
        let whole = decode(framing, [body]);
        let bytes = decode(framing, body.chunks(1));
        assert_eq!(whole.is_ok(), bytes.is_ok(), "byte by byte");
        if let (Ok(whole), Ok(bytes)) = (&whole, &bytes) {
            assert_eq!(whole, bytes, "byte by byte");
        }
        for cut in 0..=body.len() {
            let halves = decode(framing, [&body[..cut], &body[cut..]]);
            assert_eq!(whole.is_ok(), halves.is_ok(), "cut at {cut}");
            if let (Ok(whole), Ok(halves)) = (&whole, &halves) {
                assert_eq!(whole, halves, "cut at {cut}");
            }
        }
        whole
    }
}
