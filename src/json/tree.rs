//! A JSON value as it came: members in their order, numbers as they were written, strings borrowed where they have no
//! escapes. It keeps what a typed value would lose.

use super::string;
use serde::de::Error as _;
use serde_json::value::RawValue;
use serde_json::{Error, Map, Number, Result, Value};
use std::borrow::Cow;
use std::cmp::Ordering;

/// Deepest nesting that is taken apart.
pub const MAX_DEPTH: usize = 256;

/// Objects of more members are looked through for doubled names by sorting.
const MAX_COMPARED: usize = 16;

/// A JSON value.
#[derive(Clone, Debug, Default)]
pub enum Node<'a> {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it was written.
    Number(Cow<'a, str>),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    List(Vec<Node<'a>>),
    /// An object: each name once.
    Object(Members<'a>),
}

/// An object's members in order.
pub type Members<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

/// Makes an object: `object!{"a": 1, "b": text}`.
macro_rules! object {
    ($($name:literal : $value:expr),* $(,)?) => {
        $crate::json::Node::Object(vec![$((::std::borrow::Cow::Borrowed($name), $crate::json::Node::from($value))),*])
    };
}
pub(crate) use object;

impl<'a> Node<'a> {
    /// Reads JSON. Of a member that is there twice the last one counts, at the first one's place.
    ///
    /// # Errors
    /// It is not JSON, or nested deeper than [`MAX_DEPTH`].
    pub fn parse(text: &'a str) -> Result<Self> {
        let raw: &RawValue = serde_json::from_str(text)?;
        Node::of(raw)
    }

    /// Reads JSON that came as bytes.
    ///
    /// # Errors
    /// It is not UTF-8, not JSON, or nested deeper than [`MAX_DEPTH`].
    pub fn parse_bytes(bytes: &'a [u8]) -> Result<Self> {
        Node::parse(std::str::from_utf8(bytes).map_err(Error::custom)?)
    }

    /// Takes apart a value that was found to be JSON.
    ///
    /// # Errors
    /// It is nested deeper than [`MAX_DEPTH`].
    pub fn of(raw: &'a RawValue) -> Result<Self> {
        Reader { text: raw.get(), at: 0 }.value(MAX_DEPTH).ok_or_else(|| Error::custom("JSON that is nested too deep"))
    }

