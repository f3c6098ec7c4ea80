//! The control API, health and metrics: what the server tells and is told of itself.

use crate::app::{App, Stage};
use crate::body::Body;
use crate::replay::json_response;
use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::json;
use std::rc::Rc;

/// What the control API's paths begin with.
const PREFIX: &str = "/__aimock/";

/// Whether a path belongs to the server itself.
pub fn is_control(path: &str) -> bool {
    path.starts_with(PREFIX) || matches!(path, "/health" | "/ready" | "/metrics")
}

/// Answers a request to the server itself.
pub async fn answer(app: &Rc<App>, head: &Parts, _body: &Bytes) -> Response<Body> {
    match (head.method.as_str(), head.uri.path()) {
        ("GET" | "HEAD", "/health") => json_response(StatusCode::OK, &json!({"status": "ok"})),
        ("GET" | "HEAD", "/ready") if app.stage.get() == Stage::Ready => {
            json_response(StatusCode::OK, &json!({"status": "ready"}))
        }
        ("GET" | "HEAD", "/ready") => json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not ready"})),
        _ => json_response(StatusCode::NOT_FOUND, &json!({"error": "no such control endpoint"})),
    }
}
