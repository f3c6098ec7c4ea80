//! `application/vnd.amazon.eventstream`: binary messages of headers and a payload, each with two CRC32 sums.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html>
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>

use super::{Frame, FrameError, MAX_FRAME_BYTES, Status};

/// The content type of an event stream.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// The longest headers that the format allows, in bytes.
pub const MAX_HEADERS_BYTES: usize = 128 * 1024;

/// Total length, headers' length and the CRC32 of both: four bytes each.
const PRELUDE_BYTES: usize = 12;
/// The CRC32 of all that comes before it.
const CRC_BYTES: usize = 4;

/// Incremental decoder of event stream messages.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The message that spans chunks.
    partial: Vec<u8>,
    /// The last call handed out what `partial` holds.
    spent: bool,
}

impl Decoder {
    pub(super) fn next<'a>(&'a mut self, input: &'a [u8]) -> Result<Status<'a>, FrameError> {
        self.forget_spent();
        if self.partial.is_empty() {
            if let Some(message) = length(input)?.and_then(|total| input.get(..total)) {
                return Ok(Status::Frame { frame: parse(message)?.frame()?, used: message.len() });
            }
            self.partial.extend_from_slice(input);
            return Ok(Status::Incomplete);
        }
        let mut used = 0;
        if self.partial.len() < PRELUDE_BYTES {
            used = self.take(PRELUDE_BYTES, input);
        }
        let Some(total) = length(&self.partial)? else { return Ok(Status::Incomplete) };
        used += self.take(total, &input[used..]);
        if self.partial.len() < total {
            return Ok(Status::Incomplete);
        }
        self.spent = true;
        Ok(Status::Frame { frame: parse(&self.partial)?.frame()?, used })
    }

    pub(super) fn end(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        self.forget_spent();
        if self.partial.is_empty() {
            return Ok(None);
        }
        let have = self.partial.len();
        let found = match length(&self.partial)? {
            Some(total) => format!("the body's end after {have} of {total} bytes"),
            None => format!("the body's end after {have} bytes of its prelude"),
        };
        Err(FrameError::Corrupt { expected: "a whole event stream message", found })
    }

    pub(super) fn pending(&self) -> &[u8] {
        if self.spent { &[] } else { &self.partial }
    }

    fn forget_spent(&mut self) {
        if self.spent {
            self.partial.clear();
            self.spent = false;
        }
    }

    /// Fills `partial` up to `len` bytes; how many of the input that took.
    fn take(&mut self, len: usize, input: &[u8]) -> usize {
        let used = len.saturating_sub(self.partial.len()).min(input.len());
        self.partial.extend_from_slice(&input[..used]);
        used
    }
}

/// The length of the message that begins here, once its prelude is there and holds.
fn length(message: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(prelude) = message.get(..PRELUDE_BYTES) else { return Ok(None) };
    let (total, headers) = (number(&prelude[..4]) as usize, number(&prelude[4..8]) as usize);
    check("the CRC32 of an event stream prelude", &prelude[..8], &prelude[8..])?;
    if total > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong { limit: MAX_FRAME_BYTES });
    }
    if headers > MAX_HEADERS_BYTES {
        let found = format!("{headers} bytes");
        return Err(FrameError::Corrupt { expected: "event stream headers of at most 131072 bytes", found });
    }
    if total < PRELUDE_BYTES + headers + CRC_BYTES {
        let found = format!("{total} bytes with {headers} of headers");
        return Err(FrameError::Corrupt { expected: "an event stream message as long as its parts", found });
    }
    Ok(Some(total))
}

fn check(what: &'static str, bytes: &[u8], crc: &[u8]) -> Result<(), FrameError> {
    let (computed, written) = (u64::from(crc32fast::hash(bytes)), number(crc));
    if computed == written {
        return Ok(());
    }
    Err(FrameError::Corrupt {
        expected: what,
        found: format!("{written:#010x} for bytes that sum to {computed:#010x}"),
    })
}

