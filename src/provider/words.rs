//! Finish reasons and token counts, from one provider's words to another's.
//!
//! Fixtures keep OpenAI's finish words, and usage in the names of the provider that sent it. A wire says in two const
//! tables how its own words relate to those.

use super::PROVIDERS;
use crate::json::Node;
use crate::reply::{Embeddings, Part, Reply, Usage};
use crate::request::{Request, estimate_tokens};
use serde_json::{Map, Value};

/// How a wire says why the model stopped.
#[derive(Debug)]
pub struct FinishWords {
    /// (own word, OpenAI's word) that mean the same: each own word once, each OpenAI word at most once.
    pub exact: &'static [(&'static str, &'static str)],
    /// (own word, nearest OpenAI word): kept as they are in fixtures, translated only for other wires.
    pub near: &'static [(&'static str, &'static str)],
    /// What is said where the word to be sent has no equal.
    pub otherwise: &'static str,
}

/// A wire's own finish word as fixtures keep it.
pub fn finish_in(words: &FinishWords, own: &str) -> String {
    let same = words.exact.iter().find(|(o, _)| *o == own).map(|(_, openai)| *openai);
    same.unwrap_or(own).to_owned()
}

/// A fixture's finish word as this wire says it.
pub fn finish_out(words: &FinishWords, kept: &str) -> String {
    let exact = |word: &str| words.exact.iter().find(|(_, openai)| *openai == word).map(|(own, _)| *own);
    if let Some(own) = exact(kept) {
        return own.to_owned();
    }
    if let ("function_call", Some(own)) = (kept, exact("tool_calls")) {
        return own.to_owned(); // OpenAI's older word for the same
    }
    if words.near.iter().any(|(own, _)| *own == kept) || words.exact.iter().any(|(own, _)| *own == kept) {
        return kept.to_owned();
    }
    let foreign = PROVIDERS
        .iter()
        .flat_map(|p| p.routes)
        .filter_map(|r| r.codec.finish_words())
        .find_map(|w| w.near.iter().chain(w.exact).find(|(own, _)| *own == kept).map(|(_, openai)| *openai));
    match foreign {
        Some(openai) => exact(openai).unwrap_or(words.otherwise).to_owned(),
        None if is_openai_word(kept) => words.otherwise.to_owned(),
        None => kept.to_owned(), // a word of this wire that the table does not know yet
    }
}

fn is_openai_word(word: &str) -> bool {
    matches!(word, "stop" | "length" | "tool_calls" | "content_filter" | "function_call")
}

/// Token counts without a provider's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Prompt tokens, those read from a cache included.
    pub input: u64,
    /// Answer tokens, reasoning included.
    pub output: u64,
    /// Prompt tokens read from a cache.
    pub cached: Option<u64>,
    /// Prompt tokens written to a cache.
    pub cache_write: Option<u64>,
    /// Answer tokens spent on reasoning.
    pub reasoning: Option<u64>,
}

/// A wire's names for token counts: JSON pointers into its usage object, empty where it has none.
#[derive(Debug)]
pub struct UsageShape {
    /// Prompt tokens.
    pub input: &'static str,
    /// Answer tokens.
    pub output: &'static str,
    /// Their sum.
    pub total: &'static str,
    /// Prompt tokens read from a cache.
    pub cached: &'static str,
    /// Prompt tokens written to a cache.
    pub cache_write: &'static str,
    /// Answer tokens spent on reasoning.
    pub reasoning: &'static str,
    /// `input` does not count cached tokens (Anthropic).
    pub input_excludes_cached: bool,
    /// `output` does not count reasoning tokens (Gemini).
    pub output_excludes_reasoning: bool,
}

impl UsageShape {
    /// Whether a usage object is in these names: it has this wire's input and output counts, and its total where the
    /// wire has one.
    pub fn fits(&self, usage: &Usage) -> bool {
        let has = |pointer: &str| pointer.is_empty() || number(usage, pointer).is_some();
        has(self.input) && has(self.output) && has(self.total)
    }

    /// Reads the counts from a usage object in these names; `None` where it has none of them.
    pub fn read(&self, usage: &Usage) -> Option<Counts> {
        let get = |pointer: &str| if pointer.is_empty() { None } else { number(usage, pointer) };
        let (input, output) = (get(self.input), get(self.output));
        if input.is_none() && output.is_none() {
            return None;
        }
        let mut counts = Counts {
            input: input.unwrap_or(0),
            output: output.unwrap_or(0),
            cached: get(self.cached),
            cache_write: get(self.cache_write),
            reasoning: get(self.reasoning),
        };
        if self.input_excludes_cached {
            counts.input += counts.cached.unwrap_or(0) + counts.cache_write.unwrap_or(0);
        }
        if self.output_excludes_reasoning {
            counts.output += counts.reasoning.unwrap_or(0);
        }
        Some(counts)
    }

