//! What is known to be otherwise, by name and reason. Whoever mends one takes it out: a test fails where an entry is no
//! longer needed.

use super::captures::Capture;

/// A format, or a part of a capture's folder (a name, or the hash at its end), and why.
pub(crate) struct Known(pub(crate) &'static [(&'static str, &'static str)]);

impl Known {
    /// Whether a capture is listed.
    pub(crate) fn lists(&self, capture: &Capture) -> bool {
        self.0.iter().any(|(of, _)| names(of, capture))
    }
}

/// Whether this names the capture.
pub(crate) fn names(of: &str, capture: &Capture) -> bool {
    capture.row.format == of || capture.row.dir.ends_with(&format!("-{of}"))
}

/// Formats that are kept as they are.
pub(crate) const RAW_FORMATS: Known = Known(&[("models-json", "TODO"),("gemini-interactions-sse", "TODO"),("gemini-interactions-json", "TODO"),("openai-completions-json", "TODO"),("openai-completions-sse", "TODO"),("invoke-eventstream", "TODO"),("cohere-rerank-json", "TODO"),("openai-moderations-json", "TODO"),("openai-images-json", "TODO"),("anthropic-count-tokens-json", "TODO"),("openai-audio-json", "TODO"),("openai-audio-binary", "TODO"),("gemini-count-tokens-json", "TODO"),("cohere-v1-generate-json", "TODO"),("anthropic-complete-json", "TODO"),("anthropic-complete-sse", "TODO"),("ollama-info-json", "TODO"),("openai-audio-sse", "TODO"),("openai-audio-text", "TODO")]);

/// Streams that are whole without a finish reason.
pub(crate) const WHOLE_WITHOUT_REASON: Known = Known(&[]);

/// Answers that report an error which the index does not know of.
pub(crate) const ERRORS: Known = Known(&[]);

/// Answers of a codec's endpoint that are kept as they are.
pub(crate) const RAW_ANSWERS: Known = Known(&[]);

/// Where the other collapser sees something else: a field, of whom, and why.
pub(crate) const DISAGREEMENTS: &[(&str, &str, &str)] = &[];

/// Whether the other collapser is known to see this field otherwise.
pub(crate) fn disagreed(capture: &Capture, field: &str) -> bool {
    DISAGREEMENTS.iter().any(|(what, of, _)| *what == field && names(of, capture))
}
