//! An upstream's base URL.

use std::fmt;

/// Scheme, host, port and base path of an upstream, as `--provider-NAME` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    /// Whether the connection is TLS.
    pub tls: bool,
    /// Host name or address, without the brackets of IPv6.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path without a trailing slash; empty for the root.
    pub path: String,
}

impl BaseUrl {
    /// Parses `http://HOST[:PORT][/PATH]` or `https://…`.
    ///
    /// # Errors
    /// What is wrong with it, for a message that names the flag. The URL itself is never quoted: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (tls, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err("expected a URL that begins with http:// or https://".into()),
        };
        if rest.contains(['?', '#']) {
            return Err("a base URL has no query and no fragment".into());
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err("a base URL has no user name or password".into());
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, after) = v6.split_once(']').ok_or("the IPv6 address lacks its ]")?;
                (host, after.strip_prefix(':').or(Some(after).filter(|a| !a.is_empty())))
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("the URL has no valid host".into());
        }
        let port = match port {
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => port.parse().ok().filter(|p| *p != 0).ok_or("the port is not a number from 1 to 65535")?,
        };
        let valid =
            |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}');
        if !path.chars().all(valid) {
            return Err("the path has a character that a URL cannot hold".into());
        }
        Ok(BaseUrl { tls, host: host.to_owned(), port, path: path.trim_end_matches('/').to_owned() })
    }

    /// The value of the `host` header: the port is left out where it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.tls { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }

    /// The target of a request: the base's path, the request's path and query. Where the base ends in the segments
    /// that the request's path begins with (`…/v1` and `/v1/chat/completions`), they are joined once.
    pub fn target(&self, path: &str, query: &str) -> String {
        let overlap = (1..=self.path.len())
            .rev()
            .map(|len| &self.path[self.path.len() - len..])
            .find(|tail| {
                tail.starts_with('/')
                    && path.strip_prefix(tail).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .map_or(0, str::len);
        let base = &self.path[..self.path.len() - overlap];
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{base}{path}{mark}{query}")
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        for (text, printed) in [
            ("https://api.openai.com", "https://api.openai.com"),
            ("https://api.openai.com:443/v1/", "https://api.openai.com/v1"),
            ("http://localhost:11434", "http://localhost:11434"),
            ("http://[::1]:8080/a/b", "http://[::1]:8080/a/b"),
        ] {
            assert_eq!(BaseUrl::parse(text).map(|u| u.to_string()).as_deref(), Ok(printed));
        }
        for bad in [
            "api.openai.com",
            "ftp://x",
            "http://",
            "http://x:0",
            "http://x:99999",
            "http://u:p@x",
            "http://x?y",
            "http://a b",
        ] {
            assert!(BaseUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shared_segment_is_joined_once() {
        let target = |base: &str, path: &str, query: &str| BaseUrl::parse(base).unwrap().target(path, query);
        assert_eq!(target("http://x", "/v1/chat", ""), "/v1/chat");
        assert_eq!(target("http://x/v1", "/v1/chat", "a=b"), "/v1/chat?a=b");
        assert_eq!(target("http://x/openai/v1", "/openai/v1/chat", ""), "/openai/v1/chat");
        assert_eq!(target("http://x/api/v1", "/v1/chat", ""), "/api/v1/chat");
        assert_eq!(target("http://x/v1", "/v1beta/chat", ""), "/v1/v1beta/chat");
        assert_eq!(target("http://x/v1", "/chat", ""), "/v1/chat");
    }
}
