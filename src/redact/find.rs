//! Where the secrets of a text stand: one pass over its bytes, that stops only where three of them may begin one.

use super::REDACTED;
use super::begin::{BEGINS, PREFIXES};
use super::looks::{has_odd_case, is_base64, is_basic, is_placeholder, is_random, starts_with};
use std::cell::Cell;
use std::ops::Range;

/// Longest secret that is known by its name, in bytes.
pub(super) const MAX_VALUE_BYTES: usize = 4096;

/// Longest private key, in bytes.
const MAX_PEM_BYTES: usize = 32 * 1024;

/// Shortest line of a private key that another one follows, in bytes.
const MIN_FULL_LINE_BYTES: usize = 60;

/// Data in base64 that stands before what looks like a secret in it, in bytes.
const BLOB_BYTES: usize = 48;

/// Bytes that are looked at again for each byte of a text, and beside them: so much is between all that a text of
/// people or machines has, and what was made to keep us busy.
const MAX_LOOKS: usize = 8;
const FREE_LOOKS: usize = 256 * 1024;

/// The secrets in a text, in order and apart from each other; `None` where it would take too long to tell.
pub(super) fn secrets(text: &str) -> Option<Vec<Range<usize>>> {
    let bytes = text.as_bytes();
    let looks = Cell::new(bytes.len() * MAX_LOOKS + FREE_LOOKS);
    let mut found = Vec::new();
    let (mut kept, mut at) = (0, 0);
    while let Some(begin) = BEGINS.next(bytes, at) {
        at = begin + 1;
        let here = Here { bytes, kept, at: begin, looks: &looks };
        if let Some(secret) = here.secret().filter(|secret| secret.start >= kept && secret.end > begin) {
            (kept, at) = (secret.end, secret.end);
            found.push(secret);
        }
        if looks.get() == 0 {
            return None;
        }
    }
    Some(found)
}

/// A place in a text, of which what stands before `kept` is done with.
#[derive(Clone, Copy)]
pub(super) struct Here<'t> {
    pub(super) bytes: &'t [u8],
    pub(super) kept: usize,
    pub(super) at: usize,
    /// Bytes that may still be looked at.
    looks: &'t Cell<usize>,
}

