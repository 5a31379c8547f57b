//! `/openapi/v3`: the part that `kubectl` needs to use server-side validation and `kubectl explain`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::json::Json as _;
use super::resources::{Catalog, Definition, Resource};
use super::routes::Route;

/// Query parameters of a write; `kubectl` uses the first two only if they are listed.
const PARAMETERS: [&str; 4] = ["fieldValidation", "dryRun", "fieldManager", "force"];

/// The document of an OpenAPI route, or `None` for other routes.
pub fn document(catalog: &Catalog, route: &Route) -> Option<Value> {
    match route {
        Route::OpenApiIndex => Some(index(catalog)),
        Route::OpenApi(group, version) => {
            let of = |r: &&Arc<Resource>| r.group == *group && r.version == *version;
            let resources: Vec<_> = catalog.all().iter().filter(of).collect();
            (!resources.is_empty()).then(|| of_group(catalog, &resources))
        }
        _ => None,
    }
}

/// `api/v1`, `apis/apps/v1`.
fn root(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

fn index(catalog: &Catalog) -> Value {
    let paths: Map<_, _> = catalog
        .groups()
        .iter()
        .flat_map(|(group, versions)| versions.iter().map(move |v| root(group, v)))
        .map(|root| {
            let url = format!("/openapi/v3/{root}");
            (root, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

fn of_group(catalog: &Catalog, resources: &[&Arc<Resource>]) -> Value {
    let mut paths = Map::new();
    let mut schemas = BTreeMap::new();
    for resource in resources {
        paths.insert(path(resource), operations(resource));
        let kind = json!([kind(resource)]);
        match &resource.definition {
            Definition::BuiltIn(name) => {
                reachable(catalog, name, &mut schemas);
                if let Some(schema) = schemas.get_mut(name) {
                    schema["x-kubernetes-group-version-kind"] = kind;
                }
            }
            Definition::Custom(schema) => {
                let mut schema = Value::clone(schema);
                schema["x-kubernetes-group-version-kind"] = kind;
                let mut name: Vec<_> = resource.group.split('.').rev().collect();
                name.extend([resource.version.as_str(), resource.kind.as_str()]);
                schemas.insert(name.join("."), schema);
            }
        }
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1"},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn kind(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

fn path(resource: &Resource) -> String {
    let root = root(&resource.group, &resource.version);
    let scope = if resource.namespaced {
        "namespaces/{namespace}/"
    } else {
        ""
    };
    format!("/{root}/{scope}{}/{{name}}", resource.plural)
}

fn operations(resource: &Resource) -> Value {
    let parameters =
        PARAMETERS.map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}));
    json!({
        "patch": {
            "operationId": format!("patch{}", resource.kind),
            "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": kind(resource),
        },
    })
}

/// Adds a definition and all definitions that it refers to.
fn reachable(catalog: &Catalog, name: &str, schemas: &mut BTreeMap<String, Value>) {
    let mut open = BTreeSet::from([name.to_owned()]);
    while let Some(name) = open.pop_first() {
        let Some(schema) = catalog.definitions().get(&name) else {
            continue;
        };
        if let Entry::Vacant(place) = schemas.entry(name) {
            references(schema, &mut open);
            place.insert(schema.clone());
        }
    }
}

fn references(schema: &Value, found: &mut BTreeSet<String>) {
    if let Some((_, name)) = schema.text("/$ref").rsplit_once('/') {
        found.insert(name.to_owned());
    }
    match schema {
        Value::Object(map) => map.values().for_each(|v| references(v, found)),
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}
