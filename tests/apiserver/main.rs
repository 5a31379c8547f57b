//! What only a real API server decides, asked of one.

// A helper fails as a test does: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "../upstream_crds/compare.rs"]
mod compare;
#[path = "../testbed/mod.rs"]
mod testbed;

mod faults;
mod identities;
mod kubelet;
mod snapshots;
mod start;
mod writes;
