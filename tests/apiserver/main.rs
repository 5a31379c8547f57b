//! What only a real API server decides, asked of one.

// A helper fails as a test does: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]
// A test's future lives once, and the kind of its parameters says nothing to its reader.
#![allow(clippy::large_futures, clippy::default_trait_access)]

#[path = "../upstream_crds/compare.rs"]
mod compare;
#[path = "../monitoring/shipped.rs"]
mod shipped;
// The tests of deploy/ use the rest of it.
#[allow(dead_code)]
#[path = "../deploy/render.rs"]
mod render;
#[path = "../testbed/mod.rs"]
mod testbed;

mod control_plane;
mod faults;
mod holds;
mod install;
mod leader;
mod monitoring;
mod rbac;
mod runs;
mod soak;
mod support;
mod world;
