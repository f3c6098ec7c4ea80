//! Records a streamed answer from an upstream, shows the fixture, and replays it with the upstream gone.
//!
//! `cargo run --release --example record_replay`

#![expect(clippy::print_stdout, reason = "an example talks to people")]

use aimock::{Mock, Recording};
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// How long the upstream thinks before each chunk.
const PACE: Duration = Duration::from_millis(60);

const WORDS: [&str; 8] = ["Recorded", " once,", " this", " answer", " is", " replayed", " for", " ever."];

const QUESTION: &str =
    r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"What does aimock do?"}]}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("aimock-example-{}", std::process::id()));
    let upstream = TcpListener::bind("127.0.0.1:0")?;
    let upstream_url = format!("http://{}", upstream.local_addr()?);
    let provider = thread::spawn(move || answer_once(&upstream));

    println!("1. Recording from {upstream_url}");
    let mock = Mock::builder().start()?;
    mock.enable_recording(Recording::new().provider("openai", upstream_url).fixture_path(&folder))?;
    let recorded = ask(mock.address())?;
    println!("   the client read {:?} in {:.1} ms\n", recorded.text, recorded.took.as_secs_f64() * 1000.0);
    mock.stop();
    provider.join().map_err(|_| "the upstream failed")??;

    println!("2. The fixture, {}", folder.display());
    for entry in std::fs::read_dir(&folder)? {
        println!("{}", std::fs::read_to_string(entry?.path())?);
    }

    println!("3. Replaying, strict, with the upstream gone");
    let mock = Mock::builder().fixtures(&folder).strict().start()?;
    let replayed = ask(mock.address())?;
    println!("   the client read {:?} in {:.1} ms", replayed.text, replayed.took.as_secs_f64() * 1000.0);
    std::fs::remove_dir_all(&folder)?;
    if recorded.text != replayed.text {
        return Err("the replay differs from the recording".into());
    }
    Ok(())
}

/// What a client made of an answer.
struct Heard {
    text: String,
    took: Duration,
}

/// Asks the question and puts the streamed text together.
fn ask(server: SocketAddr) -> Result<Heard, Box<dyn Error>> {
    let started = Instant::now();
    let mut stream = TcpStream::connect(server)?;
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{QUESTION}",
        QUESTION.len()
    )?;
    let mut text = String::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else { continue };
        let chunk: serde_json::Value = serde_json::from_str(data)?;
        text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or(""));
    }
    Ok(Heard { text, took: started.elapsed() })
}

/// An upstream that answers one request, a word at a time.
fn answer_once(upstream: &TcpListener) -> std::io::Result<()> {
    let (mut stream, _) = upstream.accept()?;
    let mut request = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    let mut line = String::new();
    while request.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    request.take(length).read_to_end(&mut Vec::new())?;
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")?;
    let mut send = |data: &str| {
        let event = format!("data: {data}\n\n");
        write!(stream, "{:x}\r\n{event}\r\n", event.len())
    };
    for word in WORDS {
        thread::sleep(PACE);
        let delta = serde_json::json!({"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "object": "chat.completion.chunk",
            "created": 1_768_473_000, "choices": [{"index": 0, "delta": {"content": word}}]});
        send(&delta.to_string())?;
    }
    send(r#"{"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#)?;
    send("[DONE]")?;
    write!(stream, "0\r\n\r\n")
}
