//! Which resources are served, and by which rules: a table for the built-in kinds, CustomResourceDefinitions
//! for the rest, one [`Resource`] for either.

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
    /// API group; empty is the core group.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// `v1`, `apps/v1`: both.
    pub api_version: String,
    /// `pods`: its name in paths.
    pub plural: String,
    /// `pod`.
    pub singular: String,
    /// `Pod`.
    pub kind: String,
    /// `po`: what `kubectl` takes as well.
    pub short_names: Vec<String>,
    /// `all`: groups of resources for `kubectl get`.
    pub categories: Vec<String>,
    /// Objects live in namespaces.
    pub namespaced: bool,
    /// Where its objects are kept; the versions of a resource share it.
    pub bucket: String,
    /// `apiVersion` of its objects as they are kept.
    pub stored_as: String,
    /// What else is served below an object.
    pub subresources: Vec<Subresource>,
    /// What its objects look like.
    pub schema: Arc<Schema>,
    /// What `kubectl get` prints.
    pub columns: Vec<Column>,
    /// Where it departs from the common rules.
    pub traits: Vec<Trait>,
    /// Field selectors beyond name and namespace: label and JSON pointer into the stored form.
    pub fields: Vec<(String, String)>,
    /// Its definition in `/openapi/v3`.
    pub definition: Definition,
}

/// Where a resource's published definition comes from.
#[derive(Clone, Debug)]
pub enum Definition {
    /// Name of a built-in definition.
    BuiltIn(String),
    /// The `openAPIV3Schema` of a CustomResourceDefinition.
    Custom(Arc<Value>),
}

/// A path below an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    /// Writes only the status, while the main path leaves it alone.
    Status,
    /// The replica count, the same for every kind that has one.
    Scale,
    /// A container's output, from its kubelet.
    Log,
    /// Puts a pod on a node.
    Binding,
    /// Deletes a pod.
    Eviction,
    /// Issues a service account's token.
    Token,
    /// Writes a namespace's finalizers.
    Finalize,
}

/// A departure from what most resources do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trait {
    /// `metadata.generation` counts the changes of what is neither metadata nor status.
    Generation,
    /// Annotations count as well.
    AnnotationsCount,
    /// The status given at creation is kept.
    StatusAtCreation,
    /// Deletion leaves time to stop.
    Graceful,
    /// An update must name the resourceVersion.
    VersionedUpdate,
    /// An update of an absent object creates it.
    CreateOnUpdate,
    /// Deletion answers with the object.
    ReturnsDeleted,
    /// Dependents outlive their owner unless the request says otherwise.
    OrphansDependents,
    /// Never stored: a question whose answer is the object with its status.
    Review,
    /// `events.k8s.io` shape of objects kept in the core shape.
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

    /// The subresource of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// What can be done with it, as discovery tells.
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
    /// `pods`, `deployments.apps`: as messages name it.
    pub fn qualified(&self) -> String {
        match self.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// Whether it departs in this way.
    pub fn is(&self, trait_: Trait) -> bool {
        self.traits.contains(&trait_)
    }

    /// Whether that is served below its objects.
    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }

    /// The pointer a field selector's label stands for.
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

    /// What can be done with it, as discovery tells.
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

    /// A stored object in this version.
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

    /// An object of this version as it is stored.
    pub fn stored(&self, mut object: Value) -> Value {
        if self.is(Trait::EventsShape) {
            object = super::events::to_core(object);
        }
        object.put("/apiVersion", self.stored_as.as_str());
        object
    }

    /// Fills in what the schema, or the decoder of a built-in kind, means by absence.
    pub fn default_into(&self, object: &mut Value) {
        self.schema.default_into(object);
        if !self.is(Trait::Custom) {
            defaults::fill(&self.kind, object);
        }
    }
}