    /// A text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Node::Text(text.into())
    }

    /// A member of an object that says something: `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<&Node<'a>> {
        self.member(name).filter(|node| !matches!(node, Node::Null))
    }

    /// A member of an object, `null` included.
    pub fn member(&self, name: &str) -> Option<&Node<'a>> {
        self.members().iter().find(|(n, _)| n == name).map(|(_, node)| node)
    }

    /// A member of an object.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node<'a>> {
        let Node::Object(members) = self else { return None };
        members.iter_mut().find(|(n, _)| n == name).map(|(_, node)| node)
    }

    /// A member of an object, made `null` where there was none; a value that was no object becomes one.
    pub fn entry(&mut self, name: &str) -> &mut Node<'a> {
        if !matches!(self, Node::Object(_)) {
            *self = Node::Object(Vec::new());
        }
        let Node::Object(members) = self else { unreachable!("it has just been made one") };
        let at = members.iter().position(|(n, _)| n == name).unwrap_or_else(|| {
            members.push((Cow::Owned(name.to_owned()), Node::Null));
            members.len() - 1
        });
        &mut members[at].1
    }

    /// Sets a member of an object, at the end where it is new.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Node<'a>>) {
        let name = name.into();
        match self {
            Node::Object(members) => match members.iter_mut().find(|(n, _)| *n == name) {
                Some((_, node)) => *node = value.into(),
                None => members.push((name, value.into())),
            },
            other => *other = Node::Object(vec![(name, value.into())]),
        }
    }

    /// Takes a member out of an object.
    pub fn remove(&mut self, name: &str) -> Option<Node<'a>> {
        let Node::Object(members) = self else { return None };
        let at = members.iter().position(|(n, _)| n == name)?;
        Some(members.remove(at).1)
    }

    /// An object's members; none of anything else.
    pub fn members(&self) -> &[(Cow<'a, str>, Node<'a>)] {
        if let Node::Object(members) = self { members } else { &[] }
    }

    /// A list's items; none of anything else.
    pub fn items(&self) -> &[Node<'a>] {
        if let Node::List(items) = self { items } else { &[] }
    }

    /// A list's items; none of anything else.
    pub fn items_mut(&mut self) -> &mut [Node<'a>] {
        if let Node::List(items) = self { items } else { &mut [] }
    }

    /// What a JSON pointer names, <https://www.rfc-editor.org/rfc/rfc6901>.
    pub fn at(&self, pointer: &str) -> Option<&Node<'a>> {
        steps(pointer).try_fold(self, |node, step| match node {
            Node::Object(_) => node.member(&step),
            Node::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// A string's text.
    pub fn as_str(&self) -> Option<&str> {
        if let Node::Text(text) = self { Some(text) } else { None }
    }

    /// The text of a member that is a string.
    pub fn str(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// The text of a member that is a string and not empty; of a number, its digits: some services write ids so.
    pub fn word(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Node::Text(text) | Node::Number(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// A whole number, also one written as a string or with a fraction.
    pub fn as_i64(&self) -> Option<i64> {
        let (Node::Number(text) | Node::Text(text)) = self else { return None };
        let text = text.trim();
        text.parse().ok().or_else(|| text.parse().ok().filter(|f: &f64| f.is_finite()).map(|f| f as i64))
    }

    /// A number.
    pub fn as_f64(&self) -> Option<f64> {
        if let Node::Number(text) = self { text.parse().ok() } else { None }
    }

    /// Null, or empty text, list or object.
    pub fn says_nothing(&self) -> bool {
        match self {
            Node::Null => true,
            Node::Text(text) => text.is_empty(),
            Node::List(items) => items.is_empty(),
            Node::Object(members) => members.is_empty(),
            Node::Bool(_) | Node::Number(_) => false,
        }
    }

    /// Whether both are the same value: numbers by value, members in any order, and what is `null` is not there.
    pub fn same(&self, other: &Node<'_>) -> bool {
        match (self, other) {
            (Node::Null, Node::Null) => true,
            (Node::Bool(a), Node::Bool(b)) => a == b,
            (Node::Number(a), Node::Number(b)) => a == b || same_number(a, b),
            (Node::Text(a), Node::Text(b)) => a == b,
            (Node::List(a), Node::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Node::Object(_), Node::Object(_)) => {
                let within = |a: &Node<'_>, b: &Node<'_>| {
                    let said = |(name, value): &(Cow<'_, str>, Node<'_>)| match b.get(name) {
                        Some(same) => value.same(same),
                        None => matches!(value, Node::Null),
                    };
                    a.members().iter().all(said)
                };
                within(self, other) && within(other, self)
            }
            _ => false,
        }
    }

    /// The same value, borrowing nothing.
    pub fn into_owned(self) -> Node<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Node::Null => Node::Null,
            Node::Bool(b) => Node::Bool(b),
            Node::Number(n) => Node::Number(own(n)),
            Node::Text(t) => Node::Text(own(t)),
            Node::List(items) => Node::List(items.into_iter().map(Node::into_owned).collect()),
            Node::Object(members) => Node::Object(members.into_iter().map(|(n, v)| (own(n), v.into_owned())).collect()),
        }
    }

    /// Bytes of its texts, and some for what holds them.
    pub fn kept_bytes(&self) -> usize {
        const EACH: usize = 8;
        match self {
            Node::Null | Node::Bool(_) => EACH,
            Node::Number(text) | Node::Text(text) => EACH + text.len(),
            Node::List(items) => EACH + items.iter().map(Node::kept_bytes).sum::<usize>(),
            Node::Object(members) => EACH + members.iter().map(|(n, v)| n.len() + v.kept_bytes()).sum::<usize>(),
        }
    }

    /// Writes it as JSON without white space.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Node::Null => out.extend_from_slice(b"null"),
            Node::Bool(true) => out.extend_from_slice(b"true"),
            Node::Bool(false) => out.extend_from_slice(b"false"),
            Node::Number(text) => out.extend_from_slice(text.as_bytes()),
            Node::Text(text) => string(text, out),
            Node::List(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Node::Object(members) => {
                out.push(b'{');
                for (i, (name, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    string(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// Its JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.kept_bytes() * 2);
        self.write(&mut out);
        out
    }

    /// Its JSON.
    pub fn to_json(&self) -> String {
        String::from_utf8(self.to_bytes()).expect("made of strings alone")
    }

    /// The value as `serde_json` has it.
    pub fn to_value(&self) -> Value {
        match self {
            Node::Null => Value::Null,
            Node::Bool(b) => Value::Bool(*b),
            Node::Number(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            Node::Text(text) => Value::String(text.clone().into_owned()),
            Node::List(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Node::Object(_) => Value::Object(self.to_map()),
        }
    }

    /// An object's members as `serde_json` has them.
    pub fn to_map(&self) -> Map<String, Value> {
        self.members().iter().map(|(name, value)| (name.clone().into_owned(), value.to_value())).collect()
    }
}

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.same(other)
    }
}

/// The steps of a JSON pointer.
pub fn steps(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    pointer.split('/').skip(1).map(|step| match step.contains('~') {
        true => Cow::Owned(step.replace("~1", "/").replace("~0", "~")),
        false => Cow::Borrowed(step),
    })
}

/// A step as a JSON pointer has it.
pub fn step(name: &str) -> Cow<'_, str> {
    match name.contains(['~', '/']) {
        true => Cow::Owned(name.replace('~', "~0").replace('/', "~1")),
        false => Cow::Borrowed(name),
    }
}

/// Whole numbers are equal to the last digit, others as near as a client can tell.
fn same_number(a: &str, b: &str) -> bool {
    let fraction = |text: &str| text.contains(['.', 'e', 'E']);
    let value = |text: &str| text.parse::<f64>().ok();
    if fraction(a) || fraction(b) { value(a) == value(b) } else { number(a) == number(b) }
}

/// A number's digits and their power of ten, so that equal numbers are equal: `1.50e1` and `15` both are (false, "15", 0).
pub fn number(text: &str) -> (bool, String, i64) {
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, power) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return (false, "0".to_owned(), 0);
    }
    let dropped = digits.len() - digits.trim_end_matches('0').len();
    let power = power.trim_start_matches('+').parse::<i64>().unwrap_or(i64::MAX / 2);
    let shift = i64::try_from(dropped).unwrap_or(0) - i64::try_from(fraction.len()).unwrap_or(0);
    (negative, significant.to_owned(), power.saturating_add(shift))
}

// ------------------------------------------------------------------------------------------------------ conversions

impl<'a> From<&'a str> for Node<'a> {
    fn from(text: &'a str) -> Self {
        Node::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Node<'_> {
    fn from(text: String) -> Self {
        Node::Text(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for Node<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Node::Text(text)
    }
}

impl From<bool> for Node<'_> {
    fn from(value: bool) -> Self {
        Node::Bool(value)
    }
}

impl From<i64> for Node<'_> {
    fn from(number: i64) -> Self {
        if let Ok(digit @ 0..=9) = usize::try_from(number) {
            return Node::Number(Cow::Borrowed(&"0123456789"[digit..=digit]));
        }
        Node::Number(Cow::Owned(number.to_string()))
    }
}

impl From<u64> for Node<'_> {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or_else(|_| Node::Number(Cow::Owned(number.to_string())), Node::from)
    }
}

