//! Deletion: immediate, after a grace period, or after the last finalizer is removed.
//!
//! Upstream: `apiserver/pkg/registry/rest/delete.go` and `registry/generic/registry/store.go`.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::{Target, admission};
use crate::cluster::{Cluster, stamp};
use crate::failure::{Failure, Result};
use crate::json::{Json as _, Meta as _};
use crate::resources::{Resource, Trait};

/// Finalizer of an owner until its dependents are deleted.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner until its dependents are orphaned.
pub const ORPHAN: &str = "orphan";

/// Options of a deletion.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    /// Grace period in seconds.
    pub grace_period_seconds: Option<i64>,
    /// Preconditions on the object.
    pub preconditions: Option<Preconditions>,
    /// `Orphan`, `Background` or `Foreground`.
    pub propagation_policy: Option<String>,
    /// Deprecated form of `Orphan`.
    pub orphan_dependents: Option<bool>,
    /// `All`.
    pub dry_run: Vec<String>,
}

/// Preconditions of a deletion.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preconditions {
    /// Its uid.
    pub uid: Option<String>,
    /// Its resourceVersion.
    pub resource_version: Option<String>,
}

/// Result of a deletion.
#[derive(Debug)]
pub struct Deletion {
    /// The object's last state, or its current state if it is still being deleted.
    pub object: Arc<Value>,
    /// Whether the object is removed.
    pub gone: bool,
}

impl Cluster {
    /// Deletes an object, or starts its deletion.
    pub fn delete(&mut self, target: &Target, options: &DeleteOptions) -> Result<Deletion> {
        let resource = &target.resource;
        let stored = self.get(resource, &target.namespace, &target.name)?;
        admission::admit_deletion(target)?;
        check(resource, &stored, options)?;

        let mut object = Value::clone(&stored);
        let grace = self.graceful(resource, &mut object, options);
        if grace == Grace::Pending {
            return Ok(Deletion {
                object: stored,
                gone: false,
            });
        }
        propagate(resource, &mut object, options);
        let held = is_held(resource, &object);
        if held && grace == Grace::None {
            self.mark(&mut object);
        }
        if held && resource.kind == "Namespace" {
            object.put("/status/phase", "Terminating");
        }
        let gone = !held && grace != Grace::Begun;
        let dry_run = !options.dry_run.is_empty();
        let object = match (gone, dry_run) {
            (_, true) => Arc::new(object),
            (true, false) => self.remove(resource, object),
            (false, false) if object == *stored => stored,
            (false, false) => self.commit(resource, object),
        };
        Ok(Deletion { object, gone })
    }

    /// Sets or shortens the grace period.
    fn graceful(&self, resource: &Resource, object: &mut Value, options: &DeleteOptions) -> Grace {
        if !resource.is(Trait::Graceful) {
            return Grace::None;
        }
        let asked = options
            .grace_period_seconds
            .map(|s| if s < 0 { 1 } else { s });
        if object.deleting() {
            let left = object
                .integer("/metadata/deletionGracePeriodSeconds")
                .unwrap_or(0);
            return match asked {
                _ if left == 0 => Grace::None,
                Some(asked) if asked < left => {
                    self.shorten(object, left - asked, asked);
                    Grace::after(asked)
                }
                _ => Grace::Pending,
            };
        }
        let stopped = matches!(object.text("/status/phase"), "Failed" | "Succeeded");
        let nowhere = object.text("/spec/nodeName").is_empty();
        let seconds = if stopped || nowhere {
            0
        } else {
            asked
                .or_else(|| object.integer("/spec/terminationGracePeriodSeconds"))
                .unwrap_or(30)
        };
        bump(object);
        self.begin(object, seconds);
        Grace::after(seconds)
    }

