//! A blocking client: one request a connection, what comes back read to its end, whether that is a clean one or not.
#![allow(dead_code, unreachable_pub)] // every test binary uses a part of it

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a test waits for what must come.
pub const LIMIT: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug, Default)]
pub struct Answer {
    /// 0 where the connection was closed without a head.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body, taken out of its chunks.
    pub body: Vec<u8>,
    /// The chunks, where there are any.
    pub chunks: Vec<String>,
    /// The body came to the end that it promised.
    pub whole: bool,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body in JSON")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn read(raw: &[u8]) -> Self {
        let Some(end) = raw.windows(4).position(|w| w == b"\r\n\r\n") else { return Answer::default() };
        let head = String::from_utf8_lossy(&raw[..end + 2]).into_owned();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let mut answer = Answer { status, head, ..Answer::default() };
        let rest = &raw[end + 4..];
        if answer.header("transfer-encoding").is_some() {
            answer.take_chunks(rest);
        } else {
            answer.body = rest.to_vec();
            let promised = answer.header("content-length").map(|v| v.parse::<usize>().expect("a length"));
            answer.whole = promised.is_none_or(|n| n == rest.len());
        }
        answer
    }

    fn take_chunks(&mut self, mut rest: &[u8]) {
        while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
            let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..end]), 16).expect("a chunk's size");
            if size == 0 {
                self.whole = true;
                return;
            }
            let Some(data) = rest.get(end + 2..end + 2 + size) else { return };
            self.body.extend_from_slice(data);
            self.chunks.push(String::from_utf8_lossy(data).into_owned());
            rest = rest.get(end + 4 + size..).unwrap_or_default();
        }
    }
}

/// Sends a request and reads until the server closes; `headers` are lines, each with its `\r\n`.
pub fn ask(address: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("a server that listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let json = if headers.contains("content-type:") { "" } else { "content-type: application/json\r\n" };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{json}{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).expect("a server that reads");
    let mut raw = Vec::new();
    // A reset ends it too.
    let _ = stream.read_to_end(&mut raw);
    Answer::read(&raw)
}

pub fn get(address: SocketAddr, target: &str) -> Answer {
    ask(address, "GET", target, "", "")
}

pub fn post(address: SocketAddr, target: &str, body: &str) -> Answer {
    ask(address, "POST", target, "", body)
}

/// A question to OpenAI's chat, whole.
pub fn chat(address: SocketAddr, message: &str) -> Answer {
    post(address, "/v1/chat/completions", &chat_body(message, false))
}

/// The same, streamed.
pub fn chat_streamed(address: SocketAddr, message: &str) -> Answer {
    post(address, "/v1/chat/completions", &chat_body(message, true))
}

pub fn chat_body(message: &str, stream: bool) -> String {
    serde_json::json!({"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": message}]})
        .to_string()
}
