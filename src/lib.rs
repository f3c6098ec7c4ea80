//! aimock answers LLM API calls from JSON fixtures, and records what it does not know.
//!
//! ```text
//! server ─ exchange: route → decode → match → decide ─┬─ replay  fixture → paced body
//!                                                     ├─ relay   upstream → client, teed: frame → collapse → record
//!                                                     └─ miss    404, or 503 when strict; explained
//! ```
//!
//! The map, in the order a request travels:
//!
//! - [`server`] accepts connections and keeps their [`pulse`], [`exchange`] tells one request's whole story; its pure
//!   `decide` holds the branching. [`guard`] says who may ask, from a request's head; [`credential`] what a credential is.
//!   [`app`] is what one server knows, [`control`] what it tells and is told of itself, [`limits`] what clients may take
//!   of it.
//! - [`provider`] is one room a provider and one table. A room takes bytes and returns values: a request becomes a
//!   [`request::Request`], an answer a [`Reply`], and back.
//! - [`request`] also has a request's identity: its canonical form and two hashes. [`redact`] comes before both.
//! - [`fixture`] is what is answered and when: the table, its files, `aimock check`.
//! - [`replay`] encodes and paces, [`json`] writes what must be quick, [`body`] sends, [`flush`] lets nothing be lost
//!   where an answer breaks off.
//! - [`upstream`] is the way to the real providers, [`relay`] moves their bytes, [`frame`] cuts them, [`record`] saves;
//!   [`twins`] are requests on their way at once that are recorded once. Hosts' names are looked up by the system; a static
//!   binary does it by itself, as `/etc/hosts` and `/etc/resolv.conf` say.
//! - [`journal`], [`report`] and [`metrics`] remember, of tests only the [`recent`] ones; [`prune`] forgets. [`cli`],
//!   [`config`], [`log`], [`error`], [`command`], [`signals`], [`health`], [`check`] and `convert` (a feature) make it a
//!   program; [`mock`] makes it a library. [`output`] writes what both print, without waiting for whoever reads it.
//!
//! What is absent, on purpose:
//!
//! - `frame/` and `provider/` do no IO and know no clock.
//! - No module outside `provider/` names a provider: flags, keys, secret headers and error shapes come from the table.
//! - There is one thread: no lock guards the server's state, and no `RefCell` is borrowed across an `.await`. What blocks
//!   (disks, readers of output) has threads of its own, and is told and asked, never waited for.
//! - Nothing is unbounded: every buffer, wait and queue has a named limit.
#![forbid(unsafe_code)]

pub mod app;
pub mod body;
pub mod check;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod control;
#[cfg(feature = "convert")]
pub mod convert;
pub mod credential;
pub mod error;
pub mod exchange;
pub mod fixture;
pub mod flush;
pub mod frame;
pub mod guard;
pub mod health;
pub mod journal;
pub mod json;
pub mod keep;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod mock;
pub mod native;
pub mod output;
pub mod provider;
pub mod prune;
pub mod pulse;
pub mod recent;
pub mod record;
pub mod redact;
pub mod relay;
pub mod replay;
pub mod reply;
pub mod report;
pub mod request;
pub mod server;
pub mod signals;
pub mod sigv4;
mod suggest;
pub mod twins;
pub mod upstream;
pub mod wire;

pub use config::Config;
pub use error::Error;
pub use fixture::{Fixture, Match};
pub use mock::{Mock, Recording};
pub use reply::{Answer, Embeddings, ErrorAnswer, Reply, ToolCall};
