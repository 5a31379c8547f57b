//! Updates an object: applies the change, limits it to its part, validates, stores.

use std::sync::Arc;

use serde_json::Value;

use super::create::{place, reset};
use super::decode::{Source, decode};
use super::delete::is_held;
use super::{Change, Target, WriteOptions, Written, kinds, metadata};
use crate::apply::{Identity, Operation, Writer};
use crate::cluster::Cluster;
use crate::failure::{Cause, Failure, Result};
use crate::json::{Json as _, Meta as _};
use crate::patch;
use crate::resources::{Resource, Subresource, Trait, crd};

/// Fields set only by the server; an update keeps them.
const CARRIED: [&str; 4] = [
    "/metadata/creationTimestamp",
    "/metadata/deletionTimestamp",
    "/metadata/deletionGracePeriodSeconds",
    "/metadata/generation",
];

impl Cluster {
    /// Changes an object, or creates it if the change permits that.
    pub fn update(
        &mut self,
        target: &Target,
        options: &WriteOptions,
        change: Change,
    ) -> Result<Written> {
        let resource = target.resource.clone();
        let stored = self
            .store
            .get(&resource.bucket, &target.namespace, &target.name);
        let Some(stored) = stored.cloned() else {
            return self.update_absent(target, options, change);
        };
        let old = resource.present(&stored);
        let now = self.stamp();
        let applies = matches!(change, Change::Apply(_));
        let identity = identity(target, options, applies);
        let writer = Writer {
            schema: &resource.schema,
            identity: &identity,
            now: &now,
        };
        let source = match &change {
            Change::Replace(_) => Source::Body,
            _ => Source::Patch,
        };
        if let Change::Replace(new) = &change {
            require_same_uid(target, &old, new)?;
        }
        let mut new = proposed(target, &old, change, &writer, options.force)?;
        let warnings = decode(&resource, &mut new, options, source)?;
        place(target, &mut new)?;
        check_version(&resource, &old, &mut new)?;

        if new.uid().is_empty() {
            new.copy("/metadata/uid", &old);
        }
        for pointer in CARRIED {
            new.copy(pointer, &old);
        }
        keep_apart(target, &old, &mut new);
        kinds::prepare_update(&resource, &mut new);
        if !applies {
            writer.track(&old, &mut new);
        }
        if resource.is(Trait::Generation) && counts(&resource, &old, &new) {
            let generation = old.integer("/metadata/generation").unwrap_or(0);
            new.put("/metadata/generation", generation + 1);
        }
        validate(&resource, &old, &new)?;
        if resource.bucket == crd::BUCKET {
            crd::establish(&mut new, &now);
        }
        let object = self.store_update(&resource, &stored, &old, new, options);
        Ok(Written {
            object,
            created: false,
            warnings,
        })
    }

    /// Creates by apply, or by an update if the kind permits that.
    fn update_absent(
        &mut self,
        target: &Target,
        options: &WriteOptions,
        change: Change,
    ) -> Result<Written> {
        let resource = &target.resource;
        if target.subresource.is_some() {
            return Err(target.not_found());
        }
        match change {
            Change::Replace(object)
                if resource.is(Trait::CreateOnUpdate) && object.version().is_empty() =>
            {
                let mut object = object;
                place(target, &mut object)?;
                self.create(target, options, object)
            }
            Change::Apply(config) => {
                let identity = identity(target, options, true);
                let now = self.stamp();
                let writer = Writer {
                    schema: &resource.schema,
                    identity: &identity,
                    now: &now,
                };
                let config = configuration(target, config)?;
                let mut object = writer.apply(&Value::Null, &config, options.force)?;
                if !object.uid().is_empty() {
                    let why = format!(
                        "uid mismatch: the provided object specified uid {}, and no existing object was found",
                        object.uid()
                    );
                    return Err(Failure::conflict(resource, &target.name, &why));
                }
                let warnings = decode(resource, &mut object, options, Source::Patch)?;
                place(target, &mut object)?;
                object.cut("/metadata/resourceVersion");
                self.insert(target, options, object, warnings)
            }
            _ => Err(target.not_found()),
        }
    }

    /// Stores a changed object. An unchanged object is not written, and one under deletion without finalizers is removed.
    fn store_update(
        &mut self,
        resource: &Arc<Resource>,
        stored: &Arc<Value>,
        old: &Value,
        new: Value,
        options: &WriteOptions,
    ) -> Arc<Value> {
        if new == *old {
            return stored.clone();
        }
        let grace = "/metadata/deletionGracePeriodSeconds";
        let over = old.deleting() && old.integer(grace).unwrap_or(0) == 0;
        let gone = over && !is_held(resource, &new);
        let new = resource.stored(new);
        if options.dry_run {
            new.into()
        } else if gone {
            self.remove(resource, new)
        } else {
            self.commit(resource, new)
        }
    }
}

fn identity(target: &Target, options: &WriteOptions, applies: bool) -> Identity {
    Identity {
        name: options.manager.clone(),
        operation: if applies {
            Operation::Apply
        } else {
            Operation::Update
        },
        api_version: target.resource.api_version.clone(),
        subresource: target.subresource.map_or("", Subresource::name).to_owned(),
    }
}

