//! An app of a home cluster: claim, Deployment, ReplicationSources, ReplicationDestination.
//!
//! The names are those of the usual Kustomize component: claim and source have the app's name, a second source is
//! `<app>-r2`, the destination `<app>-dst`.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Container, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource,
    PodSpec, PodTemplateSpec, TypedLocalObjectReference, TypedObjectReference, Volume, VolumeMount,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::Error;
use crate::api::snapshot;
use crate::api::volsync::{
    self, MoverOptions, ReplicationDestination, ReplicationDestinationSpec, ReplicationSource,
    ReplicationSourceSpec, Trigger,
};
use crate::demo::world::{Actor, IMMEDIATE_CLASS, SNAPSHOT_CLASS};

/// Label of everything that belongs to an app.
const NAME_LABEL: &str = "app.kubernetes.io/name";

/// An app with one volume.
#[derive(Clone, Debug)]
pub struct App {
    /// Namespace.
    pub namespace: String,
    /// Name of the app and of its claim.
    pub name: String,
    /// Names of its ReplicationSources.
    pub sources: Vec<String>,
    /// Whether it runs; otherwise it is scaled to zero.
    pub running: bool,
    size: String,
    class: String,
}

/// Source of a claim's data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Restore {
    /// `dataSource`: the VolumeSnapshot of this name.
    Snapshot(String),
    /// `dataSourceRef`: the app's ReplicationDestination, through the volume populator.
    Destination,
}

