//! Operation locks: the picture of each driver, and one row per lock with everything that waits for it.

use std::cmp::Reverse;

use jiff::Timestamp;
use maud::{Markup, html};

use super::operations::{self, AtDriver, LockedBy};
use super::picture::{self, shortened};
use super::stuck::{about, evidence};
use super::{MOST, draw, head};
use crate::findings::{Finding, FormingLocks};
use crate::state::view::View;
use crate::text::humanize;

/// Most drivers with a picture.
const MAX_PICTURES: usize = 4;

/// Most waiting objects listed per lock.
const MAX_WAITING: usize = 5;

pub(super) fn sections(view: &View, now: Timestamp) -> Markup {
    let drivers = operations::by_driver(view);
    let locked: Vec<_> = drivers.values().flat_map(|at| &at.locks).collect();
    let mut named: Vec<_> = drivers
        .iter()
        .filter_map(|(driver, at)| Some(((*driver)?, at)))
        .collect();
    named.sort_by_key(|(_, at)| Reverse(at.locks.len() + at.unlocked.len()));
    let undrawn = named.len().saturating_sub(MAX_PICTURES);
    let pictures: Vec<_> = named.into_iter().take(MAX_PICTURES).enumerate().collect();
    html! {
        @for of in &view.forming_locks { (forming(of, now)) }
        @if !pictures.is_empty() {
            section aria-labelledby="pictures" {
                h2 #pictures { "Where operations are stuck" }
                @for (index, (driver, at)) in pictures { (figure(view, driver, at, index, now)) }
                @if undrawn > 0 { p { "and " (humanize::count(undrawn, "more driver")) ", listed below." } }
            }
        }
        @if !locked.is_empty() {
            section aria-labelledby="operation_lock" {
                h2 #operation_lock { "Operation locks" }
                div.wide tabindex="0" role="region" aria-labelledby="operation_lock" {
                    table role="table" {
                        (head(&["Lock", "For", "Size", "Waiting for it"]))
                        tbody role="rowgroup" { @for lock in locked.iter().take(MOST) { (row(lock, now)) } }
                    }
                }
                (super::more(locked.len()))
            }
        }
    }
}

/// One line about locks that are forming.
fn forming(of: &FormingLocks, now: Timestamp) -> Markup {
    html! {
        p {
            (humanize::count(of.count, "operation lock")) " of " (of.driver) " may be forming: refused for "
            (humanize::span(of.since, now)) ", reported as stuck "
            @if of.due > now { "in " (humanize::span(now, of.due)) } @else { "with the next refusal" } "."
        }
    }
}

fn figure(view: &View, driver: &str, at: &AtDriver<'_>, index: usize, now: Timestamp) -> Markup {
    let provisioner = view.provisioners.iter().find(|it| *it.driver == *driver);
    let title = at.summary(driver).unwrap_or_else(|| {
        let stuck = humanize::count(at.unlocked.len(), "operation");
        format!("{stuck} of {driver} stuck without a known lock")
    });
    html! {
        @if let Some(picture) = picture::picture(at, provisioner, now) {
            figure {
                figcaption { (title) @if let Some(pod) = picture.pod() { span.narrow-only { "Provisioner: " (pod) } } }
                (draw::drawings(&picture, &title, &format!("picture-{index}")))
                @if picture.left_out > 0 {
                    p.caption { "and " (humanize::count(picture.left_out, "more operation")) ", not drawn" }
                }
            }
        }
    }
}

fn row(locked: &LockedBy<'_>, now: Timestamp) -> Markup {
    let lock = locked.lock;
    let own = [lock];
    let waiting: &[&Finding] = if locked.waiting.is_empty() {
        &own
    } else {
        &locked.waiting
    };
    let key = humanize::plain(&locked.key.0);
    html! {
        tr role="row" data-about=(about(lock)) {
            th role="rowheader" scope="row" {
                code title=(key) { (shortened(&key)) }
                @if let Some(driver) = &lock.driver { small { (lock.what.reason().replace('_', " ")) ", " (driver) } }
            }
            td role="cell" data-label="for" { (humanize::span(lock.since, now)) }
            td role="cell" data-label="size" { (humanize::size(lock.bytes)) }
            td role="cell" {
                ul.waiting {
                    @for finding in waiting.iter().take(MAX_WAITING) {
                        li {
                            @match &finding.object {
                                Some(object) => (humanize::place(object)),
                                None => "unknown",
                            }
                        }
                    }
                    @if let Some(more) = waiting.len().checked_sub(MAX_WAITING).filter(|more| *more > 0) {
                        li { "and " (more) " more" }
                    }
                }
                (evidence(lock))
            }
        }
    }
}
