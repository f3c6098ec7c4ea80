//! Everything that has no room of its own: kept verbatim, matched on method, path and canonical body.

use super::{AnswerHead, BadRequest, Call, Codec, Collapse, Collapsed, Fault, Progress, Shape, VerbatimWire};
use crate::frame::Frame;
use crate::json;
use crate::reply::{RawAnswer, RawBody};
use crate::request::{Kind, Request};
use serde::de::IgnoredAny;

/// The wire of endpoints that no codec reads.
#[derive(Debug)]
pub(super) struct Raw;

impl Codec for Raw {
    fn wire(&self) -> &'static str {
        "raw"
    }

    fn shape(&self) -> Shape<'_> {
        Shape::Verbatim(self)
    }

    fn decode<'a>(&self, _call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
        Ok(Request::new(Kind::Raw))
    }
}

impl VerbatimWire for Raw {
    fn end_markers(&self) -> &'static [&'static [u8]] {
        &[b"[DONE]"]
    }
}

/// Keeps an answer verbatim; for the `Raw` codec and for codecs whose endpoint has answers of other kinds.
pub(super) fn collapser(answer: &AnswerHead<'_>) -> Box<dyn Collapse> {
    Box::new(Keep { status: answer.status, content_type: answer.content_type.to_owned(), body: Vec::new() })
}

struct Keep {
    status: u16,
    content_type: String,
    body: Vec<u8>,
}

impl Keep {
    fn is_json(&self) -> bool {
        let media = self.content_type.split(';').next().unwrap_or("").trim();
        media.eq_ignore_ascii_case("application/json") || media.ends_with("+json")
    }
}

impl Collapse for Keep {
    fn push(&mut self, frame: &Frame<'_>) -> Result<Progress, Fault> {
        let first = self.body.is_empty();
        self.body.extend_from_slice(frame.data);
        // Of all that is kept as it is, JSON alone shows that it was cut.
        let cut = |data| json::parse::<IgnoredAny>(data).is_err_and(|e| e.is_eof());
        let cut = first && self.is_json() && cut(frame.data);
        Ok(if cut { Progress::More } else { Progress::Finished })
    }

    fn kept_bytes(&self) -> usize {
        self.body.len()
    }

    fn finish(&mut self) -> Collapsed {
        let bytes = std::mem::take(&mut self.body);
        let json = self.content_type.contains("json").then(|| json::parse(&bytes).ok()).flatten();
        Collapsed::Body(RawAnswer {
            status: self.status,
            content_type: std::mem::take(&mut self.content_type),
            retry_after: None,
            body: json.map_or(RawBody::Bytes(bytes), RawBody::Json),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Framing;

    fn progress(content_type: &str, body: &str) -> Progress {
        let head = AnswerHead { framing: Framing::Whole, status: 200, content_type };
        collapser(&head).push(&Frame::data(body.as_bytes())).expect("nothing is refused")
    }

    #[test]
    fn json_shows_that_it_was_cut_and_nothing_else_does() {
        for whole in ["{\"a\":[1]}", " [] \n", "{\"a\":1}{\"a\":2}", "no JSON"] {
            assert_eq!(progress("application/json; charset=utf-8", whole), Progress::Finished, "{whole}");
        }
        for cut in ["", "{\"a\":[1", "[", "{\"a\":\"b"] {
            assert_eq!(progress("application/json", cut), Progress::More, "{cut}");
            assert_eq!(progress("text/plain", cut), Progress::Finished, "{cut}");
        }
    }
}
