//! The way to the real providers.

mod base;

pub use base::BaseUrl;
