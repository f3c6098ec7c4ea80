//! HTTP archives. <http://www.softwareishard.com/blog/har-12-spec/>

use super::http::{Interaction, add_header};
use crate::json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use serde::Deserialize;

#[derive(Deserialize)]
struct Archive {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    started_date_time: Option<String>,
    request: Asked,
    response: Answered,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<Header>,
    post_data: Option<Body>,
}

#[derive(Deserialize)]
struct Answered {
    status: u16,
    #[serde(default)]
    headers: Vec<Header>,
    content: Option<Body>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct Body {
    text: Option<String>,
    encoding: Option<String>,
}

/// The requests of an archive.
///
/// # Errors
/// It is no archive; why.
pub(super) fn interactions(bytes: &[u8]) -> Result<Vec<Interaction>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let archive: Archive = json::parse(bytes).map_err(|e| format!("expected an HTTP archive: {e}"))?;
    archive.log.entries.into_iter().map(interaction).collect()
}

fn interaction(entry: Entry) -> Result<Interaction, String> {
    let Entry { started_date_time: at, request, response } = entry;
    Ok(Interaction {
        method: request.method.to_ascii_uppercase(),
        url: request.url,
        request_headers: headers(&request.headers),
        request_body: body(request.post_data)?,
        status: response.status,
        response_headers: headers(&response.headers),
        response_body: body(response.content)?,
        at,
    })
}

fn headers(from: &[Header]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // Of HTTP/2's own (`:method`) none is a header.
    from.iter().for_each(|header| add_header(&mut headers, &header.name, &header.value));
    headers
}

fn body(body: Option<Body>) -> Result<Vec<u8>, String> {
    let Some(Body { text: Some(text), encoding }) = body else { return Ok(Vec::new()) };
    match encoding.as_deref() {
        Some("base64") => STANDARD.decode(text.trim()).map_err(|e| format!("a body is no base64: {e}")),
        _ => Ok(text.into_bytes()),
    }
}
