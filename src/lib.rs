//! aimock answers LLM API calls from JSON fixtures, and records what it does not know.
#![forbid(unsafe_code)]

pub mod frame;
pub mod provider;
pub mod reply;
pub mod request;
pub mod upstream;

pub use reply::{Answer, Reply};
