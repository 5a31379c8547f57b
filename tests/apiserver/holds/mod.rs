//! Holds as enforced by the API server.

mod enforcement;
mod unreadable_runs;
