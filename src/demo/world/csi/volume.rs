//! Converts between provisioned images and PersistentVolumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, ObjectReference, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeSpec,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::ceph::Image;
use crate::quantity;

/// Annotation of a volume with its provisioner.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// Name of the volume of `claim`, and of the request to create it.
pub(super) fn name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.uid().unwrap_or_default())
}

/// Bytes that `claim` requests.
pub(super) fn requested(claim: &PersistentVolumeClaim) -> i64 {
    let requests = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.resources.as_ref())
        .and_then(|all| all.requests.as_ref());
    requests
        .and_then(|requests| requests.get("storage"))
        .map_or(0, quantity::bytes)
}

/// The volume for `claim`, pre-bound to it.
pub(super) fn of(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    image: &Image,
) -> PersistentVolume {
    let spec = claim.spec.clone().unwrap_or_default();
    let claim_ref = ObjectReference {
        resource_version: claim.resource_version(),
        ..claim.object_ref(&())
    };
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name(claim)),
            annotations: Some([(PROVISIONED_BY.to_owned(), class.provisioner.clone())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes,
            capacity: Some(BTreeMap::from([(
                "storage".to_owned(),
                quantity::of(image.bytes),
            )])),
            claim_ref: Some(claim_ref),
            csi: Some(CSIPersistentVolumeSource {
                driver: class.provisioner.clone(),
                fs_type: Some("ext4".to_owned()),
                volume_handle: image.handle.clone(),
                ..CSIPersistentVolumeSource::default()
            }),
            persistent_volume_reclaim_policy: class
                .reclaim_policy
                .clone()
                .or_else(|| Some("Delete".to_owned())),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: spec.volume_mode,
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// The handle to delete if `driver` provisioned `volume` and it is released.
pub(super) fn released_handle(volume: &PersistentVolume, driver: &str) -> Option<String> {
    let spec = volume.spec.as_ref()?;
    let released = volume.status.as_ref()?.phase.as_deref() == Some("Released");
    let delete = spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete");
    let ours = volume
        .annotations()
        .get(PROVISIONED_BY)
        .is_some_and(|by| by == driver);
    (released && delete && ours).then(|| spec.csi.as_ref().map(|csi| csi.volume_handle.clone()))?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_released_volumes_of_the_driver_are_deleted() {
        let volume = |phase: &str, policy: &str| {
            serde_json::from_value::<PersistentVolume>(json!({
                "metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": "d"}},
                "spec": {"persistentVolumeReclaimPolicy": policy, "csi": {"driver": "d", "volumeHandle": "h"}},
                "status": {"phase": phase},
            }))
            .unwrap()
        };
        assert_eq!(
            released_handle(&volume("Released", "Delete"), "d").as_deref(),
            Some("h")
        );
        assert_eq!(
            released_handle(&volume("Released", "Delete"), "other"),
            None
        );
        assert_eq!(released_handle(&volume("Released", "Retain"), "d"), None);
        assert_eq!(released_handle(&volume("Bound", "Delete"), "d"), None);
    }
}
