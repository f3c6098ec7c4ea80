//! What a client asks before it chats: the models there are, and the server's version.
//! <https://docs.ollama.com/api/tags>, <https://docs.ollama.com/api-reference/get-version>

use super::super::plain::Plain;
use serde_json::{Value, json};

/// The version that is given: one that has every endpoint and field written here.
const SERVER_VERSION: &str = "0.12.6";

/// The list of models: those that fixtures name.
pub(super) static TAGS: Plain = Plain::new("ollama-tags", |_, _, models| Some(tags(models)));

/// The version.
pub(super) static VERSION: Plain = Plain::new("ollama-version", |_, _, _| Some(json!({"version": SERVER_VERSION})));

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
    use super::super::super::{Call, Head, route};
    use super::*;
    use crate::request::{Kind, Request};
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
