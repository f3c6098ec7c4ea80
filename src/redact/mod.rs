//! What must never be written, and how it is replaced.
//!
//! Credentials of known shapes, what stands under the names of credentials and looks like one, and what `--redact`
//! adds, become `[redacted]`; what is no credential stays as it is. Redaction comes before hashing, so a request matches
//! its recording whatever the key in it was. It finds the same in a text and in its JSON form: a shape may begin after an
//! escape (`\nsk-…`) or a percent code (`%20sk-…`) as after any other character that is no letter, and codes in a secret
//! are read through. A text that was redacted is not changed again.

mod begin;
mod decoded;
mod find;
mod looks;
mod named;
mod names;
mod shapes;
mod shown;

pub use shown::{is_secret_header, is_secret_query};

use decoded::Decoded;
use names::Kind;
use regex_lite::Regex;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::ops::Range;

/// What stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

/// How often a text is looked through: what was replaced may uncover the next. One that is not done with then, or that
/// was made to keep us busy, is replaced as a whole.
const MAX_PASSES: usize = 8;

/// Replaces secrets in text.
#[derive(Clone, Debug)]
pub struct Redactor {
    known_shapes: bool,
    more: Vec<Regex>,
}

impl Default for Redactor {
    fn default() -> Self {
        Redactor { known_shapes: true, more: Vec::new() }
    }
}

impl Redactor {
    /// A redactor of known shapes, where `known_shapes` is set, and of the patterns that the user adds.
    pub fn new(known_shapes: bool, more: Vec<Regex>) -> Self {
        Redactor { known_shapes, more }
    }

    /// Whether it replaces anything at all.
    pub fn is_off(&self) -> bool {
        !self.known_shapes && self.more.is_empty()
    }

    /// The text with its secrets replaced; borrowed where it has none. What was redacted stays as it is.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for _ in 0..=MAX_PASSES {
            match self.secrets(&text) {
                None => break,
                Some(found) if found.is_empty() => return text,
                Some(found) => text = Cow::Owned(without(&text, &found)),
            }
        }
        Cow::Owned(REDACTED.to_owned())
    }

    /// Where secrets stand, in order, apart from each other; `None` where it would take too long to tell.
    fn secrets(&self, text: &str) -> Option<Vec<Range<usize>>> {
        let mut found = Vec::new();
        if self.known_shapes {
            found = find::secrets(text)?;
            if let Some(decoded) = Decoded::of(text) {
                found.extend(find::secrets(&decoded.text)?.iter().map(|range| decoded.origin(range)));
            }
        }
        for pattern in &self.more {
            found.extend(pattern.find_iter(text).filter_map(|hit| beside_markers(text, hit.range())));
        }
        Some(apart(found))
    }

    /// Whether the text holds a secret.
    pub fn finds(&self, text: &str) -> bool {
        self.secrets(text).is_none_or(|found| !found.is_empty())
    }

    /// Replaces secrets in bytes that are text in part or as a whole; `None` where there are none.
    pub fn redact_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut found = false;
        for chunk in bytes.utf8_chunks() {
            let text = self.redact(chunk.valid());
            found |= text != chunk.valid();
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(chunk.invalid());
        }
        found.then_some(out)
    }

    /// Replaces secrets in every string and key of a JSON value; whether there were any. What stands under the name of a
    /// credential is one, where it looks like one; members that only a provider can read are left alone.
    pub fn redact_json(&self, value: &mut Value) -> bool {
        self.redact_under(None, value)
    }

    /// As [`Redactor::redact_json`], for what stands under a name.
    fn redact_under(&self, kind: Option<Kind>, value: &mut Value) -> bool {
        match value {
            Value::String(text) => self.redact_value(kind, text),
            Value::Array(items) => items.iter_mut().fold(false, |found, item| self.redact_under(kind, item) | found),
            Value::Object(members) => self.redact_object(kind, members),
            _ => false,
        }
    }

    fn redact_value(&self, kind: Option<Kind>, text: &mut String) -> bool {
        let named = kind.and_then(|kind| named::under_name(kind, text));
        if let Some(range) = &named {
            text.replace_range(range.clone(), REDACTED);
        }
        self.redact_string(text) | named.is_some()
    }

    /// Replaces the secrets of a string in place; whether there were any.
    pub fn redact_string(&self, text: &mut String) -> bool {
        let Cow::Owned(redacted) = self.redact(text) else { return false };
        *text = redacted;
        true
    }

    /// As [`Redactor::redact_json`], for an object's members.
    pub fn redact_members(&self, members: &mut Map<String, Value>) -> bool {
        self.redact_object(None, members)
    }

    fn redact_object(&self, above: Option<Kind>, members: &mut Map<String, Value>) -> bool {
        let mut found = false;
        if self.known_shapes {
            found |= redact_pair(members);
        }
        // What a server of tools is sent is for it alone.
        let server =
            members.get("type").is_some_and(|kind| kind == "mcp") || members.contains_key("authorization_token");
        let to_server = self.known_shapes && server;
        let sealed =
            members.get("type").is_some_and(|kind| kind == "redacted_thinking" || kind == "reasoning.encrypted");
        for (name, value) in members.iter_mut() {
            let kind = kind_of_member(name).or(above.filter(|_| name == "value")).filter(|_| self.known_shapes);
            found |= match value {
                Value::String(_) if is_opaque_member(name) || (sealed && name == "data") => false,
                Value::String(text) if to_server && matches!(kind, Some(Kind::Authorization | Kind::Key)) => hide(text),
                Value::Object(headers) if self.known_shapes && name.to_ascii_lowercase().ends_with("headers") => {
                    self.redact_headers(headers, to_server)
                }
                value => self.redact_under(kind, value),
            };
        }
        if members.keys().any(|name| self.finds(name)) {
            let old = std::mem::take(members);
            members.extend(old.into_iter().map(|(name, value)| (self.redact(&name).into_owned(), value)));
            found = true;
        }
        found
    }

    /// Headers that stand in a body. Those that go to a server of tools are shown as any request's are.
    fn redact_headers(&self, headers: &mut Map<String, Value>, to_server: bool) -> bool {
        let mut found = false;
        for (name, value) in headers.iter_mut() {
            let Value::String(text) = value else {
                found |= self.redact_json(value);
                continue;
            };
            let name = name.to_ascii_lowercase();
            let hidden = is_secret_header(&name) || (to_server && self.shown_header(&name, text).is_none());
            found |= if hidden { hide(text) } else { self.redact_string(text) };
        }
        found
    }

    /// A path and its query without secrets, for people: the values of secret parameters are replaced.
    pub fn safe_target(&self, target: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut safe = path.to_owned();
        for (i, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            safe.push(if i == 0 { '?' } else { '&' });
            match pair.split_once('=') {
                Some((name, value)) if shown::is_secret_parameter(path, name, value) => {
                    safe.push_str(&format!("{name}={REDACTED}"));
                }
                _ => safe.push_str(pair),
            }
        }
        self.redact(&safe).into_owned()
    }

    /// A path with its query as recordings match it: sorted, without secret parameters, other secrets replaced.
    pub fn match_target(&self, path: &str, query: &str) -> String {
        let kept = |pair: &&str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            !pair.is_empty() && !shown::is_secret_parameter(path, name, value)
        };
        let mut pairs: Vec<&str> = query.split('&').filter(kept).collect();
        pairs.sort_unstable();
        self.safe_target(&if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) })
    }
}

