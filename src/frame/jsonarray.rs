//! A streamed JSON array whose elements are the frames, as Gemini sends without `alt=sse`.
//! <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>
//!
//! The elements are objects; they are not parsed here, only told apart. A body that is one object and no array (errors
//! come like that) is one frame.

use super::{Frame, FrameError, MAX_FRAME_BYTES, Status};

/// Bytes of the body that an error quotes.
const EVIDENCE_BYTES: usize = 40;

/// Incremental decoder of a JSON array.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The element that spans chunks.
    partial: Vec<u8>,
    /// The last call handed out what `partial` holds.
    spent: bool,
    place: Place,
    element: Element,
}

/// Where in the body the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the array.
    #[default]
    Start,
    /// After `[`.
    First,
    /// After a comma.
    Next,
    /// In an element of the array.
    Element,
    /// In an object that stands alone.
    Alone,
    /// After an element.
    After,
    /// After the array, or the object that stood alone.
    End,
}

impl Place {
    /// What may stand here beside white space.
    fn expected(self) -> &'static str {
        match self {
            Place::Start => "a JSON array or object",
            Place::First => "a JSON object or `]`",
            Place::Next => "a JSON object",
            Place::Element | Place::Alone => "the end of a JSON object",
            Place::After => "`,` or `]`",
            Place::End => "the end of the body after a JSON array",
        }
    }
}

/// How far an object was read.
#[derive(Debug, Default)]
struct Element {
    /// Brackets and braces that are open.
    depth: usize,
    in_string: bool,
    /// The byte before was a backslash inside a string.
    escaped: bool,
}

impl Element {
    /// The offset just after the object's closing brace, if `input` holds it.
    fn end(&mut self, input: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < input.len() {
            if self.in_string {
                at = self.string_end(input, at);
                continue;
            }
            match input[at] {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
            if self.depth == 0 {
                return Some(at);
            }
        }
        None
    }

    /// The offset just after the string's closing quote, or the input's end.
    fn string_end(&mut self, input: &[u8], mut at: usize) -> usize {
        if std::mem::take(&mut self.escaped) {
            at += 1;
        }
        while let Some(found) = input.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
            at += found + 1;
            if input[at - 1] == b'"' {
                self.in_string = false;
                return at;
            }
            if at == input.len() {
                self.escaped = true;
            }
            at += 1;
        }
        input.len()
    }
}

impl Decoder {
    pub(super) fn next<'a>(&'a mut self, input: &'a [u8]) -> Result<Status<'a>, FrameError> {
        self.forget_spent();
        let mut start = 0;
        if !matches!(self.place, Place::Element | Place::Alone) {
            match self.find_element(input)? {
                Some(at) => start = at,
                None => return Ok(Status::Incomplete),
            }
        }
        let rest = &input[start..];
        let end = self.element.end(rest);
        if self.partial.len() + end.unwrap_or(rest.len()) > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong { limit: MAX_FRAME_BYTES });
        }
        let Some(end) = end else {
            self.partial.extend_from_slice(rest);
            return Ok(Status::Incomplete);
        };
        self.place = if self.place == Place::Alone { Place::End } else { Place::After };
        let data = if self.partial.is_empty() {
            &rest[..end]
        } else {
            self.partial.extend_from_slice(&rest[..end]);
            self.spent = true;
            &self.partial[..]
        };
        Ok(Status::Frame { frame: Frame::data(data), used: start + end })
    }

    pub(super) fn end(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        self.forget_spent();
        match self.place {
            Place::End => Ok(None),
            Place::Start => Ok(None), // an empty body holds no frame, whatever its framing
            place => Err(FrameError::Corrupt {
                expected: place.expected(),
                found: match self.partial.len() {
                    0 => "the end of the body".into(),
                    open => format!("the end of the body {open} bytes into `{}`", evidence(&self.partial)),
                },
            }),
        }
    }

    pub(super) fn pending(&self) -> &[u8] {
        if self.spent { &[] } else { &self.partial }
    }

    fn forget_spent(&mut self) {
        if std::mem::take(&mut self.spent) {
            self.partial.clear();
        }
    }

    /// Goes over what stands between elements; the offset of the next one's opening brace, if it is in `input`.
    fn find_element(&mut self, input: &[u8]) -> Result<Option<usize>, FrameError> {
        for (at, byte) in input.iter().enumerate() {
            self.place = match (self.place, byte) {
                (_, b' ' | b'\t' | b'\n' | b'\r') => continue,
                (Place::Start, b'[') => Place::First,
                (Place::Start, b'{') => Place::Alone,
                (Place::First | Place::Next, b'{') => Place::Element,
                (Place::First | Place::After, b']') => Place::End,
                (Place::After, b',') => Place::Next,
                (place, _) => {
                    let found = format!("`{}`", evidence(&input[at..]));
                    return Err(FrameError::Corrupt { expected: place.expected(), found });
                }
            };
            if matches!(self.place, Place::Element | Place::Alone) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

/// The first bytes, for an error.
fn evidence(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(EVIDENCE_BYTES)]).into_owned()
}

