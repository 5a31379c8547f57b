//! The resources of a CustomResourceDefinition, and its status.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Definition, Resource, Subresource, Trait};
use crate::failure::Cause;
use crate::json::{Json as _, Meta as _};
use crate::schema::Schema;
use crate::table::Column;

/// Bucket of CustomResourceDefinitions.
pub const BUCKET: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// Bucket of the objects of a definition.
pub fn bucket(definition: &Value) -> String {
    format!(
        "{}/{}",
        definition.text("/spec/group"),
        definition.text("/spec/names/plural")
    )
}

/// The resources of a definition: one per served version.
pub fn resources(definition: &Value, metadata: &Arc<Schema>) -> Vec<Resource> {
    let versions = definition.items("/spec/versions");
    let group = definition.text("/spec/group");
    let storage = versions
        .iter()
        .find(|v| v.truth("/storage"))
        .map_or("", |v| v.text("/name"));
    let stored_as = format!("{group}/{storage}");
    versions
        .iter()
        .filter(|v| v.truth("/served"))
        .map(|version| resource(definition, version, &stored_as, metadata))
        .collect()
}

fn resource(
    definition: &Value,
    version: &Value,
    stored_as: &str,
    metadata: &Arc<Schema>,
) -> Resource {
    let name = |pointer: &str| definition.text(pointer).to_owned();
    let names = |pointer: &str| {
        let texts = definition.items(pointer).iter();
        texts
            .filter_map(Value::as_str)
            .map(ToOwned::to_owned)
            .collect()
    };
    let source = version
        .pointer("/schema/openAPIV3Schema")
        .cloned()
        .unwrap_or_default();
    let subresources: Vec<_> = [Subresource::Status, Subresource::Scale]
        .into_iter()
        .filter(|s| {
            version
                .pointer(&format!("/subresources/{}", s.name()))
                .is_some()
        })
        .collect();
    Resource {
        group: name("/spec/group"),
        api_version: format!("{}/{}", name("/spec/group"), version.text("/name")),
        version: version.text("/name").to_owned(),
        plural: name("/spec/names/plural"),
        singular: name("/spec/names/singular"),
        kind: name("/spec/names/kind"),
        short_names: names("/spec/names/shortNames"),
        categories: names("/spec/names/categories"),
        namespaced: definition.text("/spec/scope") == "Namespaced",
        bucket: bucket(definition),
        stored_as: stored_as.to_owned(),
        subresources,
        schema: Arc::new(Schema::of_custom_resource(&source, metadata)),
        columns: columns(version),
        traits: vec![Trait::Custom, Trait::Generation, Trait::VersionedUpdate],
        fields: version
            .items("/selectableFields")
            .iter()
            .map(|f| f.text("/jsonPath").trim_start_matches('.'))
            .map(|path| (path.to_owned(), format!("/{}", path.replace('.', "/"))))
            .collect(),
        definition: Definition::Custom(Arc::new(source)),
    }
}

fn columns(version: &Value) -> Vec<Column> {
    let mut columns = vec![Column::name()];
    let own = version.items("/additionalPrinterColumns");
    columns.extend(own.iter().map(|column| {
        Column::path(
            column.text("/name"),
            column.text("/type"),
            column.text("/jsonPath"),
        )
        .described(column.text("/description"))
        .priority(column.integer("/priority").unwrap_or(0))
    }));
    if own.is_empty() {
        columns.push(Column::age());
    }
    columns
}

/// Errors of a definition beyond its schema.
pub fn validate(definition: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let wanted = format!(
        "{}.{}",
        definition.text("/spec/names/plural"),
        definition.text("/spec/group")
    );
    if definition.name() != wanted {
        causes.push(Cause::invalid(
            "metadata.name",
            &definition.name().into(),
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    let versions = definition.items("/spec/versions");
    if versions.iter().filter(|v| v.truth("/storage")).count() != 1 {
        causes.push(Cause::invalid(
            "spec.versions",
            &versions.into(),
            "must have exactly one version marked as storage version",
        ));
    }
    for (index, version) in versions.iter().enumerate() {
        if version.pointer("/schema/openAPIV3Schema").is_none() {
            causes.push(Cause::required(
                format!("spec.versions[{index}].schema.openAPIV3Schema"),
                "schemas are required",
            ));
        }
    }
    causes
}

/// Status of a definition with served resources. Upstream, controllers write it shortly after.
pub fn establish(definition: &mut Value, now: &str) {
    let names = definition
        .pointer("/spec/names")
        .cloned()
        .unwrap_or_default();
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": now,
        })
    };
    let storage: Vec<_> = definition
        .items("/spec/versions")
        .iter()
        .filter(|v| v.truth("/storage"))
        .map(|v| v["name"].clone())
        .collect();
    if definition.items("/status/conditions").is_empty() {
        definition.put(
            "/status/conditions",
            json!([
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition(
                    "Established",
                    "InitialNamesAccepted",
                    "the initial names have been accepted"
                ),
            ]),
        );
    }
    definition.put("/status/acceptedNames", names);
    definition.put("/status/storedVersions", storage);
}
