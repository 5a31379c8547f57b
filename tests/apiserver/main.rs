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

mod access;
mod alerted;
mod approval;
mod attacker;
mod bad_days;
mod balanced;
mod by_hand;
mod daemon;
mod evidence;
mod exposition;
mod faults;
mod faulty;
mod flood;
mod foreign;
mod helm;
mod hostile;
mod identities;
mod jam;
mod kill;
mod kubelet;
mod layouts;
mod limits;
mod lives;
mod manifests;
mod monitors;
mod neighbours;
mod observe;
mod panels;
mod proxy;
mod races;
mod remembered;
mod replicas;
mod rights;
mod snapshots;
mod soak;
mod stage;
mod start;
mod status;
mod suspend;
mod troubles;
mod unseen;
mod withdrawn;
mod world_ground;
mod world_jam;
mod world_kubelet;
mod world_layouts;
mod world_volsync;
mod writer;
mod writes;
