//! Why a plan or a step skips an object.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! skip_reasons {
    ($($name:ident = $message:literal,)*) => {
        /// Reason that an object is skipped.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
        pub enum SkipReason {
            $(#[doc = $message] $name,)*
            /// A reason of a newer version, which wrote the record.
            #[serde(other)]
            Unknown,
        }

        impl SkipReason {
            /// The reason as a line that follows the name of the object.
            pub fn message(self) -> &'static str {
                match self {
                    $(Self::$name => $message,)*
                    Self::Unknown => "for a reason of another version",
                }
            }
        }
    };
}

skip_reasons! {
    // Objects of any kind.
    OptedOut = "opted out by label",
    BeingDeleted = "is being deleted",
    Gone = "is gone",
    Replaced = "was replaced by another object of the same name",
    // Snapshots.
    Ready = "is ready",
    UnknownDriver = "its driver is unknown",
    PreProvisioned = "is pre-provisioned",
    DoNotDelete = "has the label volsync.backube/do-not-delete",
    Populating = "is in use by VolSync's populator",
    GroupMember = "is a member of a group snapshot",
    ForeignFinalizer = "has a finalizer of another controller",
    NotByVolSync = "was not made by VolSync for an existing ReplicationSource",
    LatestImage = "is the latestImage of a ReplicationDestination",
    Retained = "has deletionPolicy Retain: the storage snapshot would be left behind",
    SnapshotterAbsent = "cannot be replaced: no csi-snapshotter serves its driver",
    SnapshotterIdle = "cannot be replaced: the csi-snapshotter of its driver is idle",
    SourceMissing = "its source does not exist",
    SourceUnbound = "its PersistentVolumeClaim has no volume yet",
    Processing = "is still being processed by the driver",
    SourceReleased = "its source is no longer held",
    // Sources.
    ManagedByFlux = "Flux would recreate it; delete it in Git",
    ManagedByArgo = "Argo CD would recreate it; delete it in Git",
    ManagedByInstanceLabel = "Argo CD or Helm (label app.kubernetes.io/instance) would recreate it; delete it in Git",
    ClaimOptedOut = "its claim opted out by label",
    ClaimBack = "its PersistentVolumeClaim exists again",
    Syncthing = "uses syncthing, which takes no snapshots",
    ExternalSync = "is synchronised outside VolSync",
    UnknownMover = "has an unknown mover",
    Released = "released by somebody else during the run",
    StillHeld = "is still held",
    // Contents.
    DeletionHangs = "its deletion hangs, and it could not be annotated",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_of_a_newer_version_is_unknown() {
        let read = |text| serde_json::from_str::<SkipReason>(text).unwrap();
        assert_eq!(read("\"OptedOut\""), SkipReason::OptedOut);
        assert_eq!(read("\"OfTheFuture\""), SkipReason::Unknown);
    }
}
