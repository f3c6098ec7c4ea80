//! API keys from the environment, for clients that have none of their own.

use super::SetupError;
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

    /// Puts the provider's key, if there is one, into a request whose credential is missing or a placeholder, and takes
    /// placeholders out. A credential in another secret header or in the query counts as one. Returns the query to send.
    pub fn apply<'q>(&self, provider: &Provider, headers: &mut HeaderMap, query: &'q str) -> Cow<'q, str> {
        let Some((_, key)) = self.values.iter().find(|(name, _)| *name == provider.name) else {
            return Cow::Borrowed(query);
        };
        let own = HeaderName::from_static(provider.credential.header);
        let names = || std::iter::once(own.as_str()).chain(provider.secret_headers.iter().copied());
        let prefix = provider.credential.prefix;
        let in_headers = names().flat_map(|n| headers.get_all(n)).any(|v| is_real(v.as_bytes(), prefix));
        let in_query = query.split('&').any(|pair| secret(provider, pair).is_some_and(|v| is_real(v.as_bytes(), "")));
        if in_headers || in_query {
            return Cow::Borrowed(query);
        }
        for name in provider.secret_headers {
            headers.remove(*name);
        }
        headers.insert(own, key.clone());
        if !query.split('&').any(|pair| secret(provider, pair).is_some()) {
            return Cow::Borrowed(query);
        }
        Cow::Owned(query.split('&').filter(|pair| secret(provider, pair).is_none()).collect::<Vec<_>>().join("&"))
    }
}

/// The value of a query parameter that holds a secret.
fn secret<'p>(provider: &Provider, pair: &'p str) -> Option<&'p str> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    provider.secret_query.contains(&name).then_some(value)
}

/// Whether this is a credential, and none of ours.
fn is_real(value: &[u8], prefix: &str) -> bool {
    let bare = value.trim_ascii();
    let scheme = prefix.trim_end().as_bytes();
    let key = match bare.split_at_checked(scheme.len()) {
        Some((head, rest)) if head.eq_ignore_ascii_case(scheme) => rest.trim_ascii(),
        _ => bare,
    };
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
        let query = keys.apply(provider, &mut headers, query).into_owned();
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
