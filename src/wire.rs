//! An answer as it was on the wire: kept chunk by chunk, and searched for secrets before it is written.

use crate::fixture::Wire;
use crate::frame::{Decoder, Framing, Status};
use crate::redact::{REDACTED, Redactor};
use crate::request::canonical::Hash;
use crate::upstream::relay_headers;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::HeaderMap;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;

/// Keeps an answer as it comes.
#[derive(Debug)]
pub struct WireTee {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Where the chunks end in the body.
    ends: Vec<usize>,
    max_bytes: usize,
}

impl WireTee {
    /// Begins with an answer's head; its headers are kept without secrets.
    pub fn new(status: u16, headers: &HeaderMap, redactor: &Redactor, max_bytes: usize) -> Self {
        let headers = relay_headers(headers);
        let kept = headers.iter().filter(|(name, _)| !matches!(name.as_str(), "content-length" | "date"));
        let headers = kept.filter_map(|(name, value)| {
            let shown = redactor.shown_header(name.as_str(), value.to_str().ok()?)?;
            Some((name.as_str().to_owned(), shown.into_owned()))
        });
        WireTee { status, headers: headers.collect(), body: Vec::new(), ends: Vec::new(), max_bytes }
    }

    /// Takes a chunk; `false` where that is too much.
    pub fn push(&mut self, chunk: &Bytes) -> bool {
        // Copied: a chunk holds on to the whole read that it came in.
        self.body.extend_from_slice(chunk);
        self.ends.push(self.body.len());
        self.body.len() <= self.max_bytes
    }

    /// One frame a chunk: text where all of it is text, else base64.
    pub fn into_wire(self, endpoint: &str) -> Wire {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let chunks: Vec<&[u8]> = starts.zip(&self.ends).map(|(start, end)| &self.body[start..*end]).collect();
        let (frames, base64) = match texts(&chunks) {
            Some(texts) => (texts, false),
            None => (chunks.iter().map(|c| STANDARD.encode(c)).collect(), true),
        };
        let (status, headers) = (self.status, self.headers);
        Wire { endpoint: endpoint.to_owned(), status, headers, frames, base64, response_hash: Hash(0) }
    }
}

/// The chunks as text; the beginning of a character that a chunk ends with goes to the next one.
fn texts(chunks: &[&[u8]]) -> Option<Vec<String>> {
    let mut texts = Vec::with_capacity(chunks.len());
    let mut carried = Vec::new();
    for chunk in chunks {
        carried.extend_from_slice(chunk);
        let valid = match std::str::from_utf8(&carried) {
            Ok(text) => text.len(),
            Err(e) if e.error_len().is_none() => e.valid_up_to(),
            Err(_) => return None,
        };
        let rest = carried.split_off(valid);
        texts.push(String::from_utf8(std::mem::replace(&mut carried, rest)).ok()?);
    }
    carried.is_empty().then_some(texts)
}

/// The body of a wire recording.
pub fn body(wire: &Wire) -> Vec<u8> {
    wire.frames.iter().flat_map(|frame| bytes_of(wire, frame).into_owned()).collect()
}

/// The bytes of one frame of a wire recording.
pub fn bytes_of<'f>(wire: &Wire, frame: &'f str) -> Cow<'f, [u8]> {
    match wire.base64.then(|| STANDARD.decode(frame)) {
        Some(Ok(bytes)) => Cow::Owned(bytes),
        // Text, or base64 that someone broke by hand.
        _ => Cow::Borrowed(frame.as_bytes()),
    }
}

/// Whether a body holds a secret: as it stands, under a member's name, or put together from pieces that several frames
/// have at the same place.
pub fn holds_secret(body: &[u8], framing: Framing, redactor: &Redactor) -> bool {
    if redactor.is_off() {
        return false;
    }
    if redactor.redact_bytes(body).is_some() {
        return true;
    }
    let (mut pieces, mut found) = (Pieces::default(), false);
    each_frame(body, framing, |data| {
        each_value(data, |mut value| {
            pieces.take("", &value);
            found |= redactor.redact_json(&mut value);
        });
    });
    found || pieces.texts.values().any(|text| redactor.finds(text))
}

fn each_frame(body: &[u8], framing: Framing, mut each: impl FnMut(&[u8])) {
    let mut decoder = Decoder::new(framing);
    let mut rest = body;
    while let Ok(Status::Frame { frame, used }) = decoder.next(rest) {
        each(frame.data);
        rest = &rest[used..];
    }
    if let Ok(Some(frame)) = decoder.end() {
        each(frame.data);
    }
}

fn each_value(data: &[u8], each: impl FnMut(Value)) {
    let text = data.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    values.map_while(Result::ok).for_each(each);
}

/// The texts of many JSON values, those at the same place joined.
#[derive(Debug, Default)]
pub struct Pieces {
    texts: HashMap<String, String>,
}

impl Pieces {
    /// The texts of a body's frames.
    pub fn of(body: &[u8], framing: Framing) -> Self {
        let mut pieces = Pieces::default();
        each_frame(body, framing, |data| pieces.take_frame(data));
        pieces
    }

    /// The texts of one JSON value.
    pub fn of_json(value: &Value) -> Self {
        let mut pieces = Pieces::default();
        pieces.take("", value);
        pieces
    }

