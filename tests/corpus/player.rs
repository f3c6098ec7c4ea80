//! An upstream that plays captures: the header `x-capture` of a request says which.

use super::captures::Capture;
use crate::common::{chunk, header, read_message};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// The header that names a capture by its index.
pub(crate) const WHICH: &str = "x-capture";

/// The upstream, on a free port, on a thread of its own.
pub(crate) struct Player {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Player {
    pub(crate) fn start(captures: Arc<Vec<Capture>>) -> Self {
        let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listening socket");
                tokio::select! {
                    () = accept(&listener, captures) => {}
                    _ = stopped => {}
                }
            });
        });
        Player { address, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: &TcpListener, captures: Arc<Vec<Capture>>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.set_nodelay(true);
        tokio::spawn(play(stream, Arc::clone(&captures)));
    }
}

async fn play(mut stream: TcpStream, captures: Arc<Vec<Capture>>) {
    let mut buffer = Vec::new();
    while let Some((head, _)) = read_message(&mut stream, &mut buffer).await {
        let index: usize = header(&head, WHICH).and_then(|n| n.parse().ok()).expect("the index of a capture");
        let (answer, end) = answer(&captures[index], index);
        // A server that has gone is the test's matter.
        let _ = stream.write_all(&answer).await;
        let _ = stream.write_all(&end).await;
    }
}

/// The answer's bytes, and the end of its body, which comes by itself.
fn answer(capture: &Capture, index: usize) -> (Vec<u8>, Vec<u8>) {
    let kind = capture.row.content_type.as_ref().map(|t| format!("content-type: {t}\r\n")).unwrap_or_default();
    let head = format!("HTTP/1.1 {} Played\r\n{kind}x-request-id: req-{index}\r\n", capture.row.status);
    if capture.row.framing() == aimock::frame::Framing::Whole && index.is_multiple_of(2) {
        let head = format!("{head}content-length: {}\r\n\r\n", capture.answer.len());
        return ([head.as_bytes(), &capture.answer].concat(), Vec::new());
    }
    let mut answer = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for piece in capture.pieces() {
        answer.extend(chunk(piece));
    }
    (answer, b"0\r\n\r\n".to_vec())
}
