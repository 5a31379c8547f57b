//! What only a real API server decides, asked of one.

#[path = "../testbed/mod.rs"]
mod testbed;

mod faults;
mod identities;
mod kubelet;
mod snapshots;
mod start;
mod world_ground;
mod world_jam;
mod world_kubelet;
mod world_layouts;
mod world_volsync;
mod writes;
