//! Holds: one row per SnapshotHold, with everything it holds.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{MOST, head, more};
use crate::api::ObjectKind;
use crate::state::view::{HoldView, View};
use crate::text::humanize;

pub(super) fn section(view: &View, now: Timestamp) -> Markup {
    let holds = by_hold(view);
    html! {
        section aria-labelledby="held" {
            h2 #held { "Held (snapshots refused)" }
            @if holds.is_empty() {
                p { "Nothing is held." }
            } @else {
                div.wide tabindex="0" role="region" aria-labelledby="held" {
                    table role="table" {
                        (head(&["By", "For", "Ends", "Held"]))
                        tbody role="rowgroup" { @for hold in holds.iter().take(MOST) { (row(hold, now)) } }
                    }
                }
                (more(holds.len()))
            }
            @if let Some(why) = &view.hold_policy {
                p.ask { "Holds may not be in force: " (why) }
            }
        }
    }
}

/// The held objects of each SnapshotHold, the hold that ends first before the others.
fn by_hold(view: &View) -> Vec<Vec<&HoldView>> {
    let mut held: Vec<_> = view.holds.iter().collect();
    held.sort_by_key(|held| (held.until, &held.hold, &held.by, held.since));
    let same = |a: &&HoldView, b: &&HoldView| {
        (&a.hold, &a.by, a.since, a.until) == (&b.hold, &b.by, b.since, b.until)
    };
    held.chunk_by(same).map(<[_]>::to_vec).collect()
}

fn row(held: &[&HoldView], now: Timestamp) -> Markup {
    let Some(first) = held.first() else {
        return html! {};
    };
    let is_class = |held: &&&HoldView| held.object.kind == ObjectKind::VolumeSnapshotClass;
    let classes = held.iter().filter(is_class).count();
    let sources = held.len() - classes;
    html! {
        tr role="row" data-about=(format!("hold {} {}", first.hold, first.by)) {
            th role="rowheader" scope="row" {
                (first.by)
                @if let Some(reason) = &first.reason { ": " (humanize::plain(reason)) }
            }
            td role="cell" data-label="for" { (humanize::span(first.since, now)) }
            td role="cell" data-label="ends" {
                @if first.until < now { "ended" }
                @else { "in " (humanize::span(now, first.until)) " at the latest" }
            }
            td role="cell" {
                details {
                    summary {
                        @if sources > 0 { (humanize::count(sources, "source")) }
                        @if sources > 0 && classes > 0 { ", " }
                        @if classes > 0 { (classes) @if classes == 1 { " snapshot class" } @else { " snapshot classes" } }
                    }
                    ul {
                        @for held in held.iter().take(MOST) { li { (humanize::place(&held.object)) } }
                    }
                    (more(held.len()))
                }
            }
        }
    }
}