    /// Whether redaction piece by piece left of these texts what redaction as a whole would leave: a secret that lies
    /// across several pieces is not gone with some of them.
    pub fn are_safe_as(&self, redacted: &Pieces, redactor: &Redactor) -> bool {
        // One that was replaced piece by piece has left several markers: an empty text between each two.
        let marks = |text: &str| {
            let between = text.split(REDACTED).map(str::to_owned).collect::<Vec<_>>();
            between
                .into_iter()
                .enumerate()
                .filter(|(i, t)| *i == 0 || !t.is_empty())
                .map(|(_, t)| t)
                .collect::<Vec<_>>()
        };
        self.texts.iter().all(|(place, text)| {
            let left = redacted.texts.get(place).or_else(|| redacted.texts.get(&*redactor.redact(place)));
            // What was replaced by its member's name has left nothing.
            let gone = |left: &String| left.replace(REDACTED, "").is_empty();
            left.is_some_and(|left| gone(left) || marks(left) == marks(&redactor.redact(text)))
        })
    }

    fn take_frame(&mut self, data: &[u8]) {
        each_value(data, |value| self.take("", &value));
    }

    fn take(&mut self, place: &str, value: &Value) {
        match value {
            Value::String(text) => {
                let whole = || STANDARD.decode(text).ok().filter(|bytes| bytes.starts_with(b"{"));
                match place.ends_with("/bytes").then(whole).flatten() {
                    Some(json) => self.take_frame(&json), // a frame in a frame
                    None => self.texts.entry(place.to_owned()).or_default().push_str(text),
                }
            }
            // Entries that have no number of their own go on with one another: the tokens of a text.
            Value::Array(items) => items.iter().for_each(|item| self.take(&format!("{place}/*"), item)),
            Value::Object(members) => {
                let numbers = members.iter().filter(|(name, number)| {
                    (name.ends_with("index") || name.ends_with("Index")) && number.is_number()
                });
                let place = numbers.fold(place.to_owned(), |place, (name, number)| format!("{place}[{name}={number}]"));
                members.iter().for_each(|(name, member)| self.take(&format!("{place}/{name}"), member));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tee(chunks: &[&[u8]]) -> Wire {
        let mut tee = WireTee::new(200, &HeaderMap::new(), &Redactor::default(), usize::MAX);
        for chunk in chunks {
            tee.push(&Bytes::copy_from_slice(chunk));
        }
        tee.into_wire("w sse")
    }

    #[test]
    fn a_character_cut_by_a_read_keeps_the_reads_apart() {
        let text = "añ🌍";
        for cut in 0..=text.len() {
            let wire = tee(&[&text.as_bytes()[..cut], &text.as_bytes()[cut..]]);
            assert_eq!((wire.frames.len(), wire.base64, body(&wire)), (2, false, text.as_bytes().to_vec()), "{cut}");
        }
        let wire = tee(&[b"a\xff", b"b"]);
        assert_eq!((wire.frames.len(), wire.base64, body(&wire)), (2, true, b"a\xffb".to_vec()));
        assert!(tee(&[b"a\xf0\x9f"]).base64);
    }

    #[test]
    fn headers_are_kept_without_secrets() {
        let mut headers = HeaderMap::new();
        headers.insert("set-cookie", "a=b".parse().unwrap());
        headers.insert("x-echo", "Bearer 0123456789abcdef0123".parse().unwrap());
        headers.insert("x-request-id", "req_1".parse().unwrap());
        let wire = WireTee::new(200, &headers, &Redactor::default(), usize::MAX).into_wire("w whole");
        let kept: Vec<_> = wire.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(kept, [("x-echo", "Bearer [redacted]"), ("x-request-id", "req_1")]);
    }

    #[test]
    fn what_is_replaced_by_its_name_or_piece_by_piece_is_gone() {
        let r = Redactor::default();
        let safe = |mut value: Value| {
            let before = Pieces::of_json(&value);
            r.redact_json(&mut value);
            before.are_safe_as(&Pieces::of_json(&value), &r)
        };
        let key = ["sk-", "0123456789abcdef"].concat();
        assert!(safe(serde_json::json!({"api_key": "0123456789abcdef", "headers": {"x-api-key": "a"}})));
        assert!(safe(serde_json::json!([{"api_key": "0123456789abcdef"}, {"api_key": "f0123456789abcde"}])));
        assert!(safe(serde_json::json!([key, key, " and ", key])));
        assert!(!safe(serde_json::json!([key[..9], key[9..]])));
        assert!(!safe(serde_json::json!([key, "ghij"])), "the rest of it stays");
    }

    #[test]
    fn secrets_are_found_across_frames() {
        let r = Redactor::default();
        let found = |framing, body: &str| holds_secret(body.as_bytes(), framing, &r);
        let second =
            |text: &str| format!("data: {{\"choices\":[{{\"index\":1,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
        let first = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"and \"}}]}\n\n";
        let cut = [&*second("sk-0123456"), first, &*second("789abcdef0")].concat();
        assert!(found(Framing::Sse, &cut));
        assert!(!found(Framing::Sse, &cut.replace("sk-", "sx-")));
        let tokens = r#"{"logprobs":{"content":[{"token":"sk"},{"token":"-0123456789"},{"token":"abcdef"}]}}"#;
        assert!(found(Framing::Whole, tokens));
        let inner = STANDARD.encode(r#"{"text":"sk-0123456789abcdef"}"#);
        assert!(found(Framing::Ndjson, &format!("{{\"bytes\":\"{inner}\"}}\n")));
        assert!(!found(Framing::Ndjson, "{\"bytes\":\"aGk=\"}\nnot json\n"));
        assert!(found(Framing::Whole, r#"{"tools":[{"type":"mcp","authorization":"swordfish"}]}"#));
    }
}
