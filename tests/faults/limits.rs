//! What clients take too much of: time, memory, places. The limits are lowered, so that nobody waits for them.

use crate::common::chat::{CHAT, ask_with, chat, read};
use crate::common::server::until;
use crate::common::{LIMIT, RawClient, chunk};
use crate::table::{Fault, Scene, request, rest, told};
use aimock::config::Config;
use aimock::{Fixture, Match, Reply};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const FAULTS: &[Fault] = &[
    Fault::new("says nothing", |scene| Box::pin(waits(scene, String::new()))).with(short),
    Fault::new("says nothing more once it was answered", |scene| Box::pin(rests(scene))).with(short),
    Fault::new("half a head, and no more", |scene| Box::pin(waits(scene, "POST /v1/chat".into()))).with(short),
    Fault::new("a head that drips", |scene| Box::pin(drips(scene, "GET / HTTP/1.1\r\nx: ".into(), "y"))).with(short),
    Fault::new("a head, and no body", |scene| Box::pin(waits(scene, head("content-length: 9")))).with(short),
    Fault::new("half a body, and no more", |scene| Box::pin(waits(scene, head("content-length: 9") + "{"))).with(short),
    Fault::new("a body that drips", |scene| Box::pin(drips(scene, head("content-length: 999"), "x"))).with(short),
    Fault::new("a chunked body that stops", |scene| Box::pin(waits(scene, chunked() + "1\r\n{\r\n"))).with(short),
    Fault::new("a chunked body that drips", |scene| Box::pin(drips(scene, chunked(), "1\r\nx\r\n"))).with(short),
    Fault::new("an answer that nobody reads", |scene| Box::pin(unread(scene))).with(short),
    Fault::new("a head of 70,000 bytes", |scene| {
        Box::pin(waits(scene, format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(70_000))))
    }),
    Fault::new("200 headers", |scene| {
        Box::pin(waits(scene, format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200))))
    }),
    Fault::new("a body over the limit", |scene| Box::pin(waits(scene, request("", &" ".repeat(1001))))).with(small),
    Fault::new("a chunked body over the limit", |scene| Box::pin(waits(scene, chunked() + &"1\r\n \r\n".repeat(1001))))
        .with(small),
    Fault::new("bodies over the limit together", |scene| Box::pin(crowds(scene))).with(small),
    Fault::new("a body of 100,000 chunks of a byte", |scene| Box::pin(crumbs(scene))),
    Fault::new("more connections than may be, none of them idle", |scene| Box::pin(queues(scene, false))).with(narrow),
    Fault::new("more connections than may be, one of them idle", |scene| Box::pin(queues(scene, true))).with(narrow),
    Fault::new("a test's id of 50,000 bytes", |scene| Box::pin(long_id(scene))),
    Fault::new("the test after 10,000 others", |scene| Box::pin(forgotten(scene))),
];

fn short(config: &mut Config) {
    config.limits.head = Duration::from_millis(200);
    config.limits.body = Duration::from_millis(200);
    config.limits.idle = Duration::from_millis(300);
}

fn small(config: &mut Config) {
    config.max_body_bytes = 1000;
    config.limits.bodies_bytes = 1500;
}

fn narrow(config: &mut Config) {
    short(config);
    config.limits.body = LIMIT;
    config.limits.idle = LIMIT;
    config.limits.connections = 2;
}

/// A head whose body is still to come.
fn head(length: &str) -> String {
    format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n{length}\r\n\r\n")
}

fn chunked() -> String {
    head("transfer-encoding: chunked")
}

/// Sends this and waits for the end.
async fn waits(scene: &mut Scene, bytes: String) -> String {
    let mut client = scene.connect().await;
    client.try_send(bytes).await;
    rest(&mut client).await
}

async fn rests(scene: &mut Scene) -> String {
    let mut client = scene.connect().await;
    client.post(CHAT, "", chat("hi")).await;
    let first = told(&read(&mut client).await);
    let end = client.read_to_end().await.expect("a clean end");
    assert!(end.is_empty());
    format!("{first}, then closed")
}

