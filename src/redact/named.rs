//! Secrets that their names tell of: `API_KEY=…`, `"password": "…"`, `?sig=…`, `--token …`.

use super::REDACTED;
use super::find::{Here, MAX_VALUE_BYTES, run, trim_dots, upto};
use super::looks::{is_basic, is_key, is_opaque, is_password};
use super::names::{self, Kind, MAX_NAME_BYTES};
use std::ops::Range;

/// Most white space on either side of what stands between a name and its value, in bytes.
const MAX_GAP_BYTES: usize = 16;

/// What may stand between a scheme's name and its token in an `authorization`.
const SCHEMES: [&[u8]; 8] = [b"bearer", b"basic", b"token", b"apikey", b"api-key", b"key", b"jwt", b"aws4-hmac-sha256"];

/// A value that stands under a name, as far as it is secret.
pub(super) fn under_name(kind: Kind, value: &str) -> Option<Range<usize>> {
    let value = Value { at: 0..value.len(), quoted: true, bare: false, bytes: value.as_bytes() };
    value.secret(kind)
}

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
    pub(super) fn named(&self) -> Option<Range<usize>> {
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
                let end = from + trim_dots(&bytes[from..from + len]).len();
                // What goes on is a call or an index.
                (!calls).then_some(Value { bytes, at: from..end, quoted: false, bare: true })
            }
        }
    }

    /// What stands in an element that is named so: `<password>…</password>`.
    pub(super) fn element(&self) -> Option<Range<usize>> {
        let name = self.name().filter(|name| name.tight && name.before.ends_with(b"<"))?;
        let kind = names::kind(name.name).filter(|kind| *kind != Kind::InUrl)?;
        let rest = &self.bytes[self.at + 1..];
        let len = rest.iter().take(MAX_VALUE_BYTES).position(|b| *b == b'<')?;
        self.look(len);
        let value = Value { bytes: self.bytes, at: self.at + 1..self.at + 1 + len, quoted: true, bare: false };
        value.secret(kind)
    }

    /// What a command is given: `--api-key …`.
    pub(super) fn option(&self) -> Option<Range<usize>> {
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
