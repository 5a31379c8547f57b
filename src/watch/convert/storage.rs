//! Claims, volumes, classes, and Events about claims.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Event, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec,
};
use k8s_openapi::api::storage::v1 as storage;

use super::{annotation, bytes, cut, has, meta, shared, some_shared};
use crate::api::{ObjectKey, ObjectKind, SharedStr, Uid};
use crate::api::{snapshot, volsync};
use crate::model::ProvisioningError;
use crate::model::records::{Claim, ClaimPhase, DataSource, StorageClass, Volume};

/// Set by the scheduler on a claim with WaitForFirstConsumer.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Set by the persistent volume controller when it requests a volume from an external provisioner.
const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";

/// Class of a claim in the beta notation. The API server still honours it, with priority over `spec.storageClassName`
/// (component-helpers, `GetPersistentVolumeClaimClass`).
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Converts a PersistentVolumeClaim.
pub fn claim(object: &PersistentVolumeClaim) -> Option<Claim> {
    let spec = object.spec.as_ref()?;
    let phase = match object
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
    {
        Some("Bound") => ClaimPhase::Bound,
        Some("Lost") => ClaimPhase::Lost,
        _ => ClaimPhase::Pending,
    };
    let requests = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref());
    Some(Claim {
        meta: meta(&object.metadata)?,
        phase,
        class: some_shared(
            annotation(&object.metadata, BETA_CLASS).or(spec.storage_class_name.as_ref()),
        ),
        names_volume: spec
            .volume_name
            .as_ref()
            .is_some_and(|name| !name.is_empty()),
        requested: bytes(requests.and_then(|requests| requests.get("storage"))),
        node_selected: has(object.metadata.annotations.as_ref(), SELECTED_NODE),
        provisioner: some_shared(annotation(&object.metadata, STORAGE_PROVISIONER)),
        data_source: data_source(object.metadata.namespace.as_deref(), spec),
    })
}

/// `spec.dataSourceRef`, otherwise `spec.dataSource`, of a claim in `namespace`.
fn data_source(namespace: Option<&str>, spec: &PersistentVolumeClaimSpec) -> Option<DataSource> {
    let (group, kind, name, elsewhere) = match (&spec.data_source_ref, &spec.data_source) {
        (Some(from), _) => {
            let elsewhere = from.namespace.as_deref();
            let elsewhere = elsewhere.filter(|it| !it.is_empty() && Some(*it) != namespace);
            (&from.api_group, &*from.kind, &*from.name, elsewhere)
        }
        (None, Some(from)) => (&from.api_group, &*from.kind, &*from.name, None),
        (None, None) => return None,
    };
    let group = group.as_deref().unwrap_or_default();
    Some(match (group, kind, elsewhere) {
        (snapshot::GROUP, "VolumeSnapshot", None) => DataSource::Snapshot(shared(name)),
        (snapshot::GROUP, "VolumeSnapshot", Some(namespace)) => DataSource::ForeignSnapshot {
            namespace: shared(namespace),
            name: shared(name),
        },
        ("", "PersistentVolumeClaim", None) => DataSource::Claim(shared(name)),
        (volsync::GROUP, "ReplicationDestination", None) => DataSource::Destination(shared(name)),
        _ => DataSource::Other,
    })
}

/// Converts a PersistentVolume of a CSI driver.
pub fn volume(object: &PersistentVolume) -> Option<Volume> {
    let spec = object.spec.as_ref()?;
    let csi = spec.csi.as_ref()?;
    Some(Volume {
        created: object.metadata.creation_timestamp.as_ref()?.0.into(),
        name: shared(object.metadata.name.as_deref()?),
        driver: shared(&csi.driver),
    })
}

/// Converts a StorageClass.
pub fn storage_class(object: &storage::StorageClass) -> Option<StorageClass> {
    Some(StorageClass {
        name: shared(object.metadata.name.as_deref()?),
        provisioner: shared(&object.provisioner),
        waits_for_consumer: object.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
    })
}

/// A `ProvisioningFailed` Event.
pub struct Failure {
    /// The claim that the Event names. The API server does not check the uid.
    pub claim: ObjectKey,
    /// CSI driver that the Event names as its source; not proven.
    pub driver: SharedStr,
    /// Time of the first occurrence.
    pub first: Timestamp,
    /// The latest message.
    pub error: ProvisioningError,
}

/// Converts a `ProvisioningFailed` Event. The provisioner's component name is `<driver>_<pod>_<uuid>`.
pub fn failure(event: &Event) -> Option<Failure> {
    let involved = &event.involved_object;
    let claim = ObjectKey {
        kind: ObjectKind::PersistentVolumeClaim,
        // The namespace of the Event itself, which the API server authorizes.
        namespace: shared(event.metadata.namespace.as_deref()?),
        name: shared(involved.name.as_deref()?),
        uid: Uid::from(involved.uid.as_deref()?),
    };
    let component = event
        .reporting_component
        .as_deref()
        .filter(|component| !component.is_empty())
        .or_else(|| event.source.as_ref()?.component.as_deref())?;
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref());
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let made = event.event_time.as_ref().map(|time| time.0);
    let at = [series.map(|time| time.0), last, made]
        .into_iter()
        .flatten()
        .max()?;
    let first = event
        .first_timestamp
        .as_ref()
        .map(|time| time.0)
        .or(made)
        .unwrap_or(at);
    Some(Failure {
        claim,
        driver: shared(component.split('_').next()?),
        first: first.min(at),
        error: ProvisioningError {
            at,
            message: cut(event.message.as_deref()?),
        },
    })
}
