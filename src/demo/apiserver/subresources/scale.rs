//! `scale`: the replica count of any scalable kind.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::failure::{Failure, Result};
use crate::json::{Json as _, Meta as _};
use crate::selector::printed;
use crate::write::{Change, Target, WriteOptions};

// The paths are the same for every scalable kind.
const REPLICAS: &str = "/spec/replicas";
const OBSERVED: &str = "/status/replicas";
const SELECTOR: &str = "/spec/selector";

impl Cluster {
    /// The scale of an object.
    pub fn scale(&self, target: &Target) -> Result<Value> {
        let object = self.get(&target.resource, &target.namespace, &target.name)?;
        Ok(scale_of(&object))
    }

    /// Writes the replica count of a scale, or of a patch of one.
    pub fn rescale(
        &mut self,
        target: &Target,
        options: &WriteOptions,
        change: Change,
    ) -> Result<Value> {
        let mut scale = self.scale(target)?;
        match change {
            Change::Replace(new) => scale = new,
            Change::Merge(patch) | Change::Strategic(patch) | Change::Apply(patch) => {
                json_patch::merge(&mut scale, &patch);
            }
            Change::Json(operations) => {
                json_patch::patch(&mut scale, &operations)
                    .map_err(|error| Failure::unprocessable(&error))?;
            }
        }
        let mut patch = json!({});
        patch.put(REPLICAS, scale.integer("/spec/replicas").unwrap_or(0));
        if !scale.version().is_empty() {
            patch.put("/metadata/resourceVersion", scale.version());
        }
        let whole = Target {
            subresource: None,
            ..target.clone()
        };
        let written = self.update(&whole, options, Change::Merge(patch))?;
        Ok(scale_of(&written.object))
    }
}

fn scale_of(object: &Arc<Value>) -> Value {
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "spec": {"replicas": object.integer(REPLICAS).unwrap_or(0)},
        "status": {
            "replicas": object.integer(OBSERVED).unwrap_or(0),
            "selector": object.pointer(SELECTOR).map(printed).unwrap_or_default(),
        },
    });
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        scale.copy(&format!("/metadata/{field}"), object);
    }
    scale
}
