//! volsync-locksmith: see what a jammed CSI driver holds up, and carry the unjamming out.
//!
//! ```text
//! watch ──► model ──► findings ──► plan ──► gates ──► steps ──► (cluster) ──► watch
//!              └────► metrics, status, CLI: read-only views of the same findings
//! Alertmanager ──► webhook ──► Remediation ──► controller: the only place that runs steps
//! ```
//!
//! Types flow left to right: [`model::Change`] → [`model::Model`] → [`findings::Finding`] → [`plan::Plan`] →
//! [`gates::Verdict`] → [`steps::Intent`]; an outcome returns only as a fresh change. Everything from `model` to
//! `steps` is plain functions of plain values with an explicit `now`.

pub mod api;
pub mod app;
pub mod causes;
pub mod cli;
pub mod config;
pub mod controller;
pub mod csi;
pub mod demo;
pub mod findings;
#[cfg(test)]
mod fixture;
pub mod gates;
pub mod heartbeat;
pub mod holds;
pub mod intake;
pub mod kube_io;
pub mod leader;
pub mod metrics;
pub mod model;
pub mod narrative;
pub mod page;
pub mod plan;
pub mod server;
pub mod steps;
pub mod storage;
pub mod tasks;
pub mod view;
pub mod watch;
pub mod words;
