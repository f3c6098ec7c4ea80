//! YAML as PyYAML and its like write it, into JSON values. <https://yaml.org/spec/1.2.2/>

use super::vcr::BYTES;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// How deep values may be nested.
const MAX_DEPTH: usize = 128;
/// How many values aliases may copy, so that a small text does not become a large value.
const MAX_COPIED: usize = 1_000_000;

/// Text that is no YAML, or more than is read.
#[derive(Debug)]
pub(super) enum YamlError {
    Scan(ScanError),
    TooDeep,
    TooManyCopies,
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            YamlError::Scan(e) => e.fmt(f),
            YamlError::TooDeep => write!(f, "values are nested more than {MAX_DEPTH} deep"),
            YamlError::TooManyCopies => write!(f, "its aliases copy more than {MAX_COPIED} values"),
        }
    }
}

/// Reads the first document. Keys are strings; bytes (`!!binary`) become `{"base64_string": …}`.
///
/// # Errors
/// [`YamlError`].
pub(super) fn read(text: &str) -> Result<Value, YamlError> {
    let mut building = Building::default();
    for event in Parser::new_from_str(text) {
        match event.map_err(YamlError::Scan)?.0 {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(text, style, tag.as_deref());
                building.put(value, anchor);
            }
            Event::SequenceStart(anchor, _) => building.open(Value::Array(Vec::new()), anchor)?,
            Event::MappingStart(anchor, _) => building.open(Value::Object(Map::new()), anchor)?,
            Event::SequenceEnd | Event::MappingEnd => building.close(),
            Event::Alias(anchor) => building.alias(anchor)?,
            Event::DocumentEnd => break,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
        }
    }
    Ok(building.done)
}

/// The values that are begun.
#[derive(Default)]
struct Building {
    open: Vec<Open>,
    anchors: HashMap<usize, Value>,
    copied: usize,
    done: Value,
}

struct Open {
    value: Value,
    anchor: usize,
    /// Of a mapping: the key whose value comes next.
    key: Option<String>,
}

impl Building {
    fn open(&mut self, value: Value, anchor: usize) -> Result<(), YamlError> {
        if self.open.len() == MAX_DEPTH {
            return Err(YamlError::TooDeep);
        }
        self.open.push(Open { value, anchor, key: None });
        Ok(())
    }

    fn close(&mut self) {
        if let Some(Open { value, anchor, .. }) = self.open.pop() {
            self.put(value, anchor);
        }
    }

    fn alias(&mut self, anchor: usize) -> Result<(), YamlError> {
        let value = self.anchors.get(&anchor).cloned().unwrap_or_default();
        self.copied += size(&value);
        if self.copied > MAX_COPIED {
            return Err(YamlError::TooManyCopies);
        }
        self.put(value, 0);
        Ok(())
    }

    /// Puts a value where it belongs: into the list or mapping that is open last.
    fn put(&mut self, value: Value, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        let Some(Open { value: parent, key, .. }) = self.open.last_mut() else {
            self.done = value;
            return;
        };
        match parent {
            Value::Array(items) => items.push(value),
            Value::Object(members) => match key.take() {
                Some(key) => drop(members.insert(key, value)),
                None => *key = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
            },
            _ => {}
        }
    }
}

/// How many values a value is made of.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(members) => members.values().map(size).sum(),
        _ => 0,
    }
}

/// A scalar, of the kind that its tag says, or where it is plain its text (the core schema).
fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    match tag.map(|tag| &*tag.suffix) {
        Some("binary") => return Value::Object(Map::from_iter([(BYTES.to_owned(), Value::from(&*text))])),
        Some(_) => return Value::from(&*text),
        None if style != ScalarStyle::Plain => return Value::from(&*text),
        None => {}
    }
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        // What JSON takes for a number is one in YAML too; the rest (`0x1F`, `.inf`) no cassette has.
        plain => match serde_json::from_str::<serde_json::Number>(plain) {
            Ok(number) => Value::Number(number),
            Err(_) => Value::from(plain),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cassettes_hold() {
        let text = "# c\ninteractions:\n- request: &r\n    body: '{\"a\": \"it''s\"}'\n    n: 200\n    headers:\n      \
                    Accept:\n      - '*/*'\n    none: null\n  again: *r\n- b: !!binary |\n    aGVs\n    bG8=\n  t: |\n    x\n\n    y\n  \
                    s: \"a\\\n    b\\n\\xe9\"\n  q: '200'\nversion: 1\n";
        let request = json!({"body": "{\"a\": \"it's\"}", "n": 200, "headers": {"Accept": ["*/*"]}, "none": null});
        let second = json!({"b": {BYTES: "aGVs\nbG8=\n"}, "t": "x\n\ny\n", "s": "ab\n\u{e9}", "q": "200"});
        let expected = json!({"interactions": [{"request": request, "again": request}, second], "version": 1});
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn what_is_too_much() {
        assert!(matches!(read(&"- ".repeat(200)), Err(YamlError::TooDeep)));
        let mut bomb = "a0: &a0 [x]\n".to_owned();
        for n in 1..9 {
            let copies = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb += &format!("a{n}: &a{n} [{copies}]\n");
        }
        assert!(matches!(read(&bomb), Err(YamlError::TooManyCopies)));
        assert!(matches!(read("a: [1"), Err(YamlError::Scan(_))));
    }
}
