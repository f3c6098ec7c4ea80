//! The way to the real providers: an HTTP/1.1 client that hands bytes over as they arrive.
//!
//! No redirect is followed, no body is decompressed, nothing is read ahead of the caller but one chunk, and a cut answer
//! never looks like a clean end. No task drives a connection: whoever awaits the answer does, so that dropping the answer
//! closes the connection on the spot.

mod base;
mod body;
mod connect;
mod error;
mod headers;
mod keys;
mod link;
mod pool;
mod proxy;
mod resolve;
mod sign;
mod tls;

pub use base::BaseUrl;
pub use body::AnswerBody;
pub use error::{SetupError, UpstreamError};
pub use headers::{foreign_credentials, forward_headers, relay_headers, unknown_credential};
pub use keys::{Keys, drop_own_keys};
pub(crate) use resolve::addresses;
pub use sign::{AwsKeys, Signing, sign};

use bytes::Bytes;
use connect::Stream;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Method, Request, Response, StatusCode, Uri};
use link::Link;
use pool::Pool;
use proxy::Proxies;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tls::Tls;
use tokio::time::timeout;

/// How long an upstream may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request to the answer's head; connecting is a part of it.
    pub head: Duration,
    /// Between two chunks of the answer's body.
    pub chunk: Duration,
    /// To open a TCP connection; a name's addresses share it.
    pub connect: Duration,
}

/// What the environment says about the way to the upstreams.
#[derive(Clone, Default)]
pub struct Environment {
    /// `SSL_CERT_FILE`: a PEM file of roots that are trusted beside the built-in ones.
    pub ssl_cert_file: Option<PathBuf>,
    /// `https_proxy` or `HTTPS_PROXY`, for `https://` upstreams.
    pub https_proxy: Option<String>,
    /// `http_proxy` or `HTTP_PROXY`, for `http://` upstreams.
    pub http_proxy: Option<String>,
    /// `no_proxy` or `NO_PROXY`: hosts that are reached directly.
    pub no_proxy: Option<String>,
}

impl Environment {
    /// Reads the process's environment. The lower-case name wins, an empty value is no value.
    pub fn from_env() -> Self {
        let raw = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        let text = |lower: &str| {
            let value: Option<OsString> = raw(lower).or_else(|| raw(&lower.to_ascii_uppercase()));
            value.map(|v| v.to_string_lossy().into_owned())
        };
        Environment {
            ssl_cert_file: raw("SSL_CERT_FILE").map(PathBuf::from),
            https_proxy: text("https_proxy"),
            http_proxy: text("http_proxy"),
            no_proxy: text("no_proxy"),
        }
    }
}

impl fmt::Debug for Environment {
    /// A proxy's URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("ssl_cert_file", &self.ssl_cert_file)
            .field("https_proxy", &self.https_proxy.is_some())
            .field("http_proxy", &self.http_proxy.is_some())
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// One request to an upstream.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Method.
    pub method: Method,
    /// Path and query, as [`BaseUrl::target`] joins them.
    pub target: String,
    /// Headers that [`forward_headers`] let through; `host` and `content-length` are set by [`Client::send`].
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// An upstream's answer, its body still to be read.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers as received; [`relay_headers`] leaves those that may go on.
    pub headers: HeaderMap,
    /// Body.
    pub body: AnswerBody,
}

/// A client with its idle connections; a clone shares them. It is used inside a [`tokio::task::LocalSet`].
#[derive(Clone, Debug)]
pub struct Client {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    timeouts: Timeouts,
    tls: Tls,
    proxies: Proxies,
    pool: Rc<Pool>,
}

impl Client {
    /// A client that opens nothing yet; roots are loaded for the first TLS upstream.
    ///
    /// # Errors
    /// [`SetupError::Proxy`]: a proxy variable that is not a proxy's URL.
    pub fn new(timeouts: Timeouts, environment: &Environment) -> Result<Client, SetupError> {
        let inner = Inner {
            timeouts,
            tls: Tls::new(environment.ssl_cert_file.clone()),
            proxies: Proxies::new(environment)?,
            pool: Rc::default(),
        };
        Ok(Client { inner: Rc::new(inner) })
    }

    /// Loads the roots now, so that a broken `SSL_CERT_FILE` is told before the first request.
    ///
    /// # Errors
    /// [`SetupError::Certificates`].
    pub fn load_roots(&self) -> Result<(), SetupError> {
        self.inner.tls.connector().map(drop)
    }

