//! The program: arguments, runtime, exit code. All else is in the library.
#![forbid(unsafe_code)]

use aimock::Error;
use aimock::cli::{self, Command, ServeArgs};
use aimock::log::Logger;
use aimock::output::{STDERR, STDOUT};
use std::process::ExitCode;

fn main() -> ExitCode {
    // The usual hook would wait for whoever reads stderr.
    std::panic::set_hook(Box::new(|panic| {
        STDERR.line(&format!("aimock: error: {panic}; this is a bug"));
        STDERR.farewell();
    }));
    // Where stderr is closed, the exit code still says it.
    let code = run().unwrap_or_else(|error| {
        STDERR.line(&format!("aimock: error: {error}"));
        error.exit_code()
    });
    STDOUT.farewell();
    STDERR.farewell();
    ExitCode::from(code)
}

fn run() -> Result<u8, Error> {
    match cli::parse(std::env::args_os().skip(1), std::env::var_os("AIMOCK_HOST").as_deref())? {
        Command::Serve(args) => serve(*args),
        Command::Check(args) => aimock::check::run(&args),
        #[cfg(feature = "convert")]
        Command::Convert(args) => aimock::convert::run(&args),
        #[cfg(not(feature = "convert"))]
        Command::Convert(_) => {
            let why = "this build has no `convert`, as the image has none: `cargo install aimock` gives one that has";
            Err(Error::Usage(why.into()))
        }
        Command::Health { url } => aimock::health::check(&url).map(|()| 0),
        Command::Help(topic) => Ok(print(&cli::help(topic))),
        Command::Version => Ok(print(concat!("aimock ", env!("CARGO_PKG_VERSION"), "\n"))),
    }
}

fn serve(args: ServeArgs) -> Result<u8, Error> {
    let logger = Logger::stderr(args.config.log_level);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { what: "event loop", source })?;
    // A task of its own is polled when it is woken; what is blocked on, whenever any task is.
    let served = async { tokio::task::spawn_local(aimock::server::run(args, logger)).await };
    let ended = tokio::task::LocalSet::new().block_on(&runtime, served);
    let code = ended.unwrap_or_else(|e| Err(Error::System { what: "server", source: e.into() }));
    runtime.shutdown_background(); // a read of stdin or a name look-up may never end
    code
}

fn print(text: &str) -> u8 {
    STDOUT.print(text);
    0
}
