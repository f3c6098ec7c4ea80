//! Accepts connections and answers them.

use crate::app::{App, Going, Stage, Underway};
use crate::cli::ServeArgs;
use crate::command;
use crate::config::Config;
use crate::error::Error;
use crate::exchange;
use crate::fixture;
use crate::flush::{Flushing, Orderly};
use crate::log::Logger;
use crate::output::STDOUT;
use crate::pulse::{BEAT, Listener, Pulse};
use crate::upstream::{self, Environment, Keys};
use bytes::Bytes;
use hyper::Version;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::ffi::OsString;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// Connections served at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 16_384;

/// Connections that keep their buffers while they are idle; where there are more, none does.
const MAX_WARM: usize = 64;

/// How long a shutdown waits for what is in flight.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// How long a client may take to send a request's head, to within a beat.
const HEAD_LIMIT: Duration = Duration::from_secs(60);

/// How long accepting rests after it failed, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until it is told to stop; the program's exit code.
///
/// # Errors
/// What keeps the server from starting.
pub async fn run(args: ServeArgs, log: Logger) -> Result<u8, Error> {
    let ServeArgs { config, exit_on_stdin_close, command, warnings } = args;
    warnings.iter().for_each(|warning| log.warn(warning));
    let keys = Keys::from_env().map_err(|e| Error::Usage(e.to_string()))?;
    let environment = Environment::from_env();
    let app = Rc::new(App::new(config, log, &environment, keys)?);
    if environment.ssl_cert_file.is_some() && app.config.upstreams.iter().any(|(_, url)| url.tls) {
        app.client.load_roots().map_err(|e| Error::Usage(e.to_string()))?;
    }
    let (listener, address) = bind(&app.config).await?;
    let mut stop = Stop::new(exit_on_stdin_close)?;
    let until = async {
        if command.is_empty() {
            stop.wait().await;
            return Ok(0);
        }
        tokio::select! {
            () = app.until_loaded() => command::run(&command, address).await,
            () = stop.wait() => Ok(1), // the command did not go well: it did not run
        }
    };
    let mut served = pin!(serve(&app, listener, until, DRAIN_LIMIT));
    tokio::select! {
        ended = &mut served => return finish(&app, ended?, &command),
        snapshot = app.load() => {
            let snapshot = snapshot?;
            if app.config.watch {
                tokio::task::spawn_local(fixture::watch::run(app.clone(), snapshot));
            }
        }
    }
    if command.is_empty() {
        announce(address);
    } else {
        app.log.info(format_args!("listening on http://{address}"));
    }
    let mut again = Stop::new(false)?;
    let twice = async {
        again.wait().await;
        again.wait().await;
    };
    let code = tokio::select! {
        ended = served => ended?,
        () = twice, if command.is_empty() => {
            app.log.warn("told to stop once more: what is in flight is cut");
            0
        }
    };
    finish(&app, code, &command)
}

/// Listens on the configured address; port 0 takes a free one.
///
/// # Errors
/// [`Error::Bind`].
pub async fn bind(config: &Config) -> Result<(TcpListener, SocketAddr), Error> {
    // Of the two addresses of `localhost` only this one is meant: a taken port must not lead to the other.
    let host = if config.host == "localhost" { "127.0.0.1" } else { &config.host };
    let failed = |source| Error::Bind { address: format!("{}:{}", config.host, config.port), source };
    let addresses = upstream::addresses(host, config.port).await.map_err(failed)?;
    let listener = TcpListener::bind(addresses.as_slice()).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn announce(address: SocketAddr) {
    STDOUT.line(&format!("aimock listening on http://{address}"));
}

/// What tells the program to stop.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    stdin: bool,
}

impl Stop {
    fn new(stdin: bool) -> Result<Self, Error> {
        let on = |kind| signal(kind).map_err(|source| Error::System { what: "signal handler", source });
        Ok(Stop { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())?, stdin })
    }

    async fn wait(&mut self) {
        let stdin = self.stdin;
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = closed_stdin(), if stdin => {}
        }
    }
}

async fn closed_stdin() {
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 256];
    while stdin.read(&mut ignored).await.is_ok_and(|n| n > 0) {}
}

