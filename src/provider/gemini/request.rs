//! What a client sends: contents of parts, instructions, tools.
//! <https://ai.google.dev/api/generate-content#request-body>
//!
//! Google's parsers take `snake_case` for `camelCase`, and one value where a list is due; so does this one.

use super::compact;
use crate::provider::{BadRequest, Call, parse_body};
use crate::request::{Kind, Message, Request, Role, Str};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Reads a conversation, for the endpoints whose body holds one.
pub(super) fn decode<'a>(kind: Kind, call: &Call<'a>) -> Result<Request<'a>, BadRequest> {
    let body: Body<'a> = parse_body(call.body)?;
    // countTokens may be asked about a whole request.
    let body = match (body.contents.is_none(), body.generate_content_request) {
        (true, Some(inner)) => *inner,
        (_, inner) => Body { generate_content_request: inner, ..body },
    };
    let mut request = Request::new(kind);
    request.model = model(call);
    if let Some(instruction) = body.system_instruction {
        request.messages.push(Message::new(Role::System, instruction.text()));
    }
    let Some(contents) = body.contents else {
        return Err(BadRequest::field("contents", "contents is not specified"));
    };
    let mut calls = Calls::default();
    for content in turns(contents.0) {
        content.into_messages(&mut calls, &mut request.messages);
    }
    let declarations = body.tools.into_iter().flat_map(|t| t.0).filter_map(|t| t.function_declarations);
    request.tools = declarations.flat_map(|d| d.0).map(|d| d.name.0).collect();
    request.response_format = body.generation_config.and_then(|c| c.response_format());
    Ok(request)
}

/// The model's contents in a row are one turn: the SDKs' chats keep each chunk of a streamed answer as one.
fn turns(contents: Vec<Content<'_>>) -> Vec<Content<'_>> {
    let mut turns: Vec<Content<'_>> = Vec::with_capacity(contents.len());
    for mut content in contents {
        match turns.last_mut() {
            Some(turn) if turn.role() == Role::Assistant && content.role() == Role::Assistant => {
                turn.parts.append(&mut content.parts);
            }
            _ => turns.push(content),
        }
    }
    turns
}

/// The model, which only the path names.
pub(super) fn model<'a>(call: &Call<'a>) -> Cow<'a, str> {
    call.param("model").cloned().unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow, default)]
    contents: Option<Many<Content<'a>>>,
    #[serde(borrow, default, alias = "system_instruction")]
    system_instruction: Option<Content<'a>>,
    #[serde(borrow, default)]
    tools: Option<Many<Tool<'a>>>,
    #[serde(borrow, default, alias = "generation_config")]
    generation_config: Option<GenerationConfig<'a>>,
    #[serde(borrow, default, alias = "generate_content_request")]
    generate_content_request: Option<Box<Body<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    #[serde(borrow, default, alias = "function_declarations")]
    function_declarations: Option<Many<Declaration<'a>>>,
}

#[derive(Deserialize)]
struct Declaration<'a> {
    #[serde(borrow)]
    name: Str<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(borrow, default, alias = "response_mime_type")]
    response_mime_type: Option<Str<'a>>,
    #[serde(borrow, default, alias = "response_schema")]
    response_schema: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "response_json_schema", alias = "_responseJsonSchema")]
    response_json_schema: Option<&'a RawValue>,
}

impl GenerationConfig<'_> {
    fn response_format(&self) -> Option<Cow<'static, str>> {
        if self.response_mime_type.as_deref() != Some("application/json") {
            return None;
        }
        let schema = self.response_schema.is_some() || self.response_json_schema.is_some();
        Some(Cow::Borrowed(if schema { "json_schema" } else { "json_object" }))
    }
}

/// Parts and who wrote them. Where a bare string stands for it, that is its text.
pub(super) struct Content<'a> {
    role: Option<Str<'a>>,
    parts: Vec<Part<'a>>,
}

#[derive(Deserialize)]
struct ContentFields<'a> {
    #[serde(borrow, default)]
    role: Option<Str<'a>>,
    #[serde(borrow, default)]
    parts: Option<Many<Part<'a>>>,
}

/// One part; kinds that matching has no use for (images, files, code) have none of these members.
#[derive(Default, Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(default)]
    thought: Option<bool>,
    #[serde(borrow, default, rename = "functionCall", alias = "function_call")]
    function_call: Option<FunctionCall<'a>>,
    #[serde(borrow, default, rename = "functionResponse", alias = "function_response")]
    function_response: Option<FunctionResponse<'a>>,
}

#[derive(Deserialize)]
struct FunctionCall<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct FunctionResponse<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    name: Option<Str<'a>>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
}

