//! `aimock health`: asks a server whether it is well, over one plain connection. Made for a container's health check,
//! where there is no shell and no curl.

use crate::error::Error;
use crate::upstream::{self, BaseUrl};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time for the whole check.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a response's head that are read.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Headers of a response that are read.
const MAX_HEADERS: usize = 64;

/// Asks for `GET /health` below this URL.
///
/// # Errors
/// [`Error::Unhealthy`] with why, for anything but a 200 within [`TIMEOUT`].
pub fn check(url: &BaseUrl) -> Result<(), Error> {
    check_within(url, TIMEOUT)
}

fn check_within(url: &BaseUrl, limit: Duration) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { what: "event loop", source })?;
    let answered = runtime.block_on(async { timeout(limit, ask(url)).await });
    runtime.shutdown_background(); // a name look-up may never end
    match answered {
        Ok(Ok(200)) => Ok(()),
        Ok(Ok(status)) => Err(unhealthy(url, format!("status {status}"))),
        Ok(Err(e)) => Err(unhealthy(url, e.to_string())),
        Err(_) => Err(unhealthy(url, format!("no answer within {limit:?}"))),
    }
}

fn unhealthy(url: &BaseUrl, problem: String) -> Error {
    Error::Unhealthy { url: url.to_string(), problem }
}

/// The status of the answer.
async fn ask(url: &BaseUrl) -> io::Result<u16> {
    let addresses = upstream::addresses(&url.host, url.port).await?;
    let mut stream = TcpStream::connect(addresses.as_slice()).await?;
    let (host, target) = (url.authority(), url.target("/health", ""));
    stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::with_capacity(1024);
    loop {
        let n = stream.read_buf(&mut head).await?;
        if let Some(status) = status(&head)? {
            return Ok(status);
        }
        if n == 0 || head.len() > MAX_HEAD_BYTES {
            return Err(io::Error::other("the answer has no end of its head"));
        }
    }
}

/// The status in a response's head, once that is complete.
fn status(head: &[u8]) -> io::Result<Option<u16>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(head) {
        Ok(httparse::Status::Complete(_)) => Ok(response.code),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(e) => Err(io::Error::other(format!("the answer is not HTTP: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// Answers one request with these bytes and returns what was asked.
    fn asked_of(answer: &'static [u8], path: &str) -> (Result<(), Error>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = BaseUrl::parse(&format!("http://localhost:{}{path}", listener.local_addr().unwrap().port())).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let n = stream.read(&mut request).unwrap();
            for byte in answer {
                let _ = stream.write_all(&[*byte]); // it hangs up on what is not HTTP
            }
            String::from_utf8(request[..n].to_vec()).unwrap()
        });
        let result = check(&url);
        (result, server.join().unwrap())
    }

    #[test]
    fn a_200_is_healthy() {
        let (result, request) = asked_of(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "/prefix");
        assert!(result.is_ok(), "{result:?}");
        assert!(request.starts_with("GET /prefix/health HTTP/1.1\r\nhost: localhost:"), "{request}");
    }

    #[test]
    fn all_else_says_why() {
        for (answer, says) in [
            (&b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..], "status 503"),
            (b"SSH-2.0-OpenSSH\r\n", "the answer is not HTTP"),
            (b"HTTP/1.1 200 OK\r\n", "no end of its head"),
            (b"", "no end of its head"),
        ] {
            let error = asked_of(answer, "").0.unwrap_err();
            assert_eq!(error.exit_code(), 1);
            assert!(error.to_string().contains(says), "{error}");
        }
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = check(&BaseUrl::parse(&format!("http://{closed}")).unwrap()).unwrap_err().to_string();
        assert!(error.contains("refused") && error.contains(&closed.to_string()), "{error}");
    }

    #[test]
    fn no_time_left_is_a_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = BaseUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let error = check_within(&url, Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.ends_with("no answer within 50ms"), "{error}");
    }
}
