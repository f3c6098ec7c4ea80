//! API keys from the environment, for clients that have none of their own.

use super::SetupError;
use super::sign::OF_SIGNATURE;
use crate::credential::{ApiKeys, is_parameter, is_parameter_of, parameter};
use crate::provider::{PROVIDERS, Provider};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

/// What the keys that this program hands out begin with; no provider knows them.
const PLACEHOLDER: &str = "sk-aimock-";

/// The keys of `AIMOCK_PROVIDER_<NAME>_KEY`.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Provider's name, and its credential header's value, which is marked as sensitive.
    values: Vec<(&'static str, HeaderValue)>,
}

impl Keys {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// [`SetupError::Key`]: a key with characters that no header can hold.
    pub fn from_env() -> Result<Self, SetupError> {
        Self::from_variables(|name| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned()))
    }

    /// Reads variables from a function.
    ///
    /// # Errors
    /// [`SetupError::Key`]: a key with characters that no header can hold.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SetupError> {
        let mut values = Vec::new();
        for provider in PROVIDERS {
            let name = format!("AIMOCK_PROVIDER_{}_KEY", provider.name.to_ascii_uppercase());
            let Some(key) = variable(&name) else { continue };
            let key = key.trim();
            if key.is_empty() {
                continue;
            }
            let Ok(mut value) = HeaderValue::try_from(format!("{}{key}", provider.credential.prefix)) else {
                return Err(SetupError::Key { variable: name });
            };
            value.set_sensitive(true);
            values.push((provider.name, value));
        }
        Ok(Keys { values })
    }

    /// Makes one credential of those that a request has for this provider: of several the one that its SDK prefers, which
    /// stands first in its row. Where it has none but placeholders, and the upstream is trusted, it is the provider's key
    /// of the environment. Keys of this server's own are none. Returns the query to send.
    pub fn apply<'q>(
        &self,
        provider: &Provider,
        trusted: bool,
        own: &ApiKeys,
        headers: &mut HeaderMap,
        query: &'q str,
    ) -> Cow<'q, str> {
        let prefix = provider.credential.prefix;
        let names = || std::iter::once(provider.credential.header).chain(provider.secret_headers.iter().copied());
        let real = |name: &str| headers.get_all(name).iter().any(|value| is_real(value.as_bytes(), prefix));
        let preferred = names().filter(|name| !is_companion(name)).find(|name| real(name));
        let beside = names().any(|name| is_companion(name) && real(name));
        // Others' parameters, and this server's own keys, are kept from the upstream.
        let goes_on = |pair: &&str| {
            let name = parameter(pair).0;
            !own.is_in_pair(pair) && (!is_parameter(name) || is_parameter_of(provider, name))
        };
        let of_query = |name: &str| {
            let mut pairs = query.split('&').filter(goes_on).map(parameter);
            pairs.any(|(n, value)| n == name && is_real(value.as_bytes(), ""))
        };
        let in_query = provider.secret_query.iter().copied().find(|name| of_query(name));
        if let Some(preferred) = preferred {
            names()
                .filter(|name| *name != preferred && !is_companion(name))
                .for_each(|name| drop(headers.remove(name)));
            return rest_of(query, |pair| goes_on(pair) && !is_alternative(provider, parameter(pair).0));
        }
        if let Some(preferred) = in_query {
            names().filter(|name| !is_companion(name)).for_each(|name| drop(headers.remove(name)));
            let other = |name: &str| name != preferred && is_alternative(provider, name);
            return rest_of(query, |pair| goes_on(pair) && !other(parameter(pair).0));
        }
        let key = self.values.iter().find(|(name, _)| *name == provider.name && trusted && !beside);
        let Some((_, key)) = key else { return rest_of(query, goes_on) };
        names().for_each(|name| drop(headers.remove(name)));
        headers.insert(provider.credential.header, key.clone());
        rest_of(query, |pair| goes_on(pair) && !is_parameter_of(provider, parameter(pair).0))
    }
}

/// Takes this server's own keys out of a request's headers. A signature made with one stays where it is made anew.
pub fn drop_own_keys(own: &ApiKeys, signs: bool, headers: &mut HeaderMap) {
    if own.is_empty() {
        return;
    }
    let is_own = |value: &HeaderValue| own.is_in_header(value.as_bytes());
    let signed = |value: &HeaderValue| own.is_signed_with(value.as_bytes());
    let held = |name: &HeaderName| headers.get_all(name).iter().any(|value| is_own(value) && !(signs && signed(value)));
    let names: Vec<HeaderName> = headers.keys().filter(|name| held(name)).cloned().collect();
    let signature = names.iter().any(|name| headers.get_all(name).iter().any(signed));
    names.iter().for_each(|name| drop(headers.remove(name)));
    if signature {
        OF_SIGNATURE.iter().for_each(|name| drop(headers.remove(*name)));
    }
}

