//! All served resources, found by path or by kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Resource, Trait, builtin, crd};
use crate::schema::Schema;

/// Built-in resources, and those of the current CustomResourceDefinitions.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// In the order of discovery.
    resources: Vec<Arc<Resource>>,
    definitions: Arc<BTreeMap<String, Value>>,
    metadata: Arc<Schema>,
}

impl Catalog {
    /// The built-in resources.
    pub fn builtin() -> Self {
        let builtin = builtin::all();
        Self {
            resources: builtin.resources.clone(),
            definitions: builtin.definitions.clone(),
            metadata: builtin.metadata.clone(),
        }
    }

    /// The resource with this path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.resources
            .iter()
            .find(|r| r.group == group && r.version == version && r.plural == plural)
            .cloned()
    }

    /// The resource of objects with this kind.
    pub fn of_object(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        self.resources
            .iter()
            .find(|r| r.kind == kind && r.api_version == api_version)
            .cloned()
    }

    /// The resource whose objects are in this bucket.
    pub fn of_bucket(&self, bucket: &str) -> Option<Arc<Resource>> {
        self.resources
            .iter()
            .find(|r| r.bucket == bucket && r.api_version == r.stored_as)
            .cloned()
    }

    /// All resources, in the order of discovery.
    pub fn all(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// Groups with their versions, the preferred one first.
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for resource in &self.resources {
            match groups
                .iter_mut()
                .find(|(group, _)| *group == resource.group)
            {
                Some((_, versions)) => {
                    if !versions.contains(&resource.version) {
                        versions.push(resource.version.clone());
                    }
                }
                None => groups.push((resource.group.clone(), vec![resource.version.clone()])),
            }
        }
        groups
    }

    /// The built-in kinds' definitions, by name.
    pub fn definitions(&self) -> &BTreeMap<String, Value> {
        &self.definitions
    }

    /// Serves the resources of a CustomResourceDefinition.
    pub fn register(&mut self, definition: &Value) {
        self.unregister(definition);
        self.resources.extend(
            crd::resources(definition, &self.metadata)
                .into_iter()
                .map(Arc::new),
        );
    }

    /// Stops serving them.
    pub fn unregister(&mut self, definition: &Value) {
        let bucket = crd::bucket(definition);
        self.resources
            .retain(|r| r.bucket != bucket || !r.is(Trait::Custom));
    }
}