impl App {
    /// An app of 5Gi on the immediate class, running, backed up by one source.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            sources: vec![name.to_owned()],
            running: true,
            size: "5Gi".to_owned(),
            class: IMMEDIATE_CLASS.to_owned(),
        }
    }

    /// With a volume of this size.
    #[must_use]
    pub fn size(self, size: &str) -> Self {
        Self {
            size: size.to_owned(),
            ..self
        }
    }

    /// On this StorageClass.
    #[must_use]
    pub fn class(self, class: &str) -> Self {
        Self {
            class: class.to_owned(),
            ..self
        }
    }

    /// Backed up a second time, into another repository.
    #[must_use]
    pub fn twice(mut self) -> Self {
        self.sources.push(format!("{}-r2", self.name));
        self
    }

    /// Scaled to zero.
    #[must_use]
    pub fn stopped(self) -> Self {
        Self {
            running: false,
            ..self
        }
    }

    /// Name of its ReplicationDestination.
    pub fn destination_name(&self) -> String {
        format!("{}-dst", self.name)
    }

    /// Whether `object` has its label.
    pub fn owns<K: Resource>(&self, object: &K) -> bool {
        object.labels().get(NAME_LABEL) == Some(&self.name)
    }

    /// Its claim, empty.
    pub fn claim(&self) -> PersistentVolumeClaim {
        PersistentVolumeClaim {
            metadata: self.metadata(&self.name),
            spec: Some(PersistentVolumeClaimSpec {
                access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
                resources: Some(VolumeResourceRequirements {
                    requests: Some([("storage".to_owned(), self.quantity())].into()),
                    limits: None,
                }),
                storage_class_name: Some(self.class.clone()),
                ..PersistentVolumeClaimSpec::default()
            }),
            status: None,
        }
    }

    /// Its claim, with a data source.
    pub fn restored_claim(&self, from: &Restore) -> PersistentVolumeClaim {
        let mut claim = self.claim();
        let spec = claim.spec.get_or_insert_default();
        match from {
            Restore::Snapshot(name) => {
                spec.data_source = Some(TypedLocalObjectReference {
                    api_group: Some(snapshot::GROUP.to_owned()),
                    kind: "VolumeSnapshot".to_owned(),
                    name: name.clone(),
                });
            }
            Restore::Destination => {
                spec.data_source_ref = Some(TypedObjectReference {
                    api_group: Some(volsync::GROUP.to_owned()),
                    kind: "ReplicationDestination".to_owned(),
                    name: self.destination_name(),
                    namespace: None,
                });
            }
        }
        claim
    }

    /// Its Deployment, which mounts the claim.
    pub fn deployment(&self) -> Deployment {
        let mount = VolumeMount {
            name: "data".to_owned(),
            mount_path: "/config".to_owned(),
            ..VolumeMount::default()
        };
        let source = PersistentVolumeClaimVolumeSource {
            claim_name: self.name.clone(),
            read_only: None,
        };
        let volume = Volume {
            name: "data".to_owned(),
            persistent_volume_claim: Some(source),
            ..Volume::default()
        };
        let container = Container {
            name: "app".to_owned(),
            image: Some(format!("{}:demo", self.name)),
            volume_mounts: Some(vec![mount]),
            ..Container::default()
        };
        let pod = PodSpec {
            containers: vec![container],
            volumes: Some(vec![volume]),
            ..PodSpec::default()
        };
        Deployment {
            metadata: self.metadata(&self.name),
            spec: Some(DeploymentSpec {
                replicas: Some(i32::from(self.running)),
                selector: LabelSelector {
                    match_labels: Some(self.labels()),
                    match_expressions: None,
                },
                strategy: Some(DeploymentStrategy {
                    type_: Some("Recreate".to_owned()),
                    rolling_update: None,
                }),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(self.labels()),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(pod),
                },
                ..DeploymentSpec::default()
            }),
            status: None,
        }
    }

    /// Its ReplicationSource `name`, hourly with restic.
    pub fn source(&self, name: &str) -> ReplicationSource {
        let spec = ReplicationSourceSpec {
            source_pvc: Some(self.name.clone()),
            trigger: Some(Trigger {
                schedule: Some("0 * * * *".to_owned()),
                manual: None,
            }),
            restic: Some(self.mover()),
            ..ReplicationSourceSpec::default()
        };
        let mut source = ReplicationSource::new(name, spec);
        source.metadata = self.metadata(name);
        source
    }

    /// Its ReplicationDestination, which restores once.
    pub fn destination(&self) -> ReplicationDestination {
        let name = self.destination_name();
        let options = MoverOptions {
            capacity: Some(self.quantity()),
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            ..self.mover()
        };
        let spec = ReplicationDestinationSpec {
            trigger: Some(Trigger {
                schedule: None,
                manual: Some("restore-once".to_owned()),
            }),
            restic: Some(options),
            ..ReplicationDestinationSpec::default()
        };
        let mut destination = ReplicationDestination::new(&name, spec);
        destination.metadata = self.metadata(&name);
        destination
    }

    /// Creates claim and Deployment.
    pub async fn deploy(&self, person: &Actor, claim: &PersistentVolumeClaim) -> Result<(), Error> {
        person
            .create(&person.within(&self.namespace), claim)
            .await?;
        person
            .create(&person.within(&self.namespace), &self.deployment())
            .await?;
        Ok(())
    }

    /// Creates its sources with the status after a backup at `synced`.
    ///
    /// A source with a mover starts its first sync immediately, so it gets its mover only after its status has a backup.
    pub async fn back_up(&self, person: &Actor, synced: Timestamp) -> Result<(), Error> {
        let sources = person.within::<ReplicationSource>(&self.namespace);
        for name in &self.sources {
            let whole = self.source(name);
            let mut idle = whole.clone();
            idle.spec.restic = None;
            person.create(&sources, &idle).await?;
            let status =
                json!({"status": {"lastSyncTime": Time(synced), "lastSyncDuration": "30s"}});
            person.merge_status(&sources, name, &status).await?;
            person
                .merge(
                    &sources,
                    name,
                    &json!({"spec": {"restic": whole.spec.restic}}),
                )
                .await?;
        }
        Ok(())
    }

    /// Starts a sync of each of its sources, as its schedule would.
    pub async fn begin_sync(&self, person: &Actor) -> Result<(), Error> {
        let sources = person.within::<ReplicationSource>(&self.namespace);
        for name in &self.sources {
            let status = json!({"status": {"lastSyncStartTime": Time(Timestamp::now())}});
            person.merge_status(&sources, name, &status).await?;
        }
        Ok(())
    }

    fn mover(&self) -> MoverOptions {
        MoverOptions {
            copy_method: Some("Snapshot".to_owned()),
            storage_class_name: Some(self.class.clone()),
            volume_snapshot_class_name: Some(SNAPSHOT_CLASS.to_owned()),
            ..MoverOptions::default()
        }
    }

    fn quantity(&self) -> Quantity {
        Quantity(self.size.clone())
    }

    fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels()),
            ..ObjectMeta::default()
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(NAME_LABEL.to_owned(), self.name.clone())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_objects_have_the_usual_names() {
        let app = App::new("media", "prowlarr").twice();
        assert_eq!(app.sources, ["prowlarr", "prowlarr-r2"]);
        assert_eq!(app.destination_name(), "prowlarr-dst");
        assert_eq!(
            app.source("prowlarr-r2").spec.source_pvc.as_deref(),
            Some("prowlarr")
        );
    }

    #[test]
    fn restored_claim_names_its_data_source() {
        let app = App::new("media", "sonarr");
        let spec = app.restored_claim(&Restore::Destination).spec.unwrap();
        assert_eq!(spec.data_source_ref.unwrap().name, "sonarr-dst");
        let spec = app
            .restored_claim(&Restore::Snapshot("s".into()))
            .spec
            .unwrap();
        assert_eq!(spec.data_source.unwrap().name, "s");
    }
}
