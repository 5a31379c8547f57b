//! The table of built-in kinds. Group, version, names in paths and schemas come from `k8s-openapi`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret,
    Service, ServiceAccount,
};
use k8s_openapi::api::events::v1::Event as NewEvent;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::api::storage::v1::{CSIDriver, StorageClass};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

use super::merging::OVERLAY;
use super::{Definition, Resource, Subresource, Trait};
use crate::schema::{Definitions, Schema};
use crate::table::{Column, columns};

/// The built-in kinds, loaded once per process.
pub struct BuiltIn {
    /// In the order of discovery.
    pub resources: Vec<Arc<Resource>>,
    /// Published definitions.
    pub definitions: Arc<BTreeMap<String, Value>>,
    /// Schema of `ObjectMeta`, for custom resources, too.
    pub metadata: Arc<Schema>,
}

/// Everything built in.
pub fn all() -> &'static BuiltIn {
    static ALL: LazyLock<BuiltIn> = LazyLock::new(build);
    &ALL
}

fn build() -> BuiltIn {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let rows = rows(&mut generator);
    let definitions: BTreeMap<String, Value> =
        generator.take_definitions(true).into_iter().collect();
    let mut reader = Definitions::new(&definitions, OVERLAY);
    let metadata = reader.get(&ObjectMeta::schema_name());
    let resources = rows
        .into_iter()
        .map(|mut row| {
            if let Definition::BuiltIn(name) = &row.0.definition {
                row.0.schema = reader.get(name);
            }
            Arc::new(row.0)
        })
        .collect();
    BuiltIn {
        resources,
        metadata,
        definitions: Arc::new(definitions),
    }
}

struct Row(Resource);

fn row<K>(generator: &mut SchemaGenerator, short_names: &[&str]) -> Row
where
    K: k8s_openapi::Resource + JsonSchema,
    K::Scope: 'static,
{
    generator.subschema_for::<K>();
    let scope = std::any::TypeId::of::<K::Scope>();
    Row(Resource {
        group: K::GROUP.to_owned(),
        version: K::VERSION.to_owned(),
        api_version: K::API_VERSION.to_owned(),
        plural: K::URL_PATH_SEGMENT.to_owned(),
        singular: K::KIND.to_lowercase(),
        kind: K::KIND.to_owned(),
        short_names: short_names.iter().map(ToString::to_string).collect(),
        categories: Vec::new(),
        namespaced: scope == std::any::TypeId::of::<k8s_openapi::NamespaceResourceScope>(),
        bucket: format!("{}/{}", K::GROUP, K::URL_PATH_SEGMENT),
        stored_as: K::API_VERSION.to_owned(),
        subresources: Vec::new(),
        schema: Arc::default(),
        columns: vec![Column::name(), Column::age()],
        traits: Vec::new(),
        fields: Vec::new(),
        definition: Definition::BuiltIn(K::schema_name().into_owned()),
    })
}

impl Row {
    fn has(mut self, subresources: &[Subresource]) -> Self {
        self.0.subresources = subresources.to_vec();
        self
    }

    fn is(mut self, traits: &[Trait]) -> Self {
        self.0.traits = traits.to_vec();
        self
    }

    fn prints(mut self, columns: Vec<Column>) -> Self {
        self.0.columns = columns;
        self
    }

    /// Field labels that are also paths.
    fn selects(mut self, labels: &[&str]) -> Self {
        self.0.fields = labels
            .iter()
            .map(|l| ((*l).to_owned(), format!("/{}", l.replace('.', "/"))))
            .collect();
        self
    }

    /// Field labels with different paths.
    fn selects_as(mut self, labels: &[(&str, &str)]) -> Self {
        self.0.fields.extend(
            labels
                .iter()
                .map(|(l, p)| ((*l).to_owned(), (*p).to_owned())),
        );
        self
    }

    /// Included in `kubectl get all`.
    fn in_all(mut self) -> Self {
        self.0.categories = vec!["all".to_owned()];
        self
    }

    /// Stored in the form of another version.
    fn kept_as(mut self, bucket: &str, api_version: &str) -> Self {
        bucket.clone_into(&mut self.0.bucket);
        api_version.clone_into(&mut self.0.stored_as);
        self
    }
}

fn rows(g: &mut SchemaGenerator) -> Vec<Row> {
    let mut rows = core(g);
    rows.extend(workloads(g));
    rows.extend(others(g));
    rows.extend(reviews(g));
    rows
}