impl From<usize> for Node<'_> {
    fn from(number: usize) -> Self {
        Node::from(number as u64)
    }
}

impl<'a> From<Vec<Node<'a>>> for Node<'a> {
    fn from(items: Vec<Node<'a>>) -> Self {
        Node::List(items)
    }
}

impl<'a, T: Into<Node<'a>>> From<Option<T>> for Node<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Node::Null, Into::into)
    }
}

impl<'a> From<&'a Value> for Node<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Node::Null,
            Value::Bool(b) => Node::Bool(*b),
            Value::Number(n) => n.into(),
            Value::String(text) => Node::Text(Cow::Borrowed(text)),
            Value::Array(items) => Node::List(items.iter().map(Node::from).collect()),
            Value::Object(members) => members.into(),
        }
    }
}

impl<'a> From<&'a Map<String, Value>> for Node<'a> {
    fn from(members: &'a Map<String, Value>) -> Self {
        Node::Object(members.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), value.into())).collect())
    }
}

impl From<&Number> for Node<'_> {
    fn from(number: &Number) -> Self {
        match number.as_i64() {
            Some(whole) => Node::from(whole),
            None => Node::Number(Cow::Owned(number.to_string())),
        }
    }
}

impl serde::Serialize for Node<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Node::Null => serializer.serialize_unit(),
            Node::Bool(b) => serializer.serialize_bool(*b),
            Node::Number(text) => {
                let raw = RawValue::from_string(text.clone().into_owned()).map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
            Node::Text(text) => serializer.serialize_str(text),
            Node::List(items) => serializer.collect_seq(items),
            Node::Object(members) => serializer.collect_map(members.iter().map(|(name, value)| (name, value))),
        }
    }
}

