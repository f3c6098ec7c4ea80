//! OpenAI's list of models: kept verbatim, and made up where nothing was recorded.
//! <https://platform.openai.com/docs/api-reference/models>

use super::{AnswerHead, BadRequest, Call, Codec, Collapse, Encoding, PROVIDERS, Route, raw};
use crate::frame::Frames;
use crate::reply::Answer;
use crate::request::{Kind, Request};
use serde_json::{Value, json};

/// The models wire: the list, and one of it.
#[derive(Debug)]
pub struct Models;

/// The list, at a path where no other provider's auth header says that its own list is meant.
pub(super) const fn route(path: &'static str) -> Route {
    Route { method: "GET", path, when: |head| PROVIDERS.iter().all(|p| (p.claims)(head) < 2), codec: &Models }
}

impl Codec for Models {
    fn wire(&self) -> &'static str {
        "openai-models"
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

    fn without_fixture(&self, call: &Call<'_>, _request: &Request<'_>, models: &[&str]) -> Option<Value> {
        match call.param("id") {
            Some(id) => models.iter().find(|m| *m == id).map(|m| model(m)),
            None => {
                let data: Vec<Value> = models.iter().map(|m| model(m)).collect();
                Some(json!({"object": "list", "data": data}))
            }
        }
    }
}

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": "aimock"})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Head, route as find};
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
