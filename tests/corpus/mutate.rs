//! Captures that were tampered with: cut, rewritten and added to as networks, proxies and new versions of an API do.

use super::captures::Capture;
use aimock::frame::{Framing, eventstream};
use serde_json::{Value, json};

/// What is done to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// It ends early, in order.
    Cut,
    /// Its last frame is missing.
    WithoutEnd,
    /// `\n` for `\r\n`, and the other way round.
    OtherLineEnds,
    /// Comments and events that nobody knows, between its frames.
    Strangers,
    /// Members that nobody knows, in every object.
    NewMembers,
    /// A member is null.
    Null,
    /// A member is gone.
    Gone,
    /// A frame comes twice.
    Twice,
    /// A byte is another one.
    Flipped,
}

pub(crate) const ALL: [Mutation; 9] = [
    Mutation::Cut,
    Mutation::WithoutEnd,
    Mutation::OtherLineEnds,
    Mutation::Strangers,
    Mutation::NewMembers,
    Mutation::Null,
    Mutation::Gone,
    Mutation::Twice,
    Mutation::Flipped,
];

impl Mutation {
    /// Whether a client that follows the API sees the same.
    pub(crate) fn means_nothing(self) -> bool {
        matches!(self, Mutation::OtherLineEnds | Mutation::Strangers | Mutation::NewMembers)
    }
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }
}

/// The capture with its answer changed; `None` where that changes nothing or has no meaning.
pub(crate) fn mutated(capture: &Capture, mutation: Mutation, noise: &mut Noise) -> Option<Capture> {
    let framing = capture.row.framing();
    let body = &capture.answer;
    if mutation == Mutation::OtherLineEnds && !matches!(framing, Framing::Sse | Framing::Ndjson) {
        return None;
    }
    let mut frames = frames(framing, body);
    let answer = match mutation {
        Mutation::Cut => body[..noise.below(body.len())].to_vec(),
        Mutation::WithoutEnd if frames.len() > 1 => frames[..frames.len() - 1].concat(),
        Mutation::OtherLineEnds => other_line_ends(body)?,
        Mutation::Strangers => {
            for stranger in strangers(framing) {
                frames.insert(noise.below(frames.len()), stranger);
            }
            frames.concat()
        }
        Mutation::NewMembers => {
            let all = frames.iter().map(|frame| in_json(framing, frame, &mut add_members));
            all.collect::<Option<Vec<_>>>()?.concat()
        }
        Mutation::Null | Mutation::Gone => {
            let at = noise.below(frames.len());
            let gone = mutation == Mutation::Gone;
            frames[at] = in_json(framing, frames.get(at)?, &mut |value| take_away(value, gone, noise))?;
            frames.concat()
        }
        Mutation::Twice if frames.len() > 1 => {
            let at = noise.below(frames.len());
            frames.insert(at, frames[at].clone());
            frames.concat()
        }
        Mutation::Flipped => {
            let mut answer = body.clone();
            let at = noise.below(answer.len());
            *answer.get_mut(at)? ^= 1 << noise.below(8);
            answer
        }
        _ => return None,
    };
    let mut mutant = capture.clone();
    (answer != *body).then(|| {
        mutant.answer = answer;
        mutant
    })
}

/// The body in frames, each with its separator; what has no frames is one.
fn frames(framing: Framing, body: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let end = match framing {
            Framing::Sse => blank_line(rest),
            Framing::Ndjson => memchr::memchr(b'\n', rest).map(|at| at + 1),
            Framing::EventStream => rest.get(..4).map(|n| u32::from_be_bytes([n[0], n[1], n[2], n[3]]) as usize),
            Framing::Whole | Framing::JsonArray => None,
        };
        let (frame, after) = rest.split_at(end.unwrap_or(rest.len()).clamp(1, rest.len()));
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

/// Where the first empty line ends.
fn blank_line(text: &[u8]) -> Option<usize> {
    let mut ends = memchr::memchr_iter(b'\n', text).map(|at| at + 1);
    ends.find_map(|end| match &text[end..] {
        [b'\n', ..] => Some(end + 1),
        [b'\r', b'\n', ..] => Some(end + 2),
        _ => None,
    })
}

fn other_line_ends(body: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    let other = if text.contains("\r\n") { text.replace("\r\n", "\n") } else { text.replace('\n', "\r\n") };
    Some(other.into_bytes())
}

fn strangers(framing: Framing) -> Vec<Vec<u8>> {
    let text = |texts: &[&str]| texts.iter().map(|t| t.as_bytes().to_vec()).collect();
    match framing {
        Framing::Sse => text(&[
            ": a comment\n\n",
            "event: stranger\ndata: {\"type\":\"stranger\",\"n\":1}\n\n",
            "id: 7\nretry: 100\n\n",
        ]),
        Framing::Ndjson => text(&["\n", "{\"event_type\":\"stranger\",\"is_finished\":false}\n"]),
        Framing::EventStream => {
            let mut message = Vec::new();
            eventstream::encode("stranger", br#"{"n":1}"#, &mut message);
            vec![message]
        }
        Framing::Whole | Framing::JsonArray => Vec::new(),
    }
}

/// The frame with its JSON changed; as it is where it has none.
fn in_json(framing: Framing, frame: &[u8], change: &mut dyn FnMut(&mut Value)) -> Option<Vec<u8>> {
    let mut changed = |json: &str| {
        let mut value: Value = serde_json::from_str(json).ok()?;
        change(&mut value);
        Some(value.to_string())
    };
    let text = std::str::from_utf8(frame).ok()?;
    match framing {
        Framing::EventStream => None,
        Framing::Sse => {
            let lines = text.split_inclusive('\n').map(|line| {
                let json = line.strip_prefix("data:").map(str::trim).and_then(&mut changed);
                json.map_or_else(|| line.to_owned(), |json| format!("data: {json}\n"))
            });
            Some(lines.collect::<String>().into_bytes())
        }
        Framing::Ndjson if text.trim().is_empty() => Some(frame.to_vec()),
        Framing::Ndjson => Some(format!("{}\n", changed(text)?).into_bytes()),
        Framing::Whole | Framing::JsonArray => Some(changed(text)?.into_bytes()),
    }
}

/// Adds a member to objects whose members are the API's own, and not a tool's arguments.
fn add_members(value: &mut Value) {
    const FREE: [&str; 8] =
        ["arguments", "args", "input", "parameters", "usage", "meta", "usageMetadata", "embeddings"];
    match value {
        Value::Array(items) => items.iter_mut().for_each(add_members),
        Value::Object(members) => {
            let inner = members.iter_mut().filter(|(name, _)| !FREE.contains(&name.as_str()));
            inner.for_each(|(_, member)| add_members(member));
            members.insert("x_stranger".into(), json!({"n": [1, null, {}]}));
        }
        _ => {}
    }
}

/// Takes a value away, at any depth.
fn take_away(value: &mut Value, gone: bool, noise: &mut Noise) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            let at = noise.below(items.len());
            take_away(&mut items[at], gone, noise);
        }
        Value::Object(members) if !members.is_empty() => {
            let at = noise.below(members.len());
            let name = members.keys().nth(at).cloned().unwrap_or_default();
            let inner = members.get_mut(&name).filter(|m| m.is_object() || m.is_array());
            match inner {
                Some(inner) if noise.below(4) > 0 => take_away(inner, gone, noise),
                _ if gone => drop(members.remove(&name)),
                _ => drop(members.insert(name, Value::Null)),
            }
        }
        _ => {}
    }
}