    /// Moves the end of a grace period to an earlier time, but not into the past.
    fn shorten(&self, object: &mut Value, by: i64, seconds: i64) {
        let end: Option<Timestamp> = object.text("/metadata/deletionTimestamp").parse().ok();
        let end = end.and_then(|e| e.saturating_sub(SignedDuration::from_secs(by)).ok());
        let end = end.map_or(self.now(), |e| e.max(self.now()));
        object.put("/metadata/deletionTimestamp", stamp(end));
        object.put("/metadata/deletionGracePeriodSeconds", seconds);
    }

    fn begin(&self, object: &mut Value, seconds: i64) {
        let end = self
            .now()
            .saturating_add(SignedDuration::from_secs(seconds))
            .unwrap_or_else(|_| self.now());
        object.put("/metadata/deletionTimestamp", stamp(end));
        object.put("/metadata/deletionGracePeriodSeconds", seconds);
    }

    /// Marks an object for deletion that only waits for its finalizers.
    fn mark(&self, object: &mut Value) {
        if !object.deleting() {
            bump(object);
            object.put("/metadata/deletionTimestamp", self.stamp());
        }
        object.put("/metadata/deletionGracePeriodSeconds", 0);
    }
}

/// Whether finalizers block the deletion of an object; a namespace has additional ones in its spec.
pub fn is_held(resource: &Resource, object: &Value) -> bool {
    let content = resource.kind == "Namespace" && !object.items("/spec/finalizers").is_empty();
    content || object.finalizers().next().is_some()
}

/// State of a graceful deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grace {
    /// The kind has no grace period, or it has passed.
    None,
    /// It starts now, and ends when the kubelet deletes the object.
    Begun,
    /// It starts now without a grace period.
    Over,
    /// It started before, and this request does not shorten it.
    Pending,
}

impl Grace {
    fn after(seconds: i64) -> Self {
        if seconds > 0 { Self::Begun } else { Self::Over }
    }
}

/// A first deletion increases the generation.
fn bump(object: &mut Value) {
    if let Some(generation) = object.integer("/metadata/generation") {
        object.put("/metadata/generation", generation + 1);
    }
}

fn check(resource: &Resource, object: &Value, options: &DeleteOptions) -> Result<()> {
    let Some(wanted) = &options.preconditions else {
        return Ok(());
    };
    let refuse = |what: &str, wanted: &str, is: &str, then: &str| {
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({is}). {then}"
        );
        Err(Failure::conflict(resource, object.name(), &why))
    };
    if let Some(uid) = wanted.uid.as_deref().filter(|u| *u != object.uid()) {
        let then = "The object might have been deleted and then recreated";
        return refuse("UID", uid, object.uid(), then);
    }
    let version = wanted.resource_version.as_deref();
    if let Some(version) = version.filter(|v| *v != object.version()) {
        let then = "The object might have been modified";
        return refuse("ResourceVersion", version, object.version(), then);
    }
    Ok(())
}

/// Sets the finalizer for the requested treatment of dependents.
fn propagate(resource: &Resource, object: &mut Value, options: &DeleteOptions) {
    let policy = options.propagation_policy.as_deref();
    let had = |name: &str| object.finalizers().any(|f| f == name);
    let wanted = match (options.orphan_dependents, policy) {
        (Some(true), _) | (None, Some("Orphan")) => Some(ORPHAN),
        (None, Some("Foreground")) => Some(FOREGROUND),
        (Some(false), _) | (None, Some(_)) => None,
        (None, None) if had(ORPHAN) => Some(ORPHAN),
        (None, None) if had(FOREGROUND) => Some(FOREGROUND),
        (None, None) => resource.is(Trait::OrphansDependents).then_some(ORPHAN),
    };
    let finalizers: Vec<_> = object
        .finalizers()
        .filter(|f| ![ORPHAN, FOREGROUND].contains(f))
        .chain(wanted)
        .map(Value::from)
        .collect();
    if finalizers.is_empty() {
        object.cut("/metadata/finalizers");
    } else {
        object.put("/metadata/finalizers", finalizers);
    }
}
