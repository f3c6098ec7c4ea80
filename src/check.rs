//! `aimock check`: every problem of a folder of fixtures.

use crate::cli::CheckArgs;
use crate::error::Error;

/// Prints every problem; the program's exit code, 1 where there is an error among them.
///
/// # Errors
/// What keeps the fixtures from being read.
pub fn run(args: &CheckArgs) -> Result<u8, Error> {
    Err(Error::Usage(format!("check cannot read {} paths yet", args.paths.len())))
}
