//! The served resources and their rules: a table of the built-in kinds, and CustomResourceDefinitions, each as a
//! [`Resource`].

pub mod builtin;
mod catalog;
pub mod crd;
mod defaults;
mod merging;

use std::sync::Arc;

use serde_json::Value;

pub use catalog::Catalog;

use super::json::Json as _;
use super::schema::Schema;
use super::table::Column;

/// A resource in one version.
#[derive(Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// Group and version, such as `v1` or `apps/v1`.
    pub api_version: String,
    /// Name in paths, such as `pods`.
    pub plural: String,
    /// Singular name, such as `pod`.
    pub singular: String,
    /// Kind, such as `Pod`.
    pub kind: String,
    /// Short names in `kubectl`, such as `po`.
    pub short_names: Vec<String>,
    /// Groups of resources for `kubectl get`, such as `all`.
    pub categories: Vec<String>,
    /// Whether the objects are namespaced.
    pub namespaced: bool,
    /// Bucket of its objects, shared by all versions.
    pub bucket: String,
    /// `apiVersion` of its objects in the store.
    pub stored_as: String,
    /// Its subresources.
    pub subresources: Vec<Subresource>,
    /// Schema of its objects.
    pub schema: Arc<Schema>,
    /// Columns of `kubectl get`.
    pub columns: Vec<Column>,
    /// Exceptions from the common rules.
    pub traits: Vec<Trait>,
    /// Field selectors beyond name and namespace: label and JSON pointer into the stored form.
    pub fields: Vec<(String, String)>,
    /// Its definition in `/openapi/v3`.
    pub definition: Definition,
}

/// Source of a resource's published definition.
#[derive(Clone, Debug)]
pub enum Definition {
    /// Name of a built-in definition.
    BuiltIn(String),
    /// The `openAPIV3Schema` of a CustomResourceDefinition.
    Custom(Arc<Value>),
}

/// A subresource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    /// Writes only the status, which the main path does not write.
    Status,
    /// Replica count, in a common form.
    Scale,
    /// Log of a container, from its kubelet.
    Log,
    /// Assigns a pod to a node.
    Binding,
    /// Evicts a pod.
    Eviction,
    /// Issues a token for a service account.
    Token,
    /// Writes the finalizers of a namespace.
    Finalize,
}

/// An exception from the common rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trait {
    /// `metadata.generation` counts changes outside of metadata and status.
    Generation,
    /// Changes of annotations are counted, too.
    AnnotationsCount,
    /// A status in a created object is kept.
    StatusAtCreation,
    /// Deletion has a grace period.
    Graceful,
    /// An update must have a resourceVersion.
    VersionedUpdate,
    /// An update of a missing object creates it.
    CreateOnUpdate,
    /// Deletion returns the object.
    ReturnsDeleted,
    /// Dependents are orphaned by default.
    OrphansDependents,
    /// Never stored: returned with its status.
    Review,
    /// The `events.k8s.io` form of objects stored in the core form.
    EventsShape,
    /// Defined by a CustomResourceDefinition.
    Custom,
}

impl Subresource {
    const ALL: [Self; 7] = [
        Self::Status,
        Self::Scale,
        Self::Log,
        Self::Binding,
        Self::Eviction,
        Self::Token,
        Self::Finalize,
    ];

    /// Its name in a path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Log => "log",
            Self::Binding => "binding",
            Self::Eviction => "eviction",
            Self::Token => "token",
            Self::Finalize => "finalize",
        }
    }

    /// The subresource with that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// Its verbs in discovery.
    pub fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::Status | Self::Scale => &["get", "patch", "update"],
            Self::Log => &["get"],
            Self::Binding | Self::Eviction | Self::Token => &["create"],
            Self::Finalize => &["update"],
        }
    }
}

impl Resource {
    /// Name in messages: `pods`, `deployments.apps`.
    pub fn qualified(&self) -> String {
        match self.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// Whether it has this exception.
    pub fn is(&self, trait_: Trait) -> bool {
        self.traits.contains(&trait_)
    }

    /// Whether it has this subresource.
    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }

    /// The pointer of a field selector's label.
    pub fn selectable(&self, label: &str) -> Option<String> {
        match label {
            "metadata.name" => Some("/metadata/name".to_owned()),
            "metadata.namespace" => Some("/metadata/namespace".to_owned()),
            _ => self
                .fields
                .iter()
                .find(|(l, _)| l == label)
                .map(|(_, pointer)| pointer.clone()),
        }
    }

    /// Its verbs in discovery.
    pub fn verbs(&self) -> &'static [&'static str] {
        if self.is(Trait::Review) {
            &["create"]
        } else {
            &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ]
        }
    }

    /// Converts a stored object to this version.
    pub fn present(&self, stored: &Arc<Value>) -> Arc<Value> {
        if self.api_version == self.stored_as {
            return stored.clone();
        }
        let mut object = Value::clone(stored);
        if self.is(Trait::EventsShape) {
            object = super::events::to_new(object);
        }
        object.put("/apiVersion", self.api_version.as_str());
        Arc::new(object)
    }

    /// Converts an object of this version to its stored form.
    pub fn stored(&self, mut object: Value) -> Value {
        if self.is(Trait::EventsShape) {
            object = super::events::to_core(object);
        }
        object.put("/apiVersion", self.stored_as.as_str());
        object
    }

    /// Sets the defaults of the schema, or of the decoder of a built-in kind.
    pub fn default_into(&self, object: &mut Value) {
        self.schema.default_into(object);
        if !self.is(Trait::Custom) {
            defaults::fill(&self.kind, object);
        }
    }
}