/// Accepts connections until `stop` is ready, then finishes what is in flight, for `drain_limit` at most. What `stop` gave.
pub async fn serve<T>(app: &Rc<App>, listener: TcpListener, stop: impl Future<Output = T>, drain_limit: Duration) -> T {
    let pulse = Rc::new(Pulse::default());
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let open = Rc::new(Underway::default());
    let mut stop = pin!(stop);
    let stopped = loop {
        tokio::select! {
            biased;
            stopped = &mut stop => break stopped,
            _ = beats.tick(), if open.count() > 0 => pulse.beat(),
            accepted = accept(&listener, &open) => match accepted {
                Ok(stream) => {
                    tokio::task::spawn_local(connection(app.clone(), stream, pulse.clone(), open.clone(), open.begin()));
                }
                Err(e) => {
                    app.log.warn(format_args!("cannot accept a connection: {e}"));
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    };
    drop(listener);
    app.stage.set(Stage::Draining);
    pulse.stop();
    let drained = async {
        open.at_most(0).await;
        app.recordings.at_most(0).await;
    };
    if timeout(drain_limit, drained).await.is_err() {
        let (connections, recordings) = (open.count(), app.recordings.count());
        app.log.warn(format_args!(
            "still busy after {drain_limit:?}, and cut: {connections} connections, {recordings} recordings"
        ));
    }
    stopped
}

async fn accept(listener: &TcpListener, open: &Underway) -> io::Result<TcpStream> {
    open.at_most(MAX_CONNECTIONS - 1).await;
    listener.accept().await.map(|(stream, _)| stream)
}

async fn connection(app: Rc<App>, stream: TcpStream, pulse: Rc<Pulse>, open: Rc<Underway>, _going: Going) {
    // Without it small chunks wait for the client's acknowledgement; a socket that refuses is slower, no more.
    let _ = stream.set_nodelay(true);
    let mut listener = pulse.listen();
    let mut io = Flushing { stream, early: Bytes::new(), flushes: Rc::default() };
    while let Some(idle) = until_idle(&app, io, &mut listener, &open).await {
        io = idle;
        if io.early.is_empty() && !listener.readable(&io.stream, HEAD_LIMIT).await {
            return;
        }
    }
}

/// Serves a connection until it ends or, where there are more than [`MAX_WARM`], until it is idle: then it goes on
/// without the buffers that hyper keeps for it.
async fn until_idle(app: &Rc<App>, io: Flushing, listener: &mut Listener, open: &Underway) -> Option<Flushing> {
    let close_ends_body = Cell::new(false);
    let flushes = io.flushes.clone();
    flushes.begin(); // an answer comes before idleness
    let service = service_fn(|request| {
        close_ends_body.set(request.version() <= Version::HTTP_10);
        flushes.begin();
        let (answer, flushes) = (exchange::handle(app.clone(), request), flushes.clone());
        // Boxed, as an idle connection would keep room for it otherwise.
        Box::pin(async move { answer.await.map(|response| response.map(|body| Orderly::new(body, flushes))) })
    });
    let mut connection = http1::Builder::new()
        .timer(listener.timer())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(io), service);
    let mut told = false;
    let ended = poll_fn(|cx| {
        let mut connection = Pin::new(&mut connection);
        if !told && listener.stopping(cx) {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        match connection.poll(cx) {
            Poll::Pending if !told && open.count() > MAX_WARM && flushes.idle() => Poll::Ready(None),
            ended => ended.map(Some),
        }
    })
    .await;
    match ended {
        None => {
            let parts = connection.into_parts();
            return Some(Flushing { early: parts.read_buf, ..parts.io.into_inner() });
        }
        // An error is the client's doing (it went away, or spoke no HTTP), or an answer that breaks off as it should.
        // An orderly close would look like the end of the answer. A socket that refuses has been closed.
        Some(Err(_)) if close_ends_body.get() => {
            let _ = connection.into_parts().io.into_inner().stream.set_zero_linger();
        }
        Some(_) => {}
    }
    None
}

/// Says what happened, and writes the report; the exit code. A command that went well did not, where a request of it
/// was not answered.
fn finish(app: &App, code: u8, command: &[OsString]) -> Result<u8, Error> {
    app.write_report()?;
    let counts = app.counts.borrow();
    if command.is_empty() {
        app.log.info(&*counts);
        return Ok(code);
    }
    counts.summarize(&app.table.borrow(), &app.log);
    Ok(if code == 0 && counts.misses > 0 { 1 } else { code })
}
