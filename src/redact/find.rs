//! Where the secrets of a text stand: one pass over its bytes, that stops only where three of them may begin one.

use super::REDACTED;
use super::looks::{
    has_odd_case, is_base64, is_basic, is_key, is_opaque, is_password, is_placeholder, is_random, starts_with,
};
use super::names::{self, Kind, MAX_NAME_BYTES};
use super::shapes::{SHAPES, Shape};
use std::cell::Cell;
use std::ops::Range;

/// Most white space on either side of what stands between a name and its value, in bytes.
const MAX_GAP_BYTES: usize = 16;

/// Longest secret that is known by its name, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// Longest private key, in bytes.
const MAX_PEM_BYTES: usize = 32 * 1024;

/// Shortest line of a private key that another one follows, in bytes.
const MIN_FULL_LINE_BYTES: usize = 60;

/// Data in base64 that stands before what looks like a secret in it, in bytes.
const BLOB_BYTES: usize = 48;

/// What may stand between a scheme's name and its token in an `authorization`.
const SCHEMES: [&[u8]; 8] = [b"bearer", b"basic", b"token", b"apikey", b"api-key", b"key", b"jwt", b"aws4-hmac-sha256"];

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

/// A value that stands under a name, as far as it is secret.
pub(super) fn under_name(kind: Kind, value: &str) -> Option<Range<usize>> {
    let value = Value { at: 0..value.len(), quoted: true, bare: false, bytes: value.as_bytes() };
    value.secret(kind)
}

// -------------------------------------------------------------------------------------------- where one may begin

/// Three bytes that stand where a secret may begin. Each kind of beginning has a bit, set for every byte that may come
/// first in it, second, and third.
struct Begins {
    sets: [[u64; 4]; 256],
    /// The bit of what begins with this byte and has a shape.
    shapes: [u64; 256],
    bits: u32,
}

/// What tells of a secret beside its shape: sets of first and of second bytes.
const TELLS: [[&[u8]; 2]; 6] = [
    [b"-", b"-"],
    [b":", b"/\\"],
    [b"e", b"y"],
    [b"bB", b"aAeE"],
    // What the name of a secret ends with, and what stands before its value.
    [b"cdeghklnrstyCDEGHKLNRSTY", b"=:>"],
    [b"\"'`\\] \t0123456789", b"=:"],
];

static BEGINS: Begins = {
    let mut begins = Begins { sets: [[0; 4]; 256], shapes: [0; 256], bits: 0 };
    let mut i = 0;
    while i < SHAPES.len() {
        let mut n = 0;
        while n < SHAPES[i].prefixes.len() {
            begins = begins.with_prefix(SHAPES[i].prefixes[n].as_bytes());
            n += 1;
        }
        i += 1;
    }
    let mut i = 0;
    while i < TELLS.len() {
        let bit = 1 << begins.bits;
        begins = begins.with(TELLS[i][0], 0, bit).with(TELLS[i][1], 1, bit).with(&[], 2, bit);
        begins.bits += 1;
        i += 1;
    }
    begins
};

impl Begins {
    const fn with_prefix(mut self, prefix: &[u8]) -> Self {
        let first = prefix[0] as usize;
        if self.shapes[first] == 0 {
            self.shapes[first] = 1 << self.bits;
            self.bits += 1;
        }
        let bit = self.shapes[first];
        let (two, rest) = prefix.split_at(2);
        let third = if rest.is_empty() { rest } else { rest.split_at(1).0 };
        self.with(two.split_at(1).0, 0, bit).with(two.split_at(1).1, 1, bit).with(third, 2, bit)
    }

    /// With a bit for these bytes at this place; for any byte where there are none.
    const fn with(mut self, bytes: &[u8], place: usize, bit: u64) -> Self {
        let mut i = 0;
        while i < if bytes.is_empty() { 256 } else { bytes.len() } {
            self.sets[if bytes.is_empty() { i } else { bytes[i] as usize }][place] |= bit;
            i += 1;
        }
        self
    }

    /// The next place where a secret may begin.
    fn next(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let (mut one, mut two) = (0, 0);
        let mut step = |b: u8| {
            let [first, second, third, _] = self.sets[usize::from(b)];
            let begun = two & third;
            (two, one) = (one & second, first);
            begun
        };
        let mut at = from;
        while let Some(next) = bytes.get(at..at + 4) {
            let begun = [step(next[0]), step(next[1]), step(next[2]), step(next[3])];
            if begun[0] | begun[1] | begun[2] | begun[3] != 0 {
                return begun.iter().position(|begun| *begun != 0).map(|i| at + i - 2);
            }
            at += 4;
        }
        bytes.get(at..)?.iter().position(|b| step(*b) != 0).map(|i| at + i - 2)
    }
}

