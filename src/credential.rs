//! What is a credential: the names that carry one, and the keys that this server itself asks for (`--api-key`).

use crate::provider::{PROVIDERS, Provider, percent_decode};
use hyper::header::HeaderMap;
use ring::digest::{SHA256, digest};
use std::fmt;

/// Words that make a name one of a credential wherever they stand.
const ANYWHERE: [&str; 15] = [
    "auth",
    "authn",
    "authz",
    "authorization",
    "authentication",
    "apikey",
    "bearer",
    "cookie",
    "credential",
    "dpop",
    "jwt",
    "passphrase",
    "passwd",
    "password",
    "secret",
];

/// Words that do so at the end of a name.
const AT_THE_END: [&str; 3] = ["oauth", "sig", "signature"];

/// What a `key` that is written together with the word before it is the key to.
const KEYS_TO: [&str; 6] = ["api", "access", "secret", "auth", "private", "subscription"];

/// What a `key` or `token` is of that opens nothing: it names, orders or continues.
const OPENS_NOTHING: [&str; 18] = [
    "idempotency",
    "cache",
    "surrogate",
    "partition",
    "shard",
    "sort",
    "routing",
    "dedup",
    "deduplication",
    "websocket",
    "public",
    "correlation",
    "trace",
    "page",
    "pagination",
    "next",
    "continuation",
    "sync",
];

/// Whether a header or a query parameter of this name carries a credential, by the words of the name (between `-` and
/// `_`, in any case). The last word says what it is, as in English: an `api-key` is a key, a `token-count` is a count. A
/// key or token of an unknown kind is taken for a credential.
pub fn is_credential_name(name: &str) -> bool {
    let (mut before, mut last) = ("", "");
    for word in name.split(['-', '_']).filter(|word| word.bytes().any(|b| !b.is_ascii_digit())) {
        if is_one_of(word, &ANYWHERE) {
            return true;
        }
        (before, last) = (last, word);
    }
    if is_one_of(last, &AT_THE_END) {
        return true;
    }
    match (without_end(last, "token"), without_end(last, "key")) {
        (Some(stem), _) => !opens_nothing(if stem.is_empty() { before } else { stem }),
        (_, Some("")) => !opens_nothing(before),
        (_, Some(stem)) => KEYS_TO.iter().any(|to| without_end(stem, to).is_some()),
        (None, None) => false,
    }
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|w| w.eq_ignore_ascii_case(word))
}

fn opens_nothing(of: &str) -> bool {
    OPENS_NOTHING.iter().any(|word| without_end(of, word).is_some())
}

/// The text without this end, in any case.
fn without_end<'t>(text: &'t str, end: &str) -> Option<&'t str> {
    let (stem, tail) = text.split_at_checked(text.len().checked_sub(end.len())?)?;
    tail.eq_ignore_ascii_case(end).then_some(stem)
}

/// Whether the provider's SDK puts a credential into a header of this name (lower case).
pub fn is_header_of(provider: &Provider, name: &str) -> bool {
    provider.credential.header == name || provider.secret_headers.contains(&name)
}

/// Whether the provider's SDK puts a credential into a query parameter of this name.
pub fn is_parameter_of(provider: &Provider, name: &str) -> bool {
    provider.secret_query.contains(&name)
}

/// Whether a query parameter of this name carries a credential, anybody's.
pub fn is_parameter(name: &str) -> bool {
    PROVIDERS.iter().any(|provider| is_parameter_of(provider, name)) || is_credential_name(name)
}

/// Name and value of one pair of a query, still percent-encoded.
pub fn parameter(pair: &str) -> (&str, &str) {
    pair.split_once('=').unwrap_or((pair, ""))
}

/// The keys of which a client must have one. Their digests are compared, so that the time it takes tells nothing of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ApiKeys {
    digests: Vec<[u8; 32]>,
    first: Option<String>,
}

impl ApiKeys {
    /// One more.
    pub fn add(&mut self, key: &str) {
        self.first.get_or_insert_with(|| key.to_owned());
        self.digests.push(digest_of(key.as_bytes()));
    }

    /// Whether no key is asked for.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// The first, for clients that this program starts.
    pub fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    /// Whether a request has one of them, in any place where an SDK puts its key.
    pub fn are_in(&self, headers: &HeaderMap, query: &str) -> bool {
        let place = |name: &str| PROVIDERS.iter().any(|provider| is_header_of(provider, name));
        let mut places = headers.iter().filter(|(name, _)| place(name.as_str()));
        places.any(|(_, value)| self.is_in_header(value.as_bytes()))
            || query.split('&').any(|pair| self.is_in_pair(pair))
    }

    /// Whether a header's value is one of them: bare, after a scheme (`Bearer KEY`), or as the key's id in an AWS
    /// signature (`… Credential=KEY/…`).
    pub fn is_in_header(&self, value: &[u8]) -> bool {
        if self.is_empty() {
            return false;
        }
        let value = value.trim_ascii();
        let after_scheme = value.iter().position(|b| *b == b' ').map_or(value, |at| value[at..].trim_ascii());
        self.has(value) || self.has(after_scheme) || self.is_signed_with(value)
    }

    /// Whether an AWS signature is made with one of them as the key's id.
    pub fn is_signed_with(&self, authorization: &[u8]) -> bool {
        const MARK: &[u8] = b"Credential=";
        let begin = memchr::memmem::find(authorization, MARK).map(|at| at + MARK.len());
        !self.is_empty() && begin.is_some_and(|begin| self.has(before_slash(&authorization[begin..])))
    }

