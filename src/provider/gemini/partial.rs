//! The arguments of a function call that arrive in pieces, each under a JSON path.
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling#streaming-fc>

use crate::provider::Fault;
use crate::request::Str;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Names and indices in one path. Deeper arguments could not be read back.
const MAX_PATH_STEPS: usize = 100;

/// A value, or a piece of a string, and its place.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartialArg<'a> {
    #[serde(borrow, default)]
    json_path: Option<Str<'a>>,
    #[serde(borrow, default)]
    string_value: Option<Str<'a>>,
    #[serde(default)]
    number_value: Option<serde_json::Number>,
    #[serde(default)]
    bool_value: Option<bool>,
    #[serde(borrow, default)]
    null_value: Option<Str<'a>>,
    #[serde(default)]
    will_continue: Option<bool>,
}

/// The object that the pieces make.
#[derive(Default)]
pub(super) struct Arguments {
    object: Option<Value>,
    /// The path of the string that is not complete yet.
    unfinished: Option<String>,
    bytes: usize,
}

impl Arguments {
    /// Puts a piece in its place.
    pub(super) fn take(&mut self, piece: PartialArg<'_>) -> Result<(), Fault> {
        let path = piece.json_path.unwrap_or_default().0;
        let steps = steps(&path).ok_or_else(|| Fault::Unreadable(format!("an argument at the path `{path}`")))?;
        let more = self.unfinished.as_deref() == Some(&*path);
        self.unfinished = piece.will_continue.unwrap_or(false).then(|| path.to_string());
        let value = match (piece.string_value, piece.number_value, piece.bool_value, piece.null_value) {
            (Some(text), ..) => Value::String(text.0.into_owned()),
            (_, Some(number), ..) => Value::Number(number),
            (_, _, Some(flag), _) => Value::Bool(flag),
            (.., Some(_)) => Value::Null,
            _ => return Ok(()), // says only whether more is to come
        };
        self.bytes += path.len() + value.as_str().map_or(8, str::len);
        let mut place = self.object.get_or_insert_with(|| Value::Object(Map::new()));
        for step in steps {
            place = step.enter(place).ok_or_else(|| Fault::Unreadable(format!("an argument at the path `{path}`")))?;
        }
        match (place, value) {
            (Value::String(text), Value::String(piece)) if more => text.push_str(&piece),
            (place, value) => *place = value,
        }
        Ok(())
    }

    /// The JSON text, if any piece came.
    pub(super) fn into_text(self) -> Option<String> {
        self.object.map(|object| object.to_string())
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.bytes
    }
}

/// One step of a path.
#[derive(Debug, PartialEq)]
enum Step<'p> {
    Name(Cow<'p, str>),
    Index(usize),
}

impl Step<'_> {
    /// The place that this step leads to, made if it is new. `None` for an index beyond the next one: pieces come in
    /// order, and a number must not decide how much memory is taken.
    fn enter(self, place: &mut Value) -> Option<&mut Value> {
        match self {
            Step::Name(name) => {
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                Some(place.as_object_mut()?.entry(name).or_insert(Value::Null))
            }
            Step::Index(index) => {
                if !place.is_array() {
                    *place = Value::Array(Vec::new());
                }
                let list = place.as_array_mut()?;
                if index == list.len() {
                    list.push(Value::Null);
                }
                list.get_mut(index)
            }
        }
    }
}

/// The steps of a path like `$.a.b[0]['c d']`; `None` if it is not one.
/// <https://datatracker.ietf.org/doc/html/rfc9535#section-2.7>
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() && steps.len() < MAX_PATH_STEPS {
        let step;
        (step, rest) = if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            (Step::Name(Cow::Borrowed(&name[..end])), &name[end..])
        } else if let Some(quote @ ('\'' | '"')) = rest.strip_prefix('[')?.chars().next() {
            quoted(&rest[2..], quote)?
        } else {
            let (index, rest) = rest[1..].split_once(']')?;
            (Step::Index(index.parse().ok()?), rest)
        };
        steps.push(step);
    }
    rest.is_empty().then_some(steps)
}

/// A name up to its closing quote and bracket, and what follows.
fn quoted(text: &str, quote: char) -> Option<(Step<'_>, &str)> {
    let mut name = Cow::Borrowed("");
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((Step::Name(name), text[at + 1..].strip_prefix(']')?));
        }
        let c = if c == '\\' { chars.next()?.1 } else { c };
        name.to_mut().push(c);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let name = |n: &'static str| Step::Name(Cow::Borrowed(n));
        assert_eq!(steps("$"), Some(vec![]));
        assert_eq!(steps("$.a.b_c[10].d"), Some(vec![name("a"), name("b_c"), Step::Index(10), name("d")]));
        assert_eq!(steps(r#"$['a.b'][0]["it\"s]"]"#), Some(vec![name("a.b"), Step::Index(0), name("it\"s]")]));
        for broken in ["", "a", "$a", "$[", "$[x]", "$['a'", "$['a']x", "$[é"] {
            assert_eq!(steps(broken), None, "{broken}");
        }
        assert_eq!(steps(&format!("${}", ".a".repeat(1000))), None);
    }

    #[test]
    fn an_index_far_out_takes_no_memory() {
        let mut arguments = Arguments::default();
        let piece = serde_json::from_str(r#"{"jsonPath":"$.a[4000000000]","numberValue":1}"#).unwrap();
        assert!(matches!(arguments.take(piece), Err(Fault::Unreadable(_))));
    }
}