/// A big-endian number of at most eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// Reads one whole message, both sums checked.
///
/// # Errors
/// [`FrameError`]: too long, cut, or a sum that does not hold.
pub fn parse(message: &[u8]) -> Result<Message<'_>, FrameError> {
    if length(message)? != Some(message.len()) {
        let found = format!("{} bytes", message.len());
        return Err(FrameError::Corrupt { expected: "one whole event stream message", found });
    }
    let (body, crc) = message.split_at(message.len() - CRC_BYTES);
    check("the CRC32 of an event stream message", body, crc)?;
    let (headers, payload) = body[PRELUDE_BYTES..].split_at(number(&body[4..8]) as usize);
    Ok(Message { headers: Headers(headers), payload })
}

/// One message, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The headers, read as they are asked for.
    pub headers: Headers<'a>,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The frame that this message is: named by its `:event-type`, `:exception-type` or `:error-code`. An error has no
    /// payload; its `:error-message` stands in for it.
    fn frame(self) -> Result<Frame<'a>, FrameError> {
        let mut frame = Frame::data(self.payload);
        for header in self.headers {
            let (name, Value::Str(value)) = header? else { continue };
            match name {
                ":event-type" | ":exception-type" | ":error-code" => frame.event = value,
                ":message-type" => frame.exception = matches!(value, "exception" | "error"),
                ":error-message" if self.payload.is_empty() => frame.data = value.as_bytes(),
                _ => {}
            }
        }
        Ok(frame)
    }
}

/// The headers of a message: name and value, in order.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a>(&'a [u8]);

impl<'a> Iterator for Headers<'a> {
    type Item = Result<(&'a str, Value<'a>), FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let header = self.header();
        if header.is_err() {
            self.0 = &[];
        }
        Some(header)
    }
}

impl<'a> Headers<'a> {
    fn header(&mut self) -> Result<(&'a str, Value<'a>), FrameError> {
        let len = self.number(1)? as usize;
        let name = text(self.bytes(len)?)?;
        let value = match self.number(1)? {
            0 => Value::Bool(true),
            1 => Value::Bool(false),
            2 => Value::Byte(self.number(1)? as i8),
            3 => Value::Short(self.number(2)? as i16),
            4 => Value::Int(self.number(4)? as i32),
            5 => Value::Long(self.number(8)? as i64),
            6 => Value::Bytes(self.sized()?),
            7 => Value::Str(text(self.sized()?)?),
            8 => Value::Timestamp(self.number(8)? as i64),
            9 => Value::Uuid(self.bytes(16)?.try_into().expect("asked for 16")),
            kind => {
                let found = format!("type {kind} of header `{name}`");
                return Err(FrameError::Corrupt { expected: "an event stream header type from 0 to 9", found });
            }
        };
        Ok((name, value))
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], FrameError> {
        let Some((bytes, rest)) = self.0.split_at_checked(len) else {
            let found = format!("{} bytes where {len} are needed", self.0.len());
            return Err(FrameError::Corrupt { expected: "event stream headers that end where they say", found });
        };
        self.0 = rest;
        Ok(bytes)
    }

    fn number(&mut self, len: usize) -> Result<u64, FrameError> {
        self.bytes(len).map(number)
    }

    fn sized(&mut self) -> Result<&'a [u8], FrameError> {
        let len = self.number(2)? as usize;
        self.bytes(len)
    }
}

fn text(bytes: &[u8]) -> Result<&str, FrameError> {
    std::str::from_utf8(bytes).map_err(|e| FrameError::Corrupt {
        expected: "UTF-8 in an event stream header",
        found: format!("{e}: `{}`", bytes.escape_ascii()),
    })
}

/// A header's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Types 0 (true) and 1 (false).
    Bool(bool),
    /// Type 2.
    Byte(i8),
    /// Type 3.
    Short(i16),
    /// Type 4.
    Int(i32),
    /// Type 5.
    Long(i64),
    /// Type 6; at most 65 535 bytes.
    Bytes(&'a [u8]),
    /// Type 7; at most 65 535 bytes.
    Str(&'a str),
    /// Type 8: milliseconds since 1970.
    Timestamp(i64),
    /// Type 9.
    Uuid([u8; 16]),
}

impl Value<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let mut sized = |kind, bytes: &[u8]| {
            let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            out.push(kind);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(&bytes[..usize::from(len)]);
        };
        match self {
            Value::Bytes(bytes) => sized(6, bytes),
            Value::Str(text) => sized(7, cut(text, usize::from(u16::MAX)).as_bytes()),
            Value::Bool(b) => out.push(u8::from(!b)),
            Value::Byte(n) => tagged(2, &n.to_be_bytes(), out),
            Value::Short(n) => tagged(3, &n.to_be_bytes(), out),
            Value::Int(n) => tagged(4, &n.to_be_bytes(), out),
            Value::Long(n) => tagged(5, &n.to_be_bytes(), out),
            Value::Timestamp(ms) => tagged(8, &ms.to_be_bytes(), out),
            Value::Uuid(uuid) => tagged(9, uuid, out),
        }
    }
}