/// How many prefixes there are.
const PREFIX_COUNT: usize = {
    let (mut count, mut i) = (0, 0);
    while i < SHAPES.len() {
        count += SHAPES[i].prefixes.len();
        i += 1;
    }
    count
};

/// The prefixes of all shapes, in the order of their first bytes: those that begin with `b` stand from `starts[b]` to
/// `starts[b + 1]`.
struct Prefixes {
    /// Each as its shape's number and its own in it.
    all: [(u8, u8); PREFIX_COUNT],
    starts: [u8; 257],
}

static PREFIXES: Prefixes = {
    let mut prefixes = Prefixes { all: [(0, 0); PREFIX_COUNT], starts: [0; 257] };
    let (mut first, mut count) = (0, 0);
    while first < 256 {
        prefixes.starts[first] = count;
        let mut i = 0;
        while i < SHAPES.len() {
            let mut n = 0;
            while n < SHAPES[i].prefixes.len() {
                if SHAPES[i].prefixes[n].as_bytes()[0] as usize == first {
                    prefixes.all[count as usize] = (i as u8, n as u8);
                    count += 1;
                }
                n += 1;
            }
            i += 1;
        }
        first += 1;
    }
    prefixes.starts[256] = count;
    prefixes
};

impl Prefixes {
    /// The shapes that a text begins with, each with its prefix's length.
    fn beginning(&self, text: &[u8]) -> impl Iterator<Item = (&'static Shape, usize)> {
        let first = text.first().map_or(0, |b| usize::from(*b));
        let range = usize::from(self.starts[first])..usize::from(self.starts[first + 1]);
        self.all[range].iter().filter_map(move |(shape, n)| {
            let shape = &SHAPES[usize::from(*shape)];
            let prefix = shape.prefixes[usize::from(*n)].as_bytes();
            (text.get(1) == prefix.get(1) && text.starts_with(prefix)).then_some((shape, prefix.len()))
        })
    }
}

// ------------------------------------------------------------------------------------------------ what begins there

/// A place in a text, of which what stands before `kept` is done with.
#[derive(Clone, Copy)]
struct Here<'t> {
    bytes: &'t [u8],
    kept: usize,
    at: usize,
    /// Bytes that may still be looked at.
    looks: &'t Cell<usize>,
}

impl Here<'_> {
    /// Counts bytes that are looked at here and may be looked at again.
    fn look(&self, bytes: usize) {
        self.looks.set(self.looks.get().saturating_sub(bytes));
    }

    fn rest(&self) -> &[u8] {
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
            let body = rest[prefix..prefix + all].trim_suffix_dots();
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
        let token = rest[start..start + len].trim_suffix_dots();
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
        let token = rest[..len].trim_suffix_dots();
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

trait TrimDots {
    fn trim_suffix_dots(&self) -> &Self;
}

impl TrimDots for [u8] {
    fn trim_suffix_dots(&self) -> &[u8] {
        let dots = self.iter().rev().take_while(|b| **b == b'.').count();
        &self[..self.len() - dots]
    }
}

/// What stands before a byte that ends it, or before the end; `None` where it is longer than a value may be.
fn upto(bytes: &[u8], ends: impl Fn(&u8) -> bool) -> Option<&[u8]> {
    let near = &bytes[..bytes.len().min(MAX_VALUE_BYTES)];
    let len = near.iter().position(ends).or((near.len() == bytes.len()).then_some(near.len()))?;
    Some(&near[..len])
}

fn run(bytes: &[u8], of: fn(u8) -> bool) -> usize {
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

// --------------------------------------------------------------------------------------------- what a name tells of

/// What stands before a value.
struct Name<'t> {
    name: &'t [u8],
    /// What stands before it.
    before: &'t [u8],
    /// It stands in quotes.
    quoted: bool,
    /// It touches what follows.
    tight: bool,
}

/// A value that may be a secret.
struct Value<'t> {
    bytes: &'t [u8],
    at: Range<usize>,
    quoted: bool,
    /// It may be code.
    bare: bool,
}

