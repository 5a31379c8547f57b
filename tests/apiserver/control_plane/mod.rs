//! The control plane itself: facts about a real API server that other tests rely on.

mod kubelet_logs;
mod preconditions;
mod restarts;
mod snapshot_controller;
mod starts;
mod users;
