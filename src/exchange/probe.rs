//! Requests that are no API calls: what browsers, health checks and clients ask of any server before they use it. That
//! nothing answers them is the usual answer, and no fault of a suite.

/// What is asked for by `GET`, by whom.
const PATHS: &[&str] = &[
    "/",                                 // health checks; Ollama's clients, "is it running?"
    "/favicon.ico",                      // browsers
    "/apple-touch-icon.png",             // Safari
    "/apple-touch-icon-precomposed.png", // Safari
    "/robots.txt",                       // crawlers, RFC 9309
    "/sitemap.xml",                      // crawlers
    "/healthz",                          // Kubernetes' habit
    "/livez",                            // Kubernetes' habit
    "/readyz",                           // Kubernetes' habit
];

/// What lies below is looked for by whoever might use it (RFC 8615): OAuth clients, browsers' developer tools.
const WELL_KNOWN: &str = "/.well-known/";

/// Whether a request calls nothing: it asks about a resource (`HEAD`, `OPTIONS`), or for one that no API has.
pub(super) fn is_probe(method: &str, path: &str) -> bool {
    match method {
        "HEAD" | "OPTIONS" => true,
        "GET" => PATHS.contains(&path) || path.starts_with(WELL_KNOWN),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_none() {
        for (method, path) in [("HEAD", "/"), ("OPTIONS", "/v1/x"), ("GET", "/"), ("GET", "/.well-known/x")] {
            assert!(is_probe(method, path), "{method} {path}");
        }
        for (method, path) in [("POST", "/"), ("GET", "/v1/models"), ("GET", "/v1/files"), ("DELETE", "/favicon.ico")] {
            assert!(!is_probe(method, path), "{method} {path}");
        }
    }
}
