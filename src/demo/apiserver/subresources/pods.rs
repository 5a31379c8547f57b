//! `binding`, `eviction` and `finalize`: writes that are more than an update.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::failure::{Failure, Result};
use crate::json::{Json as _, Meta as _};
use crate::write::{Change, DeleteOptions, Target, WriteOptions};

/// Body of a successful write without an object.
pub fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

impl Cluster {
    /// Assigns a pod to the node in the binding.
    pub fn bind(
        &mut self,
        target: &Target,
        options: &WriteOptions,
        binding: &Value,
    ) -> Result<Value> {
        let pod = self.get(&target.resource, &target.namespace, &target.name)?;
        let node = binding.text("/target/name");
        let conflict = |why: String| Err(Failure::conflict(&target.resource, &target.name, &why));
        if pod.deleting() {
            return conflict(format!(
                "pod {} is being deleted, cannot be assigned to a host",
                target.name
            ));
        }
        let assigned = pod.text("/spec/nodeName");
        if !assigned.is_empty() {
            return conflict(format!(
                "pod {} is already assigned to node {assigned:?}",
                target.name
            ));
        }
        let mut bound = Value::clone(&pod);
        bound.put("/spec/nodeName", node);
        let mut conditions = pod.items("/status/conditions").to_vec();
        conditions.retain(|c| c.text("/type") != "PodScheduled");
        conditions.push(json!({
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": null,
            "lastTransitionTime": self.stamp(),
        }));
        bound.put("/status/conditions", conditions);
        if !options.dry_run {
            self.commit(&target.resource, bound);
        }
        Ok(success())
    }

    /// Deletes a pod; disruption budgets are not supported.
    pub fn evict(&mut self, target: &Target, eviction: &Value) -> Result<Value> {
        let options = eviction.get("deleteOptions").cloned().unwrap_or(json!({}));
        let options: DeleteOptions = serde_json::from_value(options)
            .map_err(|e| Failure::bad_request(format!("invalid deleteOptions: {e}")))?;
        self.delete(target, &options)?;
        Ok(success())
    }

    /// Writes the finalizers of a namespace, which is removed with the last one.
    pub fn finalize(
        &mut self,
        target: &Target,
        options: &WriteOptions,
        namespace: &Value,
    ) -> Result<Value> {
        let mut patch = json!({});
        patch.put("/spec/finalizers", namespace.items("/spec/finalizers"));
        let written = self.update(target, options, Change::Merge(patch))?;
        Ok(Value::clone(&written.object))
    }
}
