//! Server-sent events by the WHATWG rules: LF, CR or CRLF, comments, a byte order mark, data over several lines.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>
//!
//! Two rules are wider than the standard's. An event that the body's end cuts off before its blank line still counts,
//! because several services end their last `data: [DONE]` so. And a block that has no data and begins with `{` is a frame
//! of its own: services that fail inside a stream put their error there without any framing.

use super::{Frame, FrameError, MAX_FRAME_BYTES, Status};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Incremental decoder of one event stream.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The event that spans chunks, from its first byte.
    partial: Vec<u8>,
    /// The data of an event with several `data:` lines.
    joined: Vec<u8>,
    /// The last call handed out what `partial` holds.
    spent: bool,
    /// Bytes of the current line so far lie in `partial`, so a terminator does not make an empty line.
    in_line: bool,
    /// The last terminator was a CR at the end of a chunk: an LF that follows belongs to it.
    after_cr: bool,
    /// The body's first bytes were looked at for a byte order mark.
    begun: bool,
}

impl Decoder {
    pub(super) fn next<'a>(&'a mut self, input: &'a [u8]) -> Result<Status<'a>, FrameError> {
        if self.spent {
            self.partial.clear();
            self.spent = false;
        }
        if self.begun
            && self.partial.is_empty()
            && !self.after_cr
            && let Some(status) = one_line(input)
        {
            return Ok(status);
        }
        let mut start = 0;
        let (start, used, first) = loop {
            if self.after_cr && start < input.len() {
                self.after_cr = false;
                if input[start] == b'\n' {
                    start += 1;
                }
            }
            let rest = &input[start..];
            let end = self.block_end(rest);
            if self.partial.len() + end.unwrap_or(rest.len()) > MAX_FRAME_BYTES {
                return Err(FrameError::TooLong { limit: MAX_FRAME_BYTES });
            }
            let Some(end) = end else {
                self.partial.extend_from_slice(rest);
                return Ok(Status::Incomplete);
            };
            let block = &rest[..end];
            if !self.partial.is_empty() {
                self.partial.extend_from_slice(block);
                self.spent = true;
            }
            let first = !std::mem::replace(&mut self.begun, true);
            if has_data(strip_bom(if self.spent { &self.partial } else { block }, first)) {
                break (start, start + end, first);
            }
            self.partial.clear();
            self.spent = false;
            start += end;
        };
        let block = if self.spent { &self.partial[..] } else { &input[start..used] };
        Ok(Status::Frame { frame: interpret(strip_bom(block, first), &mut self.joined), used })
    }

    pub(super) fn end(&mut self) -> Option<Frame<'_>> {
        if self.spent {
            self.partial.clear();
            self.spent = false;
        }
        let block = strip_bom(&self.partial, !self.begun);
        has_data(block).then(|| interpret(block, &mut self.joined))
    }

    pub(super) fn pending(&self) -> &[u8] {
        if self.spent { &[] } else { &self.partial }
    }

    /// The offset just after the blank line that ends the event, if `input` holds it.
    fn block_end(&mut self, input: &[u8]) -> Option<usize> {
        let mut line = 0;
        for at in memchr::memchr2_iter(b'\n', b'\r', input) {
            if at < line {
                continue; // the LF of a CRLF
            }
            let empty = at == line && !self.in_line;
            self.in_line = false;
            let cr = input[at] == b'\r';
            line = at + 1;
            if cr {
                match input.get(line) {
                    Some(b'\n') => line += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            if empty {
                return Some(line);
            }
        }
        // An LF that completes a CR of the chunk before is skipped by the caller, so it never looks like a blank line.
        self.in_line |= line < input.len();
        None
    }
}

/// The event that the input begins with, where it is one line of data that ends in LF, as nearly all are.
fn one_line(input: &[u8]) -> Option<Status<'_>> {
    let value = input.strip_prefix(b"data:")?;
    let value = &value[..memchr::memchr2(b'\n', b'\r', value)?];
    let used = b"data:".len() + value.len() + b"\n\n".len();
    let frame = Frame::data(value.strip_prefix(b" ").unwrap_or(value));
    let ends = input.get(..used)?.ends_with(b"\n\n") && used <= MAX_FRAME_BYTES;
    ends.then_some(Status::Frame { frame, used })
}

fn strip_bom(block: &[u8], first: bool) -> &[u8] {
    if first { block.strip_prefix(BOM).unwrap_or(block) } else { block }
}

/// The lines of an event, without terminators.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = block;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = &rest[end..];
        rest = rest.strip_prefix(b"\r\n").or_else(|| rest.get(1..)).unwrap_or(&[]);
        Some(line)
    })
}

/// A line's field name and value; a comment has an empty name.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b':', line) {
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
        None => (line, &[]),
    }
}

fn has_data(block: &[u8]) -> bool {
    block.first() == Some(&b'{') || lines(block).any(|line| field(line).0 == b"data")
}

