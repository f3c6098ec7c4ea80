//! A text as it reads without the codes in it: `%2D`, `\u002d` and `\/` hide what a secret is known by.

use std::ops::Range;

/// A text without its codes, and where each of its places is in the text it was made from.
pub(super) struct Decoded {
    pub(super) text: String,
    /// After each code: the place here, and there.
    after: Vec<(usize, usize)>,
}

impl Decoded {
    /// `None` where there are no codes.
    pub(super) fn of(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (mut out, mut kept, mut after) = (String::new(), 0, Vec::new());
        let mut from = 0;
        while let Some(at) = memchr::memchr2(b'%', b'\\', &bytes[from..]).map(|found| from + found) {
            let Some((char, len)) = code(&bytes[at..]) else {
                // A backslash before a backslash stands for itself.
                from = at + 1 + usize::from(bytes[at..].starts_with(b"\\\\"));
                continue;
            };
            out.push_str(&text[kept..at]);
            out.push(char);
            (kept, from) = (at + len, at + len);
            after.push((out.len(), kept));
        }
        if after.is_empty() {
            return None;
        }
        out.push_str(&text[kept..]);
        Some(Decoded { text: out, after })
    }

    /// The same range of the text this was made from.
    pub(super) fn origin(&self, range: &Range<usize>) -> Range<usize> {
        self.place(range.start)..self.place(range.end)
    }

    fn place(&self, at: usize) -> usize {
        match self.after.partition_point(|(here, _)| *here <= at) {
            0 => at,
            n => self.after[n - 1].1 + (at - self.after[n - 1].0),
        }
    }
}

/// The ASCII character that a code at the beginning stands for, and the code's length. Others are left as they are.
fn code(bytes: &[u8]) -> Option<(char, usize)> {
    let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let pair = |at: usize| Some(hex(at)? * 16 + hex(at + 1)?);
    let (value, len) = match bytes {
        [b'%', ..] => (pair(1)?, 3),
        [b'\\', b'/', ..] => (u32::from(b'/'), 2),
        [b'\\', b'u', b'0', b'0', ..] => (pair(4)?, 6),
        _ => return None,
    };
    let ascii = u8::try_from(value).ok().filter(|byte| byte.is_ascii() && *byte != 0)?;
    Some((char::from(ascii), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_text() {
        let text = "é%20a\\u002db\\/%zz\\\\/%C3c";
        let decoded = Decoded::of(text).unwrap();
        assert_eq!(decoded.text, "é a-b/%zz\\\\/%C3c");
        for (part, origin) in [("a-b", "a\\u002db"), (" ", "%20"), ("/%zz", "\\/%zz"), ("c", "c"), ("é", "é")] {
            let at = decoded.text.find(part).unwrap();
            assert_eq!(&text[decoded.origin(&(at..at + part.len()))], origin);
        }
        assert!(Decoded::of("100% of \\n é %C3%A9").is_none());
    }
}
