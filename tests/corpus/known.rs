//! What is known to be otherwise, by name and reason. Whoever mends one takes it out: an entry that is no longer needed
//! fails a test.

use super::captures::Capture;
use aimock::provider::Codec;
use aimock::request::canonical::NOT_IDENTITY;

/// Formats, wires, or the hashes that end the names of captures, and why.
pub(crate) struct Known(&'static [(&'static str, &'static str)]);

impl Known {
    pub(crate) fn lists(&self, capture: &Capture) -> bool {
        self.0.iter().any(|(of, _)| names(of, capture))
    }

    /// The entries that name no capture of which this holds.
    pub(crate) fn idle(&self, captures: &[Capture], holds: impl Fn(&Capture) -> bool) -> Vec<&'static str> {
        let needed = |of: &str| captures.iter().any(|c| names(of, c) && holds(c));
        self.0.iter().map(|(of, _)| *of).filter(|of| !needed(of)).collect()
    }
}

/// Whether this names the capture.
pub(crate) fn names(of: &str, capture: &Capture) -> bool {
    let wire = capture.request.found().codec.wire();
    capture.row.format == of || wire == of || capture.row.name.strip_suffix(of).is_some_and(|name| name.ends_with('-'))
}

/// Endpoints without a codec: their answers are kept as they are.
pub(crate) const RAW_ENDPOINTS: Known = Known(&[
    ("bedrock-invoke", "the models' own forms, of which Claude's alone has a codec"),
    ("anthropic-complete-json", "text completions, before Messages"),
    ("anthropic-complete-sse", "text completions, before Messages"),
    ("anthropic-count-tokens-json", "a number, and no turn"),
    ("cohere-rerank-json", "a ranking, and no turn"),
    ("cohere-v1-generate-json", "text completions, before chat"),
    ("gemini-count-tokens-json", "a number, and no turn"),
    ("gemini-interactions-json", "a beta"),
    ("gemini-interactions-sse", "a beta"),
    ("models-json", "a list, and no turn"),
    ("ollama-info-json", "a model's card, and no turn"),
    ("openai-audio-binary", "sound"),
    ("openai-audio-json", "asked with sound, in multipart"),
    ("openai-audio-sse", "asked with sound, in multipart"),
    ("openai-audio-text", "asked with sound, in multipart"),
    ("openai-completions-json", "text completions, before chat"),
    ("openai-completions-sse", "text completions, before chat"),
    ("openai-images-json", "images"),
    ("openai-moderations-json", "scores, and no turn"),
    ("009c3d60", "what an organisation used: a list, and no turn"),
    ("9f58fec5", "a stream that is taken up again: GET, and no question"),
]);

/// Answers of endpoints with a codec that are kept as they are all the same.
pub(crate) const RAW_ANSWERS: Known = Known(&[
    ("1e89c6ac", "Claude's text completions under invoke"),
    ("e1ffb783", "Claude's text completions under invoke"),
    ("67460c44", "Claude's text completions under invoke"),
    ("f701abc8", "Claude's text completions under invoke"),
    ("ae47fa52", "embeddings of other types than float"),
    ("8745f0a9", "OpenAI's chat at Ollama's path"),
    ("79e098c0", "Writer's chat at Cohere's path"),
    ("613416cb", "Writer's chat at Cohere's path"),
    ("865484d3", "Writer's chat at Cohere's path"),
]);

/// Streams that are whole without a finish reason.
pub(crate) const WHOLE_WITHOUT_REASON: Known = Known(&[
    ("95dddc80", "response.completed came, without a status"),
    ("25b1d19e", "[DONE] came"),
    ("8eefdb04", "[DONE] came"),
    ("b7d826be", "the prompt was blocked, which ends the answer"),
    ("ef2c2131", "the prompt was blocked, which ends the answer"),
]);

const ANOTHER_BLOB: &str = "encrypted_content in output_item.done is not that in response.completed";
const ANOTHER_ID: &str = "the id in output_item.done is not that in response.completed";

/// Streams that say one thing in two ways: they are kept as they were on the wire as well.
pub(crate) const SAYS_TWO_THINGS: Known = Known(&[
    ("57640079", ANOTHER_BLOB),
    ("39fc737c", ANOTHER_BLOB),
    ("122f65a0", ANOTHER_BLOB),
    ("8d61023f", ANOTHER_BLOB),
    ("e36d5425", ANOTHER_BLOB),
    ("a5bc813f", ANOTHER_BLOB),
    ("3f683abe", ANOTHER_BLOB),
    ("f561e02b", ANOTHER_BLOB),
    ("276e3c6f", ANOTHER_BLOB),
    ("45e46d47", ANOTHER_ID),
    ("95120c2e", ANOTHER_ID),
    ("f8ca48aa", ANOTHER_ID),
    ("c579f371", OTHER_CHUNKS),
    ("8512a26d", OTHER_CHUNKS),
    ("3ed7ff26", OTHER_CHUNKS),
    ("a7b9e822", OTHER_CHUNKS),
    ("69d643b8", OTHER_EVENTS),
    ("72619433", OTHER_EVENTS),
    ("bad92046", OTHER_EVENTS),
    ("fa7353fd", OTHER_EVENTS),
    ("efe53b82", OTHER_EVENTS),
    ("d9e1cae5", OTHER_EVENTS),
    ("81df99b1", OTHER_EVENTS),
]);

