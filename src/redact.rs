//! What must never be written, and how it is replaced.
//!
//! Credentials of known shapes, and what `--redact` adds, become `[redacted]`. Redaction comes before hashing, so a
//! request matches its recording whatever the key in it was.

use regex_lite::Regex;
use serde_json::Value;
use std::borrow::Cow;

/// What stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

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

/// A credential's shape: what it begins with, the characters that follow, and how many at least.
struct Shape {
    prefix: &'static str,
    body: fn(u8) -> bool,
    min: usize,
}

fn token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')
}

fn upper(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit()
}

fn bearer(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=')
}

/// The longer prefix of two that begin alike comes first.
const SHAPES: &[Shape] = &[
    Shape { prefix: "sk-", body: token, min: 16 }, // OpenAI, Anthropic (sk-ant-), OpenRouter (sk-or-)
    Shape { prefix: "sk_live_", body: token, min: 16 },
    Shape { prefix: "AIza", body: token, min: 30 },  // Google API key
    Shape { prefix: "ya29.", body: token, min: 20 }, // Google OAuth token
    Shape { prefix: "GOCSPX-", body: token, min: 20 },
    Shape { prefix: "AKIA", body: upper, min: 16 }, // AWS access key
    Shape { prefix: "ASIA", body: upper, min: 16 },
    Shape { prefix: "ghp_", body: token, min: 30 }, // GitHub
    Shape { prefix: "gho_", body: token, min: 30 },
    Shape { prefix: "ghu_", body: token, min: 30 },
    Shape { prefix: "ghs_", body: token, min: 30 },
    Shape { prefix: "ghr_", body: token, min: 30 },
    Shape { prefix: "github_pat_", body: token, min: 22 },
    Shape { prefix: "glpat-", body: token, min: 20 },
    Shape { prefix: "xoxb-", body: token, min: 10 }, // Slack
    Shape { prefix: "xoxp-", body: token, min: 10 },
    Shape { prefix: "xoxa-", body: token, min: 10 },
    Shape { prefix: "xoxr-", body: token, min: 10 },
    Shape { prefix: "xoxs-", body: token, min: 10 },
    Shape { prefix: "xapp-", body: token, min: 10 },
    Shape { prefix: "hf_", body: token, min: 30 },  // Hugging Face
    Shape { prefix: "gsk_", body: token, min: 30 }, // Groq
    Shape { prefix: "xai-", body: token, min: 30 },
    Shape { prefix: "r8_", body: token, min: 30 }, // Replicate
    Shape { prefix: "pplx-", body: token, min: 30 },
];

impl Redactor {
    /// A redactor of known shapes, where `known_shapes` is set, and of the patterns that the user adds.
    pub fn new(known_shapes: bool, more: Vec<Regex>) -> Self {
        Redactor { known_shapes, more }
    }

    /// Whether it replaces anything at all.
    pub fn is_off(&self) -> bool {
        !self.known_shapes && self.more.is_empty()
    }

    /// The text with its secrets replaced; borrowed where it has none.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = if self.known_shapes { known(text) } else { Cow::Borrowed(text) };
        for pattern in &self.more {
            if pattern.is_match(&text) {
                text = Cow::Owned(pattern.replace_all(&text, REDACTED).into_owned());
            }
        }
        text
    }
}

impl Redactor {
    /// Replaces secrets in every string of a JSON value; whether there were any.
    pub fn redact_json(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => {
                let Cow::Owned(redacted) = self.redact(text) else { return false };
                *text = redacted;
                true
            }
            Value::Array(items) => items.iter_mut().fold(false, |found, item| self.redact_json(item) | found),
            Value::Object(members) => members.values_mut().fold(false, |found, m| self.redact_json(m) | found),
            _ => false,
        }
    }
}

