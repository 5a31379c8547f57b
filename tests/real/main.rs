//! The main procedure on real parts: VolSync's controller, the CSI sidecars with leader election, the snapshot controller
//! and the control plane. Only the CSI driver is simulated, with ceph-csi's locks.
//!
//! `tests/run real` runs these.

// A helper fails like a test: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]
// The future of a test lives once, and its parameter types do not matter to a reader.
#![allow(clippy::large_futures, clippy::default_trait_access)]

#[path = "../apiserver/support/check_faults.rs"]
mod check_faults;
#[path = "../apiserver/support/command.rs"]
mod command;
// The tests of the API server use the remaining parts.
#[allow(dead_code)]
#[path = "../apiserver/support/daemon.rs"]
mod daemon;
#[allow(dead_code)]
#[path = "../apiserver/support/monitors.rs"]
mod monitors;
#[allow(dead_code)]
#[path = "../deploy/render.rs"]
mod render;
#[allow(dead_code)]
#[path = "../monitoring/shipped.rs"]
mod shipped;
#[allow(dead_code)]
#[path = "../testbed/mod.rs"]
mod testbed;

mod actors;
mod cast;
mod ceph;
mod healing;
mod jam;
mod layout;
mod leases;
mod node;
mod objects;
mod operator;
mod real_actors;
mod real_check;
mod real_defaults;
mod real_hang;
mod real_layouts;
mod real_order;
mod real_restart;
mod real_slow_calls;
mod run;
mod stack;
mod timeline;

use std::time::Duration;

/// Each stage takes seconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(300);
