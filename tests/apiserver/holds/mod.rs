//! Holds, as the API server enforces them.

mod enforcement;
mod unreadable_runs;
