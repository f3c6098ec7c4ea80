//! What clients do wrong, or not at all.

use crate::common::chat::{CHAT, DONE, STREAM_HEAD, chat, delta, read, stream, streamed};
use crate::common::server::until;
use crate::common::{Gate, Script, Step, chunk};
use crate::table::{Fault, Scene, request, rest, told};

/// A client that sends these bytes, and reads until the server closes.
macro_rules! sends {
    ($name:literal, $bytes:expr) => {
        Fault::new($name, |scene| {
            Box::pin(async move {
                let mut client = scene.connect().await;
                client.try_send($bytes).await;
                rest(&mut client).await
            })
        })
    };
}

/// A client that sends these bytes and goes away.
macro_rules! leaves {
    ($name:literal, $bytes:expr, $reset:literal) => {
        Fault::new($name, |scene| {
            Box::pin(async move {
                let mut client = scene.connect().await;
                client.send($bytes).await;
                if $reset {
                    client.reset()
                } else {
                    drop(client)
                }
                asked(scene)
            })
        })
    };
}

pub(crate) const FAULTS: &[Fault] = &[
    leaves!("goes away within the head", &request("", &chat("a"))[..30], false),
    leaves!("resets within the head", &request("", &chat("a"))[..30], true),
    leaves!("goes away within the body", &request("", &chat("a")).trim_end_matches('}'), false),
    leaves!("resets within the body", &request("", &chat("a")).trim_end_matches('}'), true),
    leaves!("goes away within a chunked body", chunked("7\r\n{\"mode"), false),
    sends!("speaks no HTTP", "nonsense\r\n\r\n"),
    sends!("speaks TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03\r\n\r\n"),
    sends!("speaks HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    sends!("sends two hosts", request("host: 127.0.0.1\r\nconnection: close\r\n", &chat("hi"))),
    sends!("sends two lengths", request("content-length: 1\r\n", &chat("hi"))),
    sends!(
        "sends a length that is no number",
        format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: two\r\n\r\n")
    ),
    sends!("sends a chunk whose size is no number", chunked("zz\r\n")),
    sends!("sends a body that is no JSON", request("connection: close\r\n", "{")),
    sends!("sends a body that the API does not take", request("connection: close\r\n", "{}")),
    sends!("asks for an endpoint that is none, under strict", {
        let strict = "x-aimock-strict: true\r\nconnection: close\r\n";
        format!("BREW /coffee HTTP/1.1\r\nhost: localhost\r\n{strict}\r\n")
    }),
    Fault::new("resets in the middle of an answer", |scene| Box::pin(goes(scene, "one"))).upstream(pausing),
    Fault::new("resets at the end of an answer", |scene| Box::pin(goes(scene, DONE)))
        .upstream(|_| vec![stream("from afar")]),
    Fault::new("goes away while a whole answer is awaited", |scene| Box::pin(leaves_early(scene))).upstream(silent),
    Fault::new("asks the next question before it has read the answer", |scene| Box::pin(pipelines(scene))),
];

/// A body in chunks that begins like this.
fn chunked(begins: &str) -> String {
    format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{begins}")
}

/// Who was asked for a client that is no longer there.
fn asked(scene: &Scene) -> String {
    assert!(scene.upstream.requests().is_empty(), "a request that never came was asked");
    "—".into()
}

/// An upstream that waits in the middle of its answer until the server has hung up.
fn pausing(gone: &Gate) -> Vec<Script> {
    vec![vec![Step::write(STREAM_HEAD), Step::Write(chunk(delta("one"))), Step::AwaitHangup(gone.clone())]]
}

/// An upstream that says nothing until the server has hung up.
fn silent(gone: &Gate) -> Vec<Script> {
    vec![vec![Step::AwaitHangup(gone.clone())]]
}

/// Reads a stream up to this, and goes.
async fn goes(scene: &mut Scene, end: &str) -> String {
    let mut client = scene.connect().await;
    client.post(CHAT, "", streamed("a")).await;
    client.read_until(end).await;
    client.reset();
    if end == DONE {
        return "200, up to `[DONE]`".into();
    }
    scene.gate.opened().await;
    "200, up to the first word".into()
}

async fn leaves_early(scene: &mut Scene) -> String {
    let mut client = scene.connect().await;
    client.post(CHAT, "", chat("a")).await;
    let asked = || (scene.upstream.requests().len() == 1).then_some(());
    assert!(until(asked).await.is_some());
    drop(client);
    scene.gate.opened().await;
    "—".into()
}

async fn pipelines(scene: &mut Scene) -> String {
    let mut client = scene.connect().await;
    client.send([request("", &chat("a")), request("", &chat("b")), request("", &chat("hi"))].concat()).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(told(&read(&mut client).await));
    }
    statuses.join(", ")
}