const OTHER_CHUNKS: &str = "ratings or citations differ between the chunks: the last ones count";
const OTHER_EVENTS: &str = "events carry documents or a finish reason that the answer at the stream's end has not";

/// Answers with a signed URL, whose signature is not written.
pub(crate) const HOLDS_A_SECRET: Known = Known(&[("0fd95e61", "the address of an image is signed")]);

/// Answers that are not kept as they were on the wire, since something in them looks like a key.
pub(crate) const WITHOUT_WIRE: Known =
    Known(&[("0fd95e61", "the address of an image is signed"), ("a5bc813f", "a blob that looks like a key")]);

/// Kept as they came where they were tampered with, since their events then say two things; their last one has no mark.
pub(crate) const UNMARKED: Known = Known(&[
    ("1f0a950a", "its events have no is_finished that the answer has"),
    ("fa7353fd", "its events have no is_finished that the answer has"),
]);

const TWO_ANSWERS: &str = "two answers in one body, of which it reads the last: the first one's end is the end";

/// Where the other collapser sees something else: the field, of whom, and why.
pub(crate) const DISAGREEMENTS: &[(&str, &str, &str)] = &[
    ("usage", "cohere-v1-chat-ndjson", "it reads the tokens alone of what belongs to the answer"),
    (
        "text",
        "cohere-v1-chat-ndjson",
        "what is said before tool calls comes in their events, and is the text of stream-end",
    ),
    ("reasoning", "cohere-v2-chat-sse", "it does not read tool_plan"),
    ("usage", "5a6ec9ff", "it does not read x_groq.usage"),
    ("usage", "66a294bb", "it does not read x_groq.usage"),
    ("reasoning", "c4710c35", "it reads the summary alone, and not the reasoning's text"),
    ("reasoning", "32e84621", "it reads the summary alone, and not the reasoning's text"),
    ("reasoning", "af2f959a", "it reads the summary alone, and not the reasoning's text"),
    ("reasoning", "1c86eef9", "it reads the summary alone, and not the reasoning's text"),
    ("reasoning", "f8ca48aa", "it reads the summary alone, and not the reasoning's text"),
    ("finish", "3d2d4a61", "it reads the status, and not incomplete_details"),
    ("finish", "6ff6ec29", "it reads the status, and not incomplete_details"),
    ("finish", "7f06a017", "it reads the status, and not incomplete_details"),
    ("finish", "c4864f66", "it reads the status, and not incomplete_details"),
    ("finish", "gemini-jsonarray", "finish reasons come as numbers, and go out as words"),
    ("tool calls", "da2d8efa", "it does not read partialArgs"),
    ("tool calls", "72c0ceb0", "it does not read partialArgs"),
    ("tool calls", "a17290f6", "it takes a tool that the provider ran itself for a call"),
    ("ids", "a17290f6", "it takes a tool that the provider ran itself for a call"),
    ("tool calls", "ee75a17a", "it takes a tool that the provider ran itself for a call"),
    ("ids", "ee75a17a", "it takes a tool that the provider ran itself for a call"),
    ("text", "e36d5425", TWO_ANSWERS),
    ("reasoning", "e36d5425", TWO_ANSWERS),
    ("tool calls", "e36d5425", TWO_ANSWERS),
    ("ids", "e36d5425", TWO_ANSWERS),
    ("usage", "e36d5425", TWO_ANSWERS),
    ("text", "35e5e030", TWO_ANSWERS),
    ("usage", "35e5e030", TWO_ANSWERS),
    ("finish", "95dddc80", "it reads a status that is not there"),
    ("finish", "25b1d19e", "[DONE] came, and no reason: it is implied"),
    ("finish", "8eefdb04", "[DONE] came, and no reason: it is implied"),
    ("finish", "b7d826be", "the prompt was blocked, which is a reason here"),
    ("finish", "ef2c2131", "the prompt was blocked, which is a reason here"),
];

/// Whether the other collapser is known to see this field otherwise.
pub(crate) fn disagreed(capture: &Capture, field: &str) -> bool {
    DISAGREEMENTS.iter().any(|(what, of, _)| *what == field && names(of, capture))
}

/// Whether what stands here may differ between two requests that are the same: the canonical form leaves it out, or it
/// is an id, which counts by its order. The wires say where, in a few pointers each.
pub(crate) fn unseen(place: &str, codec: &dyn Codec) -> bool {
    let first = place.split('/').nth(1).unwrap_or("");
    let fits = |pointer: &str| {
        let mut steps = place.split('/');
        // What stands within something that is left out is left out as well.
        pointer.split('/').all(|wanted| steps.next().is_some_and(|step| wanted == "*" || wanted == step))
    };
    let places = codec.identity();
    // Marks of what is cached, and what a server of tools is shown: no model sees either.
    if place.contains("/cachePoint/") || place.ends_with("/authorization") {
        return true;
    }
    NOT_IDENTITY.contains(&first)
        || ["stream", "stream_options"].contains(&first)
        || places.ids.iter().chain(places.unseen).any(|pointer| fits(pointer))
}