impl<'t> Here<'t> {
    /// What stands after the name of a secret: `API_KEY=…`, `"apiKey": "…"`, `?sig=…`.
    fn named(&self) -> Option<Range<usize>> {
        let name = self.name()?;
        let kind = names::kind(name.name)?;
        let separator = match self.rest() {
            [b'=', b'=' | b'~', ..] | [b':', b':' | b'/', ..] | [b':', b'\\', b'/', ..] => return None,
            [b':', b'=', ..] | [b'=', b'>', ..] => 2,
            _ => 1,
        };
        let assigned = self.bytes[self.at] == b'=';
        let in_url = assigned && name.tight && name.begins_parameter();
        // `Signature=…` of an AWS header.
        let signs = assigned && name.tight && name.name.ends_with(b"Signature");
        if kind == Kind::InUrl && !in_url && !signs {
            return None;
        }
        if kind == Kind::Cookie {
            return self.cookies(separator);
        }
        let value = self.value(self.at + separator)?;
        // JSON has its texts in quotes; what has none is a number or another constant.
        if (name.quoted && !value.quoted && !assigned) || (kind == Kind::InUrl && !in_url && value.quoted) {
            return None;
        }
        let setting = assigned && name.tight && !name.name.iter().any(u8::is_ascii_lowercase);
        let value = Value { bare: !value.quoted && !in_url && !setting, ..value };
        let scheme = kind == Kind::Authorization && !value.quoted && is_scheme(value.text());
        let value = if scheme { Value { bare: false, ..self.value(value.at.end)? } } else { value };
        // A URL has no room for words about tokens.
        let kind = if in_url && (kind == Kind::Token || name.signs()) { Kind::Key } else { kind };
        value.secret(kind)
    }

    /// The name that ends here.
    fn name(&self) -> Option<Name<'t>> {
        let before = &self.bytes[self.kept.min(self.at)..self.at];
        let back = |end: usize, most: usize, of: fn(u8) -> bool| {
            end - before[..end].iter().rev().take(most).take_while(|b| of(**b)).count()
        };
        let tight = back(before.len(), MAX_GAP_BYTES, |b| matches!(b, b' ' | b'\t'));
        let end = back(tight, 8, |b| matches!(b, b'"' | b'\'' | b'`' | b'\\' | b']'));
        if !names::may_end_so(&before[..end]) {
            return None;
        }
        let in_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let mut start = back(end, MAX_NAME_BYTES, in_name);
        // `API key: …`
        let word = &before[start..end];
        if (word.eq_ignore_ascii_case(b"key") || word.eq_ignore_ascii_case(b"token")) && before[..start].ends_with(b" ")
        {
            start = back(start - 1, MAX_NAME_BYTES, in_name);
        }
        // What ends an escape is no part of it.
        start += match &before[start..end] {
            [b'u', b'0', b'0', _, _, ..] if before[..start].ends_with(b"\\") => 5,
            [b'n' | b'r' | b't' | b'b' | b'f', ..] if before[..start].ends_with(b"\\") => 1,
            _ => 0,
        };
        let name = &before[start..end];
        let quoted = end < tight && before[end..tight].iter().any(|b| *b != b']');
        (!name.is_empty()).then_some(Name { name, before: &before[..start], quoted, tight: tight == before.len() })
    }

    /// The value that begins here or after white space.
    fn value(&self, from: usize) -> Option<Value<'t>> {
        let bytes = self.bytes;
        let gap = bytes[from..].iter().take(MAX_GAP_BYTES).take_while(|b| matches!(b, b' ' | b'\t')).count();
        let from = from + gap;
        let letter = usize::from(matches!(bytes[from..], [b'b' | b'r' | b'u' | b'f', b'"' | b'\'', ..]));
        let escapes = bytes[from + letter..].iter().take_while(|b| **b == b'\\').count();
        let start = from + letter + escapes;
        match bytes.get(start) {
            Some(quote @ (b'"' | b'\'' | b'`')) => {
                let value = quoted_value(bytes, start + 1, *quote, escapes);
                self.look(value.as_ref().map_or(MAX_VALUE_BYTES, |value| value.at.len()));
                value
            }
            _ if escapes > 0 => None,
            _ => {
                let ends = |b: &u8| b.is_ascii_whitespace() || b"\"'`,;&|<>(){}[]\\".contains(b);
                let len = upto(&bytes[from..], ends)?.len();
                self.look(len);
                let calls = matches!(bytes.get(from + len), Some(b'(' | b'['));
                let end = from + bytes[from..from + len].trim_suffix_dots().len();
                // What goes on is a call or an index.
                (!calls).then_some(Value { bytes, at: from..end, quoted: false, bare: true })
            }
        }
    }

    /// What stands in an element that is named so: `<password>…</password>`.
    fn element(&self) -> Option<Range<usize>> {
        let name = self.name().filter(|name| name.tight && name.before.ends_with(b"<"))?;
        let kind = names::kind(name.name).filter(|kind| *kind != Kind::InUrl)?;
        let rest = &self.bytes[self.at + 1..];
        let len = rest.iter().take(MAX_VALUE_BYTES).position(|b| *b == b'<')?;
        self.look(len);
        let value = Value { bytes: self.bytes, at: self.at + 1..self.at + 1 + len, quoted: true, bare: false };
        value.secret(kind)
    }

    /// What a command is given: `--api-key …`.
    fn option(&self) -> Option<Range<usize>> {
        let name = self.rest().strip_prefix(b"--").filter(|name| name.first().is_some_and(u8::is_ascii_alphabetic))?;
        let len =
            run(&name[..name.len().min(MAX_NAME_BYTES)], |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let kind = names::kind(&name[..len]).filter(|kind| *kind != Kind::InUrl)?;
        let value = self.value(self.at + 2 + len)?;
        (name.get(len) == Some(&b' ')).then(|| value.secret(kind)).flatten()
    }

    /// The pairs of a cookie, to the end of the line or what quotes it.
    fn cookies(&self, separator: usize) -> Option<Range<usize>> {
        let from = self.at + separator;
        let from = from + run(&self.bytes[from..], |b| matches!(b, b' ' | b'"' | b'\\'));
        let ends = |b: &u8| matches!(b, b'\n' | b'\r' | b'"' | b'\'' | b'`' | b'\\');
        let all = upto(&self.bytes[from..], ends)?;
        self.look(all.len());
        holds_cookie(all).then_some(from..from + all.len())
    }
}

