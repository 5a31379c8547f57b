//! Converts custom kinds: ReplicationSources and ReplicationDestinations, CephClusters, and Remediations.

use std::sync::Arc;

use kube::ResourceExt;

use super::{has, meta, shared, some_shared};
use crate::api::ceph::CephCluster;
use crate::api::remediation::Remediation;
use crate::api::volsync::{ReplicationDestination, ReplicationSource};
use crate::model::records::{self, Destination, GitOps, Mover, Run, Source};

/// Labels of Flux and Argo CD on the objects that they re-create.
const FLUX_LABELS: [&str; 2] = [
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
];
const ARGO_LABEL: &str = "argocd.argoproj.io/instance";
const ARGO_ANNOTATION: &str = "argocd.argoproj.io/tracking-id";
/// Argo CD's default label up to 2.x (`application.instanceLabelKey`). Helm charts set it, too.
const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";

/// Converts a ReplicationSource.
pub fn source(object: &ReplicationSource) -> Option<Source> {
    let spec = &object.spec;
    let mover = if spec.kopia.is_some() {
        Mover::Kopia
    } else if spec.mover().is_some() {
        Mover::Job
    } else if spec.syncthing.is_some() {
        Mover::Syncthing
    } else if spec.external.is_some() {
        Mover::External
    } else {
        Mover::Unknown
    };
    let labels = object.labels();
    let gitops = if FLUX_LABELS.iter().any(|label| labels.contains_key(*label)) {
        Some(GitOps::Flux)
    } else if labels.contains_key(ARGO_LABEL)
        || has(object.metadata.annotations.as_ref(), ARGO_ANNOTATION)
    {
        Some(GitOps::Argo)
    } else if labels.contains_key(INSTANCE_LABEL) {
        Some(GitOps::InstanceLabel)
    } else {
        None
    };
    let status = object.status.as_ref();
    let options = spec.mover();
    Some(Source {
        meta: meta(&object.metadata)?,
        claim: some_shared(spec.source_pvc.as_ref()),
        mover,
        copies: spec.copies(),
        storage_class: some_shared(options.and_then(|it| it.storage_class_name.as_ref())),
        snapshot_class: some_shared(options.and_then(|it| it.volume_snapshot_class_name.as_ref())),
        syncing: status
            .and_then(|status| status.last_sync_start_time.as_ref())
            .map(|time| time.0),
        gitops,
    })
}

/// Converts a ReplicationDestination.
pub fn destination(object: &ReplicationDestination) -> Option<Destination> {
    let image = object
        .status
        .as_ref()
        .and_then(|status| status.latest_image.as_ref());
    let latest_image = image
        .filter(|image| image.kind == "VolumeSnapshot")
        .map(|image| shared(&image.name));
    Some(Destination {
        meta: meta(&object.metadata)?,
        latest_image,
    })
}

/// Converts a CephCluster.
pub fn ceph_cluster(object: &CephCluster) -> Option<records::CephCluster> {
    let health = object
        .status
        .as_ref()
        .and_then(|status| status.ceph.as_ref()?.health.as_ref());
    Some(records::CephCluster {
        namespace: shared(object.metadata.namespace.as_deref()?),
        name: shared(object.metadata.name.as_deref()?),
        health: some_shared(health),
    })
}

/// Converts a Remediation.
pub fn run(object: &Remediation) -> Option<Run> {
    Some(Run {
        meta: meta(&object.metadata)?,
        object: Arc::new(object.clone()),
    })
}
