//! Findings with their reasons, each with the chain from the object to its cause.

use jiff::Timestamp;
use maud::{Markup, html};

use super::operations::LOCKS_OF_AN_OBJECT;
use super::{MOST, head, more};
use crate::api::{LockKey, ObjectKey, ObjectKind};
use crate::findings::{Finding, FindingKind, FindingReason};
use crate::state::view::View;
use crate::text::humanize;

/// A table for each kind of finding that there is; locks have [their own](super::locks).
pub(super) fn sections(view: &View, now: Timestamp) -> Markup {
    html! {
        @for kind in FindingKind::STUCK.into_iter().filter(|kind| *kind != FindingKind::OperationLock) {
            @let findings = view.stuck_of(kind);
            @if !findings.is_empty() {
                section aria-labelledby=(kind.as_str()) {
                    h2 #(kind.as_str()) { (kind.title()) }
                    div.wide tabindex="0" role="region" aria-labelledby=(kind.as_str()) {
                        table role="table" {
                            (head(&["Object", "Reason", "For", "Size", "Chain"]))
                            tbody role="rowgroup" { @for finding in findings.iter().take(MOST) { (row(view, finding, now)) } }
                        }
                    }
                    (more(findings.len()))
                }
            }
        }
    }
}

fn row(view: &View, finding: &Finding, now: Timestamp) -> Markup {
    html! {
        tr role="row" data-about=(about(finding)) {
            th role="rowheader" scope="row" {
                @match &finding.object {
                    Some(object) => { (object.namespace) "/" (humanize::object(object)) }
                    None => "unknown",
                }
                @if let Some(driver) = &finding.driver { small { (driver) } }
            }
            td role="cell" { (finding.what.reason().replace('_', " ")) }
            td role="cell" data-label="for" { (humanize::span(finding.since, now)) }
            td role="cell" data-label="size" { (humanize::size(finding.bytes)) }
            td role="cell" { (chain(view, finding)) (evidence(finding)) }
        }
    }
}

/// A stable key of a row, by which the script finds it again.
pub(super) fn about(finding: &Finding) -> String {
    let object = finding.object.as_ref();
    let uid = object.map_or_else(String::new, |object| object.uid.to_string());
    let lock = match &finding.what {
        FindingReason::OperationLock(key) => &*key.0,
        _ => "",
    };
    format!("{} {uid} {lock}", finding.what.kind().as_str())
}

/// The chain from the requesting object to the lock, and to the claim that holds it up or waits for it.
fn chain(view: &View, finding: &Finding) -> Markup {
    let mut objects: Vec<_> = finding.object.iter().chain(&finding.chain).collect();
    let locks = locks(view, finding, &objects);
    objects.sort_by_key(|object| place(object.kind));
    let (before, after): (Vec<&ObjectKey>, Vec<_>) = objects
        .into_iter()
        .partition(|object| object.kind != ObjectKind::PersistentVolumeClaim);
    let link = |object: &ObjectKey| {
        let itself = finding.object.as_ref() == Some(object);
        html! { li { @if itself { strong { (humanize::object(object)) } } @else { (humanize::object(object)) } } }
    };
    html! {
        ol.chain {
            @for object in before { (link(object)) }
            @for lock in locks { li.bad { "lock " code { (lock.0) } } }
            @for object in after { (link(object)) }
        }
    }
}

/// Where in a chain a kind is drawn.
fn place(kind: ObjectKind) -> u8 {
    match kind {
        ObjectKind::ReplicationSource => 0,
        ObjectKind::VolumeSnapshot => 1,
        ObjectKind::VolumeSnapshotContent => 2,
        _ => 3,
    }
}

/// The locks that a finding is about, or that one of these objects waits for.
fn locks<'v>(view: &'v View, finding: &'v Finding, objects: &[&ObjectKey]) -> Vec<&'v LockKey> {
    if let FindingReason::OperationLock(key) = &finding.what {
        return vec![key];
    }
    let waiting =
        |object: &Option<ObjectKey>| object.as_ref().is_some_and(|it| objects.contains(&it));
    let locks = view.stuck().filter(|other| waiting(&other.object));
    locks
        .filter_map(|other| match &other.what {
            FindingReason::OperationLock(key) => Some(key),
            _ => None,
        })
        .take(LOCKS_OF_AN_OBJECT)
        .collect()
}

pub(super) fn evidence(finding: &Finding) -> Markup {
    html! {
        @if !finding.evidence.is_empty() {
            details {
                summary { "evidence" }
                ul { @for seen in &finding.evidence { li { (seen) } } }
            }
        }
    }
}