impl<'a> Content<'a> {
    /// The text parts joined, thoughts left out.
    pub(super) fn text(self) -> Cow<'a, str> {
        join_text(self.parts)
    }

    fn role(&self) -> Role {
        match self.role.as_deref() {
            Some("model" | "assistant") => Role::Assistant,
            Some("system") => Role::System,
            _ => Role::User,
        }
    }

    /// Function responses become tool messages; the text beside them, if any, a user message after them.
    fn into_messages(self, calls: &mut Calls<'a>, messages: &mut Vec<Message<'a>>) {
        let role = self.role();
        let (mut texts, mut results) = (self.parts, false);
        if role == Role::Assistant {
            calls.made(&mut texts);
        }
        for part in &mut texts {
            if let Some(result) = part.function_response.take() {
                let id = calls.answered(result.id, result.name);
                let text = result.response.map(response_text).unwrap_or_default();
                messages.push(Message { role: Role::Tool, text, tool_call_id: id });
                results = true;
            }
        }
        let text = join_text(texts);
        if !results || !text.is_empty() {
            messages.push(Message::new(role, text));
        }
    }
}

fn join_text(parts: Vec<Part<'_>>) -> Cow<'_, str> {
    let mut all = Cow::Borrowed("");
    for part in parts.into_iter().filter(|p| !p.thought.unwrap_or(false)) {
        match part.text {
            Some(Str(text)) if all.is_empty() => all = text,
            Some(Str(text)) => all.to_mut().push_str(&text),
            None => {}
        }
    }
    all
}

/// A function's result as text: a string itself, anything else as compact JSON.
fn response_text(response: &RawValue) -> Cow<'_, str> {
    match serde_json::from_str(response.get()) {
        Ok(Str(text)) => text,
        Err(_) => compact(response.get()),
    }
}

/// The calls of the model's last turn, so that a result without an id finds the id of its call: clients need not send
/// one, and the model need not give one. Where neither did, the id is `call_gemini_{name}_{index}`, which is how other
/// mock servers name such calls in their fixtures.
#[derive(Default)]
struct Calls<'a> {
    open: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    unknown: usize,
}

impl<'a> Calls<'a> {
    fn made(&mut self, parts: &mut [Part<'a>]) {
        self.open.clear();
        for call in parts.iter_mut().filter_map(|p| p.function_call.take()) {
            // Without a name it is more of the arguments of the one before.
            let Some(Str(name)) = call.name else { continue };
            let id = call.id.map_or_else(|| made_up(&name, self.open.len()), |id| id.0);
            self.open.push((name, id));
        }
    }

    fn answered(&mut self, id: Option<Str<'a>>, name: Option<Str<'a>>) -> Option<Cow<'a, str>> {
        let name = name.map(|n| n.0);
        let call = match (&id, &name) {
            (Some(id), _) => self.open.iter().position(|(_, open)| **open == **id),
            (None, Some(name)) => self.open.iter().position(|(open, _)| open == name),
            (None, None) => None,
        };
        let call = call.map(|at| self.open.remove(at).1);
        id.map(|id| id.0).or(call).or_else(|| {
            self.unknown += 1;
            name.map(|name| made_up(&name, self.unknown - 1))
        })
    }
}

fn made_up(name: &str, index: usize) -> Cow<'static, str> {
    Cow::Owned(format!("call_gemini_{name}_{index}"))
}

/// A list, or one value that stands for a list of one.
pub(super) struct Many<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ManyVisitor(PhantomData))
    }
}

struct ManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for ManyVisitor<T> {
    type Value = Many<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of values")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Many<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = seq.next_element()? {
            all.push(one);
        }
        Ok(Many(all))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Many<T>, E> {
        T::deserialize(de::value::BorrowedStrDeserializer::new(text)).map(|one| Many(vec![one]))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Many<T>, E> {
        T::deserialize(de::value::StrDeserializer::new(text)).map(|one| Many(vec![one]))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Many<T>, A::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(map)).map(|one| Many(vec![one]))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> de::Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a content object or a string")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Content<'de>, E> {
        Ok(text_content(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Content<'de>, E> {
        Ok(text_content(Cow::Owned(text.to_owned())))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Content<'de>, A::Error> {
        let fields = ContentFields::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Content { role: fields.role, parts: fields.parts.map_or_else(Vec::new, |p| p.0) })
    }
}