    /// Sends a request and returns once the answer's head is there. Where an idle connection turns out to be closed, it
    /// goes over a new one, once; but what may have reached the upstream is sent again only if its method is idempotent
    /// (<https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2>).
    ///
    /// # Errors
    /// [`UpstreamError`]: no answer, or not in time.
    pub async fn send(&self, base: &BaseUrl, call: Outgoing) -> Result<Answer, UpstreamError> {
        let limit = self.inner.timeouts.head;
        let answer = timeout(limit, self.inner.exchange(base, call)).await;
        answer.unwrap_or_else(|_| Err(UpstreamError::HeadTimeout { upstream: name(base), ms: millis(limit) }))
    }
}

impl Inner {
    async fn exchange(&self, base: &BaseUrl, call: Outgoing) -> Result<Answer, UpstreamError> {
        let request = self.request(base, call)?;
        if let Some(mut link) = self.idle(base).await {
            match link.ask(request.clone()).await {
                Ok(response) => return self.answer(base, link, response),
                Err(e) if link.heard() => return Err(UpstreamError::before_head(name(base), &e)),
                Err(e) if link.sent() && !request.method().is_idempotent() => {
                    return Err(UpstreamError::before_head(name(base), &e).not_repeated());
                }
                Err(_) => {} // closed while it was idle
            }
        }
        let mut link = Link::new(self.connect(base).await?, base).await?;
        match link.ask(request).await {
            Ok(response) => self.answer(base, link, response),
            Err(e) => Err(UpstreamError::before_head(name(base), &e)),
        }
    }

    /// An idle connection to this upstream.
    async fn idle(&self, base: &BaseUrl) -> Option<Link> {
        if self.pool.is_empty() {
            return None;
        }
        // A socket shows that it was closed once the runtime has looked at it, which it does here.
        tokio::task::yield_now().await;
        self.pool.take(base)
    }

    /// The request as it goes on the wire: in absolute form where a proxy passes it on.
    fn request(&self, base: &BaseUrl, call: Outgoing) -> Result<Request<Full<Bytes>>, UpstreamError> {
        let unsendable = |reason: String| UpstreamError::Unsendable { upstream: name(base), reason };
        let mut headers = call.headers;
        let host = HeaderValue::try_from(base.authority());
        headers.insert(HOST, host.map_err(|_| unsendable("the host is not one that a header can name".into()))?);
        headers.remove(CONTENT_LENGTH);
        let has_body = !call.body.is_empty() || matches!(call.method, Method::POST | Method::PUT | Method::PATCH);
        if has_body {
            headers.insert(CONTENT_LENGTH, call.body.len().into());
        }
        let mut target = call.target;
        if let Some(proxy) = self.proxies.pick(base).filter(|_| !base.tls) {
            target = format!("http://{}{target}", base.authority());
            if let Some(authorization) = &proxy.authorization {
                headers.insert(PROXY_AUTHORIZATION, authorization.clone());
            }
        }
        let mut request = Request::new(Full::new(call.body));
        *request.uri_mut() = target.parse::<Uri>().map_err(|e| unsendable(e.to_string()))?;
        *request.method_mut() = call.method;
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn connect(&self, base: &BaseUrl) -> Result<Stream, UpstreamError> {
        let upstream = name(base);
        let within = self.timeouts.connect;
        let stream = match self.proxies.pick(base) {
            None => connect::tcp(&base.host, base.port, &upstream, within).await?,
            Some(proxy) => {
                let at = proxy.to_string();
                let mut stream = connect::tcp(&proxy.host, proxy.port, &at, within).await?;
                if proxy.tls {
                    stream = self.tls.handshake(stream, &proxy.host, at).await?;
                }
                if base.tls { proxy.tunnel(stream, &upstream).await? } else { stream }
            }
        };
        if base.tls { self.tls.handshake(stream, &base.host, upstream).await } else { Ok(stream) }
    }

    fn answer(&self, base: &BaseUrl, link: Link, response: Response<Incoming>) -> Result<Answer, UpstreamError> {
        let (head, incoming) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let reason = "it switched protocols without being asked to".into();
            return Err(UpstreamError::Protocol { upstream: name(base), reason });
        }
        let body = AnswerBody::new(incoming, link, name(base), self.timeouts.chunk, &self.pool);
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// `HOST:PORT`, as messages name an upstream.
fn name(base: &BaseUrl) -> String {
    connect::host_port(&base.host, base.port)
}

fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}