/// The object after the change, before any check.
fn proposed(
    target: &Target,
    old: &Value,
    change: Change,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value> {
    let mut new = old.clone();
    match change {
        Change::Replace(object) => new = object,
        Change::Merge(patch) => {
            if !patch.is_object() {
                return Err(Failure::bad_request("error decoding patch: not an object"));
            }
            json_patch::merge(&mut new, &patch);
        }
        Change::Json(operations) => {
            json_patch::patch(&mut new, &operations)
                .map_err(|error| Failure::unprocessable(&error))?;
        }
        Change::Strategic(patch) => patch::strategic(Some(writer.schema), &mut new, &patch),
        Change::Apply(config) => {
            let config = configuration(target, config)?;
            new = writer.apply(old, &config, force)?;
        }
    }
    Ok(new)
}

/// An applied configuration, limited to the part that this path writes.
fn configuration(target: &Target, mut config: Value) -> Result<Value> {
    let resource = &target.resource;
    if config.pointer("/metadata/managedFields").is_some() {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    for (pointer, wanted) in [
        ("/apiVersion", resource.api_version.as_str()),
        ("/kind", resource.kind.as_str()),
    ] {
        if config.text(pointer) != wanted {
            return Err(Failure::bad_request(format!(
                "failed to create typed patch object: {} {:?} does not match the expected {wanted:?}",
                pointer.trim_start_matches('/'),
                config.text(pointer)
            )));
        }
    }
    let mut known = config.clone();
    let unknown = resource.schema.prune(&mut known);
    if let Some(path) = unknown.first() {
        return Err(Failure::unclassified(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): .{path}: field not declared in schema",
            target.namespace, target.name, resource.api_version, resource.kind
        )));
    }
    match target.subresource {
        Some(Subresource::Status) => {
            let only = ["apiVersion", "kind", "metadata", "status"];
            if let Value::Object(map) = &mut config {
                map.retain(|name, _| only.contains(&name.as_str()));
            }
        }
        _ => reset(resource, &mut config),
    }
    Ok(config)
}

fn require_same_uid(target: &Target, old: &Value, new: &Value) -> Result<()> {
    if new.uid().is_empty() || new.uid() == old.uid() {
        return Ok(());
    }
    let why = format!(
        "Precondition failed: UID in precondition: {}, UID in object meta: {}",
        new.uid(),
        old.uid()
    );
    Err(Failure::conflict(&target.resource, &target.name, &why))
}

/// Refuses an invalid object.
fn validate(resource: &Resource, old: &Value, new: &Value) -> Result<()> {
    let mut causes = metadata::validate(resource, new);
    causes.extend(metadata::validate_update(old, new));
    causes.extend(kinds::validate_update(resource, old, new));
    causes.extend(resource.schema.validate(new, Some(old)));
    if causes.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid(
        &resource.group,
        &resource.kind,
        new.name(),
        &causes,
    ))
}

/// The resourceVersion of the write must be the stored one; for most kinds it may be absent.
fn check_version(resource: &Resource, old: &Value, new: &mut Value) -> Result<()> {
    match new.version() {
        "" if resource.is(Trait::VersionedUpdate) => {
            let causes = [Cause::invalid(
                "metadata.resourceVersion",
                &0.into(),
                "must be specified for an update",
            )];
            Err(Failure::invalid(
                &resource.group,
                &resource.kind,
                new.name(),
                &causes,
            ))
        }
        "" => {
            new.copy("/metadata/resourceVersion", old);
            Ok(())
        }
        version if version == old.version() => Ok(()),
        _ => Err(Failure::modified(resource, new.name())),
    }
}

/// Limits a write to the part of its path: the main path writes all except the status, the status path little else.
fn keep_apart(target: &Target, old: &Value, new: &mut Value) {
    let custom = target.resource.is(Trait::Custom);
    match target.subresource {
        Some(Subresource::Status) if custom => {
            let mut whole = old.clone();
            whole.copy("/status", new);
            whole.copy("/metadata/managedFields", new);
            whole.copy("/metadata/uid", new);
            *new = whole;
        }
        Some(Subresource::Status) => {
            new.copy("/spec", old);
            new.copy("/metadata/ownerReferences", old);
        }
        Some(Subresource::Finalize) => {
            let finalizers = new.items("/spec/finalizers").to_vec();
            new.clone_from(old);
            new.put("/spec/finalizers", finalizers);
        }
        _ => {
            if target.resource.has(Subresource::Status) {
                new.copy("/status", old);
            }
            if target.resource.has(Subresource::Finalize) {
                new.copy("/spec/finalizers", old);
            }
        }
    }
}

/// Whether anything differs that increases the generation.
fn counts(resource: &Resource, old: &Value, new: &Value) -> bool {
    let status_apart = resource.has(Subresource::Status);
    let content = |v: &Value| {
        let mut content = v.as_object().cloned().unwrap_or_default();
        content.remove("metadata");
        if status_apart {
            content.remove("status");
        }
        content
    };
    let annotations = |v: &Value| v.pointer("/metadata/annotations").cloned();
    content(old) != content(new)
        || resource.is(Trait::AnnotationsCount) && annotations(old) != annotations(new)
}
