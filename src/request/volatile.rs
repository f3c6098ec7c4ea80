//! Volatile text: what differs between two runs of the same test, replaced by its kind.
//!
//! UUIDs, ISO dates and times, hex of 16 digits and more, epoch milliseconds.

use std::borrow::Cow;

/// Shortest run of hex digits that is taken for an id.
const MIN_HEX_DIGITS: usize = 16;

/// Replaces volatile text by `<uuid>`, `<date>`, `<time>`, `<hex>` and `<epoch>`; borrows where there is none.
pub fn replace(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out: Option<String> = None;
    let (mut kept, mut at) = (0, 0);
    while let Some(start) = next_word(bytes, at) {
        match volatile_at(&bytes[start..]) {
            Some((len, kind)) => {
                let out = out.get_or_insert_default();
                out.push_str(&text[kept..start]);
                out.push_str(kind);
                at = start + len;
                kept = at;
            }
            None => at = word_end(bytes, start),
        }
    }
    match out {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.push_str(&text[kept..]);
            Cow::Owned(out)
        }
    }
}

/// Where the next word that begins with a hex digit begins, from `at` on.
fn next_word(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    while at < bytes.len() {
        let begins = at == 0 || !is_word(bytes[at - 1]);
        if begins && bytes[at].is_ascii_hexdigit() {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn word_end(bytes: &[u8], start: usize) -> usize {
    start + bytes[start..].iter().position(|b| !is_word(*b)).unwrap_or(bytes.len() - start)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() // other scripts put no space before a date
}

/// Volatile text at the start of `bytes`: its length and what replaces it.
fn volatile_at(bytes: &[u8]) -> Option<(usize, &'static str)> {
    if let Some(len) = uuid(bytes) {
        return Some((len, "<uuid>"));
    }
    if let Some(len) = date_time(bytes) {
        return Some((len, "<date>"));
    }
    if let Some(len) = clock(bytes) {
        return Some((len, "<time>"));
    }
    let hex = bytes.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if !ends_word(bytes, hex) {
        return None;
    }
    let digits = bytes[..hex].iter().all(u8::is_ascii_digit);
    // 13 digits that begin with 1: a time from 2001 to 2033
    if digits && hex == 13 && bytes[0] == b'1' {
        return Some((hex, "<epoch>"));
    }
    (hex >= MIN_HEX_DIGITS).then_some((hex, "<hex>"))
}

fn ends_word(bytes: &[u8], len: usize) -> bool {
    bytes.get(len).is_none_or(|b| !is_word(*b))
}

fn uuid(bytes: &[u8]) -> Option<usize> {
    let word = bytes.get(..36)?;
    let shaped = word.iter().enumerate().all(|(i, b)| match i {
        8 | 13 | 18 | 23 => *b == b'-',
        _ => b.is_ascii_hexdigit(),
    });
    (shaped && ends_word(bytes, 36)).then_some(36)
}

/// `2025-01-15`, and a time after it where there is one.
fn date_time(bytes: &[u8]) -> Option<usize> {
    if !shaped(bytes, b"dddd-dd-dd") || !matches!(bytes[..2], [b'1' | b'2', _]) {
        return None;
    }
    if ends_word(bytes, 10) || matches!(bytes.get(10), Some(b'T' | b't')) {
        let gap = matches!(bytes.get(10), Some(b'T' | b't' | b' '));
        let after = bytes.get(11..).filter(|_| gap).and_then(clock);
        return match after {
            Some(len) => Some(11 + len),
            None => ends_word(bytes, 10).then_some(10),
        };
    }
    None
}

/// `10:30`, `10:30:00`, with a fraction and a zone where there are any.
fn clock(bytes: &[u8]) -> Option<usize> {
    if !shaped(bytes, b"dd:dd") || bytes[0] > b'2' || bytes[3] > b'5' {
        return None;
    }
    let mut len = 5;
    if shaped(&bytes[len..], b":dd") {
        len += 3;
        if bytes.get(len) == Some(&b'.') {
            let digits = bytes[len + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
            len += if digits > 0 { 1 + digits } else { 0 };
        }
    }
    if matches!(bytes.get(len), Some(b'Z' | b'z')) {
        len += 1;
    } else if matches!(bytes.get(len), Some(b'+' | b'-')) {
        if shaped(&bytes[len + 1..], b"dd:dd") {
            len += 6;
        } else if shaped(&bytes[len + 1..], b"dddd") {
            len += 5;
        }
    }
    ends_word(bytes, len).then_some(len)
}

/// Whether `bytes` begins like the pattern, where `d` stands for a digit.
fn shaped(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.len() >= pattern.len()
        && bytes.iter().zip(pattern).all(|(b, p)| if *p == b'd' { b.is_ascii_digit() } else { b == p })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (text, want) in [
            ("id 123e4567-e89b-12d3-a456-426614174000.", "id <uuid>."),
            ("on 2025-01-15, at 10:30", "on <date>, at <time>"),
            ("2025-01-15T10:30:00.123Z|2025-01-15 10:30:00+02:00", "<date>|<date>"),
            ("x=1736937000123&y=deadbeefdeadbeef00", "x=<epoch>&y=<hex>"),
            ("call_0123456789abcdef", "call_<hex>"),
            ("今天是2025-01-15，", "今天是<date>，"),
        ] {
            assert_eq!(replace(text), want);
        }
    }

    #[test]
    fn what_only_looks_alike_stays() {
        for text in ["", "hi", "gpt-4o-2024", "1.2.3", "99:99", "12345678901234", "deadbeef", "2025-01-155", "facade"] {
            assert_eq!(replace(text), text);
        }
    }
}
