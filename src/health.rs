//! `aimock health`: asks a server whether it is well, over one plain connection. Made for a container's health check,
//! where there is no shell and no curl.

use crate::error::Error;
use crate::upstream::BaseUrl;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

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
    match ask(url, Instant::now() + TIMEOUT) {
        Ok(200) => Ok(()),
        Ok(status) => Err(unhealthy(url, format!("status {status}"))),
        Err(e) if matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
            Err(unhealthy(url, format!("no answer within {} s", TIMEOUT.as_secs())))
        }
        Err(e) => Err(unhealthy(url, e.to_string())),
    }
}

fn unhealthy(url: &BaseUrl, problem: String) -> Error {
    Error::Unhealthy { url: url.to_string(), problem }
}

/// The status of the answer.
fn ask(url: &BaseUrl, deadline: Instant) -> io::Result<u16> {
    let mut stream = connect(url, deadline)?;
    let (host, target) = (url.authority(), url.target("/health", ""));
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut head = Vec::new();
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let mut chunk = [0; 1024];
        let n = match stream.read(&mut chunk) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        head.extend_from_slice(&chunk[..n]);
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

/// Tries each address of the host.
fn connect(url: &BaseUrl, deadline: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::other("the host has no address");
    for address in addresses(url)? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(e) => failed = e,
        }
    }
    Err(failed)
}

/// An image without `/etc/hosts` cannot look up `localhost`, so that name is known here.
fn addresses(url: &BaseUrl) -> io::Result<Vec<SocketAddr>> {
    if url.host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![([127, 0, 0, 1], url.port).into(), (std::net::Ipv6Addr::LOCALHOST, url.port).into()]);
    }
    Ok((url.host.as_str(), url.port).to_socket_addrs()?.collect())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let error = ask(&url, Instant::now() + Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error:?}");
    }
}
