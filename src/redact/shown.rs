//! What of a message's head is shown: in the journal, in recordings of the wire, in targets.

use super::looks::{is_plain, is_wordy};
use super::names::{self, Kind};
use super::{REDACTED, Redactor};
use crate::provider::{PROVIDERS, Provider, percent_decode};
use std::borrow::Cow;

/// Words of a header's name that carries a credential.
const SECRET_WORDS: &str = "apikey assertion auth authorization bearer cookie credential credentials jwt key passwd \
    password pwd secret signature token";

/// Headers with such a word that carry none.
const NO_SECRETS: &str = "idempotency-key x-idempotency-key sec-websocket-accept sec-websocket-key \
    access-control-allow-credentials openai-cache-key x-amz-server-side-encryption-customer-key-md5";

/// Headers whose values are shown, whatever they are: what clients and services of models are known to send.
const SHOWN: &str = "age alt-svc allow baggage cache-control connection date deprecation dnt etag expect expires \
    forwarded from helicone-id host http-referer if-match if-modified-since if-none-match keep-alive last-event-id \
    last-modified link location nel operation-location origin origin-agent-cluster pragma priority \
    proxy-authenticate range referer referrer-policy report-to request-id request-context retry-after \
    retry-after-ms server server-timing session-id session_id strict-transport-security te timing-allow-origin \
    traceparent tracestate trailer transfer-encoding upgrade user-agent vary via www-authenticate x-app \
    x-client-request-id x-cloud-trace-context x-correlation-id x-request-id x-title";

/// What the names of such headers begin with.
const SHOWN_BEGIN: &str = "accept access-control- amz-sdk- anthropic- apim- azureml- cf- cmp- content- \
    cross-origin- fireworks- helicone- llm_provider- mcp- ms-azureml- openai- ratelimit sec- skip-error-remapping \
    x-accel- x-aimock- x-amz- x-amzn- x-api-version x-b3- x-cache x-content- x-envoy- x-forwarded- x-goog- x-groq- \
    x-kong- x-litellm- x-ms- x-openai- x-ratelimit- x-should-retry x-stainless- x-test-id";

/// Query parameters that carry credentials whatever the provider, beside those whose names end as names of them do.
const SECRET_QUERY: &[&str] = &["sig", "signature", "x-amz-credential", "hmac"];

fn has(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|one| one == word)
}

/// Whether a header of this name (lower case) carries a credential: by its words, or because a provider's does.
pub fn is_secret_header(name: &str) -> bool {
    let own = |p: &&Provider| p.credential.header == name || p.secret_headers.contains(&name);
    (name.split(['-', '_']).any(|word| has(SECRET_WORDS, word)) && !has(NO_SECRETS, name))
        || matches!(names::kind(name.as_bytes()), Some(Kind::Key | Kind::Password))
        || PROVIDERS.iter().any(own)
}

/// Whether a query parameter of this name carries a credential, whatever its value is.
pub fn is_secret_query(name: &str) -> bool {
    let name = percent_decode(name);
    let told = |known: &&str| name.to_ascii_lowercase().ends_with(known);
    match names::kind(name.as_bytes()) {
        None | Some(Kind::InUrl) => SECRET_QUERY.iter().any(told),
        Some(_) => true,
    }
}

/// Whether this parameter of a request carries a credential. A provider's `key` is one below the version of an API, as
/// all of them have it; elsewhere it may be what is asked for.
pub(super) fn is_secret_parameter(path: &str, name: &str, value: &str) -> bool {
    let decoded = percent_decode(name);
    let of_api = || path.split('/').any(|part| matches!(part.as_bytes(), [b'v', b'0'..=b'9', ..]));
    let own = |p: &&Provider| p.secret_query.contains(&&*decoded) && (!is_wordy(value.as_bytes()) || of_api());
    is_secret_query(name) || PROVIDERS.iter().any(own)
}

impl Redactor {
    /// What may be shown of a header's value, its name in lower case; `None` where nothing may. Of headers that nobody
    /// knows, values are shown that could be no credential: words and numbers.
    pub fn shown_header<'v>(&self, name: &str, value: &'v str) -> Option<Cow<'v, str>> {
        if is_secret_header(name) {
            return None;
        }
        let begins = || SHOWN_BEGIN.split_whitespace().any(|begin| name.starts_with(begin));
        let known = has(SHOWN, name) || has(NO_SECRETS, name) || begins();
        let shown = self.redact(value);
        (known || !self.known_shapes || is_plain(&shown.replace(REDACTED, ""))).then_some(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_told_by_their_words() {
        for name in "authorization x-api-key api-key api-token x-portkey-api-key helicone-auth cf-aig-authorization \
                     x-litellm-api-key x-auth-token xi-api-key ocp-apim-subscription-key x-amz-security-token cookie \
                     set-cookie proxy-authorization x-goog-api-key private-token x-functions-key x-vault-token \
                     helicone-openai-api-key x-webhook-secret x-user-password x-goog-iap-jwt-assertion x-apikey"
            .split_whitespace()
        {
            assert!(is_secret_header(name), "{name}");
            assert_eq!(Redactor::default().shown_header(name, "a"), None, "{name}");
        }
        for (name, value) in [
            ("content-type", "application/json; charset=utf-8"),
            ("user-agent", "OpenAI/Python 1.109.1"),
            ("idempotency-key", "stainless-python-retry-6f1c9e2a"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("anthropic-ratelimit-tokens-remaining", "9000"),
            ("mcp-session-id", "1868a90c-1f3e-4c7b-9d2a-2f6b8f1c0d4e"),
            ("x-request-id", "req_011CSHoEeqs5C35K2UUqR7Fy"),
            ("openai-organization", "org-a1b2c3d4e5f6g7h8"),
            ("x-custom", "some words, and 12345678901234"),
            ("x-note", "v1.2"),
        ] {
            assert_eq!(Redactor::default().shown_header(name, value).as_deref(), Some(value), "{name}");
        }
        assert_eq!(Redactor::default().shown_header("x-custom", "hunter2secret9"), None);
        assert_eq!(Redactor::new(false, vec![]).shown_header("x-custom", "hunter2secret9").unwrap(), "hunter2secret9");
        let echo = Redactor::default().shown_header("x-echo", "Bearer 0123456789abcdef0123");
        assert_eq!(echo.as_deref(), Some("Bearer [redacted]"));
    }

    #[test]
    fn parameters_are_told_by_their_names() {
        for name in "api_key access_token token sig X-Amz-Signature X-Amz-Security-Token X-Amz-Credential api%5Fkey \
                     subscription-key password client_secret auth"
            .split_whitespace()
        {
            assert!(is_secret_query(name), "{name}");
        }
        for name in
            ["alt", "api-version", "pageToken", "key", "after", "limit", "code", "model", "q", "cursor", "max_tokens"]
        {
            assert!(!is_secret_query(name), "{name}");
        }
        assert!(is_secret_parameter("/v1beta/files", "key", "test"));
        assert!(is_secret_parameter("/kv", "key", "q7Zt04mBx9Lw2Hc8Vn5r1Yd6"));
        assert!(!is_secret_parameter("/kv", "key", "shoes"));
    }
}
