//! Plans: a model and its findings in, an immutable [`Plan`](crate::api::Plan) out, which names every object to act on. Pure.
//!
//! Every target is pinned by uid. Nothing is decided later: a step may leave a target alone, when the object
//! has changed since, but it never finds itself another one. What turns up meanwhile is for the next plan.

pub mod lint;
mod make;
mod orphans;
mod restart;
mod snapshots;
mod suspend;
#[cfg(test)]
mod tests;

pub use make::{CannotPlan, LISTED, make, make_checked};
pub use orphans::why_source_kept;
pub use snapshots::{READY, kept, why_kept};
