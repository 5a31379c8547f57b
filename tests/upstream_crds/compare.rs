//! Compares two schemas: what the first requires of an object and the second does not guarantee.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion as Version, JSONSchemaProps,
    JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

const INT_OR_STRING: &str = "int-or-string";

/// Every reason why `ours` is not a subset of `theirs`: a field that is missing, has another type, or is required only by
/// us, or a different printer column or short name. Empty for a subset.
pub fn differences(
    ours: &CustomResourceDefinition,
    theirs: &CustomResourceDefinition,
) -> Vec<String> {
    let version = |crd: &CustomResourceDefinition| {
        crd.spec
            .versions
            .iter()
            .find(|version| version.storage)
            .expect("a stored version")
            .clone()
    };
    let (our_version, their_version) = (version(ours), version(theirs));
    let mut found = Vec::new();
    if (&ours.metadata.name, &our_version.name) != (&theirs.metadata.name, &their_version.name) {
        found.push(format!(
            "{:?} is compared with {:?}",
            ours.metadata.name, theirs.metadata.name
        ));
    }
    let schema = |version: Option<_>| version.and_then(|schema: Schema| schema.open_api_v3_schema);
    match (
        schema(our_version.schema.clone()),
        schema(their_version.schema.clone()),
    ) {
        (Some(ours), Some(theirs)) => walk(&ours, &theirs, "", &mut found),
        _ => found.push("a schema is missing".to_owned()),
    }
    let short = |crd: &CustomResourceDefinition| crd.spec.names.short_names.clone();
    if short(ours) != short(theirs) {
        let (ours, theirs) = (short(ours), short(theirs));
        found.push(format!("short names: {ours:?} here, {theirs:?} there"));
    }
    let columns = |version: Version| {
        let columns = version.additional_printer_columns.into_iter().flatten();
        columns.map(|column| (column.name, column.type_, column.format, column.json_path))
    };
    let mut theirs = columns(their_version);
    let others = columns(our_version).filter(|ours| !theirs.any(|column| column == *ours));
    found.extend(others.map(|(name, ..)| format!("printer column {name}: not there, or not here")));
    found
}

type Schema =
    k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceValidation;

fn walk(ours: &JSONSchemaProps, theirs: &JSONSchemaProps, path: &str, found: &mut Vec<String>) {
    // A quantity can be read from a number and from a string.
    let reads_both = kind(ours) == INT_OR_STRING && matches!(kind(theirs), "integer" | "string");
    if kind(ours) != kind(theirs) && !reads_both {
        found.push(format!(
            "{path}: {} here, {} there",
            kind(ours),
            kind(theirs)
        ));
        return;
    }
    let promised = theirs.required.as_deref().unwrap_or_default();
    let needed = ours
        .required
        .iter()
        .flatten()
        .filter(|field| !promised.contains(field));
    found.extend(needed.map(|field| format!("{path}.{field}: needed here, optional there")));

    for (name, our_field) in ours.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        match theirs
            .properties
            .as_ref()
            .and_then(|fields| fields.get(name))
        {
            Some(their_field) => walk(our_field, their_field, &path, found),
            None => found.push(format!("{path}: not there")),
        }
    }
    if let (Some(ours), Some(theirs)) = (item(ours), item(theirs)) {
        walk(ours, theirs, &format!("{path}[]"), found);
    }
    if let (Some(ours), Some(theirs)) = (value(ours), value(theirs)) {
        walk(ours, theirs, &format!("{path}{{}}"), found);
    }
}

/// JSON type; a quantity may be a number or a string, and has none.
fn kind(schema: &JSONSchemaProps) -> &str {
    match &schema.type_ {
        Some(name) => name,
        None if schema.x_kubernetes_int_or_string == Some(true) => INT_OR_STRING,
        None => "any",
    }
}

fn item(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(item) => Some(item),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

fn value(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.additional_properties.as_ref()? {
        JSONSchemaPropsOrBool::Schema(value) => Some(value),
        JSONSchemaPropsOrBool::Bool(_) => None,
    }
}