fn interpret<'a>(block: &'a [u8], joined: &'a mut Vec<u8>) -> Frame<'a> {
    let mut event = "";
    let mut data: Option<&'a [u8]> = None;
    let mut several = false;
    for line in lines(block) {
        match field(line) {
            (b"event", value) => event = std::str::from_utf8(value).unwrap_or(""),
            (b"data", value) => match data {
                None => data = Some(value),
                Some(first) => {
                    if !several {
                        several = true;
                        joined.clear();
                        joined.extend_from_slice(first);
                    }
                    joined.push(b'\n');
                    joined.extend_from_slice(value);
                }
            },
            _ => {}
        }
    }
    let data = if several { &joined[..] } else { data.unwrap_or_else(|| block.trim_ascii()) };
    Frame { event, data, exception: false }
}

/// Writes one event; `event` is left out when empty. Newlines in `data` become lines of their own.
pub fn encode(event: &str, data: &[u8], out: &mut Vec<u8>) {
    if !event.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.as_bytes());
        out.push(b'\n');
    }
    for line in data.split(|&b| b == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::laws::{cuts_change_nothing, decode};
    use super::super::{Framing, MAX_FRAME_BYTES};
    use super::*;

    fn sse(body: &[u8]) -> Vec<(String, String)> {
        cuts_change_nothing(Framing::Sse, body)
            .unwrap()
            .into_iter()
            .map(|(event, data, _)| (event, String::from_utf8_lossy(&data).into_owned()))
            .collect()
    }

    fn event(event: &str, data: &str) -> (String, String) {
        (event.to_owned(), data.to_owned())
    }

    #[test]
    fn an_error_without_framing_is_a_frame() {
        let error = "{\n  \"error\": {\n    \"code\": 499\n  }\n}";
        assert_eq!(sse(format!("data: a\n\n{error}\n\n").as_bytes()), [event("", "a"), event("", error)]);
        assert_eq!(sse(format!("data: a\r\n\r\n{error}").as_bytes()), [event("", "a"), event("", error)]);
    }

    #[test]
    fn every_line_ending() {
        let want = [event("ping", "{}"), event("", "two\nlines"), event("", "[DONE]")];
        for eol in ["\n", "\r", "\r\n"] {
            let body = "event: ping\ndata: {}\n\ndata: two\ndata: lines\n\ndata: [DONE]\n\n".replace('\n', eol);
            assert_eq!(sse(body.as_bytes()), want, "{eol:?}");
        }
    }

    #[test]
    fn comments_unknown_fields_and_blank_lines_make_no_frame() {
        let body =
            b": OPENROUTER PROCESSING\n\n\n\nid: 7\nretry: 10\n\n:\ndata:a\n: between\nfoo: bar\n\nevent: lonely\n\n";
        assert_eq!(sse(body), [event("", "a")]);
    }

    #[test]
    fn multibyte_text_across_cuts() {
        assert_eq!(sse("data: héllo 🌍 日本\n\n".as_bytes()), [event("", "héllo 🌍 日本")]);
    }

    #[test]
    fn byte_order_mark_only_at_the_start() {
        assert_eq!(sse(b"\xEF\xBB\xBFdata: a\n\ndata: b\n\n"), [event("", "a"), event("", "b")]);
        assert_eq!(sse(b"data: a\n\n\xEF\xBB\xBFdata: b\n\n"), [event("", "a")]);
    }

    #[test]
    fn last_event_without_its_blank_line() {
        assert_eq!(sse(b"data: a\n\ndata: [DONE]"), [event("", "a"), event("", "[DONE]")]);
        assert_eq!(sse(b"data: a\n\ndata: [DONE]\n"), [event("", "a"), event("", "[DONE]")]);
    }

    #[test]
    fn data_without_colon_or_space_and_empty_data() {
        assert_eq!(sse(b"data\n\ndata:\n\ndata:  x\n\n"), [event("", ""), event("", ""), event("", " x")]);
    }

    #[test]
    fn carriage_return_ends_an_event_at_once() {
        let mut decoder = Decoder::default();
        assert!(matches!(decoder.next(b"data: a\r\r").unwrap(), Status::Frame { used: 9, .. }));
    }

    #[test]
    fn borrows_what_one_chunk_holds() {
        let chunk = b"data: whole\n\n";
        let mut decoder = Decoder::default();
        let Status::Frame { frame, .. } = decoder.next(chunk).unwrap() else { panic!("no frame") };
        assert!(chunk.as_ptr_range().contains(&frame.data.as_ptr()));
    }

    #[test]
    fn endless_frame_is_refused() {
        let chunk = vec![b'x'; MAX_FRAME_BYTES / 2 + 1];
        let err = decode(Framing::Sse, [&chunk[..], &chunk[..]]).unwrap_err();
        assert_eq!(err, FrameError::TooLong { limit: MAX_FRAME_BYTES });
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut body = Vec::new();
        encode("ping", b"{}", &mut body);
        encode("", b"two\nlines", &mut body);
        assert_eq!(sse(&body), [event("ping", "{}"), event("", "two\nlines")]);
    }
}
