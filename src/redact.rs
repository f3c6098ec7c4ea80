//! What must never be written, and how it is replaced.
//!
//! Credentials of known shapes, and what `--redact` adds, become `[redacted]`. Redaction comes before hashing, so a
//! request matches its recording whatever the key in it was. It finds the same in a text and in its JSON form: a shape
//! may begin after an escape (`\nsk-…`) or a percent code (`%20sk-…`) as after any other character that is no letter.

use crate::json::Node;
use crate::provider::{PROVIDERS, percent_decode};
use regex_lite::Regex;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

/// Headers that carry credentials whatever the provider.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// Query parameters that carry credentials whatever the provider.
const SECRET_QUERY: [&str; 5] = ["api_key", "api-key", "apikey", "access_token", "sig"];

/// Whether a header of this name (lower case) carries a credential.
pub fn is_secret_header(name: &str) -> bool {
    let own = |p: &&crate::provider::Provider| p.credential.header == name || p.secret_headers.contains(&name);
    SECRET_HEADERS.contains(&name) || PROVIDERS.iter().any(own)
}

/// Whether a query parameter of this name carries a credential.
pub fn is_secret_query(name: &str) -> bool {
    SECRET_QUERY.contains(&name) || PROVIDERS.iter().any(|p| p.secret_query.contains(&name))
}

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

    /// Whether the text holds a secret.
    pub fn finds(&self, text: &str) -> bool {
        // What it found before may be found again: a pattern of the user's that fits anything.
        self.redact(text) != text
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

    /// Redacts every string in a value; whether there was anything to redact.
    pub fn redact_node(&self, node: &mut Node<'_>) -> bool {
        match node {
            Node::Text(text) => {
                let redacted = match self.redact(text) {
                    Cow::Owned(redacted) if redacted != **text => redacted,
                    _ => return false,
                };
                *text = Cow::Owned(redacted);
                true
            }
            Node::List(items) => items.iter_mut().fold(false, |found, item| self.redact_node(item) | found),
            Node::Object(members) => members.iter_mut().fold(false, |found, (name, value)| {
                let secret = match value {
                    Node::Text(text) if self.known_shapes && names_secret(name) && is_named_secret(text) => {
                        *text = Cow::Borrowed(REDACTED);
                        true
                    }
                    value => self.redact_node(value),
                };
                secret | found
            }),
            Node::Null | Node::Bool(_) | Node::Number(_) => false,
        }
    }

    /// Replaces secrets in every string and key of a JSON value; whether there were any.
    pub fn redact_json(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => self.redact_string(text),
            Value::Array(items) => items.iter_mut().fold(false, |found, item| self.redact_json(item) | found),
            Value::Object(members) => self.redact_members(members),
            _ => false,
        }
    }

    /// Replaces the secrets of a string in place; whether there were any.
    pub fn redact_string(&self, text: &mut String) -> bool {
        let redacted = match self.redact(text) {
            Cow::Owned(redacted) if redacted != *text => redacted,
            _ => return false,
        };
        *text = redacted;
        true
    }

    /// As [`Redactor::redact_json`], for an object's members.
    pub fn redact_members(&self, members: &mut Map<String, Value>) -> bool {
        let mut found = false;
        for (name, value) in members.iter_mut() {
            found |= match value {
                Value::String(text) if self.known_shapes && names_secret(name) && is_named_secret(text) => {
                    *text = REDACTED.to_owned();
                    true
                }
                value => self.redact_json(value),
            };
        }
        if members.keys().any(|name| self.finds(name)) {
            let old = std::mem::take(members);
            members.extend(old.into_iter().map(|(name, value)| (self.redact(&name).into_owned(), value)));
            found = true;
        }
        found
    }

    /// A path and its query without secrets, for people: the values of secret parameters are replaced.
    pub fn safe_target(&self, target: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut safe = self.redact_encoded(path);
        for (i, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            safe.push(if i == 0 { '?' } else { '&' });
            match pair.split_once('=') {
                Some((name, _)) if is_secret_query(name) => safe.push_str(&format!("{name}={REDACTED}")),
                Some((name, value)) => {
                    safe.push_str(&format!("{}={}", self.redact_encoded(name), self.redact_encoded(value)));
                }
                None => safe.push_str(&self.redact_encoded(pair)),
            }
        }
        safe
    }

    /// A path with its query as recordings match it: sorted, without secret parameters, other secrets replaced.
    pub fn match_target(&self, path: &str, query: &str) -> String {
        let name = |pair: &&str| !is_secret_query(pair.split('=').next().unwrap_or(""));
        let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).filter(name).collect();
        pairs.sort_unstable();
        self.safe_target(&if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) })
    }

    /// Text of a URL, which may be percent-encoded: decoded where only so a secret is seen.
    fn redact_encoded(&self, text: &str) -> String {
        let redacted = self.redact(text).into_owned();
        if !redacted.contains('%') {
            return redacted;
        }
        let decoded = percent_decode(&redacted);
        match self.redact(&decoded) {
            Cow::Owned(found) if found != *decoded => found,
            _ => redacted,
        }
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

fn alphanumeric(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

fn upper(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit()
}

fn base64(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+' | b'/' | b'=')
}

fn bearer(b: u8) -> bool {
    base64(b) || matches!(b, b'.' | b'~')
}

/// The longer prefix of two that begin alike comes first.
const SHAPES: &[Shape] = &[
    Shape { prefix: "sk-", body: token, min: 16 }, // OpenAI, Anthropic (sk-ant-), OpenRouter (sk-or-)
    Shape { prefix: "sk_live_", body: token, min: 16 },
    Shape { prefix: "sess-", body: token, min: 32 }, // OpenAI, of a browser
    Shape { prefix: "AIza", body: token, min: 30 },  // Google API key
    Shape { prefix: "AQ.", body: token, min: 30 },
    Shape { prefix: "ya29.", body: token, min: 20 }, // Google OAuth token
    Shape { prefix: "1//0", body: token, min: 30 },  // and what it is renewed with
    Shape { prefix: "GOCSPX-", body: token, min: 20 },
    Shape { prefix: "AKIA", body: upper, min: 16 }, // AWS access key
    Shape { prefix: "ASIA", body: upper, min: 16 },
    Shape { prefix: "ABSK", body: base64, min: 40 }, // Bedrock API key
    Shape { prefix: "bedrock-api-key-", body: base64, min: 16 },
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
    Shape { prefix: "xoxc-", body: token, min: 10 },
    Shape { prefix: "xoxd-", body: token, min: 10 },
    Shape { prefix: "xoxe-", body: token, min: 10 },
    Shape { prefix: "xapp-", body: token, min: 10 },
    Shape { prefix: "hooks.slack.com/services/", body: base64, min: 20 },
    Shape { prefix: "hf_", body: token, min: 30 },         // Hugging Face
    Shape { prefix: "gsk_", body: token, min: 30 },        // Groq
    Shape { prefix: "xai-", body: alphanumeric, min: 30 }, // and not a file's name
    Shape { prefix: "r8_", body: token, min: 30 },         // Replicate
    Shape { prefix: "pplx-", body: token, min: 30 },
    Shape { prefix: "nvapi-", body: token, min: 30 },
    Shape { prefix: "npm_", body: token, min: 30 },
    Shape { prefix: "pypi-", body: token, min: 30 },
];

/// What a secret of no shape of its own is named by, in lower case without `_` and `-`: AWS secret keys are bare base64.
const SECRET_NAMES: [&str; 2] = ["secretaccesskey", "sessiontoken"];

/// Shortest secret after such a name.
const MIN_NAMED_CHARS: usize = 16;

/// Shortest token after `Bearer ` that is taken for one: prose has shorter words there.
const MIN_BEARER_CHARS: usize = 16;

/// What tells of a secret beside its shape begins with one of the first and then one of the second bytes.
const TELLS: [(&[u8], &[u8]); 5] = [(b"-", b"-"), (b":", b"/\\"), (b"e", b"y"), (b"bB", b"eEaA"), (b"sS", b"eE_-")];

/// Two bytes that a secret, or what tells of one, may begin with: a byte that may come first has a bit of its own, which
/// those that may follow it have too.
struct Begins {
    first: [u32; 256],
    second: [u32; 256],
    bits: u32,
}

static BEGINS: Begins = {
    let mut begins = Begins { first: [0; 256], second: [0; 256], bits: 0 };
    let mut i = 0;
    while i < SHAPES.len() {
        let prefix = SHAPES[i].prefix.as_bytes();
        begins = begins.with(prefix[0], prefix[1]);
        i += 1;
    }
    let mut i = 0;
    while i < TELLS.len() {
        let (first, second) = TELLS[i];
        let mut pair = 0;
        while pair < first.len() * second.len() {
            begins = begins.with(first[pair / second.len()], second[pair % second.len()]);
            pair += 1;
        }
        i += 1;
    }
    begins
};

impl Begins {
    const fn with(mut self, first: u8, second: u8) -> Self {
        if self.first[first as usize] == 0 {
            self.first[first as usize] = 1 << self.bits;
            self.bits += 1;
        }
        self.second[second as usize] |= self.first[first as usize];
        self
    }

    /// The next place where a secret may begin.
    fn next(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let begins = |pair: &[u8]| self.first[usize::from(pair[0])] & self.second[usize::from(pair[1])] != 0;
        bytes[from..].windows(2).position(begins).map(|at| from + at)
    }
}

/// Replaces credentials of known shapes.
fn known(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out: Option<String> = None;
    let (mut kept, mut at) = (0, 0);
    while let Some(begin) = BEGINS.next(bytes, at) {
        at = begin + 1;
        if let Some((start, end)) = secret_at(text, begin) {
            let out = out.get_or_insert_default();
            out.push_str(&text[kept..start]);
            out.push_str(REDACTED);
            (kept, at) = (end, end);
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
        b'-' => return rest.starts_with(b"-----BEGIN ").then(|| private_key(text, at)).flatten(),
        b':' => return password(bytes, at),
        b'b' | b'B' => {
            if let Some(found) = scheme(bytes, at) {
                return Some(found);
            }
        }
        b's' | b'S' => {
            if let Some(found) = named(bytes, at) {
                return Some(found);
            }
        }
        b'e' => return at_boundary(bytes, at).then(|| web_token(bytes, at)).flatten(),
        _ => {}
    }
    if !at_boundary(bytes, at) {
        return None;
    }
    let shape = SHAPES.iter().find(|s| rest.starts_with(s.prefix.as_bytes()))?;
    let body = &rest[shape.prefix.len()..];
    let len = run(body, shape.body);
    (len >= shape.min).then_some((at, at + shape.prefix.len() + len))
}

fn run(bytes: &[u8], of: fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|b| of(**b)).count()
}

/// Whether a word begins at `at`: no letter or digit stands before it, or one that ends an escape.
fn at_boundary(bytes: &[u8], at: usize) -> bool {
    let before = &bytes[..at];
    let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match before {
        [] => true,
        [.., last] if !last.is_ascii_alphanumeric() => true,
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
        [.., b'%', a, b] if hex(&[*a, *b]) => true,
        [.., b'\\', b'u', a, b, c, d] if hex(&[*a, *b, *c, *d]) => true,
        _ => false,
    }
}

/// What follows `Bearer ` or `Basic `.
fn scheme(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = &bytes[at..];
    let begins = |word: &[u8]| rest.len() > word.len() && rest[..word.len()].eq_ignore_ascii_case(word);
    let start = if begins(b"bearer ") { 7 } else { 6 };
    let basic = begins(b"basic ");
    if start == 6 && !basic {
        return None;
    }
    let len = run(&rest[start..], bearer);
    // Prose goes on after "basic" with a word.
    let coded = !basic || rest[start..start + len].iter().any(|b| b.is_ascii_digit() || *b == b'=');
    (len >= MIN_BEARER_CHARS && coded).then_some((at + start, at + start + len))
}

/// A JSON web token: two parts that begin as `{"` does in base64, and a signature.
/// <https://www.rfc-editor.org/rfc/rfc7519#section-3>
fn web_token(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = &bytes[at..];
    let len = run(rest, |b| token(b) || b == b'.');
    let mut parts = rest[..len].split(|b| *b == b'.');
    let (head, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let coded = |part: &[u8]| part.len() >= 10 && part.starts_with(b"eyJ");
    (coded(head) && coded(claims) && signature.len() >= 10).then_some((at, at + len))
}

/// What stands after the name of a secret: `aws_secret_access_key = …`, `"SecretAccessKey": "…"`.
fn named(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = &bytes[at..];
    let name = SECRET_NAMES.iter().find_map(|name| name_len(rest, name.as_bytes()))?;
    let gap = run(&rest[name..], |b| matches!(b, b'"' | b'\'' | b'\\' | b' ' | b':' | b'=' | b'>'));
    let tells = rest[name..name + gap].iter().any(|b| matches!(b, b':' | b'=' | b'>'));
    let len = run(&rest[name + gap..], base64);
    (tells && len >= MIN_NAMED_CHARS).then_some((at + name + gap, at + name + gap + len))
}

/// How many bytes spell the name, in any case and with `_` and `-` in it.
fn name_len(bytes: &[u8], name: &[u8]) -> Option<usize> {
    let mut letters = name.iter();
    let mut want = letters.next();
    for (i, byte) in bytes.iter().enumerate() {
        match want {
            None => return Some(i),
            Some(letter) if letter.eq_ignore_ascii_case(byte) => want = letters.next(),
            Some(_) if i > 0 && matches!(byte, b'_' | b'-') => {}
            Some(_) => return None,
        }
    }
    want.is_none().then_some(bytes.len())
}

/// Whether a JSON member of this name holds a secret.
fn names_secret(name: &str) -> bool {
    let last = |secret: &str| {
        let bare: Vec<u8> = name.bytes().filter(|b| !matches!(b, b'_' | b'-')).collect();
        bare.to_ascii_lowercase().ends_with(secret.as_bytes())
    };
    SECRET_NAMES.iter().any(|secret| last(secret))
}

fn is_named_secret(text: &str) -> bool {
    text.len() >= MIN_NAMED_CHARS && text.bytes().all(base64)
}

/// A PEM private key, up to its end line; where that is missing, to the end of the string that holds it.
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
    let cut = || rest[head_end..].find(['"', '\'', '`']).map_or(rest.len(), |quote| head_end + quote);
    Some((at, at + end.unwrap_or_else(cut)))
}

/// The password of `://user:password@host`, the slashes escaped or not.
fn password(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let slashes = [&b"://"[..], b":\\/\\/"].into_iter().find(|s| bytes[at..].starts_with(s))?;
    let start = at + slashes.len();
    let authority =
        bytes[start..].iter().position(|b| matches!(b, b'/' | b'?' | b'#' | b'"' | b'\'') || b.is_ascii_whitespace());
    let authority = &bytes[start..start + authority.unwrap_or(bytes.len() - start)];
    let host = authority.iter().rposition(|b| *b == b'@')?;
    let colon = authority[..host].iter().position(|b| *b == b':')?;
    // What was replaced once stays as it is.
    let secret = &authority[colon + 1..host];
    (!secret.is_empty() && secret != REDACTED.as_bytes()).then_some((start + colon + 1, start + host))
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
                "a\\nsk-0123456789abcdef q=%20sk-0123456789abcdef".to_owned(),
                "a\\n[redacted] q=%20[redacted]".to_owned(),
            ),
            ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG".to_owned(), "AWS_SECRET_ACCESS_KEY=[redacted]".to_owned()),
            (
                r#"{"SecretAccessKey": "wJalrXUtnFEMI/K7MDENG"}"#.to_owned(),
                r#"{"SecretAccessKey": "[redacted]"}"#.to_owned(),
            ),
            ("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4".to_owned(), "[redacted]".to_owned()),
            ("Basic dXNlcjpwYXNzd29yZA==".to_owned(), "Basic [redacted]".to_owned()),
            (r"https:\/\/me:s3cret@db\/x".to_owned(), r"https:\/\/me:[redacted]@db\/x".to_owned()),
            (
                r#"{"k": "-----BEGIN PRIVATE KEY-----\nMIIE", "n": 1}"#.to_owned(),
                r#"{"k": "[redacted]", "n": 1}"#.to_owned(),
            ),
            (
                "a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b".to_owned(),
                "a [redacted] b".to_owned(),
            ),
        ] {
            let redacted = Redactor::default().redact(&text).into_owned();
            assert_eq!(redacted, want);
            assert_eq!(Redactor::default().redact(&redacted), want, "twice");
        }
    }

    #[test]
    fn json_is_redacted_by_its_strings_and_keys() {
        let key = format!("sk-{}", "a1B2".repeat(10));
        let mut json =
            serde_json::json!({"a": [format!("x\n{key}")], key.clone(): 1, "secretAccessKey": "wJalrXUtnFEMI/K7"});
        assert!(Redactor::default().redact_json(&mut json));
        assert_eq!(json, serde_json::json!({"a": ["x\n[redacted]"], "[redacted]": 1, "secretAccessKey": "[redacted]"}));
        assert!(!Redactor::default().redact_json(&mut json));
    }

    #[test]
    fn bytes_are_redacted_where_they_are_text() {
        let bytes = [b"\xff\x00sk-0123456789abcdef\xfe".as_slice(), b"ok"].concat();
        assert_eq!(Redactor::default().redact_bytes(&bytes).unwrap(), b"\xff\x00[redacted]\xfeok");
        assert_eq!(Redactor::default().redact_bytes(b"\xff\x00ok"), None);
    }

    #[test]
    fn targets_lose_their_secrets() {
        let r = Redactor::default();
        assert_eq!(r.safe_target("/v1/x?b=1&key=abc&a=sk%2D0123456789abcdef"), "/v1/x?b=1&key=[redacted]&a=[redacted]");
        assert_eq!(r.match_target("/v1/x", "b=1&key=abc&a=2"), "/v1/x?a=2&b=1");
        assert_eq!(r.match_target("/v1/sk-0123456789abcdef", "key=abc"), "/v1/[redacted]");
        assert_eq!(r.safe_target("/v1/a%20b"), "/v1/a%20b");
    }

    #[test]
    fn prose_stays() {
        for text in [
            "risk-free task-list",
            "sk-short",
            "a bearer of news",
            "https://example.com/a:b@c",
            "AIzaX",
            "é sk",
            "basic internationalization",
            "a secret access key: none",
            "xai-xai-tmp-imgen-cec8be61-b894-99a2-b650-ff214ecc89b4-07d9e473.jpeg",
        ] {
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
