//! Shared by the tests: the daemon as a process, its cluster, and proxies between it and the API server.

pub mod check_faults;
pub mod command;
pub mod crash_points;
pub mod daemon;
pub mod fault_plan;
pub mod fault_proxy;
pub mod load_balancer;
pub mod monitors;
pub mod stage;
pub mod tenant;