    /// The counts in these names.
    pub fn write(&self, counts: &Counts) -> Usage {
        let mut usage = Map::new();
        let (mut input, mut output) = (counts.input, counts.output);
        if self.input_excludes_cached {
            input = input.saturating_sub(counts.cached.unwrap_or(0) + counts.cache_write.unwrap_or(0));
        }
        if self.output_excludes_reasoning {
            output = output.saturating_sub(counts.reasoning.unwrap_or(0));
        }
        let total = counts.input + counts.output;
        for (pointer, count) in [
            (self.input, Some(input)),
            (self.output, Some(output)),
            (self.total, Some(total)),
            (self.cached, counts.cached),
            (self.cache_write, counts.cache_write),
            (self.reasoning, counts.reasoning),
        ] {
            if let (false, Some(count)) = (pointer.is_empty(), count) {
                put(&mut usage, pointer, count);
            }
        }
        usage
    }
}

fn number(usage: &Usage, pointer: &str) -> Option<u64> {
    let mut steps = pointer[1..].split('/');
    let mut value = usage.get(steps.next()?)?;
    for step in steps {
        value = value.get(step)?;
    }
    value.as_u64().or_else(|| value.as_f64().map(|f| f as u64))
}

fn put(usage: &mut Usage, pointer: &str, count: u64) {
    let mut object = usage;
    let mut steps = pointer[1..].split('/').peekable();
    while let Some(step) = steps.next() {
        if steps.peek().is_none() {
            object.insert(step.to_owned(), Value::from(count));
            return;
        }
        let next = object.entry(step.to_owned()).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(next) = next else { return };
        object = next;
    }
}

/// Usage in this wire's names: as it is where it already is in them, translated where another wire recorded it; counts
/// that the wire requires are filled in.
pub fn usage_out(shape: &UsageShape, usage: &Usage) -> Usage {
    if shape.fits(usage) {
        return usage.clone();
    }
    let shapes = || PROVIDERS.iter().flat_map(|p| p.routes).filter_map(|r| r.codec.usage_shape());
    // The more of a shape's names fit, the surer it is that they are meant: those with a total come first.
    let (with_total, without) = (shapes().filter(|s| !s.total.is_empty()), shapes().filter(|s| s.total.is_empty()));
    if let Some(counts) = with_total.chain(without).filter(|s| s.fits(usage)).find_map(|s| s.read(usage)) {
        return shape.write(&counts);
    }
    let own = shape.read(usage);
    match own.or_else(|| shapes().find_map(|s| s.read(usage))) {
        Some(counts) if own.is_none() => shape.write(&counts),
        counts => {
            let mut filled = shape.write(&counts.unwrap_or_default());
            for (name, value) in usage {
                filled.insert(name.clone(), value.clone());
            }
            filled
        }
    }
}

/// The usage to send with a turn: what was recorded in this wire's names, or an estimate at four characters a token.
pub fn answer_usage(shape: &UsageShape, reply: &Reply, request: &Request<'_>) -> Usage {
    match &reply.usage {
        Some(usage) => usage_out(shape, usage),
        None => shape.write(&estimate(reply, request)),
    }
}

/// [`answer_usage`], borrowed where it can be.
pub fn usage_node<'r>(shape: &UsageShape, reply: &'r Reply, request: &Request<'_>) -> Node<'r> {
    let counts = match &reply.usage {
        Some(usage) if shape.fits(usage) => return usage.into(),
        Some(usage) => return Node::from(&Value::Object(usage_out(shape, usage))).into_owned(),
        None => estimate(reply, request),
    };
    let members =
        [(shape.input, counts.input), (shape.output, counts.output), (shape.total, counts.input + counts.output)];
    let deep = |pointer: &str| pointer.get(1..).is_none_or(|name| name.contains('/'));
    if members.iter().any(|(pointer, _)| deep(pointer)) {
        return Node::from(&Value::Object(shape.write(&counts))).into_owned();
    }
    Node::Object(members.into_iter().map(|(pointer, count)| (pointer[1..].into(), count.into())).collect())
}

fn estimate(reply: &Reply, request: &Request<'_>) -> Counts {
    let output = reply.parts.iter().map(|part| match part {
        Part::Text { text, .. } | Part::Reasoning { text, .. } => text.len(),
        Part::ToolCall(call) => call.name.len() + call.arguments.len(),
        Part::RedactedReasoning(_) | Part::Verbatim(_) => 0,
    });
    Counts { input: request.estimated_tokens(), output: estimate_tokens(output.sum()), ..Counts::default() }
}

/// The usage to send with embeddings, like [`usage_node`].
pub fn embeddings_usage<'r>(shape: &UsageShape, embeddings: &'r Embeddings, request: &Request<'_>) -> Node<'r> {
    match &embeddings.usage {
        Some(usage) if shape.fits(usage) => usage.into(),
        Some(usage) => Node::from(&Value::Object(usage_out(shape, usage))).into_owned(),
        None => {
            let counts = Counts { input: request.estimated_tokens(), ..Counts::default() };
            Node::from(&Value::Object(shape.write(&counts))).into_owned()
        }
    }
}