/// Writes one element with what Gemini puts around it: the array opens before the first and closes after the last.
pub fn encode(json: &[u8], first: bool, last: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if first { b"[" } else { b",\r\n" });
    out.extend_from_slice(json);
    out.extend_from_slice(if last { b"\n]" } else { b"\n" });
}

#[cfg(test)]
mod tests {
    use super::super::Framing;
    use super::super::laws::{cuts_change_nothing, decode};
    use super::*;

    fn elements(body: &str) -> Result<Vec<String>, FrameError> {
        let frames = cuts_change_nothing(Framing::JsonArray, body.as_bytes())?;
        Ok(frames.into_iter().map(|(_, data, _)| String::from_utf8_lossy(&data).into_owned()).collect())
    }

    #[test]
    fn white_space_as_it_comes() {
        let body = "\r\n [{\n \"a\": 1\n}\n,\r\n{\"b\":[{}]}\t,{ }\n]\n \r\n";
        assert_eq!(elements(body).unwrap(), ["{\n \"a\": 1\n}", "{\"b\":[{}]}", "{ }"]);
        assert_eq!(elements("[]").unwrap(), [""; 0]);
        assert_eq!(elements(" \n").unwrap(), [""; 0]);
    }

    #[test]
    fn strings_hold_braces_quotes_and_multibyte_text() {
        let body = r#"[{"a}":"\"}]\\","b":"é🌍日{"},{"c":"\\\""}]"#;
        assert_eq!(elements(body).unwrap(), [r#"{"a}":"\"}]\\","b":"é🌍日{"}"#, r#"{"c":"\\\""}"#]);
    }

    #[test]
    fn one_object_is_one_frame() {
        let body = "{\n  \"error\": {\"code\": 400}\n}\n";
        assert_eq!(elements(body).unwrap(), ["{\n  \"error\": {\"code\": 400}\n}"]);
        assert!(elements("{} {}").is_err());
    }

    #[test]
    fn what_an_array_cannot_hold_is_refused_with_evidence() {
        for (body, expected, found) in [
            ("<html>", "a JSON array or object", "`<html>`"),
            ("[1]", "a JSON object or `]`", "`1]`"),
            ("[{}{}]", "`,` or `]`", "`{}]`"),
            ("[{},]", "a JSON object", "`]`"),
            ("[{}] x", "the end of the body after a JSON array", "`x`"),
        ] {
            let whole = decode(Framing::JsonArray, [body.as_bytes()]);
            assert_eq!(whole, Err(FrameError::Corrupt { expected, found: found.into() }), "{body}");
            assert!(elements(body).is_err());
        }
    }

    #[test]
    fn a_body_that_ends_inside_is_corrupt() {
        for body in ["[", "[{}", "[{},", "[{\"a\":\"]", "{\"error\":"] {
            assert!(matches!(elements(body), Err(FrameError::Corrupt { .. })), "{body}");
        }
        let err = decode(Framing::JsonArray, [&b"[{\"a\":"[..]]).unwrap_err();
        assert_eq!(
            err.to_string(),
            "expected the end of a JSON object, found the end of the body 5 bytes into `{\"a\":`"
        );
    }

    #[test]
    fn an_endless_element_is_refused() {
        let chunk = vec![b'x'; MAX_FRAME_BYTES / 2];
        let err = decode(Framing::JsonArray, [&b"[{\""[..], &chunk[..], &chunk[..]]).unwrap_err();
        assert_eq!(err, FrameError::TooLong { limit: MAX_FRAME_BYTES });
    }

    #[test]
    fn an_element_within_a_chunk_is_borrowed_and_one_that_spans_is_pending() {
        let mut decoder = Decoder::default();
        let input = b"[{\"a\":1},{\"b\"";
        let Ok(Status::Frame { frame, used }) = decoder.next(input) else { panic!("no frame") };
        assert!(std::ptr::eq(frame.data, &input[1..8]));
        assert_eq!(decoder.next(&input[used..]), Ok(Status::Incomplete));
        assert_eq!(decoder.pending(), b"{\"b\"");
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut body = Vec::new();
        encode(b"{\"a\":1}", true, false, &mut body);
        encode(b"{}", false, true, &mut body);
        assert_eq!(body, b"[{\"a\":1}\n,\r\n{}\n]");
        assert_eq!(elements(std::str::from_utf8(&body).unwrap()).unwrap(), ["{\"a\":1}", "{}"]);
    }
}
