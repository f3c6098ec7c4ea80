//! A character that is cut between two deltas: some services cut text by UTF-16 units, so that one delta ends with
//! `\ud83d` and the next one begins with `\ude00`. Clients in JavaScript join them by themselves.

use super::{Collapse, Collapsed, Fault, Progress};
use crate::frame::Frame;
use memchr::memmem;

/// The length of `\uXXXX`.
const ESCAPE_BYTES: usize = 6;

/// Puts halves of a surrogate pair together before a collapser sees them.
pub(super) struct Joined {
    inner: Box<dyn Collapse>,
    /// The first half, as it was written.
    first: Option<[u8; ESCAPE_BYTES]>,
}

impl Joined {
    pub(super) fn new(inner: Box<dyn Collapse>) -> Self {
        Joined { inner, first: None }
    }
}

impl Collapse for Joined {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let cut = |data: &[u8]| halves(data).any(|half| half.is_first);
        if self.first.is_none() && !cut(frame.data) {
            return self.inner.push(frame);
        }
        let mut data = Vec::with_capacity(frame.data.len() + ESCAPE_BYTES);
        let mut done = 0;
        for half in halves(frame.data) {
            data.extend_from_slice(&frame.data[done..half.at]);
            done = half.at;
            if half.is_first {
                self.first = frame.data[half.at..].first_chunk().copied();
                done += ESCAPE_BYTES;
            } else if let Some(first) = self.first.take() {
                data.extend_from_slice(&first);
            }
        }
        data.extend_from_slice(&frame.data[done..]);
        self.inner.push(&Frame { data: &data, ..*frame })
    }

    fn kept_bytes(&self) -> usize {
        self.inner.kept_bytes()
    }

    fn finish(&mut self) -> Collapsed {
        self.inner.finish()
    }
}

/// Half of a pair at the end, or at the beginning, of a string.
struct Half {
    at: usize,
    is_first: bool,
}

/// The halves that stand alone: first ones before a string's closing quote, second ones behind its opening quote.
fn halves(data: &[u8]) -> impl Iterator<Item = Half> {
    memmem::find_iter(data, b"\\u").filter_map(move |at| {
        let escape: &[u8; ESCAPE_BYTES] = data[at..].first_chunk()?;
        let before = &data[..at];
        let escaped = before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
        match (escape[2], escape[3]) {
            (b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B') if !escaped => {
                (data.get(at + ESCAPE_BYTES) == Some(&b'"')).then_some(Half { at, is_first: true })
            }
            (b'd' | b'D', b'c'..=b'f' | b'C'..=b'F') if !escaped => {
                before.ends_with(b"\"").then_some(Half { at, is_first: false })
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::laws::golden;
    use super::super::openai_chat::Chat;
    use crate::frame::Framing;

    #[test]
    fn an_emoji_cut_between_two_deltas_is_whole() {
        let delta =
            |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
        let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        let said = |pieces: &[&str]| {
            let body: String = pieces.iter().map(|piece| delta(piece)).chain([end.to_owned()]).collect();
            golden(&Chat, Framing::Sse, body.as_bytes()).turn().content()
        };
        assert_eq!(said(&[r"a\ud83d", r"\ude00b"]), "a😀b");
        assert_eq!(said(&[r"\uD83D", r"\uDE00\uD83D", r"\uDE01"]), "😀😁");
        assert_eq!(said(&[r"\ud83d\ude00", r"\\ud83d", "x"]), "😀\\ud83dx");
        assert_eq!(said(&[r"a\ud83d", "b"]), "ab", "half a character says nothing");
    }
}
