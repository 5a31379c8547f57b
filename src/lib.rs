//! volsync-locksmith: finds volumes and snapshots stuck behind a jammed CSI driver, and runs the repair.
//!
//! ```text
//! watch ──► model ──► findings ──► plan ──► gates ──► steps ──► cluster ──► (the cluster) ──► watch
//!              └────► metrics, status page, CLI: read-only views of the same findings
//! Alertmanager ──► alerts ──► Remediation ──► controller, which runs the steps
//! ```
//!
//! Types flow from left to right: [`model::Change`] → [`model::Model`] → [`findings::Finding`] → [`api::Plan`] →
//! [`gates::Verdict`] → [`steps::Intent`]; an effect returns only as a new change. From `model` to `steps` everything is a pure
//! function with an explicit `now`. Only `cluster` writes. `tests/purity.rs` has the layers, from the ground up.

pub mod alerts;
pub mod app;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod csi;
#[cfg(feature = "demo")]
pub mod demo;
pub mod findings;
#[cfg(test)]
mod fixture;
pub mod gates;
pub mod holds;
pub mod metrics;
pub mod model;
pub mod plan;
pub mod run_context;
pub mod run_progress;
pub mod server;
pub mod state;
pub mod steps;
pub mod tasks;
pub mod text;
pub mod watch;

pub use locksmith_api as api;
