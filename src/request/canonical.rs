//! A request's canonical form and its two hashes.
//!
//! Format version 2. The hashed bytes are `aimock 2`, the wire's name and the model, each with a newline after it, and
//! then the body: as JSON without white space, keys sorted by their bytes, numbers by their value, without the members
//! that do not change what is asked ([`NOT_IDENTITY`]) and the paths that `--ignore` names, ids of calls and items
//! replaced by `#N` in the order they first occur, the results of parallel calls in the order of the calls, secrets
//! redacted. Where ids stand, and what a wire's clients write in several forms, its [`Places`] say; nothing is looked for
//! elsewhere. Bodies that are not JSON are taken as they are, multipart bodies part by part without their boundary. The
//! hash is the first 8 bytes of SHA-256. The volatile hash is over the same with volatile text in strings replaced by its
//! kind, see [`super::volatile`].
//!
//! Raw requests, whose answers are kept as they came, have their method, path and query (without secrets, sorted) after
//! the wire's name, and `stream` and `stream_options` are part of what is asked.

use super::parts::{self, Parts};
use super::volatile;
use crate::json::{self, Node};
use crate::provider::{Codec, Places, Results};
use crate::redact::Redactor;
use crate::request::Kind;
use ring::digest;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

/// The version of the format, written beside every hash.
pub const VERSION: u64 = 2;

/// Members of a body that do not change what is asked.
pub const NOT_IDENTITY: [&str; 6] =
    ["user", "metadata", "store", "prompt_cache_key", "safety_identifier", "client_metadata"];

/// Members that change how an answer is sent: no matter where it can be sent either way.
const MODE: [&str; 2] = ["stream", "stream_options"];

/// The first 8 bytes of a SHA-256, written as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub u64);

impl Hash {
    /// Hashes bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(bytes);
        Self::from(context)
    }

    /// Reads 16 hex digits; anything else is not a hash.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok().map(Hash)).flatten()
    }

    /// The first 8 hex digits.
    pub fn short(self) -> String {
        format!("{:08x}", self.0 >> 32)
    }

    fn from(context: digest::Context) -> Self {
        let digest = context.finish();
        Hash(digest.as_ref()[..8].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte)))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What of a request is hashed, and how.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The wire's name; for a raw request its method and path too.
    pub wire: &'a str,
    /// The model asked for.
    pub model: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// The body's `content-type`, or empty.
    pub content_type: &'a str,
    /// Its wire format: where tool-call ids stand, what is written in several forms, whether its answer is kept as it
    /// came, so that how it is sent is part of what is asked.
    pub codec: &'a dyn Codec,
}

/// A request's identity, worked out when it is first asked for: requests that only rules answer never pay for it.
#[derive(Debug)]
pub struct Identity<'a> {
    subject: Subject<'a>,
    redactor: &'a Redactor,
    ignore: &'a Ignore,
    known: OnceCell<Canonical>,
}

impl<'a> Identity<'a> {
    /// The identity of this request.
    pub fn new(subject: Subject<'a>, redactor: &'a Redactor, ignore: &'a Ignore) -> Self {
        Identity { subject, redactor, ignore, known: OnceCell::new() }
    }

    /// The canonical form.
    pub fn get(&self) -> &Canonical {
        self.known.get_or_init(|| canonical(&self.subject, self.redactor, self.ignore))
    }

    /// What replaces secrets on both sides.
    pub fn redactor(&self) -> &'a Redactor {
        self.redactor
    }

    /// Whether `--ignore` names anything.
    pub fn ignores(&self) -> bool {
        !self.ignore.0.is_empty()
    }
}

/// A request in canonical form.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// The request's hash.
    pub request: Hash,
    /// The hash of the request without its volatile text.
    pub volatile: Hash,
    /// The hash of the body alone.
    pub body: Hash,
    /// Short hashes of the body's parts, so that a drift can say what changed.
    pub parts: Parts,
}

/// JSON pointers whose values are no part of a request's identity; `*` stands for any key or index.
#[derive(Clone, Debug, Default)]
pub struct Ignore(Vec<Vec<String>>);

impl Ignore {
    /// Reads pointers such as `/metadata/run` or `/messages/*/name` (RFC 6901 escapes).
    pub fn new(pointers: &[String]) -> Self {
        let steps = |p: &String| p.split('/').skip(1).map(|s| s.replace("~1", "/").replace("~0", "~")).collect();
        Ignore(pointers.iter().map(steps).collect())
    }
}