/// What stands beside a credential and not in its place: the parts of an AWS signature, and the key to a gateway before
/// the service (<https://learn.microsoft.com/azure/api-management/api-management-subscriptions>).
fn is_companion(name: &str) -> bool {
    const OF_AWS: &str = "x-amz-";
    let of_aws = name.get(..OF_AWS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OF_AWS));
    of_aws || name == "ocp-apim-subscription-key"
}

/// Whether a query parameter is one of the provider's credentials, of which one is enough.
fn is_alternative(provider: &Provider, name: &str) -> bool {
    is_parameter_of(provider, name) && !is_companion(name)
}

/// The pairs of a query that go on.
fn rest_of(query: &str, goes_on: impl Fn(&&str) -> bool) -> Cow<'_, str> {
    if query.is_empty() || query.split('&').all(|pair| goes_on(&pair)) {
        return Cow::Borrowed(query);
    }
    Cow::Owned(query.split('&').filter(|pair| goes_on(pair)).collect::<Vec<_>>().join("&"))
}

/// Whether this is a credential, and none of ours.
fn is_real(value: &[u8], prefix: &str) -> bool {
    let bare = value.trim_ascii();
    let after = |scheme: &str| {
        let (head, rest) = bare.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme.as_bytes()).then(|| rest.trim_ascii())
    };
    let key = Some(prefix.trim_end()).filter(|scheme| !scheme.is_empty()).and_then(after).or_else(|| after("Bearer "));
    let key = key.unwrap_or(bare);
    !key.is_empty() && !key.starts_with(PLACEHOLDER.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Credential, openai};

    static QUERY_KEY: Provider = Provider {
        name: "not in the table",
        credential: Credential { header: "x-goog-api-key", prefix: "" },
        secret_headers: &["authorization"],
        secret_query: &["key"],
        ..openai::PROVIDER
    };

    fn keys() -> Keys {
        Keys::from_variables(|name| (name == "AIMOCK_PROVIDER_OPENAI_KEY").then(|| " real-key\n".into())).unwrap()
    }

    fn applied(provider: &Provider, header: Option<(&'static str, &'static str)>, query: &str) -> (HeaderMap, String) {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let mut keys = keys();
        if provider.name == QUERY_KEY.name {
            keys.values.push((QUERY_KEY.name, HeaderValue::from_static("real-key")));
        }
        let query = keys.apply(provider, true, &ApiKeys::default(), &mut headers, query).into_owned();
        (headers, query)
    }

    #[test]
    fn a_missing_or_placeholder_credential_is_replaced() {
        for given in ["Bearer sk-aimock-x", "bearer  sk-aimock-x", "Bearer ", "", "sk-aimock-x"] {
            let (headers, _) = applied(&openai::PROVIDER, Some(("authorization", given)), "");
            assert_eq!(headers["authorization"], "Bearer real-key", "{given:?}");
            assert!(headers["authorization"].is_sensitive());
        }
        let (headers, _) = applied(&openai::PROVIDER, None, "");
        assert_eq!(headers["authorization"], "Bearer real-key");
    }

    #[test]
    fn a_credential_of_the_client_stays() {
        let (headers, _) = applied(&openai::PROVIDER, Some(("authorization", "Bearer sk-own")), "");
        assert_eq!(headers["authorization"], "Bearer sk-own");
        let (headers, _) = applied(&QUERY_KEY, Some(("authorization", "Bearer ya29")), "");
        assert!(!headers.contains_key("x-goog-api-key"));
    }

    #[test]
    fn a_key_in_the_query_counts() {
        let (headers, query) = applied(&QUERY_KEY, None, "alt=sse&key=own");
        assert!(headers.is_empty());
        assert_eq!(query, "alt=sse&key=own");
        let (headers, query) = applied(&QUERY_KEY, None, "key=sk-aimock-1&alt=sse");
        assert_eq!(headers["x-goog-api-key"], "real-key");
        assert_eq!(query, "alt=sse");
    }

    #[test]
    fn an_unusable_key_is_named_and_not_quoted() {
        let e = Keys::from_variables(|_| Some("se\ncret".into())).unwrap_err().to_string();
        assert!(e.contains("_KEY") && !e.contains("cret"), "{e}");
        assert!(!format!("{:?}", keys()).contains("real-key"));
    }
}
