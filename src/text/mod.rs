//! Text for people: durations, sizes, kubectl names, errors with their causes. Pure.

mod denial;
mod error_chain;
pub mod humanize;

pub use denial::Denial;
pub use error_chain::error_chain;
