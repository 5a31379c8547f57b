//! The main job on real parts: VolSync's controller, the CSI sidecars with leader election, the snapshot controller and the control
//! plane. The CSI driver alone is simulated, with ceph-csi's locks.
//!
//! `tests/run real` runs these.

// A helper fails as a test does: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]
// A test's future lives once, and the kind of its parameters says nothing to its reader.
#![allow(clippy::large_futures, clippy::default_trait_access)]

// The tests of the API server use the rest of these.
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
mod real_defaults;
mod real_hang;
mod real_layouts;
mod real_order;
mod real_restart;
mod run;
mod stack;
mod timeline;

use std::time::Duration;

/// Each stage takes seconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(300);
