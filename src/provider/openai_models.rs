//! OpenAI's list of models: kept verbatim, and made up where nothing was recorded.
//! <https://platform.openai.com/docs/api-reference/models>

use super::plain::Plain;
use super::{PROVIDERS, Route};
use serde_json::{Value, json};

/// The models wire: the list, and one of it.
pub(super) static MODELS: Plain = Plain::new("openai-models", |call, _, models| match call.param("id") {
    Some(id) => models.iter().find(|m| *m == id).map(|m| model(m)),
    None => {
        let data: Vec<Value> = models.iter().map(|m| model(m)).collect();
        Some(json!({"object": "list", "data": data}))
    }
});

/// The list, at a path where no other provider's auth header says that its own list is meant.
pub(super) const fn route(path: &'static str) -> Route {
    Route { method: "GET", path, when: |head| PROVIDERS.iter().all(|p| (p.claims)(head) < 2), codec: &MODELS }
}

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": "aimock"})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Call, Head, route as find};
    use hyper::HeaderMap;

    fn answer(path: &str) -> Option<Value> {
        let headers = HeaderMap::new();
        let head = Head { method: "GET", path, query: "", headers: &headers };
        let found = find(&head);
        assert_eq!(found.codec.wire(), "openai-models", "{path}");
        let call = Call { head, params: found.params, body: b"" };
        let request = found.codec.decode(&call).unwrap();
        found.codec.without_fixture(&call, &request, &["gpt-4o", "o1"])
    }

    #[test]
    fn the_list_and_one_of_it() {
        let list = answer("/v1/models").unwrap();
        assert_eq!((&list["object"], &list["data"][1]["id"]), (&json!("list"), &json!("o1")));
        assert_eq!(answer("/openai/v1/models").unwrap()["data"].as_array().map(Vec::len), Some(2));
        assert_eq!(answer("/v1/models/gpt-4o").unwrap()["object"], "model");
        assert_eq!(answer("/v1/models/gpt-5"), None);
    }
}
