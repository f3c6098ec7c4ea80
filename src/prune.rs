//! What is left of tests that ran: recordings that they used once, and that nothing uses any more.

use crate::app::App;
use crate::fixture::Fixture;
use crate::fixture::file;
use crate::fixture::table::Row;
use crate::report::unused;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Removes the recordings of tests which this run saw that were neither used nor made in it, and names them in the log.
/// For a run that recorded and whose command ended with 0: any other may not have come to them.
pub fn after_a_whole_run(app: &App) {
    let mut files: BTreeMap<PathBuf, Vec<(usize, Arc<Fixture>, String)>> = BTreeMap::new();
    {
        let (table, counts) = (app.table.borrow(), app.counts.borrow());
        let of_a_test = |row: &&Row| row.recorded() && row.test_id().is_some_and(|test| counts.saw(test));
        for row in unused(&table).filter(of_a_test) {
            let (Some(path), test) = (row.path(), row.test_id().unwrap_or_default()) else { continue };
            let told = format!("removed {row}: test {test} ran without it");
            files.entry(path.to_owned()).or_default().push((row.origin().index, row.fixture(), told));
        }
    }
    for (path, gone) in files {
        remove(app, &path, &gone);
    }
}

fn remove(app: &App, path: &Path, gone: &[(usize, Arc<Fixture>, String)]) {
    if let Err(e) = file::remove(path, gone.iter().map(|(_, fixture, _)| &**fixture).collect()) {
        app.log.warn(format_args!("cannot remove what no test uses from {}: {e}", path.display()));
        return;
    }
    let indices: Vec<usize> = gone.iter().map(|(index, ..)| *index).collect();
    app.table.borrow_mut().take_out(path, &indices);
    gone.iter().for_each(|(_, _, told)| app.log.info(told));
}
