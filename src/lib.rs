//! volsync-locksmith: finds volumes and snapshots stuck behind a jammed CSI driver, and runs the repair.
//!
//! ```text
//! watch ──► model ──► findings ──► plan ──► gates ──► steps ──► cluster ──► (the cluster) ──► watch
//!              └────► metrics, status page, CLI: read-only views of the same findings
//! Alertmanager ──► alerts ──► Remediation ──► controller, which runs the steps
//! ```
//!
//! Types flow from left to right: [`model::Change`] → [`model::Model`] → [`findings::Finding`] → [`api::Plan`] →
//! [`gates::GateResult`] → [`steps::Intent`]; an effect returns only as a new change. From `model` to `steps` everything is a pure
//! function with an explicit `now`. Only `cluster` writes.
//!
//! [`steps::next`] is the state machine of a run. `Controller::drive` is the reconcile loop: it reads the run, asks the state
//! machine for the next action, and carries it out.
//!
//! The modules, lowest layer first, as `tests/purity.rs` enforces them:
//!
//! - [`api`]: the custom resources, our subsets of foreign ones, and types shared by all layers
//! - [`text`]: ages, sizes and error chains as text
//! - [`csi`]: patterns of lock errors, and presets of known drivers
//! - [`config`]: the configuration file, checked
//! - [`model`]: the observed cluster in memory
//! - [`holds`]: held sources, and the rules for their release
//! - [`findings`]: stuck objects, with reasons
//! - [`plan`]: the plan of a run, and the linter that checks it
//! - [`run_context`]: the input of gates and steps
//! - [`gates`]: conditions for the start of a run and of each step
//! - [`steps`]: the next action of a run
//! - [`run_progress`]: the progress of a run, for people
//! - [`state`]: the task that owns the model, and the view it publishes
//! - [`tasks`]: supervised tasks and their heartbeats
//! - [`http_client`]: requests to Prometheus and Alertmanager
//! - [`metrics`]: metrics of the view and of the program
//! - [`watch`]: watches, logs and lookups, converted to changes of the model
//! - [`cluster`]: all writes, and leader election
//! - [`alerts`]: Alertmanager's notifications, turned into Remediations
//! - [`controller`]: drives runs, releases holds, and deletes old runs
//! - [`server`]: HTTP: metrics, health, webhook, API and status page
//! - [`app`]: starts and stops the daemon
//! - [`cli`]: the subcommands

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
pub mod http_client;
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
