//! Chat requests, the answers of an upstream, and how a client asks.

use super::{RawClient, Script, Step, answer, chunk, header};
use std::net::SocketAddr;

/// Where chats are asked.
pub const CHAT: &str = "/v1/chat/completions";

/// What ends a streamed answer.
pub const DONE: &str = "data: [DONE]\n\n";

/// The head of a streamed answer in chunks.
pub const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// The end of a body in chunks.
pub const LAST_CHUNK: &str = "0\r\n\r\n";

/// A request with one user message, its answer whole.
pub fn chat(text: &str) -> String {
    serde_json::json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}).to_string()
}

/// The same, its answer streamed.
pub fn streamed(text: &str) -> String {
    let messages = [serde_json::json!({"role": "user", "content": text})];
    serde_json::json!({"model": "gpt-4o", "stream": true, "messages": messages}).to_string()
}

/// A frame of a streamed answer.
pub fn delta(text: &str) -> String {
    frame(&serde_json::json!({"role": "assistant", "content": text}), None)
}

/// The frame with the finish reason.
pub fn finish() -> String {
    frame(&serde_json::json!({}), Some("stop"))
}

fn frame(delta: &serde_json::Value, finish: Option<&str>) -> String {
    let choices = [serde_json::json!({"index": 0, "delta": delta, "finish_reason": finish})];
    let json = serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-2024-08-06",
        "choices": choices,
    });
    format!("data: {json}\n\n")
}

/// A streamed answer, each frame in a chunk of its own.
pub fn stream(text: &str) -> Script {
    stream_of(&[delta(text), finish(), DONE.to_owned()])
}

/// A streamed answer of these chunks.
pub fn stream_of(chunks: &[impl AsRef<[u8]>]) -> Script {
    let chunks = chunks.iter().map(|c| Step::Write(chunk(c)));
    [Step::write(STREAM_HEAD)].into_iter().chain(chunks).chain([Step::write(LAST_CHUNK)]).collect()
}

/// The body of a whole answer.
pub fn completion(text: &str) -> String {
    let message = serde_json::json!({"role": "assistant", "content": text});
    let choices = [serde_json::json!({"index": 0, "message": message, "finish_reason": "stop"})];
    serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06", "choices": choices,
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    })
    .to_string()
}

/// A whole answer, its length told.
pub fn whole(text: &str) -> Script {
    answer(200, "content-type: application/json\r\n", completion(text))
}

/// What a client got.
#[derive(Clone, Debug, PartialEq)]
pub struct Got {
    pub head: String,
    pub body: String,
}

impl Got {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status line")
    }

    pub fn header(&self, name: &str) -> &str {
        header(&self.head, name).unwrap_or("")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("a body in JSON")
    }

    /// The text of a chat's answer, whole or streamed.
    pub fn text(&self) -> String {
        if let Ok(json) = serde_json::from_str::<serde_json::Value>(&self.body) {
            return json["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        }
        let frames = self.body.split("\n\n").filter_map(|f| f.strip_prefix("data: "));
        let json = frames.filter_map(|f| serde_json::from_str::<serde_json::Value>(f).ok());
        json.filter_map(|f| f["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
    }

    /// Status, who answered, and how the fixture was found.
    pub fn how(&self) -> (u16, &str, &str) {
        (self.status(), self.header("x-aimock-source"), self.header("x-aimock-match"))
    }
}

/// Asks on a connection of its own.
pub async fn ask(server: SocketAddr, body: impl AsRef<[u8]>) -> Got {
    ask_with(server, "", body).await
}

/// The same, with headers: lines, each with its `\r\n`.
pub async fn ask_with(server: SocketAddr, headers: &str, body: impl AsRef<[u8]>) -> Got {
    ask_at(server, CHAT, headers, body).await
}

/// The same, at another endpoint.
pub async fn ask_at(server: SocketAddr, target: &str, headers: &str, body: impl AsRef<[u8]>) -> Got {
    let mut client = RawClient::connect(server).await;
    client.post(target, headers, body).await;
    read(&mut client).await
}

/// Reads an answer.
pub async fn read(client: &mut RawClient) -> Got {
    let (head, body) = client.read_answer().await;
    Got { head, body: String::from_utf8_lossy(&body).into_owned() }
}
