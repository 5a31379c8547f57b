//! Replicas and crashes: who acts, and how a run goes on after its process died.

mod crashes;
mod replicas;
mod two_daemons;
