//! Accepts connections and answers them.

use crate::cli::ServeArgs;
use crate::error::Error;
use crate::log::Logger;

/// Serves until it is told to stop; the program's exit code.
///
/// # Errors
/// What keeps the server from starting.
pub async fn run(args: ServeArgs, _logger: Logger) -> Result<u8, Error> {
    Err(Error::Bind {
        address: format!("{}:{}", args.config.host, args.config.port),
        source: std::io::ErrorKind::Unsupported.into(),
    })
}
