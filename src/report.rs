//! How often what happened, for the report at the end and for `/metrics`.

use crate::fixture::table::{FixtureTable, How};
use crate::journal::{Entry, Source};
use serde_json::{Value, json};

/// Most misses that a report tells one by one; all are counted.
const MAX_TOLD_MISSES: usize = 100;

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Requests answered by a fixture.
    pub hits: u64,
    /// Of those, answered by a recording of another request.
    pub drifted: u64,
    /// Requests answered by an upstream.
    pub relayed: u64,
    /// Requests that nothing answered.
    pub misses: u64,
    /// Recordings written.
    pub recorded: u64,
    /// Recordings that could not be written.
    pub record_errors: u64,
    /// The first misses, each with its explanation.
    told: Vec<Value>,
}

impl Counts {
    /// Counts a request.
    pub fn note(&mut self, entry: &Entry) {
        match entry.answered.source {
            Source::Fixture => {
                self.hits += 1;
                if matches!(&entry.answered.fixture, Some((_, How::Drift))) {
                    self.drifted += 1;
                }
            }
            Source::Proxy => self.relayed += 1,
            Source::Miss => {
                self.misses += 1;
                if self.told.len() < MAX_TOLD_MISSES {
                    self.told.push(json!({
                        "method": entry.method,
                        "path": entry.path_alone(),
                        "status": entry.answered.status,
                        "explanation": entry.answered.explanation,
                    }));
                }
            }
        }
    }

    /// The report as JSON.
    pub fn report(&self, table: &FixtureTable) -> Value {
        let unused: Vec<Value> = table
            .rows()
            .iter()
            .filter(|row| row.hits.get() == 0 && row.origin.path.is_some())
            .map(
                |row| json!({"file": &*row.origin.name, "index": row.origin.index, "recorded": row.fixture.recorded()}),
            )
            .collect();
        json!({
            "hits": self.hits,
            "drifted": self.drifted,
            "relayed": self.relayed,
            "misses": self.misses,
            "recorded": self.recorded,
            "recordErrors": self.record_errors,
            "unmatched": self.told,
            "unused": unused,
        })
    }
}