/// Replaces credentials of known shapes.
fn known(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out: Option<String> = None;
    let (mut kept, mut at) = (0, 0);
    while at < bytes.len() {
        match secret_at(text, at) {
            Some((start, end)) => {
                let out = out.get_or_insert_default();
                out.push_str(&text[kept..start]);
                out.push_str(REDACTED);
                (kept, at) = (end, end);
            }
            None => at += 1,
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

/// The secret that is recognised at `at`: where it starts and ends.
fn secret_at(text: &str, at: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let rest = &bytes[at..];
    match bytes[at] {
        b'-' if rest.starts_with(b"-----BEGIN ") => private_key(text, at),
        b':' if rest.starts_with(b"://") => password(bytes, at),
        b'b' | b'B' if rest.len() > 7 && rest[..7].eq_ignore_ascii_case(b"bearer ") => {
            let len = rest[7..].iter().take_while(|b| bearer(**b)).count();
            (len >= MIN_BEARER_CHARS).then_some((at + 7, at + 7 + len))
        }
        b's' | b'A' | b'y' | b'G' | b'g' | b'x' | b'h' | b'r' | b'p' => {
            if at > 0 && bytes[at - 1].is_ascii_alphanumeric() {
                return None;
            }
            let shape = SHAPES.iter().find(|s| rest.starts_with(s.prefix.as_bytes()))?;
            let body = &rest[shape.prefix.len()..];
            let len = body.iter().take_while(|b| (shape.body)(**b)).count();
            (len >= shape.min).then_some((at, at + shape.prefix.len() + len))
        }
        _ => None,
    }
}

/// Shortest token after `Bearer ` that is taken for one: prose has shorter words there.
const MIN_BEARER_CHARS: usize = 16;

/// A PEM private key, up to its end line, or to the end of the text where that is missing.
fn private_key(text: &str, at: usize) -> Option<(usize, usize)> {
    let rest = &text[at..];
    let head_end = rest[11..].find("-----")? + 16;
    if !rest[..head_end].contains("PRIVATE KEY") {
        return None;
    }
    let end = rest[head_end..].find("-----END ").and_then(|end| {
        let from = head_end + end + 9;
        rest[from..].find("-----").map(|close| from + close + 5)
    });
    Some((at, at + end.unwrap_or(rest.len())))
}

/// The password of `://user:password@host`.
fn password(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let start = at + 3;
    let authority =
        bytes[start..].iter().position(|b| matches!(b, b'/' | b'?' | b'#' | b'"' | b'\'') || b.is_ascii_whitespace());
    let authority = &bytes[start..start + authority.unwrap_or(bytes.len() - start)];
    let host = authority.iter().rposition(|b| *b == b'@')?;
    let colon = authority[..host].iter().position(|b| *b == b':')?;
    (colon + 1 < host).then_some((start + colon + 1, start + host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_shapes() {
        let key = "a1B2".repeat(10);
        for (text, want) in [
            (format!("my key is sk-{key}, ok"), "my key is [redacted], ok".to_owned()),
            (format!("sk-ant-api03-{key}"), "[redacted]".to_owned()),
            (format!("AIza{key}"), "[redacted]".to_owned()),
            ("id=AKIAIOSFODNN7EXAMPLE;".to_owned(), "id=[redacted];".to_owned()),
            (format!("ghp_{key} github_pat_{key}"), "[redacted] [redacted]".to_owned()),
            ("xoxb-123456789012-abc".to_owned(), "[redacted]".to_owned()),
            (format!("hf_{key}"), "[redacted]".to_owned()),
            (format!("Authorization: Bearer {key}.x"), "Authorization: Bearer [redacted]".to_owned()),
            ("postgres://me:s3cret@db:5432/x".to_owned(), "postgres://me:[redacted]@db:5432/x".to_owned()),
            (
                "a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b".to_owned(),
                "a [redacted] b".to_owned(),
            ),
        ] {
            assert_eq!(Redactor::default().redact(&text), want);
        }
    }

    #[test]
    fn prose_stays() {
        for text in
            ["risk-free task-list", "sk-short", "a bearer of news", "https://example.com/a:b@c", "AIzaX", "é sk"]
        {
            assert_eq!(Redactor::default().redact(text), text);
        }
    }

    #[test]
    fn patterns_of_the_user_and_off() {
        let more = Redactor::new(false, vec![Regex::new("tok[0-9]+").unwrap()]);
        assert_eq!(more.redact("tok12 sk-0123456789abcdef0123"), "[redacted] sk-0123456789abcdef0123");
        assert!(Redactor::new(false, vec![]).is_off());
    }
}