/// Whether only a provider can read what this member holds: it must get it back as it was.
fn is_opaque_member(name: &str) -> bool {
    name.starts_with("encrypted_") || name.ends_with("ignature") || name == "redactedContent"
}

/// What a member's name tells of it: outside a URL, a `key` or a `code` is none.
fn kind_of_member(name: &str) -> Option<Kind> {
    names::kind(name.as_bytes()).filter(|kind| *kind != Kind::InUrl)
}

/// A pair that says in one member what the other one is: `{"name": "API_KEY", "value": "…"}`.
fn redact_pair(members: &mut Map<String, Value>) -> bool {
    let Some(Value::String(name)) = members.get("name").or_else(|| members.get("key")) else { return false };
    let (Some(kind), Some(Value::String(text))) = (kind_of_member(name), members.get_mut("value")) else {
        return false;
    };
    let Some(range) = named::under_name(kind, text) else { return false };
    text.replace_range(range, REDACTED);
    true
}

/// Replaces all of a text but a scheme before it; not what only says where a secret belongs.
fn hide(text: &mut String) -> bool {
    let scheme = text.split_once(' ').filter(|(scheme, _)| named::is_scheme(scheme.as_bytes()));
    let at = scheme.map_or(0, |(scheme, _)| scheme.len() + 1);
    if looks::is_reference(&text.as_bytes()[at..]) {
        return false;
    }
    text.replace_range(at.., REDACTED);
    true
}

/// A text with what stands at these places replaced.
fn without(text: &str, secrets: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut kept = 0;
    for secret in secrets {
        out.push_str(&text[kept..secret.start]);
        out.push_str(REDACTED);
        kept = secret.end;
    }
    out.push_str(&text[kept..]);
    out
}

/// In order, those that overlap made one.
fn apart(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut apart: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match apart.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

/// What a pattern of the user's found, with the whole of each marker that it touches; nothing where it found but (a
/// part of) what was replaced already.
fn beside_markers(text: &str, hit: Range<usize>) -> Option<Range<usize>> {
    let from = hit.start.saturating_sub(REDACTED.len());
    let near = &text.as_bytes()[from..text.len().min(hit.end + REDACTED.len())];
    let mut all = hit.clone();
    for marker in memchr::memmem::find_iter(near, REDACTED.as_bytes()).map(|at| from + at) {
        let end = marker + REDACTED.len();
        if marker <= hit.start && hit.end <= end {
            return None;
        }
        if marker < hit.end && hit.start < end {
            all = all.start.min(marker)..all.end.max(end);
        }
    }
    (!hit.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests;