    /// Whether a pair of a query has one of them where an SDK puts its key.
    pub fn is_in_pair(&self, pair: &str) -> bool {
        let (name, value) = parameter(pair);
        let place = || PROVIDERS.iter().any(|provider| is_parameter_of(provider, name));
        if self.is_empty() || !place() {
            return false;
        }
        let value = percent_decode(value);
        self.has(value.as_bytes()) || self.has(before_slash(value.as_bytes()))
    }

    fn has(&self, candidate: &[u8]) -> bool {
        let digest = digest_of(candidate);
        let same = |key: &[u8; 32]| key.iter().zip(&digest).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0;
        let found = self.digests.iter().fold(false, |found, key| found | same(key));
        found && !candidate.is_empty()
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.digests.len())
    }
}

fn digest_of(key: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, key).as_ref());
    bytes
}

fn before_slash(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == b'/').next().unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    #[test]
    fn names_that_carry_credentials_and_names_that_do_not() {
        for name in [
            "authorization",
            "Authorization",
            "proxy-authorization",
            "x-amzn-authorization",
            "cf-aig-authorization",
            "helicone-auth",
            "x-auth-key",
            "x-auth-email",
            "x-auth-token",
            "x-goog-authentication",
            "api-key",
            "apikey",
            "x-apikey",
            "x_api_key",
            "x-api-key",
            "xi-api-key",
            "x-goog-api-key",
            "x-portkey-api-key",
            "x-litellm-api-key",
            "x-rapidapi-key",
            "x-key",
            "key",
            "x-functions-key",
            "ocp-apim-subscription-key",
            "subscription-key",
            "x-subscription-token",
            "api-token",
            "access_token",
            "accessToken",
            "x-token",
            "token",
            "private-token",
            "x-vault-token",
            "x-csrf-token",
            "x-amz-security-token",
            "X-Amz-Signature",
            "X-Amz-Credential",
            "x-hub-signature-256",
            "sig",
            "client-secret",
            "x-webhook-secret",
            "x-password",
            "x-goog-iap-jwt-assertion",
            "x-bearer",
            "x-oauth",
            "dpop",
            "cookie",
            "set-cookie",
        ] {
            assert!(is_credential_name(name), "{name}");
        }
        for name in [
            "",
            "idempotency-key",
            "x-idempotency-key",
            "openai-organization",
            "openai-project",
            "openai-beta",
            "anthropic-version",
            "anthropic-beta",
            "anthropic-ratelimit-tokens-remaining",
            "x-ratelimit-limit-tokens",
            "x-token-count",
            "max_tokens",
            "x-goog-api-client",
            "x-goog-user-project",
            "x-api-version",
            "api-version",
            "x-amz-date",
            "x-amz-content-sha256",
            "x-amzn-requestid",
            "x-request-id",
            "request-id",
            "mcp-session-id",
            "x-stainless-os",
            "x-author",
            "x-authority",
            "www-authenticate",
            "access-control-allow-credentials",
            "sec-websocket-key",
            "prompt_cache_key",
            "surrogate-key",
            "x-ms-documentdb-partitionkey",
            "x-monkey",
            "page_token",
            "pageToken",
            "nextPageToken",
            "x-ms-continuation-token",
            "x-amz-server-side-encryption-aws-kms-key-id",
            "user-agent",
            "content-type",
            "2024-10-21",
            "日本",
        ] {
            assert!(!is_credential_name(name), "{name}");
        }
    }

    #[test]
    fn every_place_of_a_provider_reads_as_one() {
        for provider in PROVIDERS {
            let headers = provider.secret_headers.iter().chain([&provider.credential.header]);
            for name in headers.chain(provider.secret_query) {
                assert!(is_credential_name(name), "{name} of {}", provider.name);
            }
        }
    }

    fn keys() -> ApiKeys {
        let mut keys = ApiKeys::default();
        keys.add("first-key");
        keys.add("second");
        keys
    }

    fn found(name: &'static str, value: &str, query: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        keys().are_in(&headers, query)
    }

    #[test]
    fn a_key_is_found_wherever_an_sdk_puts_one() {
        for provider in PROVIDERS {
            for name in provider.secret_headers.iter().chain([&provider.credential.header]) {
                assert!(found(name, &format!("{}first-key", provider.credential.prefix), ""), "{name}");
                assert!(found(name, "second", ""), "{name}");
            }
            for name in provider.secret_query {
                assert!(found("x-other", "", &format!("a=b&{name}=second")), "{name}");
            }
        }
        let signed = "AWS4-HMAC-SHA256 Credential=second/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0";
        assert!(found("authorization", signed, ""));
        assert!(found("x-other", "", "X-Amz-Credential=first%2Dkey%2F20260101%2Fus-east-1"));
        assert!(found("authorization", "bearer  first-key ", ""));
    }

    #[test]
    fn nothing_else_is_a_key() {
        for (name, value) in [
            ("authorization", ""),
            ("authorization", "Bearer"),
            ("authorization", "Bearer first"),
            ("authorization", "Bearer first-key2"),
            ("authorization", "Bearer FIRST-KEY"),
            ("authorization", "AWS4-HMAC-SHA256 Credential=/first-key/x, Signature=second"),
            ("x-other", "first-key"),
        ] {
            assert!(!found(name, value, "other=first-key&key"), "{name}: {value}");
        }
        assert!(!ApiKeys::default().are_in(&HeaderMap::new(), "key="));
        assert_eq!(format!("{:?}", keys()), "ApiKeys(2)");
    }
}
