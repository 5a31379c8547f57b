//! Creates an object: name, server-set fields, owners, storage.

use serde_json::{Value, json};

use super::decode::{Source, decode};
use super::{Target, WriteOptions, Written, admission, kinds, metadata, policy};
use crate::apply::{Identity, Operation, Writer};
use crate::cluster::Cluster;
use crate::failure::{Failure, Result};
use crate::json::{Json as _, Meta as _};
use crate::resources::{Resource, Subresource, Trait, crd};

/// Attempts to generate a free name.
const NAME_ATTEMPTS: usize = 8;
/// Maximum length of the prefix of a generated name, which leaves room for the suffix.
const MAX_GENERATED_PREFIX: usize = 58;

impl Cluster {
    /// Creates the object in a body.
    pub fn create(
        &mut self,
        target: &Target,
        options: &WriteOptions,
        mut object: Value,
    ) -> Result<Written> {
        let resource = &target.resource;
        let warnings = decode(resource, &mut object, options, Source::Body)?;
        if !object.version().is_empty() {
            return Err(Failure::unclassified(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        object.cut("/metadata/managedFields");
        place(target, &mut object)?;
        reset(resource, &mut object);
        let identity = Identity {
            name: options.manager.clone(),
            operation: Operation::Update,
            api_version: resource.api_version.clone(),
            subresource: String::new(),
        };
        let now = self.stamp();
        let writer = Writer {
            schema: &resource.schema,
            identity: &identity,
            now: &now,
        };
        writer.track(&Value::Null, &mut object);
        self.insert(target, options, object, warnings)
    }

    /// Stores a new object with recorded owners.
    pub fn insert(
        &mut self,
        target: &Target,
        options: &WriteOptions,
        mut object: Value,
        warnings: Vec<String>,
    ) -> Result<Written> {
        let resource = &target.resource;
        self.name(target, &mut object);
        admission::admit(self, target, &mut object)?;
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "generation",
        ] {
            object.cut(&format!("/metadata/{field}"));
        }
        object.put("/metadata/uid", self.random.uid());
        object.put("/metadata/creationTimestamp", self.stamp());
        if resource.is(Trait::Generation) {
            object.put("/metadata/generation", 1);
        }
        kinds::prepare_create(resource, &mut object, self.store.revision());

        let mut causes = kinds::validate_create(resource, &object);
        causes.extend(resource.schema.validate(&object, None));
        causes.extend(metadata::validate(resource, &object));
        if !causes.is_empty() {
            return Err(Failure::invalid(
                &resource.group,
                &resource.kind,
                object.name(),
                &causes,
            ));
        }
        policy::admit(self, target, options, &object)?;
        let existing = self
            .store
            .get(&resource.bucket, object.namespace(), object.name());
        if existing.is_some() {
            return Err(Failure::already_exists(resource, object.name()));
        }
        if resource.bucket == crd::BUCKET {
            let now = self.stamp();
            crd::establish(&mut object, &now);
        }
        let object = resource.stored(object);
        let object = if options.dry_run {
            object.into()
        } else {
            self.commit(resource, object)
        };
        Ok(Written {
            object,
            created: true,
            warnings,
        })
    }

    /// Generates a name from `generateName` for an object without name.
    fn name(&mut self, target: &Target, object: &mut Value) {
        let prefix = object.text("/metadata/generateName");
        if !object.name().is_empty() || prefix.is_empty() {
            return;
        }
        let prefix: String = prefix.chars().take(MAX_GENERATED_PREFIX).collect();
        for _ in 0..NAME_ATTEMPTS {
            let name = format!("{prefix}{}", self.random.suffix());
            let bucket = &target.resource.bucket;
            let free = self.store.get(bucket, &target.namespace, &name).is_none();
            object.put("/metadata/name", name);
            if free {
                return;
            }
        }
    }
}

/// Sets the object's namespace and name from the path, or refuses other ones.
pub fn place(target: &Target, object: &mut Value) -> Result<()> {
    if !target.resource.namespaced {
        object.cut("/metadata/namespace");
    } else if object.namespace().is_empty() {
        object.put("/metadata/namespace", target.namespace.as_str());
    } else if object.namespace() != target.namespace {
        return Err(Failure::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request: \
             expected {}, got {}",
            target.namespace,
            object.namespace()
        )));
    }
    if !target.name.is_empty() {
        if object.name().is_empty() {
            object.put("/metadata/name", target.name.as_str());
        } else if object.name() != target.name {
            return Err(Failure::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                object.name(),
                target.name
            )));
        }
    }
    Ok(())
}

/// Removes the status of a new object if the kind has the subresource `status`.
pub fn reset(resource: &Resource, object: &mut Value) {
    let apart = resource.has(Subresource::Status);
    if apart && !resource.is(Trait::StatusAtCreation) {
        object.cut("/status");
    }
    if object.get("metadata").is_none() {
        object.put("/metadata", json!({}));
    }
}
