//! Decodes a body into an object of the resource's kind: checks types, removes unknown fields, sets defaults.

use serde_json::Value;

use super::{FieldValidation, WriteOptions};
use crate::failure::{Cause, Failure, Result};
use crate::json::Json as _;
use crate::resources::{Resource, Trait};
use crate::schema::tidy;

/// Source of an object, which decides the wording of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The request's body.
    Body,
    /// A patch on the stored object.
    Patch,
}

/// Decodes `object`, and returns warnings about removed fields.
pub fn decode(
    resource: &Resource,
    object: &mut Value,
    options: &WriteOptions,
    source: Source,
) -> Result<Vec<String>> {
    check_kind(resource, object)?;
    let custom = resource.is(Trait::Custom);
    if !custom {
        tidy(&resource.schema, object);
        check_types(resource, object, source)?;
    }
    let unknown: Vec<_> = resource
        .schema
        .prune(object)
        .into_iter()
        .map(|path| format!("unknown field {path:?}"))
        .collect();
    if options.validation == FieldValidation::Strict && !unknown.is_empty() {
        let why = format!("strict decoding error: {}", unknown.join(", "));
        return Err(refused(resource, object, &why, source));
    }
    resource.default_into(object);
    Ok(match options.validation {
        FieldValidation::Warn => unknown,
        _ => Vec::new(),
    })
}

/// Sets the kind, or refuses a different one.
fn check_kind(resource: &Resource, object: &mut Value) -> Result<()> {
    if !object.is_object() {
        return Err(Failure::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: the body is not an object",
            resource.kind, resource.version, resource.kind
        )));
    }
    for (pointer, wanted) in [
        ("/apiVersion", resource.api_version.as_str()),
        ("/kind", resource.kind.as_str()),
    ] {
        match object.text(pointer) {
            "" => object.put(pointer, wanted),
            given if given == wanted => {}
            given if pointer == "/apiVersion" => {
                return Err(Failure::bad_request(format!(
                    "the API version in the data ({given}) does not match the expected API version ({wanted})"
                )));
            }
            given => {
                return Err(Failure::bad_request(format!(
                    "{given} in version {:?} cannot be handled as a {wanted}",
                    resource.version
                )));
            }
        }
    }
    Ok(())
}

/// Built-in kinds are decoded into types, so that a wrong JSON type is a bad request, not an invalid object.
fn check_types(resource: &Resource, object: &Value, source: Source) -> Result<()> {
    let wrong = resource.schema.validate(object, None);
    match wrong.iter().find(|c| c.is_mistyped()) {
        Some(cause) => Err(refused(resource, object, &cause.to_string(), source)),
        None => Ok(()),
    }
}

fn refused(resource: &Resource, object: &Value, why: &str, source: Source) -> Failure {
    match source {
        Source::Body => Failure::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {why}",
            resource.kind, resource.version, resource.kind
        )),
        Source::Patch => {
            let causes = [Cause::invalid("patch", &object.to_string().into(), why)];
            Failure::invalid("", "", "", &causes)
        }
    }
}
