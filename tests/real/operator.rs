//! ceph-csi-operator, limited to its effect on a restart: it overwrites any other pod template immediately.

use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::layout::{DRIVER, NAMESPACE};

/// The definition of `drivers.csi.ceph.io`, which accepts any field.
pub fn driver_crd() -> CustomResourceDefinition {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let crd = json!({
        "metadata": {"name": "drivers.csi.ceph.io"},
        "spec": {
            "group": "csi.ceph.io",
            "scope": "Namespaced",
            "names": {"plural": "drivers", "singular": "driver", "kind": "Driver", "listKind": "DriverList"},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}},
            }],
        },
    });
    serde_json::from_value(crd).unwrap()
}

/// The `Driver` that the operator deploys.
pub fn driver() -> Value {
    json!({
        "apiVersion": "csi.ceph.io/v1",
        "kind": "Driver",
        "metadata": {"name": DRIVER, "namespace": NAMESPACE},
        "spec": {},
    })
}

/// Reverts every change of the template of `wanted`, until dropped.
pub async fn keep(client: Client, wanted: Value) {
    let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client, NAMESPACE, &resource);
    let template = &wanted["spec"]["template"];
    let mut events = watcher::watcher(api.clone(), watcher::Config::default())
        .default_backoff()
        .boxed();
    while let Some(event) = events.next().await {
        let Ok(Event::Apply(found)) = event else {
            continue;
        };
        let annotations = &found.data["spec"]["template"]["metadata"]["annotations"];
        let Some(added) = annotations.as_object().filter(|added| !added.is_empty()) else {
            continue;
        };
        let mut template = template.clone();
        let without = added.keys().map(|name| (name.clone(), Value::Null));
        template["metadata"]["annotations"] = without.collect();
        let patch = Patch::Merge(json!({"spec": {"template": template}}));
        let name = wanted["metadata"]["name"].as_str().unwrap();
        if let Err(error) = api.patch(name, &PatchParams::default(), &patch).await {
            eprintln!("operator: {error}");
        }
    }
}