fn core(g: &mut SchemaGenerator) -> Vec<Row> {
    use Subresource::{Binding, Eviction, Finalize, Log, Status, Token};
    use Trait::{CreateOnUpdate, Generation, Graceful, ReturnsDeleted, StatusAtCreation};
    vec![
        row::<ConfigMap>(g, &["cm"]).prints(columns::config_map()),
        row::<Event>(g, &["ev"])
            .is(&[CreateOnUpdate])
            .selects(&[
                "involvedObject.kind",
                "involvedObject.namespace",
                "involvedObject.name",
                "involvedObject.uid",
                "involvedObject.apiVersion",
                "involvedObject.resourceVersion",
                "involvedObject.fieldPath",
                "reason",
                "type",
            ])
            .selects_as(&[
                ("reportingComponent", "/reportingComponent"),
                ("source", "/source/component"),
            ])
            .prints(columns::event()),
        row::<Namespace>(g, &["ns"])
            .has(&[Finalize, Status])
            .selects(&["status.phase"])
            .prints(columns::namespace()),
        row::<Node>(g, &["no"])
            .has(&[Status])
            .is(&[StatusAtCreation])
            .selects(&["spec.unschedulable"])
            .prints(columns::node()),
        row::<PersistentVolumeClaim>(g, &["pvc"])
            .has(&[Status])
            .is(&[ReturnsDeleted])
            .prints(columns::claim()),
        row::<PersistentVolume>(g, &["pv"])
            .has(&[Status])
            .is(&[ReturnsDeleted])
            .prints(columns::volume()),
        row::<Pod>(g, &["po"])
            .has(&[Binding, Eviction, Log, Status])
            .is(&[Generation, Graceful, ReturnsDeleted])
            .selects(&[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ])
            .prints(columns::pod())
            .in_all(),
        row::<Secret>(g, &[])
            .selects(&["type"])
            .prints(columns::secret()),
        row::<ServiceAccount>(g, &["sa"])
            .has(&[Token])
            .is(&[ReturnsDeleted]),
        row::<Service>(g, &["svc"])
            .has(&[Status])
            .is(&[CreateOnUpdate, ReturnsDeleted])
            .selects(&["spec.clusterIP", "spec.type"])
            .prints(columns::service())
            .in_all(),
    ]
}

fn workloads(g: &mut SchemaGenerator) -> Vec<Row> {
    use Subresource::{Scale, Status};
    use Trait::{AnnotationsCount, Generation, OrphansDependents};
    vec![
        row::<DaemonSet>(g, &["ds"])
            .has(&[Status])
            .is(&[Generation])
            .prints(columns::daemon_set())
            .in_all(),
        row::<Deployment>(g, &["deploy"])
            .has(&[Scale, Status])
            .is(&[AnnotationsCount, Generation])
            .prints(columns::deployment())
            .in_all(),
        row::<ReplicaSet>(g, &["rs"])
            .has(&[Scale, Status])
            .is(&[Generation])
            .selects(&["status.replicas"])
            .prints(columns::replica_set())
            .in_all(),
        row::<StatefulSet>(g, &["sts"])
            .has(&[Scale, Status])
            .is(&[Generation])
            .prints(columns::stateful_set())
            .in_all(),
        row::<Job>(g, &[])
            .has(&[Status])
            .is(&[Generation, OrphansDependents])
            .selects(&["status.successful"])
            .prints(columns::job())
            .in_all(),
    ]
}

fn others(g: &mut SchemaGenerator) -> Vec<Row> {
    use Trait::{CreateOnUpdate, EventsShape, Generation, VersionedUpdate};
    let regarding = [
        ("regarding.kind", "/involvedObject/kind"),
        ("regarding.namespace", "/involvedObject/namespace"),
        ("regarding.name", "/involvedObject/name"),
        ("regarding.uid", "/involvedObject/uid"),
        ("regarding.apiVersion", "/involvedObject/apiVersion"),
        ("reportingController", "/reportingComponent"),
    ];
    vec![
        row::<NewEvent>(g, &["ev"])
            .is(&[CreateOnUpdate, EventsShape])
            .selects(&["reason", "type"])
            .selects_as(&regarding)
            .prints(columns::event())
            .kept_as("/events", "v1"),
        row::<Lease>(g, &[])
            .is(&[CreateOnUpdate, VersionedUpdate])
            .prints(columns::lease()),
        row::<StorageClass>(g, &["sc"]).prints(columns::storage_class()),
        row::<CSIDriver>(g, &[]).prints(columns::csi_driver()),
        row::<Role>(g, &[]).prints(columns::created()),
        row::<RoleBinding>(g, &[]).prints(columns::binding()),
        row::<ClusterRole>(g, &[]).prints(columns::created()),
        row::<ClusterRoleBinding>(g, &[]).prints(columns::binding()),
        row::<ValidatingAdmissionPolicy>(g, &[])
            .has(&[Subresource::Status])
            .is(&[Generation]),
        row::<ValidatingAdmissionPolicyBinding>(g, &[]).is(&[Generation]),
        row::<CustomResourceDefinition>(g, &["crd", "crds"])
            .has(&[Subresource::Status])
            .is(&[Generation, VersionedUpdate])
            .prints(columns::created()),
    ]
}

fn reviews(g: &mut SchemaGenerator) -> Vec<Row> {
    let rows = [
        row::<TokenReview>(g, &[]),
        row::<SelfSubjectReview>(g, &[]),
        row::<LocalSubjectAccessReview>(g, &[]),
        row::<SelfSubjectAccessReview>(g, &[]),
        row::<SelfSubjectRulesReview>(g, &[]),
        row::<SubjectAccessReview>(g, &[]),
    ];
    rows.into_iter().map(|r| r.is(&[Trait::Review])).collect()
}
