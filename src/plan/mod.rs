//! Plans: a model and its findings in, an immutable [`Plan`](crate::api::Plan) out, which names every object to act on. Pure.
//!
//! Every target is pinned by uid. A step may skip a target that has changed since, but never adds one. Objects that appear
//! later are handled by the next plan.

pub mod lint;
mod make;
mod orphans;
mod restart;
mod snapshots;
mod suspend;
#[cfg(test)]
mod tests;

pub use make::{CannotPlan, MAX_LISTED, make, make_checked};
pub use orphans::source_skip_reason;
pub use snapshots::{skipped_uids, snapshot_skip_reason};
