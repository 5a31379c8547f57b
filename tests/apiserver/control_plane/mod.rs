//! The control plane itself: the facts about a real API server that the rest relies on.

mod kubelet_logs;
mod preconditions;
mod restarts;
mod snapshot_controller;
mod starts;
mod users;
