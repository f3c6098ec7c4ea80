//! What the wires of embeddings share: numbers in and out, and answers that stay as they came until they are kept.

use super::{AnswerHead, Collapse, Collapsed, EmbeddingWire, Fault, Progress, native_of, raw};
use crate::frame::Frame;
use crate::json::Node;

/// The vectors in a list; `None` where one is empty or no list of numbers.
pub(super) fn vectors<'n>(items: impl IntoIterator<Item = Option<&'n Node<'n>>>) -> Option<Vec<Vec<f64>>> {
    let vectors: Vec<Vec<f64>> = items.into_iter().map(|item| vector(item?)).collect::<Option<_>>()?;
    (!vectors.is_empty() && vectors.iter().all(|vector| !vector.is_empty())).then_some(vectors)
}

/// The numbers in a list; `None` where it has anything else in it.
pub(super) fn vector(node: &Node<'_>) -> Option<Vec<f64>> {
    let Node::List(items) = node else { return None };
    items.iter().map(|item| item.as_f64().filter(|number| number.is_finite())).collect()
}

/// A vector as JSON has it; what JSON has no number for is 0.
pub(super) fn numbers(vector: &[f64]) -> Node<'static> {
    let number = |x: &f64| serde_json::Number::from_f64(*x).map_or_else(|| "0.0".to_owned(), |n| n.to_string());
    Node::List(vector.iter().map(|x| Node::Number(number(x).into())).collect())
}

/// Keeps an answer as it came, once it is known to be one.
pub(super) struct Keep {
    wire: &'static dyn EmbeddingWire,
    body: Box<dyn Collapse>,
}

impl Keep {
    pub(super) fn new(wire: &'static dyn EmbeddingWire, answer: &AnswerHead<'_>) -> Self {
        Keep { wire, body: raw::collapser(answer) }
    }
}

impl Collapse for Keep {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        self.wire.read(&native_of(frame.data)?)?;
        self.body.push(frame)
    }

    fn kept_bytes(&self) -> usize {
        self.body.kept_bytes()
    }

    fn finish(&mut self) -> Collapsed {
        self.body.finish()
    }
}
