//! Tests of decisions that only a real API server makes.

// A helper fails like a test: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]
// The future of a test lives once, and its parameter types do not matter to a reader.
#![allow(clippy::large_futures, clippy::default_trait_access)]

#[path = "../upstream_crds/compare.rs"]
mod compare;
#[path = "../monitoring/shipped.rs"]
mod shipped;
// The tests of deploy/ use the remaining parts.
#[allow(dead_code)]
#[path = "../deploy/render.rs"]
mod render;
#[path = "../testbed/mod.rs"]
mod testbed;

mod attacks;
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
