//! What a client asks before it chats: the models there are, and the server's version.
//! <https://docs.ollama.com/api/tags>, <https://docs.ollama.com/api-reference/get-version>

use super::super::{AnswerHead, BadRequest, Call, Codec, Collapse, Encoding, raw};
use crate::frame::Frames;
use crate::reply::Answer;
use crate::request::{Kind, Request};
use serde_json::{Value, json};

/// The version that is given: one that has every endpoint and field written here.
const SERVER_VERSION: &str = "0.12.6";

/// The list of models: those that fixtures name.
pub(super) static TAGS: Info = Info { wire: "ollama-tags", answer: tags };

/// The version.
pub(super) static VERSION: Info = Info { wire: "ollama-version", answer: |_| json!({"version": SERVER_VERSION}) };

/// An endpoint that answers without a fixture; what is recorded of it is kept verbatim.
#[derive(Debug)]
pub(super) struct Info {
    wire: &'static str,
    answer: fn(&[&str]) -> Value,
}

impl Codec for Info {
    fn wire(&self) -> &'static str {
        self.wire
    }

    fn kind(&self) -> Kind {
        Kind::Raw
    }

    fn decode<'a>(&self, _call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        Ok(Request::new(Kind::Raw))
    }

    fn encode_whole(&self, _answer: &Answer, _to: &Encoding<'_>) -> Vec<u8> {
        Vec::new() // raw answers are sent as they are
    }

    fn encode_stream(&self, _answer: &Answer, _to: &Encoding<'_>) -> Frames {
        Frames::default()
    }

    fn collapser(&self, answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
        raw::collapser(answer)
    }

    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[]
    }

    fn without_fixture(&self, _call: &Call<'_>, _request: &Request<'_>, models: &[&str]) -> Option<Value> {
        Some((self.answer)(models))
    }
}

fn tags(models: &[&str]) -> Value {
    let tag = |name: &&str| {
        json!({
            "name": name,
            "model": name,
            "modified_at": "1970-01-01T00:00:00Z",
            "size": 0,
            "digest": "",
            "details": {
                "parent_model": "", "format": "gguf", "family": "", "families": [], "parameter_size": "",
                "quantization_level": "",
            },
        })
    };
    json!({"models": models.iter().map(tag).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::super::super::{Head, route};
    use super::*;
    use hyper::HeaderMap;

    fn ask(path: &str, models: &[&str]) -> Option<Value> {
        let headers = HeaderMap::new();
        let head = Head { method: "GET", path, query: "", headers: &headers };
        let found = route(&head);
        assert!(found.known, "{path}");
        found.codec.without_fixture(&Call { head, params: found.params, body: b"" }, &Request::new(Kind::Raw), models)
    }

    #[test]
    fn models_are_those_of_the_fixtures() {
        let tags = ask("/api/tags", &["llama3.2", "qwen3:4b"]).unwrap();
        assert_eq!(tags["models"][1]["model"], "qwen3:4b");
        assert_eq!(tags["models"][0]["details"]["format"], "gguf");
        assert!(ask("/api/version", &[]).unwrap()["version"].is_string());
    }
}