/// Brings a request into canonical form.
pub fn canonical(subject: &Subject<'_>, redactor: &Redactor, ignore: &Ignore) -> Canonical {
    let model = redactor.redact(subject.model);
    let head = format!("aimock {VERSION}\n{}\n{model}\n", subject.wire);
    let Ok(mut body) = Node::parse_bytes(subject.body) else {
        return opaque(&head, subject, redactor);
    };
    if let Node::Object(members) = &mut body {
        let mode = subject.codec.kind() != Kind::Raw;
        members.retain(|(name, _)| !(NOT_IDENTITY.contains(&&**name) || (mode && MODE.contains(&&**name))));
    }
    for pointer in &ignore.0 {
        remove(&mut body, pointer);
    }
    let places = subject.codec.identity();
    subject.codec.one_form(&mut body);
    in_place(&mut body, places);
    let mut value = body.to_value();
    if redactor.redact_json(&mut value) {
        body = Node::from(&value).into_owned();
    }
    let mut text = Vec::with_capacity(subject.body.len());
    write(&body, false, &mut text);
    let mut without_volatile = Vec::with_capacity(text.len());
    write(&body, true, &mut without_volatile);
    Canonical {
        request: hash(&head, &text),
        volatile: hash(&head, &without_volatile),
        body: Hash::of(&text),
        parts: parts::parts(subject.wire, &model, &value),
    }
}

fn hash(head: &str, body: &[u8]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(head.as_bytes());
    context.update(body);
    Hash::from(context)
}

/// A body that is not JSON.
fn opaque(head: &str, subject: &Subject<'_>, redactor: &Redactor) -> Canonical {
    let (mut text, mut without_volatile) = (Vec::new(), Vec::new());
    match boundary(subject.content_type) {
        Some(boundary) => {
            for part in parts_between(subject.body, &boundary) {
                let (part, steady) = text_of(part, redactor);
                for (out, part) in [(&mut text, part), (&mut without_volatile, steady)] {
                    // Its length before it: no boundary is needed.
                    out.extend_from_slice(format!("part {}\n", part.len()).as_bytes());
                    out.extend_from_slice(&part);
                    out.push(b'\n');
                }
            }
        }
        None => (text, without_volatile) = text_of(subject.body, redactor),
    }
    Canonical {
        request: hash(head, &text),
        volatile: hash(head, &without_volatile),
        body: Hash::of(&text),
        parts: Parts::new(),
    }
}

/// Bytes without secrets, and those without volatile text; as they are where they are no text.
fn text_of(bytes: &[u8], redactor: &Redactor) -> (Vec<u8>, Vec<u8>) {
    let Ok(text) = std::str::from_utf8(bytes) else { return (bytes.to_vec(), bytes.to_vec()) };
    let text = redactor.redact(text);
    (text.as_bytes().to_vec(), volatile::replace(&text).as_bytes().to_vec())
}

fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    let value = parameters.split(';').find_map(|p| {
        let (name, value) = p.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// The parts of a multipart body. <https://www.rfc-editor.org/rfc/rfc2046#section-5.1>
fn parts_between<'b>(body: &'b [u8], boundary: &str) -> Vec<&'b [u8]> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut starts = memchr::memmem::find_iter(body, delimiter.as_bytes()).peekable();
    while let Some(start) = starts.next() {
        let Some(end) = starts.peek() else { break };
        let part = &body[start + delimiter.len()..*end];
        let part = part.strip_prefix(b"\r\n").or_else(|| part.strip_prefix(b"\n")).unwrap_or(part);
        parts.push(part.strip_suffix(b"\r\n").or_else(|| part.strip_suffix(b"\n")).unwrap_or(part));
    }
    parts
}

fn remove(node: &mut Node<'_>, pointer: &[String]) {
    let [step, rest @ ..] = pointer else { return };
    match (node, rest.is_empty()) {
        (Node::Object(members), true) if step == "*" => members.clear(),
        (Node::Object(members), false) if step == "*" => members.iter_mut().for_each(|(_, node)| remove(node, rest)),
        (node @ Node::Object(_), true) => drop(node.remove(step)),
        (node @ Node::Object(_), false) => node.get_mut(step).into_iter().for_each(|node| remove(node, rest)),
        (Node::List(items), true) if step == "*" => items.clear(),
        (Node::List(items), false) if step == "*" => items.iter_mut().for_each(|node| remove(node, rest)),
        (Node::List(items), last) => {
            let Some(at) = step.parse().ok().filter(|at| *at < items.len()) else { return };
            if last { drop(items.remove(at)) } else { remove(&mut items[at], rest) }
        }
        _ => {}
    }
}

// ----------------------------------------------------------------------------------------------------------- places