fn text_content(text: Cow<'_, str>) -> Content<'_> {
    Content { role: None, parts: vec![Part { text: Some(Str(text)), ..Part::default() }] }
}

#[cfg(test)]
mod tests {
    use super::super::super::laws::with_request;
    use crate::frame::Framing;
    use crate::request::Role;

    const PATH: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

    #[test]
    fn request_with_every_kind_of_message() {
        let body = r#"{"systemInstruction":{"parts":[{"text":"be \"brief\""}]},
            "tools":[{"functionDeclarations":[{"name":"get_weather"},{"name":"get_time"}]},{"googleSearch":{}}],
            "generationConfig":{"temperature":0,"responseMimeType":"application/json"},
            "contents":[{"parts":[{"text":"what is "},{"inlineData":{"mimeType":"image/png","data":"aa"}},{"text":"this?"}]},
                {"role":"model","parts":[{"text":"hmm","thought":true},{"text":"Let me see."},
                    {"functionCall":{"name":"get_weather","args":{}},"thoughtSignature":"s"},
                    {"functionCall":{"id":"c2","name":"get_time","args":{}}}]},
                {"role":"user","parts":[{"functionResponse":{"id":"c2","name":"get_time","response":{"time": "9 am"}}},
                    {"functionResponse":{"name":"get_weather","response":"sunny"}}]}]}"#;
        with_request(PATH, body, |codec, r| {
            assert_eq!((codec.wire(), &*r.model, r.framing), ("gemini", "gemini-2.5-flash", Framing::Whole));
            assert_eq!(r.user_message(), Some("what is this?"));
            assert_eq!(r.system_text(), "be \"brief\"");
            assert_eq!((r.turn_index(), r.has_tool_result()), (1, true));
            assert_eq!(r.messages[2].text, "Let me see.");
            assert_eq!(
                (&*r.messages[3].text, r.messages[3].tool_call_id.as_deref()),
                (r#"{"time":"9 am"}"#, Some("c2"))
            );
            let last = r.last_tool_result().unwrap();
            assert_eq!((&*last.text, last.tool_call_id.as_deref()), ("sunny", Some("call_gemini_get_weather_0")));
            assert_eq!(r.tools, ["get_weather", "get_time"]);
            assert_eq!(r.response_format.as_deref(), Some("json_object"));
        });
    }

    #[test]
    fn a_text_stands_for_contents() {
        with_request(PATH, r#"{"contents":"hi \"you\""}"#, |_, r| assert_eq!(r.user_message(), Some("hi \"you\"")));
        with_request(PATH, r#"{"contents":["a","b"]}"#, |_, r| assert_eq!(r.user_message(), Some("b")));
    }

    #[test]
    fn snake_case_and_single_values() {
        let body = r#"{"system_instruction":"be kind","generation_config":{"response_mime_type":"application/json","response_schema":{}},
            "tools":{"function_declarations":{"name":"f"}},
            "contents":{"role":"user","parts":{"text":"hi"}}}"#;
        with_request(PATH, body, |_, r| {
            assert_eq!((r.user_message(), &*r.system_text()), (Some("hi"), "be kind"));
            assert_eq!((&*r.tools[0], r.response_format.as_deref()), ("f", Some("json_schema")));
        });
    }

    #[test]
    fn results_find_the_id_of_their_call_by_name() {
        let body = r#"{"contents":[{"role":"model","parts":[{"function_call":{"id":"a","name":"f"}},{"function_call":{"id":"b","name":"f"}}]},
            {"role":"function","parts":[{"function_response":{"name":"f","response":{"n":1}}},
                {"function_response":{"name":"f","response":{"n":2}}},{"function_response":{"name":"g"}},{"text":"go on"}]}]}"#;
        with_request(PATH, body, |_, r| {
            let ids: Vec<_> = r.messages.iter().map(|m| (m.role, m.tool_call_id.as_deref())).collect();
            let tool = |id| (Role::Tool, Some(id));
            assert_eq!(ids[1..], [tool("a"), tool("b"), tool("call_gemini_g_0"), (Role::User, None)]);
            assert_eq!(r.user_message(), Some("go on"));
        });
    }

    #[test]
    fn chunks_of_one_turn_are_one_turn() {
        let body = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]},
            {"role":"model","parts":[{"text":"Hel"}]},{"role":"model","parts":[{"text":"lo"}]},
            {"role":"model","parts":[{"functionCall":{"id":"a","name":"f"}}]},
            {"role":"model","parts":[{"functionCall":{"id":"b","name":"g"}}]},{"role":"model","parts":[{"text":""}]},
            {"role":"user","parts":[{"functionResponse":{"name":"f","response":{}}}]}]}"#;
        with_request(PATH, body, |_, r| {
            assert_eq!((r.turn_index(), &*r.messages[1].text), (1, "Hello"));
            assert_eq!(r.last_tool_result().and_then(|m| m.tool_call_id.as_deref()), Some("a"));
        });
    }

    #[test]
    fn the_query_says_how_a_stream_is_framed() {
        let ask = r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;
        for (path, framing) in [
            ("/v1beta/models/g:streamGenerateContent?alt=sse", Framing::Sse),
            ("/v1/models/g:streamGenerateContent?key=k&alt=sse", Framing::Sse),
            ("/v1alpha/models/g:streamGenerateContent?$alt=sse", Framing::Sse),
            ("/v1beta/tunedModels/g:streamGenerateContent?%24alt=json%3Benum-encoding%3Dint", Framing::JsonArray),
            ("/v1beta/models/g:streamGenerateContent", Framing::JsonArray),
        ] {
            with_request(path, ask, |_, r| assert_eq!(r.framing, framing, "{path}"));
        }
    }
}
