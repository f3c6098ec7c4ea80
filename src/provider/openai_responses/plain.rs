//! The events that most of a stream consists of, read without taking them apart.

use super::{GROWS, Grows};
use crate::json::Walk;

/// A piece of a text.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    /// What it is a piece of.
    pub(super) row: &'static Grows,
    /// The item's place in the output.
    pub(super) output_index: usize,
    /// The part's place in the item.
    pub(super) index: usize,
    /// A JSON string.
    pub(super) literal: &'a str,
}

/// What an event adds to a text, where it says nothing beside that.
pub(super) fn piece(event: &str) -> Option<Piece<'_>> {
    let (mut row, mut output_index, mut index, mut literal) = (None, None, 0, None);
    let mut walk = Walk::new(event);
    walk.object(|walk, name| match name {
        "type" => {
            let stem = walk.string()?.strip_suffix(".delta")?;
            row = GROWS.iter().find(|row| row.event == stem);
            row.map(drop)
        }
        "output_index" => walk.whole().map(|n| output_index = Some(n)),
        "content_index" | "summary_index" => walk.whole().map(|n| index = n),
        "delta" => walk.literal().map(|text| literal = Some(text)),
        "item_id" | "obfuscation" => walk.string().map(drop),
        "sequence_number" => walk.digits(),
        "logprobs" => walk.eat("[]").or_else(|| walk.eat("null")),
        _ => walk.eat("null"),
    })?;
    walk.end()?;
    Some(Piece { row: row?, output_index: output_index?, index, literal: literal? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pieces_of_text_are_plain() {
        let event = |kind: &str, more: &str| {
            format!(
                r#"{{"type":"response.{kind}.delta","sequence_number": 12,"item_id":"m","output_index":3,"content_index":1{more}}}"#
            )
        };
        let text = event("output_text", r#","delta":"a\"b\\","logprobs":[],"obfuscation":"x""#);
        let found = piece(&text).unwrap();
        assert_eq!((found.row.part, found.output_index, found.index), ("output_text", 3, 1));
        assert_eq!(found.literal, r#""a\"b\\""#);
        assert_eq!(piece(&event("refusal", r#","delta":"""#)).unwrap().row.member, "refusal");
        for other in [
            event("output_text", ""),
            event("output_text", r#","delta":5"#),
            event("output_text", r#","delta":"a","logprobs":[{"token":"a"}]"#),
            event("output_text", r#","delta":"a","error":{}"#),
            event("shell_call_command", r#","delta":"a""#),
            event("output_text", r#","delta":"a""#).replace(".delta\"", ".done\""),
            event("output_text", r#","delta":"a""#).replace("3", "-3"),
            event("output_text", r#","delta":"a""#).replace("3", "3.5"),
            event("output_text", r#","delta":"a""#) + "1",
        ] {
            assert!(piece(&other).is_none(), "{other}");
        }
    }
}