/// Brings what stands at a wire's declared places into one form.
fn in_place(body: &mut Node<'_>, places: &Places) {
    for pointer in places.unseen {
        visit(body, pointer, &mut |_, gone| *gone = true);
    }
    for pointer in places.json {
        visit(body, pointer, &mut |node, _| {
            let json = node.as_str().and_then(|text| Node::parse(text).ok()).map(Node::into_owned);
            if let Some(json) = json {
                *node = json;
            }
        });
    }
    if !places.ids.is_empty() {
        let mut numbers = Numbers { seen: Vec::new() };
        let pointers: Vec<Vec<&str>> = places.ids.iter().map(|p| p.split('/').skip(1).collect()).collect();
        let active: Vec<&[&str]> = pointers.iter().map(Vec::as_slice).collect();
        numbers.number(body, &active);
        if let Some(results) = &places.results {
            visit(body, results.list, &mut |node, _| numbers.order(node, results));
        }
    }
    // Last: an empty result is one too.
    for pointer in places.plain {
        visit(body, pointer, &mut |node, _| {
            if let Node::Object(members) = node {
                members.retain(|(_, value)| matches!(value, Node::Object(_)) || !value.says_nothing());
            }
        });
    }
}

/// Calls this for what a pointer names, in which `*` stands for any step; it says whether that is to be taken out.
fn visit(node: &mut Node<'_>, pointer: &str, then: &mut dyn FnMut(&mut Node<'_>, &mut bool)) {
    fn go(node: &mut Node<'_>, steps: &[&str], then: &mut dyn FnMut(&mut Node<'_>, &mut bool)) -> bool {
        let [step, rest @ ..] = steps else {
            let mut gone = false;
            then(node, &mut gone);
            return gone;
        };
        match node {
            Node::Object(members) => members.retain_mut(|(name, node)| {
                let named = *step == "*" || *step == &**name;
                !(named && go(node, rest, then))
            }),
            Node::List(items) if *step == "*" => items.retain_mut(|node| !go(node, rest, then)),
            _ => {}
        }
        false
    }
    let steps: Vec<&str> = pointer.split('/').skip(1).collect();
    go(node, &steps, then);
}

/// The ids of a request, numbered in the order in which they first occur.
struct Numbers {
    seen: Vec<String>,
}

impl Numbers {
    /// Numbers what stands at these places: each a pointer's steps from here on.
    fn number(&mut self, node: &mut Node<'_>, places: &[&[&str]]) {
        if places.is_empty() {
            return;
        }
        match node {
            Node::Text(id) if places.iter().any(|steps| steps.is_empty()) && !id.is_empty() => {
                let n = self.seen.iter().position(|seen| *seen == **id).unwrap_or_else(|| {
                    self.seen.push(id.clone().into_owned());
                    self.seen.len() - 1
                });
                *id = Cow::Owned(format!("#{n}"));
            }
            Node::Object(members) => {
                // In sorted order, so that the numbers do not depend on the order of keys.
                let mut members: Vec<_> = members.iter_mut().collect();
                members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                members.into_iter().for_each(|(name, node)| self.number(node, &below(places, name)));
            }
            Node::List(items) => items.iter_mut().for_each(|node| self.number(node, &below(places, "*"))),
            _ => {}
        }
    }

    /// Brings results that follow each other into the order of their calls.
    fn order(&self, list: &mut Node<'_>, results: &Results) {
        let call = |node: &Node<'_>| -> Option<usize> {
            if !results.beside.is_empty() && node.get(results.beside).is_none() {
                return None;
            }
            node.at(results.call)?.as_str()?.strip_prefix('#')?.parse().ok()
        };
        let Node::List(items) = list else { return };
        for run in items.chunk_by_mut(|a, b| call(a).is_some() && call(b).is_some()) {
            run.sort_by_key(|node| call(node)); // stable: of one call, as they came
        }
    }
}

/// The places below a step.
fn below<'p>(places: &[&'p [&'p str]], name: &str) -> Vec<&'p [&'p str]> {
    let goes_on = places.iter().filter_map(|steps| {
        let (step, rest) = steps.split_first()?;
        (*step == "*" || *step == name).then_some(rest)
    });
    goes_on.collect()
}

// ---------------------------------------------------------------------------------------------------------- writing

/// Writes JSON without white space, with sorted keys and numbers by their value.
pub(super) fn write(node: &Node<'_>, without_volatile: bool, out: &mut Vec<u8>) {
    match node {
        Node::Object(members) => {
            let mut members: Vec<&(Cow<'_, str>, Node<'_>)> = members.iter().collect();
            members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            out.push(b'{');
            for (i, (name, member)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                json::string(name, out);
                out.push(b':');
                write(member, without_volatile, out);
            }
            out.push(b'}');
        }
        Node::List(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, without_volatile, out);
            }
            out.push(b']');
        }
        Node::Text(text) if without_volatile => json::string(&volatile::replace(text), out),
        Node::Number(number) => match volatile::replace(number) {
            Cow::Owned(kind) if without_volatile => json::string(&kind, out),
            _ => write_number(number, out),
        },
        other => other.write(out),
    }
}