impl Name<'_> {
    /// Whether it is that of a signature.
    fn signs(&self) -> bool {
        [&b"sig"[..], b"ignature", b"hmac"].iter().any(|end| self.name.to_ascii_lowercase().ends_with(end))
    }

    /// Whether it begins a parameter of a URL.
    fn begins_parameter(&self) -> bool {
        let before = self.before;
        matches!(before.last(), Some(b'?' | b'&'))
            || before.ends_with(b"&amp;")
            || (before.len() >= 6 && before[before.len() - 6..].eq_ignore_ascii_case(b"\\u0026"))
            || (before.len() >= 6 && before[before.len() - 6..].eq_ignore_ascii_case(b"\\u003f"))
    }
}

impl Value<'_> {
    fn text(&self) -> &[u8] {
        &self.bytes[self.at.clone()]
    }

    /// What of it is secret, where its name says what it is.
    fn secret(&self, kind: Kind) -> Option<Range<usize>> {
        let all = self.text();
        let scheme = run(all, |b| b.is_ascii_alphanumeric() || b == b'-');
        let skip = if is_scheme(&all[..scheme]) { scheme + run(&all[scheme..], |b| b == b' ') } else { 0 };
        let text = &all[skip..];
        if text.is_empty() || memchr::memmem::find(text, REDACTED.as_bytes()).is_some() {
            return None;
        }
        let secret = match kind {
            Kind::Authorization | Kind::Key => is_key(text, self.bare),
            Kind::Password => is_password(text, self.bare),
            Kind::Token => is_opaque(text) || is_basic(text),
            Kind::InUrl => is_opaque(text),
            Kind::Cookie => holds_cookie(text),
        };
        secret.then_some(self.at.start + skip..self.at.end)
    }
}

pub(super) fn is_scheme(word: &[u8]) -> bool {
    SCHEMES.iter().any(|scheme| scheme.eq_ignore_ascii_case(word))
}

/// Pairs, one of which has a value that is no word.
fn holds_cookie(text: &[u8]) -> bool {
    text.split(|b| *b == b';').any(|pair| {
        let value = pair.iter().position(|b| *b == b'=').map(|at| pair[at + 1..].trim_ascii());
        value.is_some_and(|value| is_key(value, false))
    })
}

/// Up to the quote that ends it: one with as many escapes before it as the first, or with so many more as the
/// backslashes take that the value ends with. One with fewer ends what the value stands in.
fn quoted_value(bytes: &[u8], start: usize, quote: u8, escapes: usize) -> Option<Value<'_>> {
    let all = &bytes[start..bytes.len().min(start + MAX_VALUE_BYTES)];
    let mut from = 0;
    loop {
        let at = from + all[from..].iter().position(|b| *b == quote || *b == b'\n')?;
        if all[at] == b'\n' {
            return None;
        }
        let before = all[..at].iter().rev().take_while(|b| **b == b'\\').count();
        if before < escapes || before % (2 * (escapes + 1)) == escapes {
            return Some(Value { bytes, at: start..start + at - before.min(escapes), quoted: true, bare: false });
        }
        from = at + 1;
    }
}
