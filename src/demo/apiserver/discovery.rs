//! Discovery: served resources, by group or aggregated.
//!
//! Upstream: `apiserver/pkg/endpoints/discovery`.

use serde_json::{Value, json};

use super::resources::{Catalog, Resource, Subresource};
use super::routes::Route;

/// The media type of aggregated discovery.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// The Kubernetes version that this server emulates.
const MINOR: &str = "33";

/// The document of a discovery route, or `None` for other routes.
pub fn document(catalog: &Catalog, route: &Route) -> Option<Value> {
    match route {
        Route::Version => Some(json!({
            "major": "1",
            "minor": MINOR,
            "gitVersion": format!("v1.{MINOR}.0+locksmith-demo"),
            "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        })),
        Route::CoreVersions => Some(json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        })),
        Route::Groups => {
            let groups: Vec<_> = catalog
                .groups()
                .iter()
                .filter(|(name, _)| !name.is_empty())
                .map(|(name, versions)| group(name, versions))
                .collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        Route::Group(name) => {
            let groups = catalog.groups();
            let (name, versions) = groups.iter().find(|(g, _)| g == name && !g.is_empty())?;
            let mut group = group(name, versions);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            Some(group)
        }
        Route::Resources(group, version) => resources(catalog, group, version),
        _ => None,
    }
}

fn group(name: &str, versions: &[String]) -> Value {
    let versions: Vec<_> = versions
        .iter()
        .map(|v| json!({"groupVersion": format!("{name}/{v}"), "version": v}))
        .collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

fn resources(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    let of = |r: &&std::sync::Arc<Resource>| r.group == group && r.version == version;
    let served: Vec<_> = catalog.all().iter().filter(of).collect();
    let api_version = &served.first()?.api_version;
    let mut list = Vec::new();
    for resource in served {
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": resource.verbs(),
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        list.push(entry);
        for part in &resource.subresources {
            let (group, version, kind) = part_kind(resource, *part);
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, part.name()),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind,
                "verbs": part.verbs(),
            });
            if (group, version) != (&resource.group, &resource.version) {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            list.push(entry);
        }
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version,
        "resources": list,
    }))
}

/// The kind that a subresource reads and writes.
fn part_kind(resource: &Resource, part: Subresource) -> (&str, &str, &str) {
    match part {
        Subresource::Scale => ("autoscaling", "v1", "Scale"),
        Subresource::Binding => ("", "v1", "Binding"),
        Subresource::Eviction => ("policy", "v1", "Eviction"),
        Subresource::Token => ("authentication.k8s.io", "v1", "TokenRequest"),
        Subresource::Status | Subresource::Log | Subresource::Finalize => {
            (&resource.group, &resource.version, &resource.kind)
        }
    }
}

/// Aggregated discovery, if the route has it and the client accepts it: media type and document.
pub fn aggregated(catalog: &Catalog, route: &Route, accept: &str) -> Option<(&'static str, Value)> {
    let core = match route {
        Route::CoreVersions => true,
        Route::Groups => false,
        _ => return None,
    };
    let asks = |m: &str| {
        let all = ["as=APIGroupDiscoveryList", "g=apidiscovery.k8s.io", "v=v2"];
        let given: Vec<_> = m.split(';').map(str::trim).collect();
        all.iter().all(|p| given.contains(p))
    };
    if !accept.split(',').any(asks) {
        return None;
    }
    let items: Vec<_> = catalog
        .groups()
        .iter()
        .filter(|(name, _)| name.is_empty() == core)
        .map(|(name, versions)| {
            let versions: Vec<_> = versions
                .iter()
                .map(|version| {
                    let served = catalog.all().iter();
                    let resources: Vec<_> = served
                        .filter(|r| r.group == *name && r.version == *version)
                        .map(|r| aggregated_resource(r))
                        .collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            json!({"metadata": {"name": name, "creationTimestamp": null}, "versions": versions})
        })
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    });
    Some((AGGREGATED, document))
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind = |(group, version, kind): (&str, &str, &str)| json!({"group": group, "version": version, "kind": kind});
    let parts: Vec<_> = resource
        .subresources
        .iter()
        .map(|part| {
            json!({
                "subresource": part.name(),
                "responseKind": kind(part_kind(resource, *part)),
                "verbs": part.verbs(),
            })
        })
        .collect();
    json!({
        "resource": resource.plural,
        "responseKind": kind((&resource.group, &resource.version, &resource.kind)),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs(),
        "shortNames": resource.short_names,
        "categories": resource.categories,
        "subresources": parts,
    })
}