fn tagged(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(bytes);
}

/// As much of the text as fits into so many bytes, cut between characters.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Writes one message. Names are cut at 255 bytes, strings and byte arrays at 65 535.
pub fn encode_message(headers: &[(&str, Value<'_>)], payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; PRELUDE_BYTES]);
    for (name, value) in headers {
        let name = cut(name, usize::from(u8::MAX));
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        value.write(out);
    }
    let headers_len = out.len() - start - PRELUDE_BYTES;
    out.extend_from_slice(payload);
    let total = out.len() - start + CRC_BYTES;
    let prelude = &mut out[start..start + PRELUDE_BYTES];
    prelude[..4].copy_from_slice(&(total as u32).to_be_bytes());
    prelude[4..8].copy_from_slice(&(headers_len as u32).to_be_bytes());
    let crc = crc32fast::hash(&prelude[..8]);
    prelude[8..].copy_from_slice(&crc.to_be_bytes());
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_be_bytes());
}

/// Writes one event with a JSON payload, its headers in the order AWS sends them.
pub fn encode(event: &str, json: &[u8], out: &mut Vec<u8>) {
    encode_json(":event-type", event, "event", json, out);
}

/// Writes one exception (`throttlingException`) with a JSON payload.
pub fn encode_exception(kind: &str, json: &[u8], out: &mut Vec<u8>) {
    encode_json(":exception-type", kind, "exception", json, out);
}

fn encode_json(name: &str, kind: &str, message: &str, json: &[u8], out: &mut Vec<u8>) {
    let content = Value::Str("application/json");
    let headers = [(name, Value::Str(kind)), (":content-type", content), (":message-type", Value::Str(message))];
    encode_message(&headers, json, out);
}

#[cfg(test)]
mod tests {
    use super::super::Framing;
    use super::super::laws::{cuts_change_nothing, decode};
    use super::*;

    fn one(headers: &[(&str, Value<'_>)], payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_message(headers, payload, &mut out);
        out
    }

    fn found(body: &[u8]) -> String {
        match cuts_change_nothing(Framing::EventStream, body) {
            Err(e) => e.to_string(),
            Ok(frames) => panic!("{frames:?}"),
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut body = Vec::new();
        encode("messageStart", br#"{"role":"assistant"}"#, &mut body);
        encode("contentBlockDelta", "{\"delta\":{\"text\":\"é🌍\"}}".as_bytes(), &mut body);
        encode("empty", b"", &mut body);
        encode_exception("throttlingException", br#"{"message":"slow down"}"#, &mut body);
        let frames = cuts_change_nothing(Framing::EventStream, &body).unwrap();
        assert_eq!(frames.len(), 4);
        assert_eq!(frames[0], ("messageStart".into(), br#"{"role":"assistant"}"#.to_vec(), false));
        assert_eq!(frames[1].1, "{\"delta\":{\"text\":\"é🌍\"}}".as_bytes());
        assert_eq!(frames[2], ("empty".into(), vec![], false));
        assert_eq!(frames[3], ("throttlingException".into(), br#"{"message":"slow down"}"#.to_vec(), true));
    }

    /// The example of the format's page: an empty message.
    #[test]
    fn smallest_message() {
        let body = [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff];
        assert_eq!(one(&[], b""), body);
        assert_eq!(cuts_change_nothing(Framing::EventStream, &body).unwrap(), [(String::new(), vec![], false)]);
    }

    #[test]
    fn every_header_type() {
        let headers = [
            ("t", Value::Bool(true)),
            ("f", Value::Bool(false)),
            ("byte", Value::Byte(-2)),
            ("short", Value::Short(-300)),
            ("int", Value::Int(i32::MIN)),
            ("long", Value::Long(i64::MIN + 1)),
            ("bytes", Value::Bytes(b"\0\xff")),
            ("string", Value::Str("é")),
            ("time", Value::Timestamp(1_700_000_000_123)),
            ("uuid", Value::Uuid(*b"0123456789abcdef")),
            (":event-type", Value::Str("chunk")),
        ];
        let body = one(&headers, b"p");
        let message = parse(&body).unwrap();
        let back: Result<Vec<_>, _> = message.headers.collect();
        assert_eq!(back.unwrap(), headers);
        assert_eq!(cuts_change_nothing(Framing::EventStream, &body).unwrap(), [("chunk".into(), b"p".to_vec(), false)]);
    }

    #[test]
    fn error_message_stands_in_for_the_payload() {
        let headers = [
            (":error-code", Value::Str("InternalError")),
            (":error-message", Value::Str("it broke")),
            (":message-type", Value::Str("error")),
        ];
        let frames = cuts_change_nothing(Framing::EventStream, &one(&headers, b"")).unwrap();
        assert_eq!(frames, [("InternalError".into(), b"it broke".to_vec(), true)]);
    }

    #[test]
    fn wrong_sums_say_which_and_what() {
        let mut body = one(&[(":event-type", Value::Str("x"))], b"{}");
        body[2] ^= 1;
        assert!(
            found(&body).starts_with("expected the CRC32 of an event stream prelude, found 0x"),
            "{}",
            found(&body)
        );
        body[2] ^= 1;
        for at in [PRELUDE_BYTES + 1, body.len() - CRC_BYTES - 1, body.len() - 1] {
            body[at] ^= 1;
            let found = found(&body);
            assert!(found.starts_with("expected the CRC32 of an event stream message, found 0x"), "{found}");
            body[at] ^= 1;
        }
    }

    #[test]
    fn a_body_that_ends_inside_a_message() {
        let body = one(&[(":event-type", Value::Str("x"))], b"{}");
        assert_eq!(
            found(&body[..body.len() - 1]),
            "expected a whole event stream message, found the body's end after 33 of 34 bytes"
        );
        assert!(found(&body[..5]).ends_with("the body's end after 5 bytes of its prelude"));
    }

    /// A prelude whose sum holds, whatever it says.
    fn prelude(total: u32, headers: u32) -> Vec<u8> {
        let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    #[test]
    fn impossible_lengths_are_refused_before_anything_is_kept() {
        let too_long = decode(Framing::EventStream, [&prelude(MAX_FRAME_BYTES as u32 + 1, 0)[..]]);
        assert_eq!(too_long, Err(FrameError::TooLong { limit: MAX_FRAME_BYTES }));
        assert!(found(&prelude(1 << 20, 1 << 18)).contains("at most 131072"));
        assert!(found(&prelude(15, 0)).contains("15 bytes with 0 of headers"));
        assert!(found(&prelude(100, 90)).contains("100 bytes with 90 of headers"));
        assert!(found(&prelude(0, 0)).contains("as long as its parts"));
    }

    /// A message with these bytes for headers, both sums right.
    fn raw_headers(headers: &[u8]) -> Vec<u8> {
        let mut body = prelude((PRELUDE_BYTES + headers.len() + CRC_BYTES) as u32, headers.len() as u32);
        body.extend_from_slice(headers);
        body.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
        body
    }

    #[test]
    fn broken_headers() {
        assert!(found(&raw_headers(b"\x01a\x0a")).contains("type 10 of header `a`"));
        assert!(found(&raw_headers(b"\x01a\x07\x00\x05ab")).contains("2 bytes where 5 are needed"));
        assert!(found(&raw_headers(b"\x09a")).contains("1 bytes where 9 are needed"));
        assert!(found(&raw_headers(b"\x01\xff\x00")).contains("UTF-8"));
    }

    #[test]
    fn long_names_and_values_are_cut_between_characters() {
        let long = "é".repeat(40_000);
        let body = one(&[(&long, Value::Str(&long))], b"");
        let headers: Vec<_> = parse(&body).unwrap().headers.map(Result::unwrap).collect();
        assert_eq!((headers[0].0.len(), headers[0].1), (254, Value::Str(&long[..65_534])));
    }
}
