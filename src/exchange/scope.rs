//! Ids of tests and contexts.

use crate::provider::Head;
use crate::redact::Redactor;
use crate::request::canonical::Hash;

/// The id of a test or context in a header; none where it is empty.
pub(super) fn scope_header(head: &Head<'_>, name: &str, redactor: &Redactor) -> Option<String> {
    scope(head.headers.get(name)?.as_bytes(), redactor)
}

/// The id of a test or context, as it is matched and written: text without secrets. Where that is not how it came, a
/// hash keeps it apart from others.
pub(super) fn scope(id: &[u8], redactor: &Redactor) -> Option<String> {
    let text = String::from_utf8_lossy(id);
    let safe = redactor.redact(&text);
    match safe.as_bytes() {
        [] => None,
        same if same == id => Some(safe.into_owned()),
        _ => Some(format!("{safe}~{}", Hash::of(id).short())),
    }
}
