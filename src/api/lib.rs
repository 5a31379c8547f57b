//! Kubernetes objects as this program reads and writes them.
//!
//! Foreign kinds are typed subsets: only the fields used here, so that decoding skips the rest and a
//! test can compare every one of them with the schema its owner publishes. The kinds of our own are
//! [`remediation::Remediation`] and [`hold::SnapshotHold`].

pub mod ceph;
pub mod hold;
mod key;
mod names;
mod plan;
pub mod remediation;
mod skip_reason;
pub mod snapshot;
pub mod volsync;

pub use key::{LockKey, ObjectKey, ObjectKind, SharedStr, Uid};
pub use names::is_object_name;
pub use plan::{Action, Plan, PlannedStep, Skipped, StepName, Target, short_hash};
pub use skip_reason::SkipReason;

/// Label of an object or namespace that is shown, but never changed, whatever the label's value.
pub const OPT_OUT_LABEL: &str = "locksmith.dev/opt-out";

/// Annotation of a pod template with the id of the restart that last changed it.
pub const RESTART_ANNOTATION: &str = "locksmith.dev/restarted-by";

/// Annotation of a VolumeSnapshotContent with the run that last touched it. Any change makes the csi-snapshotter process a
/// content again whose deletion it has missed.
pub const TOUCHED_ANNOTATION: &str = "locksmith.dev/touched";

/// Annotation of the Remediations' namespace that stops everything except releases, whatever its value.
pub const STOP_ANNOTATION: &str = "locksmith.dev/stop";
