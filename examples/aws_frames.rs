//! What `tests/aws/check.py` compares with AWS's own Python library: event stream messages and signatures. One JSON
//! object a line on stdin, one a line on stdout; bytes are base64.

use aimock::frame::{Decoder, Framing, Status, eventstream};
use aimock::sigv4::{self, Credentials, Scope, Unsigned};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use eventstream::Value as Header;
use serde::Deserialize;
use serde_json::{Value, json};
use std::error::Error;
use std::io::{BufRead, Write};

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = answer(serde_json::from_str(&line?)?).unwrap_or_else(|e| json!({"error": e.to_string()}));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Command {
    /// Writes an event or an exception.
    Encode { event: String, payload: String, exception: bool },
    /// Writes a message with these headers.
    EncodeMessage { headers: Vec<(String, String, Value)>, payload: String },
    /// Reads frames from a body that arrives in chunks of so many bytes.
    Decode { body: String, chunk: usize },
    /// Reads one message's headers and payload.
    Parse { body: String },
    /// Signs a request.
    Sign(Box<Sign>),
}

#[derive(Deserialize)]
struct Sign {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
    region: String,
    service: String,
    time: u64,
}

fn answer(command: Command) -> Result<Value, Box<dyn Error>> {
    let mut out = Vec::new();
    match command {
        Command::Encode { event, payload, exception } => {
            let write = if exception { eventstream::encode_exception } else { eventstream::encode };
            write(&event, &bytes(&payload)?, &mut out);
            Ok(json!({"body": BASE64.encode(out)}))
        }
        Command::EncodeMessage { headers, payload } => {
            let arrays: Vec<Vec<u8>> = headers.iter().map(|(_, _, value)| raw(value)).collect::<Result<_, _>>()?;
            let values = headers.iter().zip(&arrays).map(|((name, kind, value), array)| {
                Ok((name.as_str(), header(kind, value, array).ok_or_else(|| format!("{kind} {value}"))?))
            });
            let values: Vec<_> = values.collect::<Result<_, String>>()?;
            eventstream::encode_message(&values, &bytes(&payload)?, &mut out);
            Ok(json!({"body": BASE64.encode(out)}))
        }
        Command::Decode { body, chunk } => decode(&bytes(&body)?, chunk.max(1)),
        Command::Parse { body } => {
            let body = bytes(&body)?;
            let message = eventstream::parse(&body)?;
            let headers = message.headers.map(|header| header.map(|(name, value)| json!([name, plain(value)])));
            Ok(json!({"headers": headers.collect::<Result<Vec<_>, _>>()?, "payload": BASE64.encode(message.payload)}))
        }
        Command::Sign(sign) => sign.headers(),
    }
}

/// Byte arrays and UUIDs are base64 in JSON; of all other values nothing is asked here.
fn raw(value: &Value) -> Result<Vec<u8>, String> {
    value.get("base64").and_then(Value::as_str).map_or(Ok(Vec::new()), bytes)
}

fn bytes(base64: &str) -> Result<Vec<u8>, String> {
    BASE64.decode(base64).map_err(|e| e.to_string())
}

fn header<'a>(kind: &str, value: &'a Value, bytes: &'a [u8]) -> Option<Header<'a>> {
    Some(match kind {
        "bool" => Header::Bool(value.as_bool()?),
        "byte" => Header::Byte(value.as_i64()?.try_into().ok()?),
        "short" => Header::Short(value.as_i64()?.try_into().ok()?),
        "int" => Header::Int(value.as_i64()?.try_into().ok()?),
        "long" => Header::Long(value.as_i64()?),
        "bytes" => Header::Bytes(bytes),
        "string" => Header::Str(value.as_str()?),
        "timestamp" => Header::Timestamp(value.as_i64()?),
        "uuid" => Header::Uuid(bytes.try_into().ok()?),
        _ => return None,
    })
}

fn plain(value: Header<'_>) -> Value {
    match value {
        Header::Bool(b) => json!(b),
        Header::Byte(n) => json!(n),
        Header::Short(n) => json!(n),
        Header::Int(n) => json!(n),
        Header::Long(n) | Header::Timestamp(n) => json!(n),
        Header::Str(text) => json!(text),
        Header::Bytes(bytes) => json!({"base64": BASE64.encode(bytes)}),
        Header::Uuid(bytes) => json!({"base64": BASE64.encode(bytes)}),
    }
}

fn decode(bytes: &[u8], chunk: usize) -> Result<Value, Box<dyn Error>> {
    let mut decoder = Decoder::new(Framing::EventStream);
    let mut frames = Vec::new();
    for mut rest in bytes.chunks(chunk) {
        while let Status::Frame { frame, used } = decoder.next(rest)? {
            frames.push(json!([frame.event, BASE64.encode(frame.data), frame.exception]));
            rest = &rest[used..];
        }
    }
    decoder.end()?;
    Ok(json!({"frames": frames}))
}

impl Sign {
    fn headers(&self) -> Result<Value, Box<dyn Error>> {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let body = bytes(&self.body)?;
        let request =
            Unsigned { method: &self.method, path: &self.path, query: &self.query, headers: &headers, body: &body };
        let keys = Credentials {
            access_key: &self.access_key,
            secret_key: &self.secret_key,
            session_token: self.session_token.as_deref(),
        };
        let scope = Scope { region: &self.region, service: &self.service, time: self.time };
        Ok(Value::Object(sigv4::sign(&request, &keys, &scope).into_iter().map(|(n, v)| (n.into(), v.into())).collect()))
    }
}
