//! The arguments of a function call that arrive in pieces, each under a JSON path.
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling#streaming-fc>

use crate::json::Node;
use crate::provider::Fault;
use std::borrow::Cow;

/// Names and indices in one path. Deeper arguments could not be read back.
const MAX_PATH_STEPS: usize = 100;

/// The object that the pieces make.
#[derive(Default)]
pub(super) struct Arguments {
    object: Option<Node<'static>>,
    /// The path of the string that is not complete yet.
    unfinished: Option<String>,
}

impl Arguments {
    /// Puts a piece in its place: a value, or a piece of a string, and its path. The bytes it takes more.
    pub(super) fn take(&mut self, piece: &Node<'_>) -> Result<usize, Fault> {
        let path = piece.str("jsonPath").unwrap_or("");
        let astray = || Fault::Unreadable(format!("an argument at the path `{path}`"));
        let steps = steps(path).ok_or_else(astray)?;
        let more = self.unfinished.as_deref() == Some(path);
        let continues = matches!(piece.get("willContinue"), Some(Node::Bool(true)));
        self.unfinished = continues.then(|| path.to_owned());
        let value = |name: &str| piece.get(name).cloned();
        let value = match value("stringValue").or_else(|| value("numberValue")).or_else(|| value("boolValue")) {
            Some(value) => value.into_owned(),
            None if piece.get("nullValue").is_some() => Node::Null,
            None => return Ok(0), // says only whether more is to come
        };
        let bytes = path.len() + value.kept_bytes();
        let mut place = self.object.get_or_insert_with(|| Node::Object(Vec::new()));
        for step in steps {
            place = step.enter(place).ok_or_else(astray)?;
        }
        match (place, value) {
            (Node::Text(text), Node::Text(piece)) if more => text.to_mut().push_str(&piece),
            (place, value) => *place = value,
        }
        Ok(bytes)
    }

    /// The object, if any piece came.
    pub(super) fn into_object(self) -> Option<Node<'static>> {
        self.object
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
    fn enter<'p>(self, place: &'p mut Node<'static>) -> Option<&'p mut Node<'static>> {
        match self {
            Step::Name(name) => Some(place.entry(&name)),
            Step::Index(index) => {
                if !matches!(place, Node::List(_)) {
                    *place = Node::List(Vec::new());
                }
                let Node::List(list) = place else { return None };
                if index == list.len() {
                    list.push(Node::Null);
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
        let piece = Node::parse(r#"{"jsonPath":"$.a[4000000000]","numberValue":1}"#).unwrap();
        assert!(matches!(arguments.take(&piece), Err(Fault::Unreadable(_))));
    }
}
