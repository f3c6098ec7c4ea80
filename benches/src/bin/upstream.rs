//! An upstream that streams chat completions, or answers them whole.
//!
//! `upstream --port N [--chunks N] [--delay-us N] [--pad BYTES] [--batch N]`: every chunk carries the time at which it
//! was sent as its fingerprint, `pad` more characters of text, and `batch` of them go out in one write.
#![forbid(unsafe_code)]

use aimock_benches::{Failure, Flags, nanoseconds, run, serve};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

const END: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
    \"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

const WHOLE: &str = "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"gpt-4o-mini\",\
    \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"A recorded answer.\"},\
    \"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}";

struct Shape {
    chunks: u64,
    batch: u64,
    delay: Duration,
    pad: String,
}

fn main() -> Result<(), Failure> {
    let flags = Flags::read()?;
    let shape = Rc::new(Shape {
        chunks: flags.get("chunks", 50)?,
        batch: flags.get("batch", 1)?,
        delay: Duration::from_micros(flags.get("delay-us", 0)?),
        pad: "x".repeat(flags.get("pad", 0)?),
    });
    let address = flags.address()?;
    run(serve(address, move |request| answer(request, shape.clone())))
}

async fn answer(request: Request<Incoming>, shape: Rc<Shape>) -> Result<Response<Answer>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let streamed = memchr::memmem::find(&body, b"\"stream\":true").is_some();
    let (answer, content_type) = if streamed {
        (Answer::Stream(Stream { shape, sent: 0, ended: false, timer: None }), "text/event-stream")
    } else {
        (Answer::Whole(Some(Bytes::from_static(WHOLE.as_bytes()))), "application/json")
    };
    let mut response = Response::new(answer);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

enum Answer {
    Whole(Option<Bytes>),
    Stream(Stream),
}

struct Stream {
    shape: Rc<Shape>,
    sent: u64,
    ended: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Answer::Whole(bytes) => bytes.take(),
            Answer::Stream(stream) => ready!(stream.poll_chunk(cx)),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Stream {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.sent > 0 && !self.shape.delay.is_zero() {
            let delay = self.shape.delay;
            ready!(self.timer.get_or_insert_with(|| Box::pin(sleep(delay))).as_mut().poll(cx));
            self.timer = None;
        }
        if self.sent >= self.shape.chunks {
            self.ended = true;
            return Poll::Ready(Some(Bytes::from_static(END.as_bytes())));
        }
        let mut out = String::with_capacity((300 + self.shape.pad.len()) * self.shape.batch as usize);
        for _ in 0..self.shape.batch.min(self.shape.chunks - self.sent) {
            self.sent += 1;
            let written = write!(
                out,
                "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
                 \"model\":\"gpt-4o-mini\",\"system_fingerprint\":\"t{}t\",\"choices\":[{{\"index\":0,\"delta\":\
                 {{\"content\":\"piece {} {}\"}},\"finish_reason\":null}}]}}\n\n",
                nanoseconds(),
                self.sent,
                self.shape.pad
            );
            debug_assert!(written.is_ok(), "a String takes all text");
        }
        Poll::Ready(Some(Bytes::from(out)))
    }
}
