//! Formats objects as the rows of `kubectl get`: a `meta.k8s.io/v1` Table.

pub mod columns;
mod path;
mod time;

use jiff::Timestamp;
use serde_json::{Value, json};

pub use path::JsonPath;
pub use time::ago;

use super::resources::Resource;

/// One column.
#[derive(Debug)]
pub struct Column {
    name: String,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    kind: String,
    format: &'static str,
    description: String,
    /// 0 is always shown, higher values only with `-o wide`.
    priority: i64,
    cell: Cell,
}

#[derive(Debug)]
enum Cell {
    Path(JsonPath),
    Field(JsonPath),
    Computed(fn(&Value, Timestamp) -> Value),
}

impl Column {
    /// The name of the object, which is the first column of every table except that of events.
    pub fn name() -> Self {
        let mut column = Self::path("Name", "string", ".metadata.name");
        column.format = "name";
        column
    }

    /// Time since the object was created.
    pub fn age() -> Self {
        Self::computed("Age", "string", |object, now| {
            ago(object.pointer("/metadata/creationTimestamp"), now).into()
        })
    }

    /// A column with the value that a path selects.
    pub fn path(name: &str, kind: &str, path: &str) -> Self {
        Self::new(name, kind, Cell::Path(JsonPath::parse(path)))
    }

    /// A text column of a built-in kind; a missing value prints as an empty text.
    pub fn field(name: &str, path: &str) -> Self {
        Self::new(name, "string", Cell::Field(JsonPath::parse(path)))
    }

    /// A column with a computed text.
    pub fn computed(name: &str, kind: &str, cell: fn(&Value, Timestamp) -> Value) -> Self {
        Self::new(name, kind, Cell::Computed(cell))
    }

    fn new(name: &str, kind: &str, cell: Cell) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            format: "",
            description: String::new(),
            priority: 0,
            cell,
        }
    }

    /// Sets the description.
    pub fn described(mut self, description: &str) -> Self {
        description.clone_into(&mut self.description);
        self
    }

    /// Sets the priority.
    pub fn priority(mut self, priority: i64) -> Self {
        self.priority = priority;
        self
    }

    /// Shown with `-o wide` only.
    pub fn wide(self) -> Self {
        self.priority(1)
    }

    fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        })
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        match &self.cell {
            Cell::Computed(compute) => compute(object, now),
            Cell::Path(path) => printed(&path.select(object), &self.kind, now),
            Cell::Field(path) => match printed(&path.select(object), &self.kind, now) {
                Value::Null => "".into(),
                cell => cell,
            },
        }
    }
}

/// A selected value as a cell of a type; no value prints as an empty cell.
fn printed(selected: &[&Value], kind: &str, now: Timestamp) -> Value {
    let Some(first) = selected.first().filter(|v| !v.is_null()) else {
        return Value::Null;
    };
    match kind {
        "date" => ago(Some(first), now).into(),
        "integer" => first.as_i64().map_or(Value::Null, Value::from),
        "number" => first.as_f64().map_or(Value::Null, Value::from),
        "boolean" => first.as_bool().map_or(Value::Null, Value::from),
        _ => {
            let texts: Vec<_> = selected.iter().map(|v| text(v)).collect();
            texts.join(",").into()
        }
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// Content of a row beside its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Only the cells.
    Nothing,
    /// The object's metadata.
    #[default]
    Metadata,
    /// The object.
    Object,
}

/// The table of some objects; `metadata` is the list's. Without `headed`, as in all but the first event of a watch, the
/// columns are left out.
pub fn table<'a>(
    resource: &Resource,
    objects: impl Iterator<Item = &'a Value>,
    metadata: &Value,
    (include, headed): (Include, bool),
    now: Timestamp,
) -> Value {
    let rows: Vec<_> = objects
        .map(|object| {
            let cells: Vec<_> = resource
                .columns
                .iter()
                .map(|c| c.cell(object, now))
                .collect();
            let object = match include {
                Include::Nothing => Value::Null,
                Include::Metadata => only_metadata(object),
                Include::Object => object.clone(),
            };
            json!({"cells": cells, "object": object})
        })
        .collect();
    let columns: Vec<_> = resource.columns.iter().map(Column::definition).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": if headed { columns.into() } else { Value::Null },
        "rows": rows,
    })
}

/// Converts an object to a `PartialObjectMetadata`.
pub fn only_metadata(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata"),
    })
}
