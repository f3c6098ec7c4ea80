//! aimock answers LLM API calls from JSON fixtures, and records what it does not know.
#![forbid(unsafe_code)]

pub mod app;
pub mod body;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod convert;
pub mod error;
pub mod exchange;
pub mod fixture;
pub mod frame;
pub mod health;
pub mod journal;
pub mod log;
pub mod mock;
pub mod provider;
pub mod record;
pub mod redact;
pub mod relay;
pub mod replay;
pub mod reply;
pub mod report;
pub mod request;
pub mod server;
pub mod sigv4;
pub mod upstream;

pub use config::Config;
pub use error::Error;
pub use mock::{Mock, Recording};
pub use reply::{Answer, Reply};
