//! Replicas and crashes: which replica acts, and how a run continues after its process has died.

mod crashes;
mod replicas;
mod two_daemons;
