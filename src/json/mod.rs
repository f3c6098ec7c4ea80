//! JSON: one way to parse it, a short cut for what is read once a chunk, and text by hand for what is written once a
//! chunk or once an answer.

mod tree;

pub(crate) use tree::object;
pub use tree::{MAX_DEPTH, Members, Node, number as number_value, step, steps};

use serde::de::{Deserialize, Error as _};

/// Parses JSON that came as bytes: all of it must be UTF-8. This is the one way that the program has, since a second one
/// would double the code of every type that is parsed.
///
/// # Errors
/// It is not UTF-8, not JSON, or of another shape.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_str(std::str::from_utf8(bytes).map_err(serde_json::Error::custom)?)
}

/// Walks over JSON that is expected to have a certain form. Whatever has another one, valid or not, is `None`: it is to
/// be parsed as usual.
#[derive(Debug)]
pub struct Walk<'a> {
    text: &'a str,
    /// The next byte is no white space.
    at: usize,
}

impl<'a> Walk<'a> {
    /// Begins before a value.
    pub fn new(text: &'a str) -> Self {
        let mut walk = Walk { text, at: 0 };
        walk.skip(0);
        walk
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// Goes on after so many bytes and the white space that follows them.
    fn skip(&mut self, bytes: usize) {
        self.at += bytes;
        let rest = self.rest();
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        self.at += rest.iter().position(|byte| !is_space(byte)).unwrap_or(rest.len());
    }

    /// Takes this byte.
    pub fn byte(&mut self, byte: u8) -> Option<()> {
        (*self.rest().first()? == byte).then(|| self.skip(1))
    }

    /// Takes exactly this text.
    pub fn eat(&mut self, text: &str) -> Option<()> {
        self.rest().starts_with(text.as_bytes()).then(|| self.skip(text.len()))
    }

    /// Takes a string without escapes.
    pub fn string(&mut self) -> Option<&'a str> {
        let inner = self.rest().strip_prefix(b"\"")?;
        let end = string_end(inner)?;
        let string = &self.text[self.at + 1..][..end];
        (inner[end] == b'"').then(|| self.skip(end + 2))?;
        Some(string)
    }

    /// Takes a string as it stands, with its quotes.
    pub fn literal(&mut self) -> Option<&'a str> {
        let inner = self.rest().strip_prefix(b"\"")?;
        let mut end = string_end(inner)?;
        while inner[end] == b'\\' {
            end += 2;
            end += string_end(inner.get(end..)?)?;
        }
        let literal = &self.text[self.at..][..end + 2];
        (inner[end] == b'"').then(|| self.skip(end + 2))?;
        Some(literal)
    }

    /// Takes the digits of a whole number that is not negative.
    pub fn digits(&mut self) -> Option<()> {
        let len = self.rest().iter().position(|b| !b.is_ascii_digit())?;
        (len > 0).then(|| self.skip(len))
    }

    /// Takes a whole number that is not negative.
    pub fn whole(&mut self) -> Option<usize> {
        let at = self.at;
        self.digits()?;
        self.text[at..self.at].trim_ascii_end().parse().ok()
    }

    /// Takes an object; `member` takes the value of each member.
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.byte(b'{')?;
        loop {
            let name = self.string()?;
            self.byte(b':')?;
            member(self, name)?;
            if self.byte(b',').is_none() {
                return self.byte(b'}');
            }
        }
    }

    /// Nothing follows.
    pub fn end(&self) -> Option<()> {
        self.rest().is_empty().then_some(())
    }
}

/// The first byte of a string's inside that is not plain text. Most strings are short.
fn string_end(inner: &[u8]) -> Option<usize> {
    let near = &inner[..inner.len().min(BLOCK)];
    near.iter().position(|byte| needs_escape(*byte)).or_else(|| next_escape(inner.get(BLOCK..)?).map(|at| BLOCK + at))
}

/// Writes a string with its quotes, as serde_json does.
pub fn string(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    escaped(text, out);
    out.push(b'"');
}

/// Writes what stands between a string's quotes.
pub fn escaped(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(at) = next_escape(rest) {
        out.extend_from_slice(&rest[..at]);
        escape(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Whether a text stands between quotes as it is.
pub fn is_plain(text: &str) -> bool {
    next_escape(text.as_bytes()).is_none()
}

/// Writes a whole number.
pub fn number(number: i64, out: &mut Vec<u8>) {
    let mut digits = [0; MAX_DIGITS];
    let (mut at, mut rest) = (MAX_DIGITS, number.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Digits of the longest number.
const MAX_DIGITS: usize = 20;

/// Bytes that are looked at together.
const BLOCK: usize = size_of::<u64>();

fn next_escape(text: &[u8]) -> Option<usize> {
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let from = blocks.iter().take_while(|block| is_clean(u64::from_ne_bytes(**block))).count() * BLOCK;
    text[from..].iter().position(|byte| ESCAPED[usize::from(*byte)]).map(|at| from + at)
}

/// Whether none of eight bytes is to be escaped: a byte's high bit is set in a term where it is below 0x20, or becomes
/// zero by the comparison. <https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>
const fn is_clean(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    const fn below(word: u64, limit: u8) -> u64 {
        word.wrapping_sub(ONES * limit as u64) & !word
    }
    let (quotes, slashes) = (word ^ (ONES * b'"' as u64), word ^ (ONES * b'\\' as u64));
    (below(word, 0x20) | below(quotes, 1) | below(slashes, 1)) & HIGHS == 0
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// [`needs_escape`] of every byte.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = needs_escape(byte as u8);
        byte += 1;
    }
    table
};

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_as_serde_json_writes_them() {
        let all: String = (0..0x180u32).filter_map(char::from_u32).chain("🌍日本語\u{2028}".chars()).collect();
        for start in (0..all.len()).filter(|at| all.is_char_boundary(*at)) {
            let mut out = Vec::new();
            string(&all[start..], &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&all[start..]).unwrap());
        }
    }

    #[test]
    fn numbers() {
        for n in [0, 7, -10, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            number(n, &mut out);
            assert_eq!(out, n.to_string().as_bytes());
        }
    }
}