impl Here<'_> {
    /// Counts bytes that are looked at here and may be looked at again.
    pub(super) fn look(&self, bytes: usize) {
        self.looks.set(self.looks.get().saturating_sub(bytes));
    }

    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn before(&self) -> &[u8] {
        &self.bytes[self.kept.min(self.at)..self.at]
    }

    fn secret(&self) -> Option<Range<usize>> {
        let after = Here { at: self.at + 1, ..*self };
        match [self.bytes[self.at], self.bytes[self.at + 1]] {
            [_, b'='] => after.named(),
            [_, b':'] => after.named().or_else(|| after.telegram()),
            [_, b'>'] => after.element(),
            [b':', _] => self.user_part(),
            [b'-', b'-'] => self.private_key().or_else(|| self.option()),
            [b'b' | b'B', _] => self.scheme(),
            [b'e', _] => self.web_token().or_else(|| self.shape()),
            _ => self.shape(),
        }
    }

    /// What has a shape of its own.
    fn shape(&self) -> Option<Range<usize>> {
        if !self.begins_word() || self.in_blob() {
            return None;
        }
        let rest = self.rest();
        PREFIXES.beginning(rest).find_map(|(shape, prefix)| {
            let all = run(&rest[prefix..], shape.body);
            self.look(all);
            // A full stop ends a sentence.
            let body = trim_dots(&rest[prefix..prefix + all]);
            let next = rest.get(prefix + body.len()).copied();
            shape.fits(body, next).then_some(self.at..self.at + prefix + body.len())
        })
    }

    /// Whether no letter or digit stands before, or one that ends an escape.
    fn begins_word(&self) -> bool {
        let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
        match self.before() {
            [] => true,
            [.., last] if !last.is_ascii_alphanumeric() => true,
            [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
            [.., b'%', a, b] if hex(&[*a, *b]) => true,
            [.., b'\\', b'u', a, b, c, d] if hex(&[*a, *b, *c, *d]) => true,
            _ => false,
        }
    }

    /// Whether this is the inside of data in base64, where any letters may come: much of it stands before, or a little
    /// that is no word, joined as it joins.
    fn in_blob(&self) -> bool {
        let before = self.before();
        let data = &before[before.len().saturating_sub(BLOB_BYTES)..];
        let count = |of: fn(&u8) -> bool| data.iter().filter(|b| of(b)).count();
        let (upper, lower, digits) = (u8::is_ascii_uppercase, u8::is_ascii_lowercase, u8::is_ascii_digit);
        if data.len() == BLOB_BYTES && data.iter().all(|b| is_base64(*b)) {
            return count(digits) >= 2 && count(upper) >= 4 && count(lower) >= 4;
        }
        let joined = data.iter().rev().take_while(|b| is_base64(**b) && **b != b'/' && **b != b'=').count();
        matches!(data.last(), Some(b'-' | b'_' | b'+')) && has_odd_case(&data[data.len() - joined..])
    }

    /// What follows `Bearer ` or `Basic `.
    fn scheme(&self) -> Option<Range<usize>> {
        let rest = self.rest();
        let (start, basic) = match () {
            () if starts_with(rest, b"bearer ") => (7, false),
            () if starts_with(rest, b"basic ") => (6, true),
            () => return self.shape(),
        };
        let len = run(&rest[start..], |b| is_base64(b) || matches!(b, b'.' | b'~'));
        self.look(len);
        let token = trim_dots(&rest[start..start + len]);
        let secret = if basic { is_basic(token) } else { is_random(token) && !is_placeholder(token) };
        (self.begins_word() && secret).then_some(self.at + start..self.at + start + token.len())
    }

    /// A JSON web token: three parts, of which two begin as `{"` does in base64, or five where it is encrypted.
    /// <https://www.rfc-editor.org/rfc/rfc7519#section-3>, <https://www.rfc-editor.org/rfc/rfc7516#section-3.1>
    fn web_token(&self) -> Option<Range<usize>> {
        if !self.begins_word() {
            return None;
        }
        let rest = self.rest();
        let len = run(rest, |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        self.look(len);
        let token = trim_dots(&rest[..len]);
        let parts: Vec<&[u8]> = token.split(|b| *b == b'.').take(6).collect();
        let coded = |part: &[u8]| part.len() >= 10 && part.starts_with(b"eyJ");
        let fits = match parts[..] {
            [head, claims, signature] => coded(head) && coded(claims) && signature.len() >= 10,
            [head, _, nonce, text, tag] => coded(head) && nonce.len() >= 10 && !text.is_empty() && tag.len() >= 10,
            _ => false,
        };
        fits.then_some(self.at..self.at + token.len())
    }

    /// The token of a bot, a number before it: `123456789:AA…`. <https://core.telegram.org/bots/api#authorizing-your-bot>
    fn telegram(&self) -> Option<Range<usize>> {
        let before = self.before();
        let digits = before.iter().rev().take_while(|b| b.is_ascii_digit()).count();
        let start = before.len() - digits;
        let alone = start == 0 || !before[start - 1].is_ascii_alphanumeric() || before[..start].ends_with(b"bot");
        let body = &self.rest()[1..];
        let len = run(body, |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let fits = (8..=10).contains(&digits) && alone && (33..=36).contains(&len) && body[0] == b'A';
        (fits && is_random(&body[..len])).then_some(self.kept + start..self.at + 1 + len)
    }

    /// A PEM private key, up to its end line or as far as it goes; nothing where a hint stands in place of it.
    /// <https://www.rfc-editor.org/rfc/rfc7468#section-10>
    fn private_key(&self) -> Option<Range<usize>> {
        let rest = self.rest();
        let rest = &rest[..rest.len().min(MAX_PEM_BYTES)];
        let kind = rest.strip_prefix(b"-----BEGIN ")?;
        let head = 11 + memchr::memmem::find(&kind[..kind.len().min(80)], b"-----")? + 5;
        memchr::memmem::find(&rest[..head], b"PRIVATE KEY")?;
        let body = &rest[head..];
        self.look(body.len());
        let end = memchr::memmem::find(body, b"-----END ").and_then(|end| {
            let close = memchr::memmem::find(&body[end + 9..], b"-----")?;
            holds_key(&body[..end]).then_some(end + 9 + close + 5)
        });
        let end = end.unwrap_or_else(|| key_lines(body));
        (end > 0).then_some(self.at..self.at + head + end)
    }

    /// What stands before the host of a URL: the password, and the user where that is a token.
    fn user_part(&self) -> Option<Range<usize>> {
        let slashes = [&b"://"[..], b":\\/\\/"].into_iter().find(|s| self.rest().starts_with(s))?.len();
        let start = self.at + slashes;
        let ends = |b: &u8| {
            b.is_ascii_whitespace() || matches!(b, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'`' | b'\\')
        };
        let all = upto(&self.bytes[start..], ends)?;
        self.look(all.len());
        let host = all.iter().rposition(|b| *b == b'@')?;
        let colon = all[..host].iter().position(|b| *b == b':').unwrap_or(host);
        let (user, password) = (&all[..colon], all[..host].get(colon + 1..).unwrap_or(b""));
        let constant = password.is_empty() || starts_with(password, b"x-oauth") || password == REDACTED.as_bytes();
        let of_token = is_random(user) || (!user.is_empty() && starts_with(password, b"x-oauth"));
        if of_token && !is_placeholder(user) {
            let end = if constant { colon } else { host };
            return Some(start..start + end);
        }
        // A variable, a template, `YOUR_PASSWORD`: but the word `password` may be one.
        let hint = |text: &[u8]| {
            matches!(text, [b'$' | b'%', ..])
                || starts_with(text, b"your")
                || text.iter().any(|b| matches!(b, b'{' | b'*' | b'['))
        };
        (!constant && !hint(password) && !hint(user)).then_some(start + colon + 1..start + host)
    }
}

/// Without the full stop of a sentence.
pub(super) fn trim_dots(text: &[u8]) -> &[u8] {
    let dots = text.iter().rev().take_while(|b| **b == b'.').count();
    &text[..text.len() - dots]
}

/// What stands before a byte that ends it, or before the end; `None` where it is longer than a value may be.
pub(super) fn upto(bytes: &[u8], ends: impl Fn(&u8) -> bool) -> Option<&[u8]> {
    let near = &bytes[..bytes.len().min(MAX_VALUE_BYTES)];
    let len = near.iter().position(ends).or((near.len() == bytes.len()).then_some(near.len()))?;
    Some(&near[..len])
}

pub(super) fn run(bytes: &[u8], of: fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|b| of(**b)).count()
}

/// Whether what stands between the lines of a private key is one, and not a hint. Its first word may follow an escape.
fn holds_key(body: &[u8]) -> bool {
    let begins = |word: &[u8]| [&b"MI"[..], b"MC", b"MH", b"b3B", b"lQ"].iter().any(|begin| word.starts_with(begin));
    let mut words = body.split(|b| !is_base64(*b));
    words.any(|word| word.len() >= 24 || begins(word) || word.strip_prefix(b"n").is_some_and(begins))
}

/// How far a private key goes that has no end: to the line that is not full.
fn key_lines(body: &[u8]) -> usize {
    let mut end = 0;
    loop {
        let gap = run(&body[end..], |b| b.is_ascii_whitespace())
            + usize::from(body[end..].starts_with(b"\\n") || body[end..].starts_with(b"\\r")) * 2;
        let from = end + gap;
        let gap = if body[from..].starts_with(b"\\n") { 2 } else { 0 };
        let line = run(&body[from + gap..], is_base64);
        if line == 0 || (end == 0 && !holds_key(&body[from + gap..from + gap + line])) {
            return end;
        }
        end = from + gap + line;
        if line < MIN_FULL_LINE_BYTES {
            return end;
        }
    }
}
