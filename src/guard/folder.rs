//! Whether a folder that somebody names from outside lies where it may.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// Whether a path leads into one of the folders, or to one of them, with every link followed. A path with `..` does not.
pub fn is_within(path: &Path, folders: &[PathBuf]) -> bool {
    if path.components().any(|part| part == Component::ParentDir) {
        return false;
    }
    let Some(real) = real(path) else { return false };
    folders.iter().filter_map(|folder| self::real(folder)).any(|folder| real.starts_with(folder))
}

/// Where a path leads: links followed as far as it exists, and what does not exist yet as it is written.
fn real(path: &Path) -> Option<PathBuf> {
    let here = path.as_os_str().is_empty().then_some(Path::new("."));
    let absolute = std::path::absolute(here.unwrap_or(path)).ok()?;
    let mut missing: Vec<OsString> = Vec::new();
    let mut there = absolute.as_path();
    loop {
        if let Ok(real) = there.canonicalize() {
            let under = |path: PathBuf, name| path.join(name);
            return real.is_dir().then(|| missing.into_iter().rev().fold(real, under));
        }
        // A link that leads nowhere is there: what it would lead to, nobody knows.
        if there.symlink_metadata().err()?.kind() != ErrorKind::NotFound {
            return None;
        }
        missing.push(there.file_name()?.to_owned());
        there = there.parent()?;
    }
}
