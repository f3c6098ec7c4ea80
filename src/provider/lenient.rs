//! JSON that is not quite what its wire says, read for what it holds.
//!
//! Services that speak another's wire get kinds of values wrong and write members twice; clients in loosely typed
//! languages never notice. Of a member that is there twice the last one counts, a string is made of any value, a number
//! of its digits, a list of the one value that stands for it. Only what would lose content is refused. All answers are
//! read so: a strict parser beside this one would be faster, and double the code of every type that is read.

use crate::json;
use crate::request::Str;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserialize, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;
use serde_json::{Error, Result};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

/// Reads JSON as a type.
///
/// # Errors
/// It is not JSON, or has a value where another one would be lost.
pub(super) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    T::deserialize(Lenient(json::parse::<&RawValue>(bytes)?.get()))
}

/// Members that are compared with each other; more are hashed.
const MAX_COMPARED: usize = 24;

/// One JSON value's text.
#[derive(Clone, Copy)]
struct Lenient<'de>(&'de str);

impl<'de> Lenient<'de> {
    /// Its own text, where it is a string; else the JSON.
    fn text(self) -> Cow<'de, str> {
        let string = || serde_json::from_str(self.0).ok();
        match self.0 {
            json if json.starts_with('"') => string().map_or(Cow::Borrowed(json), |Str(text)| text),
            "null" => Cow::Borrowed(""),
            json => Cow::Borrowed(json),
        }
    }

    /// A whole number, without its fraction where it has one.
    fn whole<T: FromStr>(self, from: impl Fn(f64) -> T) -> Result<T> {
        let text = self.text();
        text.trim().parse().or_else(|_| self.number().map(from))
    }

    fn number(self) -> Result<f64> {
        self.text().trim().parse().map_err(|_| Error::custom(format_args!("expected a number, found `{}`", self.0)))
    }

    /// How loosely typed languages say that there is no list or object.
    fn is_nothing(self) -> bool {
        matches!(self.0, "null" | "false" | "\"\"" | "[]" | "{}")
    }

    fn strictly(self) -> serde_json::Deserializer<serde_json::de::StrRead<'de>> {
        serde_json::Deserializer::from_str(self.0)
    }
}

impl<'de> Deserializer<'de> for Lenient<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.strictly().deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.0 == "null" { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        self.strictly().deserialize_newtype_struct(name, visitor) // a RawValue is one
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.text() {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let text = self.text();
        visitor.visit_bool(text.eq_ignore_ascii_case("true") || text == "1")
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_i64(self.whole(|n| n as i64)?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_u32(self.whole(|n| n as u32)?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_u64(self.whole(|n| n as u64)?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_f64(self.number()?)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let elements: Vec<&'de RawValue> = match self.0 {
            list if list.starts_with('[') => serde_json::from_str(list)?,
            _ if self.is_nothing() => Vec::new(),
            one => vec![serde_json::from_str(one)?],
        };
        visitor.visit_seq(SeqDeserializer::new(elements.into_iter().map(|element| Lenient(element.get()))))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let Members(members) = match self.0 {
            _ if self.is_nothing() => Members::default(),
            object => serde_json::from_str(object)?,
        };
        visitor.visit_map(MapDeserializer::new(members.into_iter().map(|(key, value)| (key, Lenient(value.get())))))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
        ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Lenient<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// An object's members, each once.
#[derive(Default)]
struct Members<'de>(Vec<(Cow<'de, str>, &'de RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Whether a member may be there twice: of many it is not asked, as they would all be compared with each other.
fn has_twice(members: &[(Cow<'_, str>, &RawValue)]) -> bool {
    let before = |at: usize, key: &str| members[..at].iter().any(|(other, _)| other == key);
    members.len() > MAX_COMPARED || members.iter().enumerate().any(|(at, (key, _))| before(at, key))
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Members<'de>, A::Error> {
        let mut all: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
        while let Some((Str(key), value)) = map.next_entry()? {
            all.push((key, value));
        }
        if has_twice(&all) {
            let mut seen = HashSet::new();
            let mut last: Vec<bool> = all.iter().rev().map(|(key, _)| seen.insert(key.clone())).collect();
            all.retain(|_| last.pop().unwrap_or(false));
        }
        Ok(Members(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value};

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Of<'a> {
        #[serde(borrow)]
        text: Option<Str<'a>>,
        number: Option<i64>,
        count: Option<u64>,
        flag: Option<bool>,
        #[serde(borrow)]
        list: Option<Vec<Of<'a>>>,
        usage: Option<Map<String, Value>>,
    }

    fn read(json: &str) -> Of<'_> {
        parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn of_a_member_that_is_there_twice_the_last_one_counts() {
        assert_eq!(read(r#"{"number":1,"text":"a","n":0,"text":"b"}"#), read(r#"{"number":1,"text":"b"}"#));
    }

    #[test]
    fn values_of_another_kind() {
        let text = |json: &str| read(json).text.map(|t| t.0.into_owned());
        assert_eq!(text(r#"{"text":5}"#).as_deref(), Some("5"));
        assert_eq!(text(r#"{"text":{"a":[1, "b"]}}"#).as_deref(), Some(r#"{"a":[1, "b"]}"#));
        assert_eq!(text(r#"{"text":null,"number":"1"}"#), None);
        let of = read(r#"{"number":"-1","count":-1.5,"flag":"True","usage":"","list":{"text":"\u00e9"}}"#);
        assert_eq!((of.number, of.count, of.flag, of.usage), (Some(-1), Some(0), Some(true), Some(Map::new())));
        assert_eq!(of.list, Some(vec![Of { text: Some(Str("é".into())), ..Of::default() }]));
        assert_eq!(read(r#"{"count":18446744073709551615}"#).count, Some(u64::MAX));
        assert_eq!(read(r#"{"list":"","count":7.0}"#), Of { list: Some(vec![]), count: Some(7), ..Of::default() });
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        for json in [
            r#"{"list":"text"}"#,
            r#"{"list":["text"]}"#,
            r#"{"list":[[1]]}"#,
            "7",
            "[1]",
            r#"{"usage":"x"}"#,
            r#"{"number":"x"}"#,
        ] {
            assert!(parse::<Of<'_>>(json.as_bytes()).is_err(), "{json}");
        }
        assert!(parse::<Of<'_>>(b"{\"text\":").is_err());
    }
}
