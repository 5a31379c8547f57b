//! Text for people: spans of time, sizes, names as kubectl takes them, errors with their causes. Pure.

mod error_chain;
pub mod humanize;

pub use error_chain::error_chain;
