//! Accepts connections and answers them.

mod connection;
mod descriptors;
mod protocol;
mod stop;

pub use protocol::Protocol;

use crate::app::{App, Stage, Underway};
use crate::cli::{self, ServeArgs};
use crate::command;
use crate::config::Config;
use crate::error::Error;
use crate::fixture;
use crate::limits::DRAIN_TIME;
use crate::log::Logger;
use crate::output::STDOUT;
use crate::prune;
use crate::upstream::{self, Environment, Keys};
use connection::Connection;
use std::cell::Cell;
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use stop::{Stop, drain_after};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// Connections beyond as many as there may be that are told so; more wait to be accepted.
const MAX_LATE: usize = 64;

/// How long accepting rests after it failed, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until it is told to stop; the program's exit code.
///
/// # Errors
/// What keeps the server from starting.
pub async fn run(args: ServeArgs, log: Logger) -> Result<u8, Error> {
    let ServeArgs { mut config, exit_on_stdin_close, command, warnings } = args;
    warnings.iter().for_each(|warning| log.warn(warning));
    cli::environment_keys(std::env::var_os(cli::API_KEYS), &mut config.api_keys)?;
    let enough_for = descriptors::enough_for(config.limits.connections);
    if enough_for < config.limits.connections {
        log.info(format_args!("the limit of open files (ulimit -n) is enough for {enough_for} connections"));
        config.limits.connections = enough_for;
    }
    let keys = Keys::from_env().map_err(|e| Error::Usage(e.to_string()))?;
    let environment = Environment::from_env();
    let app = Rc::new(App::new(config, log, &environment, keys)?);
    if environment.ssl_cert_file.is_some() && app.config.upstreams.iter().any(|(_, url)| url.tls) {
        app.client.load_roots().map_err(|e| Error::Usage(e.to_string()))?;
    }
    let (listener, address) = bind(&app.config).await?;
    app.listens_on(address);
    let mut stop = Stop::new(exit_on_stdin_close)?;
    let code_so_far = Cell::new(0);
    let until = async {
        if command.is_empty() {
            return (Ok(0), stop.wait().await);
        }
        tokio::select! {
            () = app.until_loaded() => match command::run(&command, address, app.guard.keys.first()).await {
                Ok(ended) => {
                    code_so_far.set(ended.code);
                    (Ok(ended.code), drain_after(ended))
                }
                Err(e) => (Err(e), DRAIN_TIME),
            },
            drain_limit = stop.wait() => (Ok(1), drain_limit), // the command did not go well: it did not run
        }
    };
    let mut served = pin!(serve(&app, listener, until));
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
    let cut = async {
        if command.is_empty() {
            again.wait().await;
        }
        loop {
            again.wait().await;
            if app.stage.get() == Stage::Draining {
                return;
            }
        }
    };
    let code = tokio::select! {
        biased;
        ended = served => ended?,
        () = cut => {
            app.log.warn("told to stop once more: what is in flight is cut");
            code_so_far.get()
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

/// Accepts connections until `stop` is ready, then finishes what is in flight, for as long as `stop` says at most. What
/// else `stop` gave.
pub async fn serve<T>(app: &Rc<App>, listener: TcpListener, stop: impl Future<Output = (T, Duration)>) -> T {
    let mut beats = interval(app.pulse.interval());
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let open = Rc::new(Underway::default());
    let mut stop = pin!(stop);
    let mut failing = false;
    let (stopped, drain_limit) = loop {
        tokio::select! {
            biased;
            stopped = &mut stop => break stopped,
            _ = beats.tick(), if open.count() > 0 => app.pulse.beat(),
            accepted = accept(&listener, &open, app.config.limits.connections) => match accepted {
                Ok(stream) => {
                    failing = false;
                    begin(app, stream, &open);
                }
                Err(e) => {
                    if !std::mem::replace(&mut failing, true) {
                        app.log.warn(format_args!("cannot accept a connection: {e}"));
                    }
                    app.pulse.make_room(1);
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    };
    drop(listener);
    app.stage.set(Stage::Draining);
    app.pulse.stop();
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

async fn accept(listener: &TcpListener, open: &Underway, connections: usize) -> io::Result<TcpStream> {
    open.at_most(connections + MAX_LATE - 1).await;
    listener.accept().await.map(|(stream, _)| stream)
}

/// Serves a connection; where there are enough already, idle ones make room.
fn begin(app: &Rc<App>, stream: TcpStream, open: &Rc<Underway>) {
    let going = open.begin();
    let too_many = open.count().saturating_sub(app.config.limits.connections);
    if too_many > 0 {
        app.pulse.make_room(too_many);
    }
    let late = Cell::new(too_many > 0);
    let connection = Connection { app: app.clone(), open: open.clone(), late, _going: going };
    tokio::task::spawn_local(connection.serve(stream));
}

/// Says what happened, and writes the report; the exit code. A command that went well did not, where a request of it
/// was not answered, a recording was not written, or an upstream that was to be recorded gave nothing but refusals.
fn finish(app: &App, code: u8, command: &[OsString]) -> Result<u8, Error> {
    app.tell_again();
    if command.is_empty() {
        app.write_report()?;
        let counts = app.counts.borrow();
        let config = &app.config;
        let refusing = counts.refusing().filter(|up| config.record && !(config.record_errors && up.answers()));
        refusing.for_each(|upstream| app.log.error(upstream));
        app.log.info(&*counts);
        return Ok(code);
    }
    app.counts.borrow_mut().command_exit = Some(code);
    // A recording that could not be written does not stand in for the one that it would have replaced.
    if code == 0 && app.config.record && app.counts.borrow().record_errors == 0 {
        prune::after_a_whole_run(app);
    }
    app.write_report()?;
    let counts = app.counts.borrow();
    counts.summarize(&app.table.borrow(), &app.log);
    let config = &app.config;
    let refusing = counts.refusing().filter(|upstream| config.record && !(config.record_errors && upstream.answers()));
    let refusing: Vec<_> = refusing.collect();
    refusing.iter().for_each(|upstream| app.log.error(upstream));
    let lost = match (counts.misses, counts.record_errors, refusing.is_empty()) {
        (0, 0, true) => return Ok(code),
        (0, 0, false) => "an upstream gave nothing but refusals",
        (0, ..) => "not all that was recorded could be written",
        _ => "not all that it asked for was answered",
    };
    if code == 0 {
        app.log.warn(format_args!("exit code 1: the command ended with 0, but {lost}"));
    }
    Ok(code.max(1))
}
