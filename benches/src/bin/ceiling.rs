//! The ceiling: what tokio on one thread and hyper can do at best with an answer that is ready.
//!
//! `ceiling --port N [--parse none|typed] [--load PATH]`: `typed` parses the body into structs that borrow from it, as
//! any server that matches must; `--load` reads and parses a fixture file, or all files of a folder, before it listens.
#![forbid(unsafe_code)]

use aimock_benches::{Failure, Flags, SHORT_TEXT, TEXT_PIECES, piece, run, serve};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

#[derive(Deserialize)]
struct Chat<'a> {
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    #[serde(default)]
    stream: bool,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
}

/// The whole answer, and the streamed one in a single buffer.
#[derive(Clone)]
struct Answers {
    whole: Bytes,
    stream: Bytes,
    typed: bool,
}

fn main() -> Result<(), Failure> {
    let flags = Flags::read()?;
    let typed = flags.get("parse", String::from("none"))? == "typed";
    let load: String = flags.get("load", String::new())?;
    if !load.is_empty() {
        std::mem::forget(parse(Path::new(&load))?); // a server would keep it
    }
    let answers = Answers { whole: whole(), stream: stream(), typed };
    let address = flags.address()?;
    run(serve(address, move |request| answer(request, answers.clone())))
}

fn parse(path: &Path) -> Result<Vec<Value>, Failure> {
    if !path.is_dir() {
        return Ok(vec![serde_json::from_slice(&fs::read(path)?)?]);
    }
    let mut names = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, Failure>>()?;
    names.sort_unstable();
    names.into_iter().map(|name| Ok(serde_json::from_slice(&fs::read(name)?)?)).collect()
}

async fn answer(request: Request<Incoming>, answers: Answers) -> Result<Response<Buffer>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let streamed = if answers.typed {
        serde_json::from_slice::<Chat<'_>>(&body).is_ok_and(|chat| {
            // What a matcher looks at must not be optimised away.
            std::hint::black_box(chat.messages.iter().rev().find(|m| m.role == "user").map(|m| m.content.len()));
            chat.stream
        })
    } else {
        memchr::memmem::find(&body, b"\"stream\":true").is_some()
    };
    let mut response = Response::new(Buffer {
        bytes: Some(if streamed { answers.stream } else { answers.whole }),
        length_known: !streamed,
    });
    let headers = response.headers_mut();
    if streamed {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(response)
}

/// A body in one buffer; without a length it is sent as a stream.
struct Buffer {
    bytes: Option<Bytes>,
    length_known: bool,
}

impl Body for Buffer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.bytes {
            Some(bytes) if self.length_known => SizeHint::with_exact(bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

fn whole() -> Bytes {
    let message = json!({"role": "assistant", "content": SHORT_TEXT, "refusal": null});
    let answer = json!({
        "id": "chatcmpl-0123456789abcdef01234567", "object": "chat.completion", "created": 1_700_000_000,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    });
    Bytes::from(answer.to_string())
}

fn stream() -> Bytes {
    let mut out = String::new();
    for n in 0..TEXT_PIECES {
        let chunk = json!({
            "id": "chatcmpl-0123456789abcdef01234567", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "delta": {"content": piece(n)}, "finish_reason": null}],
        });
        out.push_str(&format!("data: {chunk}\n\n"));
    }
    out.push_str("data: [DONE]\n\n");
    Bytes::from(out)
}
