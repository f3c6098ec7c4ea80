//! JSON lines: one JSON value a line, LF or CRLF, blank lines skipped, the last line's terminator optional.
//! <https://github.com/ndjson/ndjson-spec>

use super::{Frame, FrameError, MAX_FRAME_BYTES, Status};

/// Incremental decoder of JSON lines.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The line that spans chunks.
    partial: Vec<u8>,
    /// The last call handed out what `partial` holds.
    spent: bool,
}

impl Decoder {
    pub(super) fn next<'a>(&'a mut self, input: &'a [u8]) -> Result<Status<'a>, FrameError> {
        if self.spent {
            self.partial.clear();
            self.spent = false;
        }
        let mut start = 0;
        loop {
            let rest = &input[start..];
            let end = memchr::memchr(b'\n', rest);
            if self.partial.len() + end.unwrap_or(rest.len()) > MAX_FRAME_BYTES {
                return Err(FrameError::TooLong { limit: MAX_FRAME_BYTES });
            }
            let Some(end) = end else {
                self.partial.extend_from_slice(rest);
                return Ok(Status::Incomplete);
            };
            let used = start + end + 1;
            if self.partial.is_empty() {
                let line = rest[..end].trim_ascii();
                if !line.is_empty() {
                    return Ok(Status::Frame { frame: Frame::data(line), used });
                }
            } else {
                self.partial.extend_from_slice(&rest[..end]);
                if self.partial.trim_ascii().is_empty() {
                    self.partial.clear();
                } else {
                    self.spent = true;
                    return Ok(Status::Frame { frame: Frame::data(self.partial.trim_ascii()), used });
                }
            }
            start = used;
        }
    }

    pub(super) fn end(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        if self.spent {
            self.partial.clear();
            self.spent = false;
        }
        let line = self.partial.trim_ascii();
        Ok((!line.is_empty()).then(|| Frame::data(line)))
    }

    pub(super) fn pending(&self) -> &[u8] {
        if self.spent { &[] } else { &self.partial }
    }
}

/// Writes one line. `json` must hold no newline, as compact JSON never does.
pub fn encode(json: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(json);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::Framing;
    use super::super::laws::{cuts_change_nothing, decode};
    use super::*;

    fn lines(body: &[u8]) -> Vec<String> {
        let frames = cuts_change_nothing(Framing::Ndjson, body).unwrap();
        frames.into_iter().map(|(_, data, _)| String::from_utf8_lossy(&data).into_owned()).collect()
    }

    #[test]
    fn line_endings_blank_lines_and_multibyte_text() {
        assert_eq!(lines("{\"a\":\"é🌍\"}\r\n\n \n{\"b\":2}\n".as_bytes()), ["{\"a\":\"é🌍\"}", "{\"b\":2}"]);
    }

    #[test]
    fn last_line_without_newline() {
        assert_eq!(lines(b"{}\n{\"done\":true}"), ["{}", "{\"done\":true}"]);
    }

    #[test]
    fn endless_line_is_refused() {
        let chunk = vec![b'x'; MAX_FRAME_BYTES / 2 + 1];
        let err = decode(Framing::Ndjson, [&chunk[..], &chunk[..]]).unwrap_err();
        assert_eq!(err, FrameError::TooLong { limit: MAX_FRAME_BYTES });
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut body = Vec::new();
        encode(b"{\"a\":1}", &mut body);
        encode(b"{}", &mut body);
        assert_eq!(lines(&body), ["{\"a\":1}", "{}"]);
    }
}
