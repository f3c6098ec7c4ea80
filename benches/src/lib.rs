//! What the programs here share: their flags, a server's skeleton, and the answers that all of them give.
#![forbid(unsafe_code)]

use hyper::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;

/// Anything that can go wrong in a program that measures.
pub type Failure = Box<dyn Error>;

/// A command line: one word, `--name value` pairs, and what follows `--`.
#[derive(Debug, Default)]
pub struct Flags {
    /// The word before the flags.
    pub command: String,
    /// The program to start, with its arguments.
    pub program: Vec<String>,
    values: HashMap<String, String>,
}

impl Flags {
    /// Reads this process's command line.
    ///
    /// # Errors
    /// A flag without its value.
    pub fn read() -> Result<Self, Failure> {
        use lexopt::Arg::{Long, Short, Value};
        let mut flags = Flags::default();
        let mut parser = lexopt::Parser::from_env();
        loop {
            if let Some(rest) = parser.try_raw_args()
                && rest.peek().is_some_and(|next| next == "--")
            {
                flags.program = rest.skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
                return Ok(flags);
            }
            match parser.next()? {
                Some(Long(name)) => {
                    let name = name.to_owned();
                    let value = parser.value()?.to_string_lossy().into_owned();
                    flags.values.insert(name, value);
                }
                Some(Value(word)) => flags.command = word.to_string_lossy().into_owned(),
                Some(Short(short)) => return Err(format!("-{short}: no such flag").into()),
                None => return Ok(flags),
            }
        }
    }

    /// A flag's value, or `otherwise`.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn get<T: FromStr>(&self, name: &str, otherwise: T) -> Result<T, Failure> {
        match self.values.get(name) {
            Some(text) => text.parse().map_err(|_| format!("--{name} {text}: cannot be read").into()),
            None => Ok(otherwise),
        }
    }

    /// The address that `--port` names on this machine.
    ///
    /// # Errors
    /// There is none.
    pub fn address(&self) -> Result<SocketAddr, Failure> {
        let port: u16 = self.get("port", 0)?;
        if port == 0 { Err("--port is needed".into()) } else { Ok((Ipv4Addr::LOCALHOST, port).into()) }
    }
}

/// A runtime as aimock's is: one thread.
///
/// # Errors
/// The system gives none.
pub fn run(main: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, main)
}

/// Answers every request by `answer`.
///
/// # Errors
/// The address is taken.
pub async fn serve<F, R, B>(address: SocketAddr, answer: F) -> Result<(), Failure>
where
    F: Fn(Request<hyper::body::Incoming>) -> R + Clone + 'static,
    R: Future<Output = Result<Response<B>, hyper::Error>> + 'static,
    B: Body<Error = Infallible> + 'static,
{
    let listener = TcpListener::bind(address).await?;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer.clone()));
        tokio::task::spawn_local(async move {
            let _ = connection.await; // a client that went away
        });
    }
}

/// Nanoseconds of the clock that all processes of a machine share.
pub fn nanoseconds() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

/// What is answered whole, 240 characters.
pub const SHORT_TEXT: &str = "The quick brown fox jumps over the lazy dog while the rain keeps falling on the roof of \
    the old mill by the river, and nobody in the village remembers when it last stood still or whose hands once set \
    the great wheel of it turning.";

/// What is streamed: so many pieces of 20 characters.
pub const TEXT_PIECES: usize = 50;

/// One piece of the text, 20 characters.
pub fn piece(n: usize) -> String {
    format!("piece {n:03} of the text")
}
