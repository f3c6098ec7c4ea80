//! What a stream brings in pieces: texts, members, and what a tool is given, which is JSON in a whole answer and pieces of
//! JSON text in a stream.

use crate::json::{Node, object};
use std::borrow::Cow;

/// Adds what a delta has: texts, lists and objects grow, all else is replaced.
pub(super) fn grow(kept: &mut Node<'static>, new: Node<'_>) {
    match (&mut *kept, new) {
        (_, Node::Null) => {}
        (Node::Text(kept), Node::Text(new)) => kept.to_mut().push_str(&new),
        (Node::List(kept), Node::List(new)) => kept.extend(new.into_iter().map(Node::into_owned)),
        (Node::Object(_), Node::Object(new)) => new.into_iter().for_each(|(name, new)| grow(kept.entry(&name), new)),
        (kept, new) => *kept = new.into_owned(),
    }
}

/// Adds what a JSON string says, given as it stands with its quotes; its length there, in bytes.
pub(super) fn append(kept: &mut String, literal: &str) -> usize {
    let inside = &literal[1..literal.len() - 1];
    match inside.contains('\\') {
        false => kept.push_str(inside),
        true => kept.push_str(Node::parse(literal).as_ref().ok().and_then(Node::as_str).unwrap_or("")),
    }
    inside.len()
}

/// What the pieces of a stream make: their JSON, or their text where that is none (a call cut at its token limit).
pub(super) fn of_pieces(text: &str) -> Node<'_> {
    match Node::parse(text) {
        Ok(Node::Text(_)) | Err(_) => Node::text(text),
        Ok(json) => json,
    }
}

/// The text whose pieces make this; `None` where no pieces do.
pub(super) fn to_pieces<'n>(input: &'n Node<'_>) -> Option<Cow<'n, str>> {
    match input {
        Node::Null => None,
        Node::Text(text) if text.is_empty() => None,
        Node::Text(text) => matches!(of_pieces(text), Node::Text(_)).then_some(Cow::Borrowed(text)),
        json => Some(Cow::Owned(json.to_json())),
    }
}

/// A call's arguments as its tool is given them: none are an empty object. What is no object is itself in a stream, and
/// in a whole answer text in a member `_raw`, as SDKs expect an object there.
pub(super) fn of_arguments(arguments: &str, streamed: bool) -> Node<'_> {
    match of_pieces(arguments) {
        object @ Node::Object(_) => object,
        Node::Null => Node::Object(Vec::new()),
        _ if arguments.trim().is_empty() => Node::Object(Vec::new()),
        other if streamed => other,
        _ => object! { "_raw": arguments },
    }
}

/// A call's arguments as text.
pub(super) fn to_arguments(input: Option<&Node<'_>>) -> String {
    match input {
        None | Some(Node::Null) => "{}".to_owned(),
        Some(Node::Text(text)) => text.clone().into_owned(),
        Some(json) => json.to_json(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_what_they_were_cut_from() {
        for text in [r#"{"b":1.50,"a":[]}"#, "[1]", "5", r#"{"city":"Par"#, "\"a\"", "plain"] {
            let input = of_pieces(text);
            assert_eq!(to_pieces(&input).as_deref(), Some(text));
            assert_eq!(to_arguments(Some(&input)), text);
        }
        for whole in [Node::Null, Node::text(""), Node::text("{}")] {
            assert_eq!(to_pieces(&whole), None, "{whole:?}");
        }
    }

    #[test]
    fn a_whole_answer_has_an_object() {
        let whole = |arguments: &str| of_arguments(arguments, false).to_json();
        assert_eq!(whole(" {\"a\": 1}\n"), r#"{"a":1}"#);
        assert_eq!(whole("{\"city\":\"Par"), r#"{"_raw":"{\"city\":\"Par"}"#);
        assert_eq!(whole("[1]"), r#"{"_raw":"[1]"}"#);
        assert_eq!((whole(""), whole(" "), whole("null")), ("{}".into(), "{}".into(), "{}".into()));
        assert_eq!(of_arguments("{\"city\":\"Par", true).as_str(), Some("{\"city\":\"Par"));
    }
}