/// Sends this, and then a piece every now and then until the server has had enough.
async fn drips(scene: &mut Scene, begins: String, piece: &'static str) -> String {
    let stream = TcpStream::connect(scene.address).await.expect("a server");
    let (mut reads, mut writes) = stream.into_split();
    writes.write_all(begins.as_bytes()).await.expect("it reads");
    let drips = tokio::spawn(async move {
        while writes.write_all(piece.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LIMIT, reads.read_to_end(&mut answer)).await.expect("it ends");
    drips.abort();
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).map(str::to_owned);
    match (status, read) {
        (Some(status), _) => format!("{status}, closed"),
        (None, Ok(_)) => "closed without an answer".into(),
        (None, Err(_)) => "reset".into(),
    }
}

/// Asks for more than sockets hold, and reads none of it before the server has given up.
async fn unread(scene: &mut Scene) -> String {
    let server = scene.server.as_ref().expect("one in this process");
    server.mock.on_message("long", Reply::text("x".repeat(32 << 20)));
    let mut client = TcpStream::connect(scene.address).await.expect("a server");
    client.write_all(request("", &chat("long")).as_bytes()).await.expect("it reads");
    assert!(until(|| client.take_error().ok().flatten()).await.is_some(), "a reset");
    "reset".into()
}

/// A body that has come in part, and one for which there is no room while that is so.
async fn crowds(scene: &mut Scene) -> String {
    let body = format!("{:<1000}", chat("hi"));
    let whole = request("", &body);
    let mut first = scene.connect().await;
    first.send(&whole[..whole.len() - 100]).await;
    let mut client = scene.connect().await;
    // As soon as the first part has been read.
    let refused = loop {
        client.send(&whole).await;
        let got = read(&mut client).await;
        if got.status() != 200 {
            break told(&got);
        }
    };
    first.send(&whole[whole.len() - 100..]).await;
    let (one, two) = (read(&mut first).await, ask_with(scene.address, "", &body).await);
    format!("{refused}; {} once there is room", [one, two].map(|got| told(&got)).join(" and "))
}

async fn crumbs(scene: &mut Scene) -> String {
    let body = chat("hi") + &" ".repeat(100_000);
    let chunks: Vec<u8> = body.bytes().flat_map(|byte| chunk([byte])).collect();
    let mut client = scene.connect().await;
    client.send([chunked().as_bytes(), &chunks, b"0\r\n\r\n"].concat()).await;
    told(&read(&mut client).await)
}

/// Two connections are as many as may be; the third one asks.
async fn queues(scene: &mut Scene, one_is_idle: bool) -> String {
    let (mut first, mut second) = (busy(scene).await, busy(scene).await);
    if one_is_idle {
        first.send(chat("hi")).await;
        assert_eq!(read(&mut first).await.status(), 200);
    }
    let ask = |client: RawClient| async {
        let mut client = client;
        client.try_send(request("", &chat("hi"))).await;
        let answer = client.try_answer().await;
        answer.map(|(head, body)| told(&crate::common::chat::Got { head, body: String::from_utf8_lossy(&body).into() }))
    };
    let mut third = ask(scene.connect().await).await;
    if one_is_idle {
        // One that was used just now stays for a moment.
        while third.as_deref() != Some("200") {
            third = ask(scene.connect().await).await;
        }
        assert_eq!(first.read_to_end().await.expect("a clean end"), b"", "it made room");
    }
    second.send(chat("hi")).await;
    assert_eq!(read(&mut second).await.status(), 200, "whoever is busy is let finish");
    third.unwrap_or_default()
}

/// A connection whose request is on its way.
async fn busy(scene: &Scene) -> RawClient {
    let mut client = scene.connect().await;
    client.send(head(&format!("content-length: {}", chat("hi").len()))).await;
    client
}

async fn long_id(scene: &mut Scene) -> String {
    let id = "x".repeat(50_000);
    let got = ask_with(scene.address, &format!("x-test-id: {id}\r\n"), chat("a")).await;
    let server = scene.server.as_ref().expect("one in this process");
    let kept = server.mock.last_request().expect("a request")["testId"].as_str().map_or(0, str::len);
    assert!(kept < 300, "{kept}");
    told(&got)
}

/// A sequence whose first answer every test gets once.
async fn forgotten(scene: &mut Scene) -> String {
    let server = scene.server.as_ref().expect("one in this process");
    let first = Match { sequence_index: Some(0), ..Match::message("first") };
    server.mock.fixture(Fixture::new(first, Reply::text("the first")));
    server.mock.on_message("first", Reply::text("another"));
    let mut client = scene.connect().await;
    let mut ask = async |test: u32| {
        client.post(CHAT, &format!("x-test-id: {test}\r\n"), chat("first")).await;
        read(&mut client).await.text()
    };
    for (test, answer) in (0..10_000).map(|test| (test, "the first")).chain([(0, "another"), (10_000, "the first")]) {
        assert_eq!(ask(test).await, answer, "test {test}");
    }
    assert_eq!((ask(0).await, ask(2).await), ("another".into(), "another".into()), "those that asked lately are known");
    assert_eq!(ask(1).await, "the first", "the one that asked least recently is forgotten");
    "200, its own sequence".into()
}
