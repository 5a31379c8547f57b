//! Text for people: durations, sizes, kubectl names, errors with their causes. Pure.

mod error_chain;
pub mod humanize;

pub use error_chain::error_chain;
