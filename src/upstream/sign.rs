//! Requests whose signature was made for this host are signed again for the upstream's.

use super::{BaseUrl, Outgoing};
use crate::sigv4::{self, Credentials, Scope, Unsigned};
use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use std::fmt;

/// What an AWS signature begins with.
const SIGNED: &str = "AWS4-HMAC-SHA256";

/// Headers that belong to a signature.
pub(super) const OF_SIGNATURE: [&str; 2] = ["x-amz-date", "x-amz-security-token"];

/// Keys that sign requests to AWS.
#[derive(Clone)]
pub struct AwsKeys {
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
    region: Option<String>,
}

impl fmt::Debug for AwsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsKeys(secret)")
    }
}

/// What became of a request's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// It has none, or one that holds anywhere (a bearer key).
    Unneeded,
    /// It was signed for the upstream.
    Signed,
    /// It goes on with a signature that cannot hold there, and why.
    Stale(&'static str),
}

impl AwsKeys {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, and `AWS_REGION` or `AWS_DEFAULT_REGION`;
    /// `None` where one of the first two is absent.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let variable = |name: &str| variable(name).filter(|v| !v.is_empty());
        Some(AwsKeys {
            access_key: variable("AWS_ACCESS_KEY_ID")?,
            secret_key: variable("AWS_SECRET_ACCESS_KEY")?,
            session_token: variable("AWS_SESSION_TOKEN"),
            region: variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")),
        })
    }

    /// Reads the process's environment.
    pub fn from_env() -> Option<Self> {
        Self::from_variables(|name| std::env::var(name).ok())
    }
}

/// Signs a request to an AWS service for its upstream, at this time (Unix seconds). The region is the upstream host's,
/// else the environment's, else the one that the client signed for.
/// Where there are no keys, the reason stands in their place.
pub fn sign(
    keys: Result<&AwsKeys, &'static str>,
    service: &str,
    base: &BaseUrl,
    call: &mut Outgoing,
    now: i64,
) -> Signing {
    let authorization = call.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or("");
    if !authorization.is_empty() && !authorization.starts_with(SIGNED) {
        return Signing::Unneeded;
    }
    let keys = match keys {
        Ok(keys) => keys,
        Err(_) if authorization.is_empty() => return Signing::Unneeded,
        Err(why) => return Signing::Stale(why),
    };
    let authority = base.authority();
    let region = sigv4::region_of_host(&base.host, service).or(keys.region.as_deref());
    let Some(region) = region.or_else(|| signed_region(authorization)).map(str::to_owned) else {
        return Signing::Stale("no region is known: set AWS_REGION");
    };
    call.headers.remove(AUTHORIZATION);
    OF_SIGNATURE.iter().for_each(|name| drop(call.headers.remove(*name)));
    let (path, query) = call.target.split_once('?').unwrap_or((&call.target, ""));
    // Headers that proxies and clients change on the way are not signed.
    let stays = |name: &HeaderName| name == "content-type" || name.as_str().starts_with("x-amz");
    let mut headers: Vec<(&str, &str)> = vec![(HOST.as_str(), &authority)];
    let signable = call.headers.iter().filter(|(name, _)| stays(name));
    headers.extend(signable.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))));
    let unsigned = Unsigned { method: call.method.as_str(), path, query, headers: &headers, body: &call.body };
    let credentials = Credentials {
        access_key: &keys.access_key,
        secret_key: &keys.secret_key,
        session_token: keys.session_token.as_deref(),
    };
    let scope = Scope { region: &region, service, time: u64::try_from(now).unwrap_or(0) };
    for (name, value) in sigv4::sign(&unsigned, &credentials, &scope) {
        let Ok(mut value) = HeaderValue::try_from(value) else {
            return Signing::Stale("the AWS keys have characters that a header cannot hold");
        };
        value.set_sensitive(true);
        call.headers.insert(name, value);
    }
    Signing::Signed
}

/// The region in `Credential=KEY/DATE/REGION/…`.
fn signed_region(authorization: &str) -> Option<&str> {
    authorization.split_once("Credential=")?.1.split('/').nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use hyper::{HeaderMap, Method};

    fn call(authorization: &'static str) -> Outgoing {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, HeaderValue::from_static(authorization));
        }
        headers.insert("x-amz-date", HeaderValue::from_static("old"));
        headers.insert("x-amz-security-token", HeaderValue::from_static("old"));
        Outgoing { method: Method::POST, target: "/model/a%3A0/converse".into(), headers, body: Bytes::from("{}") }
    }

    fn keys() -> AwsKeys {
        AwsKeys::from_variables(|name| match name {
            "AWS_ACCESS_KEY_ID" => Some("AKID".into()),
            "AWS_SECRET_ACCESS_KEY" => Some("secret".into()),
            _ => None,
        })
        .unwrap()
    }

    const OLD: &str =
        "AWS4-HMAC-SHA256 Credential=K/20260101/eu-west-3/bedrock/aws4_request, SignedHeaders=host, Signature=0";

    #[test]
    fn signed_again_for_the_upstream() {
        let base = BaseUrl::parse("https://bedrock-runtime.us-east-1.amazonaws.com").unwrap();
        let mut signed = call(OLD);
        assert_eq!(sign(Ok(&keys()), "bedrock", &base, &mut signed, 0), Signing::Signed);
        let authorization = signed.headers[AUTHORIZATION].to_str().unwrap();
        assert!(authorization.contains("Credential=AKID/19700101/us-east-1/bedrock/aws4_request"), "{authorization}");
        assert_eq!(signed.headers["x-amz-date"], "19700101T000000Z");
        assert!(!signed.headers.contains_key("x-amz-security-token"));
    }

    #[test]
    fn the_clients_region_is_the_last_resort() {
        let base = BaseUrl::parse("http://localhost:1").unwrap();
        let mut signed = call(OLD);
        assert_eq!(sign(Ok(&keys()), "bedrock", &base, &mut signed, 0), Signing::Signed);
        assert!(signed.headers[AUTHORIZATION].to_str().unwrap().contains("/eu-west-3/bedrock/"));
    }

    #[test]
    fn bearer_keys_pass_and_missing_keys_are_told() {
        let base = BaseUrl::parse("http://localhost:1").unwrap();
        assert_eq!(sign(Ok(&keys()), "bedrock", &base, &mut call("Bearer x"), 0), Signing::Unneeded);
        assert!(matches!(sign(Err("none"), "bedrock", &base, &mut call(OLD), 0), Signing::Stale(_)));
        assert_eq!(sign(Err("none"), "bedrock", &base, &mut call(""), 0), Signing::Unneeded);
    }
}
