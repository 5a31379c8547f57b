//! Field ownership: tracking of writes, conflicts between appliers, release of fields that are no longer applied.
//!
//! Upstream: `structured-merge-diff/merge/update.go` and `apimachinery/pkg/util/managedfields`.

mod fields;
mod managers;
mod shape;
mod walk;

use serde_json::Value;

pub use managers::{Identity, Operation};

use super::failure::{Failure, Result};
use super::json::{Json as _, object};
use super::schema::Schema;
use fields::FieldSet;
use managers::Manager;

/// A change of ownership: its schema, writer and time.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// Schema of the resource.
    pub schema: &'a Schema,
    /// The writer.
    pub identity: &'a Identity,
    /// Time in RFC 3339.
    pub now: &'a str,
}

impl Writer<'_> {
    /// Records the owners on `new` after a write other than apply that changed `old` into it. `old` is null for a creation.
    pub fn track(&self, old: &Value, new: &mut Value) {
        let mut all = claimed(old, new);
        new.cut("/metadata/managedFields");
        let change = walk::compare(Some(self.schema), &without_record(old), new);
        let mine = self.own(&all).difference(&change.removed);
        let mine = mine.union(&change.written());
        let touched = change.written().union(&change.removed);
        for manager in &mut all {
            manager.fields = manager.fields.difference(&touched);
        }
        self.claim(&mut all, &mine, old);
        managers::write(new, all);
    }

    /// `live` after a server-side apply of `config`, with the owners recorded. If the object does not exist, `live` is null
    /// or has only its identity.
    pub fn apply(&self, live: &Value, config: &Value, force: bool) -> Result<Value> {
        let schema = Some(self.schema);
        let recorded = managers::read(live);
        let live_bare = without_record(live);
        let merged = walk::merge(schema, Some(&live_bare), Some(config));
        let last = self.own(&recorded);
        let mine = walk::collect(schema, config).difference(&managers::unowned());

        let mut all = recorded.clone();
        self.claim(&mut all, &mine, &Value::Null);
        let merged = self.release(merged, &last, &all);

        let change = walk::compare(schema, &live_bare, &merged);
        let others = |m: &&Manager| !m.identity.is(self.identity);
        let conflicts: Vec<_> = all
            .iter()
            .filter(others)
            .map(|m| (m, m.fields.intersection(&change.written())))
            .filter(|(_, fields)| !fields.is_empty())
            .collect();
        if !force && !conflicts.is_empty() {
            return Err(conflict(&conflicts));
        }
        let touched = change.written().union(&change.removed);
        let mut all = recorded.clone();
        for manager in &mut all {
            if !manager.identity.is(self.identity) {
                manager.fields = manager.fields.difference(&touched);
            }
        }
        self.claim(&mut all, &mine, live);
        let mut merged = merged;
        let unchanged = merged == live_bare && all_equal(&all, &recorded);
        managers::write(&mut merged, if unchanged { recorded } else { all });
        Ok(merged)
    }

    /// `merged` without the fields that the applier applied before, no longer applies, and nobody else owns.
    fn release(&self, merged: Value, last: &FieldSet, all: &[Manager]) -> Value {
        if last.is_empty() {
            return merged;
        }
        let schema = Some(self.schema);
        let with_structs = |set: &FieldSet| set.with_structs(schema);
        let paths = |value: &Value| with_structs(&walk::collect(schema, value));
        let without =
            |gone: &FieldSet| walk::remove(schema, &merged, gone).unwrap_or_else(|| merged.clone());

        let last = with_structs(last);
        let everything = paths(&merged);
        // Removes all of these fields, then restores those that are owned or never were the applier's.
        let owned = all
            .iter()
            .fold(FieldSet::default(), |set, m| set.union(&m.fields));
        let kept = paths(&without(&last)).union(&with_structs(&owned));
        let kept = paths(&without(&everything.difference(&kept)));
        without(&everything.difference(&kept).intersection(&last))
    }

    fn own(&self, all: &[Manager]) -> FieldSet {
        all.iter()
            .find(|m| m.identity.is(self.identity))
            .map(|m| m.fields.clone())
            .unwrap_or_default()
    }

    /// Makes the writer the owner of exactly `fields`; its time changes only with the set.
    fn claim(&self, all: &mut Vec<Manager>, fields: &FieldSet, old: &Value) {
        let fields = fields.difference(&managers::unowned());
        let before = managers::read(old)
            .into_iter()
            .find(|m| m.identity.is(self.identity));
        let time = before
            .filter(|m| m.fields == fields)
            .map_or_else(|| self.now.to_owned(), |m| m.time);
        all.retain(|m| !m.identity.is(self.identity));
        all.push(Manager {
            identity: self.identity.clone(),
            time,
            fields,
        });
    }
}

/// The managers before a write: those in the new object, otherwise the recorded ones. `[{}]` clears them.
fn claimed(old: &Value, new: &Value) -> Vec<Manager> {
    let named = new.items("/metadata/managedFields");
    if matches!(named, [only] if only.as_object().is_some_and(serde_json::Map::is_empty)) {
        return Vec::new();
    }
    match managers::read(new) {
        named if named.is_empty() => managers::read(old),
        named => named,
    }
}

fn without_record(value: &Value) -> Value {
    let mut bare = value.clone();
    object(&mut bare);
    bare.cut("/metadata/managedFields");
    bare
}

fn all_equal(left: &[Manager], right: &[Manager]) -> bool {
    let owners = |all: &[Manager]| all.iter().filter(|m| !m.fields.is_empty()).count();
    owners(left) == owners(right)
        && left
            .iter()
            .filter(|m| !m.fields.is_empty())
            .all(|m| right.contains(m))
}

fn conflict(conflicts: &[(&Manager, FieldSet)]) -> Failure {
    let causes: Vec<_> = conflicts
        .iter()
        .flat_map(|(manager, fields)| {
            let by = manager.identity.printed();
            fields
                .paths()
                .into_iter()
                .map(move |path| (by.clone(), path))
        })
        .collect();
    let message = match causes.as_slice() {
        [(by, path)] => format!("Apply failed with 1 conflict: conflict with {by}: {path}"),
        many => {
            let lines: Vec<_> = conflicts
                .iter()
                .map(|(manager, fields)| {
                    let paths = fields.paths().join("\n- ");
                    format!("conflicts with {}:\n- {paths}", manager.identity.printed())
                })
                .collect();
            format!(
                "Apply failed with {} conflicts: {}",
                many.len(),
                lines.join("\n")
            )
        }
    };
    Failure::apply_conflict(message, &causes)
}