// --------------------------------------------------------------------------------------------------------- reading

/// Takes apart what was found to be JSON.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn space(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t')).count();
    }

    /// Whether this byte comes next, which is then taken.
    fn takes(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Option<Node<'a>> {
        self.space();
        let rest = &self.text[self.at..];
        let word = |len: usize, node| Some((len, node));
        let (len, node) = match rest.as_bytes().first()? {
            b'"' => return self.string().map(Node::Text),
            b'[' => return self.list(depth.checked_sub(1)?),
            b'{' => return self.object(depth.checked_sub(1)?),
            b'n' => word(4, Node::Null),
            b't' => word(4, Node::Bool(true)),
            b'f' => word(5, Node::Bool(false)),
            _ => {
                let number = |b: &u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let len = rest.bytes().take_while(number).count();
                if len == 0 {
                    return None;
                }
                word(len, Node::Number(Cow::Borrowed(&rest[..len])))
            }
        }?;
        self.at += len;
        Some(node)
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        let inner = self.text.as_bytes().get(self.at + 1..)?;
        let mut end = memchr::memchr2(b'"', b'\\', inner)?;
        let plain = inner[end] == b'"';
        while inner[end] == b'\\' {
            end += 2;
            end += memchr::memchr2(b'"', b'\\', inner.get(end..)?)?;
        }
        let literal = &self.text[self.at..self.at + end + 2];
        self.at += literal.len();
        Some(if plain { Cow::Borrowed(&literal[1..=end]) } else { Cow::Owned(unescape(&literal[1..=end])) })
    }

    fn list(&mut self, depth: usize) -> Option<Node<'a>> {
        self.at += 1;
        let mut items = Vec::new();
        if !self.takes(b']') {
            loop {
                items.push(self.value(depth)?);
                if !self.takes(b',') {
                    break;
                }
            }
            self.takes(b']').then_some(())?;
        }
        Some(Node::List(items))
    }

    fn object(&mut self, depth: usize) -> Option<Node<'a>> {
        self.at += 1;
        let mut members: Members<'a> = Vec::new();
        if !self.takes(b'}') {
            loop {
                self.space();
                let name = self.string()?;
                self.takes(b':').then_some(())?;
                let value = self.value(depth)?;
                match members.iter_mut().take(MAX_COMPARED).find(|(n, _)| *n == name) {
                    Some((_, old)) => *old = value,
                    None => members.push((name, value)),
                }
                if !self.takes(b',') {
                    break;
                }
            }
            self.takes(b'}').then_some(())?;
        }
        if members.len() > MAX_COMPARED {
            only_last(&mut members);
        }
        Some(Node::Object(members))
    }
}

/// Of equal names keeps the last one's value, at the first one's place.
fn only_last(members: &mut Members<'_>) {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|a, b| members[*a].0.cmp(&members[*b].0).then(Ordering::Equal));
    let mut gone = vec![false; members.len()];
    for pair in order.windows(2) {
        if members[pair[0]].0 == members[pair[1]].0 {
            // The places of equal names come in order: the value wanders to the first of them.
            let first =
                order.iter().position(|at| members[*at].0 == members[pair[1]].0).map_or(pair[0], |at| order[at]);
            let value = std::mem::take(&mut members[pair[1]].1);
            members[first].1 = value;
            gone[pair[1]] = true;
        }
    }
    let mut at = 0;
    members.retain(|_| {
        at += 1;
        !gone[at - 1]
    });
}

