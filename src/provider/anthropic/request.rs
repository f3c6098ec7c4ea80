//! What a client asks. <https://docs.anthropic.com/en/api/messages>

use crate::frame::Framing;
use crate::provider::{BadRequest, Call, parse_body};
use crate::request::{Content, Kind, Message, Request, Role, Str};
use serde::Deserialize;
use serde::de::{self, Deserializer};
use std::borrow::Cow;
use std::fmt;

/// Reads a request in this wire's shape.
///
/// `model` is the model that the path names, for a body that names none. `framing` is what the path says about
/// streaming; with `None` the body's `stream` decides between server-sent events and a whole answer.
///
/// # Errors
/// [`BadRequest`]: not JSON, no messages, or no model in body and path. An absent `max_tokens` is let pass: services
/// that host this wire do not all require it.
pub(in crate::provider) fn decode_body<'a>(
    call: &Call<'a>,
    model: Option<Cow<'a, str>>,
    framing: Option<Framing>,
) -> Result<Request<'a>, BadRequest> {
    let body: Body<'a> = parse_body(call.body)?;
    let mut request = Request::new(Kind::Chat);
    request.model =
        body.model.map(|m| m.0).or(model).ok_or_else(|| BadRequest::field("model", "model: Field required"))?;
    let Some(turns) = body.messages else {
        return Err(BadRequest::field("messages", "messages: Field required"));
    };
    request.framing = framing.unwrap_or(if body.stream == Some(true) { Framing::Sse } else { Framing::Whole });
    let system = body.system.map(|blocks| blocks.0).unwrap_or_default().into_iter();
    request.messages = system.filter_map(|b| b.text).map(|text| Message::new(Role::System, text.0)).collect();
    for turn in turns {
        turn.append_to(&mut request.messages);
    }
    request.tools = body.tools.into_iter().flatten().filter_map(|t| t.name).map(|n| n.0).collect();
    let format = body.output_config.and_then(|c| c.format).or(body.output_format);
    request.response_format = format.and_then(|f| f.kind).map(|k| k.0);
    Ok(request)
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    model: Option<Str<'a>>,
    #[serde(borrow, default)]
    messages: Option<Vec<Turn<'a>>>,
    #[serde(borrow, default)]
    system: Option<Blocks<'a>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(borrow, default)]
    output_config: Option<OutputConfig<'a>>,
    /// The beta's name for `output_config.format`.
    #[serde(borrow, default)]
    output_format: Option<Format<'a>>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct OutputConfig<'a> {
    #[serde(borrow, default)]
    format: Option<Format<'a>>,
}

#[derive(Deserialize)]
struct Format<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Str<'a>,
    #[serde(borrow, default)]
    content: Blocks<'a>,
}

impl<'a> Turn<'a> {
    /// Tool results stand inside user messages here: each becomes a message of its own, before the message's text.
    fn append_to(self, messages: &mut Vec<Message<'a>>) {
        let role = match &*self.role {
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => Role::User,
        };
        let mut text = Cow::Borrowed("");
        let mut answered = None;
        for block in self.content.0 {
            if block.kind.as_deref() == Some("tool_result") {
                let content = block.content.unwrap_or_default();
                let tool_call_id = block.tool_use_id.map(|id| id.0);
                answered = Some(tool_call_id.clone().unwrap_or_default());
                messages.push(Message { role: Role::Tool, text: content.0, tool_call_id });
            } else if let Some(Str(more)) = block.text {
                if text.is_empty() {
                    text = more;
                } else {
                    text.to_mut().push_str(&more);
                }
            }
        }
        if answered.is_none() || !text.is_empty() {
            messages.push(Message { role, text, tool_call_id: answered });
        }
    }
}

/// A string, or a list of blocks.
#[derive(Default)]
struct Blocks<'a>(Vec<Block<'a>>);

#[derive(Default, Deserialize)]
struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Str<'a>>,
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(borrow, default)]
    tool_use_id: Option<Str<'a>>,
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Blocks<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BlocksVisitor)
    }
}

struct BlocksVisitor;

impl BlocksVisitor {
    fn text<'a>(text: Cow<'a, str>) -> Blocks<'a> {
        Blocks(vec![Block { text: Some(Str(text)), ..Block::default() }])
    }
}

