//! Kubernetes objects as this program reads and writes them.
//!
//! Foreign kinds are typed subsets: only the fields used here, so that decoding skips the rest and a
//! test can compare every one of them with the schema its owner publishes. The only kind of our own is
//! [`remediation::Remediation`].

pub mod remediation;
pub mod snapshot;
pub mod volsync;