/// A string's text without its escapes; half of a surrogate pair is U+FFFD.
fn unescape(literal: &str) -> String {
    let mut out = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut len = 1;
        match rest.as_bytes().first() {
            Some(b'n') => out.push('\n'),
            Some(b't') => out.push('\t'),
            Some(b'r') => out.push('\r'),
            Some(b'b') => out.push('\u{8}'),
            Some(b'f') => out.push('\u{c}'),
            Some(b'u') => {
                let (c, used) = escaped_character(rest);
                out.push(c);
                len = used;
            }
            Some(byte) => out.push(char::from(*byte)), // a quote, a slash or a backslash
            None => break,
        }
        rest = &rest[len..];
    }
    out.push_str(rest);
    out
}

/// The character of `uXXXX`, or of a pair `uXXXX\uXXXX`, and how many bytes of it were used.
fn escaped_character(text: &str) -> (char, usize) {
    let unit = |text: &str| u32::from_str_radix(text.strip_prefix('u')?.get(..4)?, 16).ok();
    let Some(first) = unit(text) else { return (char::REPLACEMENT_CHARACTER, 1) };
    if let 0xD800..=0xDBFF = first
        && let Some(second @ 0xDC00..=0xDFFF) = text.get(5..).and_then(|rest| unit(rest.strip_prefix('\\')?))
    {
        let pair = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        return (char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER), 11);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comes_back_as_it_was() {
        for text in [
            "null",
            "[]",
            "{}",
            r#"{"b":1.50,"a":[true,false,null,-0,1e5,123456789012345678901234567890],"c":{"":"é\n"}}"#,
        ] {
            assert_eq!(Node::parse(text).unwrap().to_json(), text);
        }
        let spaced = " { \"a\" : [ 1 , { } , [ ] ] , \"b\" : \"\\ud83d\\ude00\\u00e9\\/\" } ";
        assert_eq!(Node::parse(spaced).unwrap().to_json(), r#"{"a":[1,{},[]],"b":"😀é/"}"#);
        assert_eq!(Node::parse(r#""a\ud83d""#).unwrap().as_str(), Some("a\u{fffd}"));
        for broken in ["", "{", "[1,]", "\"", "{\"a\" 1}", "nul", "1 2"] {
            assert!(Node::parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(Node::parse(&deep(MAX_DEPTH)).is_ok());
        assert!(Node::parse(&deep(MAX_DEPTH + 1)).is_err());
    }

    #[test]
    fn of_doubled_members_the_last_counts_at_the_first_ones_place() {
        assert_eq!(Node::parse(r#"{"a":1,"b":2,"a":3}"#).unwrap().to_json(), r#"{"a":3,"b":2}"#);
        let many: Vec<String> = (0..40).map(|n| format!("\"m{}\":{n}", n % 20)).collect();
        let node = Node::parse(&format!("{{{}}}", many.join(","))).map(Node::into_owned).unwrap();
        let kept: Vec<String> = (0..20).map(|n| format!("\"m{n}\":{}", n + 20)).collect();
        assert_eq!(node.to_json(), format!("{{{}}}", kept.join(",")));
    }

    #[test]
    fn numbers_are_equal_by_value() {
        for (a, b) in [("1", "1.0"), ("150", "1.5e2"), ("-0", "0"), ("0.10", "1e-1"), ("1E+2", "100")] {
            assert_eq!(number(a), number(b), "{a} {b}");
        }
        for (a, b) in [("1", "-1"), ("10", "1"), ("123456789012345678901", "123456789012345678902"), ("0.1", "0.01")] {
            assert_ne!(number(a), number(b), "{a} {b}");
        }
    }

    #[test]
    fn what_is_null_is_not_there() {
        let node = |text| Node::parse(text).unwrap();
        assert!(node(r#"{"a":1,"b":null}"#).same(&node(r#"{"a":1.0}"#)));
        assert!(!node(r#"{"a":1,"b":[]}"#).same(&node(r#"{"a":1}"#)));
        assert!(!node("[null]").same(&node("[]")));
    }

    proptest! {
        #[test]
        fn strings_are_read_as_serde_json_reads_them(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let node = Node::parse(&json).unwrap();
            prop_assert_eq!(node.as_str(), Some(&*text));
        }
    }
}