impl<'de> de::Visitor<'de> for BlocksVisitor {
    type Value = Blocks<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of content blocks")
    }

    fn visit_borrowed_str<E: de::Error>(self, s: &'de str) -> Result<Blocks<'de>, E> {
        Ok(Self::text(Cow::Borrowed(s)))
    }

    fn visit_str<E: de::Error>(self, s: &str) -> Result<Blocks<'de>, E> {
        Ok(Self::text(Cow::Owned(s.to_owned())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Blocks<'de>, E> {
        Ok(Blocks::default())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Blocks<'de>, A::Error> {
        let mut blocks = Vec::new();
        while let Some(block) = seq.next_element()? {
            blocks.push(block);
        }
        Ok(Blocks(blocks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Head;
    use crate::provider::laws::with_request;
    use hyper::HeaderMap;

    fn decoded<T>(
        body: &str,
        model: Option<&'static str>,
        then: impl FnOnce(Result<Request<'_>, BadRequest>) -> T,
    ) -> T {
        let headers = HeaderMap::new();
        let head = Head { method: "POST", path: "/", query: "", headers: &headers };
        let call = Call { head, params: Vec::new(), body: body.as_bytes() };
        then(decode_body(&call, model.map(Cow::Borrowed), None))
    }

    #[test]
    fn tool_results_become_messages_before_the_text_beside_them() {
        let body = r#"{"model":"claude-x","max_tokens":9,"stream":true,"system":"be \"brief\"",
            "tools":[{"name":"f","input_schema":{}},{"type":"web_search_20250305","name":"web_search"},
                {"type":"mcp_toolset","mcp_server_name":"m"}],
            "messages":[{"role":"user","content":"hi"},
                {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"a"},
                    {"type":"tool_use","id":"t1","name":"f","input":{"text":"no"}},{"type":"tool_use","id":"t2","name":"f","input":{}}]},
                {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"one "},
                        {"type":"image","source":{"type":"url","url":"u"}},{"type":"text","text":"two"}]},
                    {"type":"tool_result","tool_use_id":"t2","is_error":true,"content":"three"},
                    {"type":"text","text":"now "},{"type":"document","source":{}},{"type":"text","text":"go"}]}]}"#;
        with_request("/v1/messages?beta=true", body, |_, r| {
            let seen: Vec<_> = r.messages.iter().map(|m| (m.role, &*m.text, m.tool_call_id.as_deref())).collect();
            let expected = [
                (Role::System, "be \"brief\"", None),
                (Role::User, "hi", None),
                (Role::Assistant, "a", None),
                (Role::Tool, "one two", Some("t1")),
                (Role::Tool, "three", Some("t2")),
                (Role::User, "now go", Some("t2")),
            ];
            assert_eq!(seen, expected);
            assert_eq!((r.user_message(), r.has_tool_result()), (Some("now go"), true));
            assert_eq!(r.last_tool_result(), None);
            assert_eq!(r.tools, ["f", "web_search"]);
            assert_eq!((&*r.model, r.framing), ("claude-x", Framing::Sse));
        });
    }

    #[test]
    fn a_user_message_of_tool_results_alone_is_no_user_message() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"q"},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}]}"#;
        decoded(body, None, |r| {
            let r = r.unwrap();
            assert_eq!(r.last_tool_result().and_then(|m| m.tool_call_id.as_deref()), Some("t"));
            assert_eq!((r.user_message(), r.has_tool_result(), r.streamed()), (Some("q"), true, false));
        });
    }

    #[test]
    fn system_blocks_are_joined_by_newline() {
        let body = r#"{"model":"m","messages":[],"output_config":{"format":{"type":"json_schema","schema":{}}},
            "system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"text","text":"b"}]}"#;
        decoded(body, None, |r| {
            let r = r.unwrap();
            assert_eq!((&*r.system_text(), r.response_format.as_deref()), ("a\nb", Some("json_schema")));
        });
    }

    #[test]
    fn the_text_of_a_request_is_borrowed_from_its_body() {
        let body =
            r#"{"model":"m","system":"s","messages":[{"role":"user","content":[{"type":"text","text":"long"}]}]}"#;
        decoded(body, None, |r| {
            assert!(r.unwrap().messages.iter().all(|m| matches!(m.text, Cow::Borrowed(_))));
        });
    }

    #[test]
    fn what_is_missing_is_named() {
        let param = |body: &str| decoded(body, None, |r| r.unwrap_err().param);
        assert_eq!(param(r#"{"messages":[]}"#).as_deref(), Some("model"));
        assert_eq!(param(r#"{"model":"m"}"#).as_deref(), Some("messages"));
        decoded(r#"{"messages":[]}"#, Some("from the path"), |r| assert_eq!(r.unwrap().model, "from the path"));
        decoded("{", None, |r| assert_eq!(r.unwrap_err().code, "invalid_json"));
    }
}
