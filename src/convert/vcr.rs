//! Cassettes of VCR.py, in YAML or JSON, and of those who took over its form: Ruby's VCR (`http_interactions`), go-vcr
//! (`url`, `code`), pydantic-ai (`parsed_body`). <https://vcrpy.readthedocs.io/en/latest/usage.html>

use super::http::{Interaction, add_header};
use super::yaml;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, TRANSFER_ENCODING};
use serde_json::{Map, Value};

/// Member of an object that stands for bytes, in JSON cassettes and in what YAML is read into.
pub(super) const BYTES: &str = "base64_string";

/// The requests of a cassette.
///
/// # Errors
/// It is no cassette; why, and where.
pub(super) fn interactions(bytes: &[u8]) -> Result<Vec<Interaction>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("expected UTF-8: {e}"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let cassette = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|e| format!("expected a cassette in JSON: {e}"))?
    } else {
        yaml::read(text).map_err(|e| format!("expected a cassette in YAML: {e}"))?
    };
    let list = cassette.get("interactions").or_else(|| cassette.get("http_interactions")).and_then(Value::as_array);
    let list = list.ok_or("expected a cassette with a list `interactions`")?;
    list.iter().enumerate().map(|(n, i)| interaction(i).map_err(|why| format!("interaction {n}: {why}"))).collect()
}

fn interaction(value: &Value) -> Result<Interaction, String> {
    let part = |name: &str| value.get(name).and_then(Value::as_object).ok_or(format!("expected an object `{name}`"));
    let (request, response) = (part("request")?, part("response")?);
    let text = |name: &str| request.get(name).and_then(Value::as_str);
    let status = response.get("status").map(|s| s.get("code").unwrap_or(s)).filter(|s| s.is_u64());
    let status = status.or_else(|| response.get("code")).and_then(Value::as_u64).and_then(|s| u16::try_from(s).ok());
    let mut response_headers = headers(response.get("headers"));
    if response.contains_key("parsed_body") {
        // What was parsed was decompressed before.
        response_headers.remove(CONTENT_ENCODING);
    }
    response_headers.remove(TRANSFER_ENCODING);
    Ok(Interaction {
        method: text("method").ok_or("expected a string `request.method`")?.to_ascii_uppercase(),
        url: text("uri").or(text("url")).ok_or("expected a string `request.uri`")?.to_owned(),
        request_headers: headers(request.get("headers")),
        request_body: body_of(request)?,
        status: status.ok_or("expected a number `response.status.code`")?,
        response_headers,
        response_body: body_of(response)?,
        at: value.get("recorded_at").and_then(Value::as_str).map(str::to_owned),
    })
}

/// Header names with one value or a list of them.
fn headers(value: Option<&Value>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in value.and_then(Value::as_object).into_iter().flatten() {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values.iter().filter_map(Value::as_str) {
            add_header(&mut headers, name, value);
        }
    }
    headers
}

fn body_of(message: &Map<String, Value>) -> Result<Vec<u8>, String> {
    match (message.get("body").or_else(|| message.get("content")), message.get("parsed_body")) {
        (_, Some(parsed)) => Ok(parsed.to_string().into_bytes()),
        (Some(body), None) => bytes(body),
        (None, None) => Ok(Vec::new()),
    }
}

/// A string, bytes, an object that holds one of them under `string`, or JSON that a filter has parsed.
fn bytes(body: &Value) -> Result<Vec<u8>, String> {
    match body {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(text.clone().into_bytes()),
        Value::Object(members) => match (members.get(BYTES), members.get("string")) {
            (Some(Value::String(base64)), _) => {
                let base64: String = base64.split_ascii_whitespace().collect();
                STANDARD.decode(base64).map_err(|e| format!("a body is no base64: {e}"))
            }
            (_, Some(string)) => bytes(string),
            _ => Ok(body.to_string().into_bytes()),
        },
        other => Ok(other.to_string().into_bytes()),
    }
}
