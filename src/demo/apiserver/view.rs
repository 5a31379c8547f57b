//! Representation of a response according to the `Accept` header: whole objects, tables, or metadata only.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::failure::{Failure, Result};
use super::list::Page;
use super::resources::Resource;
use super::table::{Include, only_metadata, table};

/// A representation of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Whole objects.
    #[default]
    Whole,
    /// As `meta.k8s.io` Tables.
    Table(Include),
    /// As `PartialObjectMetadata`.
    Metadata,
}

impl View {
    /// The first supported representation in the header; `include` is the query's `includeObject`.
    pub fn negotiate(accept: &str, include: &str) -> Result<Self> {
        let include = match include {
            "None" => Include::Nothing,
            "Object" => Include::Object,
            _ => Include::Metadata,
        };
        if accept.trim().is_empty() {
            return Ok(Self::Whole);
        }
        accept
            .split(',')
            .find_map(|media| {
                let mut parts = media.split(';').map(str::trim);
                let kind = parts.next()?;
                if !matches!(kind, "application/json" | "*/*" | "application/*") {
                    return None;
                }
                let parameters: Vec<_> = parts.collect();
                let of = |name: &str| {
                    let mut all = parameters.iter().filter_map(|p| p.split_once('='));
                    all.find(|(n, _)| *n == name).map(|(_, v)| v)
                };
                match (of("as"), of("v")) {
                    (None, _) => Some(Self::Whole),
                    (Some("Table"), Some("v1") | None) => Some(Self::Table(include)),
                    (
                        Some("PartialObjectMetadata" | "PartialObjectMetadataList"),
                        Some("v1") | None,
                    ) => Some(Self::Metadata),
                    _ => None,
                }
            })
            .ok_or_else(Failure::not_acceptable)
    }

    /// One object.
    pub fn object(self, resource: &Resource, object: &Arc<Value>, now: Timestamp) -> Value {
        match self {
            Self::Whole => Value::clone(&resource.present(object)),
            Self::Metadata => only_metadata(object),
            Self::Table(include) => {
                let version = super::json::Meta::version(&**object);
                let metadata = json!({"resourceVersion": version});
                let one = std::iter::once(&**object);
                table(resource, one, &metadata, (include, true), now)
            }
        }
    }

    /// The object of an event; a watch sends the columns of a table with the first one.
    pub fn event(
        self,
        resource: &Resource,
        object: &Arc<Value>,
        headed: bool,
        now: Timestamp,
    ) -> Value {
        let Self::Table(include) = self else {
            return self.object(resource, object, now);
        };
        let version = super::json::Meta::version(&**object);
        let metadata = json!({"resourceVersion": version});
        let one = std::iter::once(&**object);
        table(resource, one, &metadata, (include, headed), now)
    }

    /// A page of a list.
    pub fn page(self, resource: &Resource, page: &Page, now: Timestamp) -> Value {
        let list = |kind: &str, version: &str, items: Vec<Value>| json!({"kind": kind, "apiVersion": version, "metadata": page.metadata, "items": items});
        match self {
            Self::Whole => {
                let items = page
                    .items
                    .iter()
                    .map(|o| Value::clone(&resource.present(o)));
                list(
                    &format!("{}List", resource.kind),
                    &resource.api_version,
                    items.collect(),
                )
            }
            Self::Metadata => {
                let items = page.items.iter().map(|o| only_metadata(o));
                list(
                    "PartialObjectMetadataList",
                    "meta.k8s.io/v1",
                    items.collect(),
                )
            }
            Self::Table(include) => {
                let objects = page.items.iter().map(|o| &**o);
                table(resource, objects, &page.metadata, (include, true), now)
            }
        }
    }
}
