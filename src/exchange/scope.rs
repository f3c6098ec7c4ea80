//! Ids of tests and contexts.

use crate::limits::beginning;
use crate::provider::Head;
use crate::redact::Redactor;
use crate::request::canonical::Hash;

/// What stands before any endpoint, for clients that cannot set `X-Test-Id`: `/__test/{id}/…`.
const TEST_PREFIX: &str = "/__test/";

/// Longest id that is kept as it came, in bytes: ids are remembered.
const MAX_ID_BYTES: usize = 256;

/// The id of a test that a path begins with, and the path after it.
pub(super) fn split_test(path: &str) -> (Option<&str>, &str) {
    match path.strip_prefix(TEST_PREFIX).and_then(|rest| rest.split_once('/')) {
        // The slash that ends the id begins the path.
        Some((id, _)) => (Some(id), &path[TEST_PREFIX.len() + id.len()..]),
        None => (None, path),
    }
}

/// The id of a test or context in a header; none where it is empty.
pub(super) fn scope_header(head: &Head<'_>, name: &str, redactor: &Redactor) -> Option<String> {
    scope(head.headers.get(name)?.as_bytes(), redactor)
}

/// The id of a test or context, as it is matched and written: text without secrets, of [`MAX_ID_BYTES`] at most. Where
/// that is not how it came, a hash keeps it apart from others.
pub(crate) fn scope(id: &[u8], redactor: &Redactor) -> Option<String> {
    let text = String::from_utf8_lossy(id);
    let safe = redactor.redact(&text);
    match beginning(&safe, MAX_ID_BYTES) {
        "" => None,
        same if same.as_bytes() == id => Some(same.to_owned()),
        cut => Some(format!("{cut}~{}", Hash::of(id).short())),
    }
}
