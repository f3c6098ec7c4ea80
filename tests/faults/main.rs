//! Faults of clients, of disks, of processes, and of those who ask for too much. Of each: what the client saw, what was
//! saved, and whether the next request was served. What is found makes `tests/FAULTS.md`; where that is another than it
//! was, the test fails, and `AIMOCK_BLESS=1` writes it anew for people to look at.
//!
//! A file here is a kind of faults: its `FAULTS` are rows of [`table::Fault`], and a line below names it.

#[path = "../common/mod.rs"]
mod common;

mod client;
mod disk;
mod limits;
mod process;
mod table;

/// Every kind, in the order of the page.
const KINDS: &[(&str, &[table::Fault])] = &[
    ("Clients", client::FAULTS),
    ("Limits", limits::FAULTS),
    ("Disks and folders", disk::FAULTS),
    ("Processes", process::FAULTS),
];

#[test]
fn every_fault_does_what_the_page_says() {
    table::compare(KINDS);
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> = KINDS.iter().flat_map(|(_, faults)| faults.iter().map(|fault| fault.name)).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
