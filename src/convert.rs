//! `aimock convert`: other tools' recordings made into fixtures.

use crate::cli::ConvertArgs;
use crate::error::Error;

/// Converts; the program's exit code.
///
/// # Errors
/// What cannot be read or written.
pub fn run(args: &ConvertArgs) -> Result<u8, Error> {
    Err(Error::Usage(format!("convert cannot read {} paths yet", args.paths.len())))
}