fn write_number(number: &str, out: &mut Vec<u8>) {
    let (negative, digits, power) = json::number_value(number);
    if negative {
        out.push(b'-');
    }
    out.extend_from_slice(digits.as_bytes());
    if power != 0 {
        out.extend_from_slice(format!("e{power}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::openai_chat::Chat;
    use crate::provider::{Head, route, verbatim};
    use hyper::HeaderMap;

    fn hashes(body: &str) -> (Hash, Hash) {
        let subject = Subject { wire: "w", model: "m", body: body.as_bytes(), content_type: "", codec: &Chat };
        let c = canonical(&subject, &Redactor::default(), &Ignore::new(&["/ignored/*/x".into(), "/gone".into()]));
        (c.request, c.volatile)
    }

    #[test]
    fn order_mode_ids_and_ignored_paths_change_nothing() {
        let a = r#"{"model":"m","stream":true,"user":"u","gone":1,"ignored":[{"x":1,"y":2}],"messages":[{"a":1,"b":2},
            {"tool_calls":[{"id":"call_abc","function":{}}]},{"tool_call_id":"call_abc"}]}"#;
        let b = r#"{"messages":[{"b":2,"a":1},{"tool_calls":[{"function":{},"id":"zzz"}]},{"tool_call_id":"zzz"}],
            "ignored":[{"y":2,"x":7}],"model":"m"}"#;
        assert_eq!(hashes(a), hashes(b));
        assert_ne!(hashes(a).0, hashes(&b.replace("\"tool_call_id\":\"zzz\"", "\"tool_call_id\":\"yyy\"")).0);
    }

    #[test]
    fn volatile_text_changes_only_the_first_hash() {
        let (a, b) = (hashes(r#"{"c":"at 2025-01-15"}"#), hashes(r#"{"c":"at 2026-02-16"}"#));
        assert_ne!(a.0, b.0);
        assert_eq!(a.1, b.1);
    }

    #[test]
    fn multipart_bodies_do_not_depend_on_their_boundary() {
        let with = |boundary: &str| {
            let body =
                format!("--{boundary}\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\nx\r\n--{boundary}--\r\n");
            let content_type = format!("multipart/form-data; boundary=\"{boundary}\"");
            let subject = Subject {
                wire: "raw",
                model: "",
                body: body.as_bytes(),
                content_type: &content_type,
                codec: verbatim(),
            };
            canonical(&subject, &Redactor::default(), &Ignore::default()).request
        };
        assert_eq!(with("abc"), with("xyz123"));
    }

    #[test]
    fn what_a_tool_was_given_and_gave_is_no_id() {
        let headers = HeaderMap::new();
        let codec = route(&Head { method: "POST", path: "/v1/messages", query: "", headers: &headers }).codec;
        let of = |body: &str| {
            let subject = Subject { wire: "w", model: "m", body: body.as_bytes(), content_type: "", codec };
            canonical(&subject, &Redactor::default(), &Ignore::default()).request
        };
        let asked = |call: &str, order: &str| {
            of(&format!(r#"{{"messages":[{{"content":[{{"id":"{call}","input":{{"id":"{order}","input":1}}}}]}}]}}"#))
        };
        assert_eq!(asked("a", "x"), asked("b", "x"));
        assert_ne!(asked("a", "x"), asked("a", "y"));
    }

    #[test]
    fn how_a_raw_answer_is_sent_is_part_of_what_is_asked() {
        let of = |body: &str, codec: &dyn Codec| {
            let subject = Subject { wire: "raw", model: "", body: body.as_bytes(), content_type: "", codec };
            canonical(&subject, &Redactor::default(), &Ignore::default()).request
        };
        assert_ne!(of(r#"{"stream":true}"#, verbatim()), of("{}", verbatim()));
        assert_eq!(of(r#"{"stream":true}"#, &Chat), of("{}", &Chat));
        assert_eq!(of(r#"{"user":"a"}"#, verbatim()), of("{}", verbatim()));
    }

    /// A change here orphans every fixture that people have recorded.
    #[test]
    fn hashes_are_pinned() {
        let chat = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi é🌍"}],"temperature":0.5}"#;
        let pinned = [
            (chat, "4b5fe80713f3b00f", "4b5fe80713f3b00f"),
            (
                r#"{"messages":[{"role":"user","content":"on 2025-01-15 10:30:00"}]}"#,
                "a9556dbdc612868e",
                "908823df0e81e99f",
            ),
            ("not json", "d1e033b2b5837afd", "d1e033b2b5837afd"),
        ];
        let told = |(request, volatile): (Hash, Hash)| format!("{request} {volatile}");
        let found: Vec<String> = pinned.iter().map(|(body, ..)| told(hashes(body))).collect();
        let wanted: Vec<String> = pinned.iter().map(|(_, request, volatile)| format!("{request} {volatile}")).collect();
        assert_eq!(found, wanted);
    }
}
