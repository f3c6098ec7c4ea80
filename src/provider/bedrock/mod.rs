//! Amazon Bedrock's runtime: Converse for every model, and InvokeModel, whose body is the model's own.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>

mod converse;
mod invoke;

use crate::frame::Frame;
use crate::provider::{Credential, Encoding, ErrorBody, Head, Provider, Route};
use crate::reply::ErrorAnswer;
use serde_json::json;

/// The row of the table.
pub static PROVIDER: Provider = Provider {
    name: "bedrock",
    title: "Amazon Bedrock",
    routes: &[
        Route::post("/model/{id}/converse", &converse::Converse { streamed: false }),
        Route::post("/model/{id}/converse-stream", &converse::Converse { streamed: true }),
        Route {
            when: invoke::of_anthropic,
            ..Route::post("/model/{id}/invoke", &invoke::Messages { streamed: false })
        },
        Route {
            when: invoke::of_anthropic,
            ..Route::post("/model/{id}/invoke-with-response-stream", &invoke::Messages { streamed: true })
        },
        Route::post("/model/{id}/invoke", &invoke::Other { streamed: false }),
        Route::post("/model/{id}/invoke-with-response-stream", &invoke::Other { streamed: true }),
    ],
    credential: Credential { header: "authorization", prefix: "Bearer " },
    secret_headers: &["x-amz-security-token"],
    secret_query: &["X-Amz-Credential", "X-Amz-Security-Token", "X-Amz-Signature"],
    claims,
    error,
    sigv4_service: Some("bedrock"),
    // <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>; boto3 reads AWS_DEFAULT_REGION, the
    // others AWS_REGION; Anthropic's SDK has a variable of its own.
    sdk_variables: &[
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "{url}"),
        ("ANTHROPIC_BEDROCK_BASE_URL", "{url}"),
        ("AWS_ACCESS_KEY_ID", "sk-aimock-placeholder"),
        ("AWS_SECRET_ACCESS_KEY", "sk-aimock-placeholder"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ],
};

fn claims(head: &Head<'_>) -> u8 {
    if head.header("authorization").is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256")) {
        2
    } else {
        u8::from(head.path.starts_with("/model/"))
    }
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>; SDKs choose the exception by the header.
fn error(e: &ErrorAnswer) -> ErrorBody {
    let kind = e.kind.as_deref().filter(|kind| kind.ends_with("Exception")).unwrap_or(match e.status {
        401 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 | 504 => "ModelTimeoutException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        503 => "ServiceUnavailableException",
        500.. => "InternalServerException",
        _ => "ValidationException",
    });
    ErrorBody { json: json!({"message": e.message}), headers: vec![("x-amzn-errortype", kind.to_owned())] }
}

/// What an exception frame reports.
fn reported(frame: &Frame<'_>) -> String {
    format!("{}: {}", frame.event, String::from_utf8_lossy(frame.data))
}

/// The `p` of a streamed event, which hides how long its text is: from 2 to 62 characters, as AWS sends it.
fn padding(to: &Encoding<'_>, n: usize) -> &'static str {
    const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mixed = to.seed.wrapping_add(n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    &ALPHABET[..2 + (mixed % 61) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::HeaderMap;
    use hyper::header::HeaderValue;

    fn wire(path: &str) -> (&'static str, &'static str, bool) {
        let headers = HeaderMap::new();
        let found = crate::provider::route(&Head { method: "POST", path, query: "", headers: &headers });
        (found.provider.name, found.codec.wire(), found.known)
    }

    #[test]
    fn models_of_anthropic_speak_its_messages() {
        for model in [
            "anthropic.claude-3-haiku-20240307-v1%3A0",
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A123%3Ainference-profile%2Fus.anthropic.claude-sonnet-4-20250514-v1%3A0",
        ] {
            assert_eq!(wire(&format!("/model/{model}/invoke")).1, "bedrock-messages");
            assert_eq!(wire(&format!("/model/{model}/invoke-with-response-stream")).1, "bedrock-messages");
            assert_eq!(wire(&format!("/model/{model}/converse")).1, "bedrock-converse");
        }
        for model in ["amazon.titan-text-lite-v1", "arn%3Aaws%3Abedrock%3A%3A1%3Aapplication-inference-profile%2Fab1"] {
            assert_eq!(wire(&format!("/model/{model}/invoke")), ("bedrock", "bedrock-invoke", true));
            assert_eq!(wire(&format!("/model/{model}/converse-stream")), ("bedrock", "bedrock-converse", true));
        }
        assert_eq!(wire("/model/x/count-tokens"), ("bedrock", "raw", false));
    }

    #[test]
    fn a_signed_request_is_its_own() {
        let mut headers = HeaderMap::new();
        let value = "AWS4-HMAC-SHA256 Credential=AKIA/20250101/us-east-1/bedrock/aws4_request";
        headers.insert("authorization", HeaderValue::from_static(value));
        let head = Head { method: "POST", path: "/guardrail/x/version/1/apply", query: "", headers: &headers };
        assert_eq!(crate::provider::route(&head).provider.name, "bedrock");
    }

    #[test]
    fn errors_name_the_exception_in_a_header() {
        let kind = |status, kind: Option<&str>| {
            let e =
                ErrorAnswer { status, message: "no".into(), kind: kind.map(str::to_owned), ..ErrorAnswer::default() };
            let body = error(&e);
            assert_eq!(body.json, json!({"message": "no"}));
            body.headers[0].1.clone()
        };
        assert_eq!(kind(400, None), "ValidationException");
        assert_eq!(kind(429, Some("rate_limit_error")), "ThrottlingException");
        assert_eq!(kind(429, Some("ModelNotReadyException")), "ModelNotReadyException");
        assert_eq!(kind(502, None), "InternalServerException");
        assert_eq!(kind(503, None), "ServiceUnavailableException");
    }

    #[test]
    fn padding_has_every_length_of_aws() {
        let request = crate::request::Request::new(crate::request::Kind::Chat);
        let lengths = |n| padding(&Encoding { request: &request, chunk_chars: 1, now: 0, seed: 3 }, n).len();
        let all: std::collections::BTreeSet<usize> = (0..2_000).map(lengths).collect();
        assert_eq!(all, (2..=62).collect());
    }
}
