//! The status page: renders a [`View`] as HTML that works without JavaScript. Pure.
//!
//! The template escapes all text from the cluster, so that no name or message can become markup.

mod about;
mod advice;
mod draw;
mod holds;
pub(super) mod live;
mod locks;
mod operations;
mod picture;
mod runs;
mod spark;
mod stuck;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use crate::config::Link;
use crate::findings::{FindingKind, storage};
use crate::metrics::AlertSource;
use crate::state::history::History;
use crate::state::view::View;
use crate::text::humanize;

/// Style sheet of the page.
pub const STYLE: &str = include_str!("page.css");

/// The script that keeps it live.
pub const SCRIPT: &str = include_str!("page.js");

/// Its icon.
pub const FAVICON: &str = include_str!("favicon.svg");

/// Facts beside the view.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The cluster, as a person may know it.
    pub cluster: String,
    /// Namespace of the Remediations.
    pub namespace: String,
    /// Identity of this replica.
    pub replica: String,
    /// Whether this replica leads.
    pub leads: bool,
    /// Links of the configuration.
    pub links: Vec<Link>,
    /// The latest alert since the process started.
    pub last_alert: Option<(AlertSource, Timestamp)>,
    /// Counts of the last day.
    pub history: History,
}

/// Most rows of one table; the rest is only in the JSON.
const MOST: usize = 100;

/// The whole page, ages counted until `now`.
pub fn document(view: &View, facts: &Facts, now: Timestamp) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title(view)) }
                link rel="stylesheet" href="page.css";
                link rel="icon" type="image/svg+xml" href="favicon.svg";
                script src="page.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to findings" }
                header {
                    h1 { "locksmith" }
                    p #live { "as of " (time(view.at)) }
                }
                // For those who hear the page: only a changed title is told.
                p #said.skip role="status" {}
                main #main tabindex="-1" { (content(view, facts, now)) }
                footer {
                    p { "Read-only. Decide with " code { "locksmith approve" } ", " code { "reject" } ", " code { "abort" } " and " code { "release" } "." }
                    nav aria-label="Links" {
                        @for link in &facts.links { a href=(link.url) rel="noreferrer" { (link.name) } " " }
                        a href="metrics" { "metrics" } " "
                        a href="api/v1/status" { "status as JSON" } " "
                        a href="api/v1/openapi.json" { "OpenAPI" }
                    }
                }
            }
        }
    }
}

/// The part that changes: the inside of `main`.
pub fn content(view: &View, facts: &Facts, now: Timestamp) -> Markup {
    html! {
        (summary(view, facts, now))
        (advice::banner(view, facts, now))
        (doubts(view))
        (runs::under_way(view, now))
        (locks::sections(view, now))
        (stuck::sections(view, now))
        (holds::section(view, now))
        (runs::ended(view, now))
        (about::section(view, facts, now))
    }
}

/// Page title: the number of stuck objects first, as it is cut in a tab.
pub fn title(view: &View) -> String {
    match operations::stuck(view) {
        0 if view.is_certain() => "nothing stuck · locksmith".to_owned(),
        0 => "incomplete · locksmith".to_owned(),
        stuck => format!("{stuck} stuck · locksmith"),
    }
}

fn summary(view: &View, facts: &Facts, now: Timestamp) -> Markup {
    let (verdict, tone) = match operations::stuck(view) {
        0 if view.is_certain() => ("Nothing is stuck".to_owned(), "good"),
        0 => ("Nothing stuck was found".to_owned(), "ask"),
        stuck => (format!("{stuck} stuck"), "bad"),
    };
    let oldest = view.stuck().map(|finding| finding.since).min();
    let range = spark::Range::of(&facts.history, now);
    html! {
        section aria-labelledby="verdict" {
            h2 #verdict.(tone) { (verdict) }
            dl.tiles {
                @for kind in FindingKind::STUCK {
                    div.counted {
                        dt { (kind.noun()) "s" }
                        dd { (view.stuck_of(kind).len()) (spark::spark(kind, &facts.history, range, view, now)) }
                    }
                }
                div { dt { "storage" } dd { (humanize::size(storage::bytes(&view.findings))) } }
                div { dt { "oldest" } dd { (oldest.map_or_else(|| "-".to_owned(), |since| humanize::span(since, now))) } }
                div { dt { "mode" } dd { (view.mode.as_str()) } }
                @if let Some(breaker) = view.breaker().filter(|breaker| breaker.failures > 0) {
                    div {
                        dt { "breaker" }
                        dd.bad[breaker.open] {
                            @if breaker.open { "tripped: " }
                            (humanize::count(breaker.failures as usize, "failure"))
                        }
                    }
                }
            }
            (spark::caption(&facts.history, range))
        }
    }
}

/// Collections that could not be read, and doubts: they make everything else a lower bound.
fn doubts(view: &View) -> Markup {
    let doubts: Vec<_> = view.freshness.unsynced().collect();
    html! {
        @if !doubts.is_empty() || !view.doubts.is_empty() {
            section aria-labelledby="unseen" {
                h2 #unseen.ask { "Not everything could be read" }
                p { "More may be stuck than is listed here." }
                ul {
                    @for (kind, state) in doubts {
                        li {
                            (kind.as_str()) ": " (state.problem().unwrap_or("no response yet"))
                        }
                    }
                    @for doubt in &view.doubts {
                        li { (doubt.subject) ": " (doubt.message) }
                    }
                }
            }
        }
    }
}

/// The head of a table. Roles are explicit throughout: browsers drop them where rows are laid out as cards.
fn head(columns: &[&str]) -> Markup {
    html! {
        thead role="rowgroup" {
            tr role="row" { @for column in columns { th role="columnheader" scope="col" { (column) } } }
        }
    }
}

/// A note on the rows left out of a table of that many rows.
fn more(rows: usize) -> Markup {
    html! {
        @if let Some(left_out) = rows.checked_sub(MOST).filter(|rows| *rows > 0) {
            p { "and " (left_out) " more: " a href="api/v1/status" { "all of them as JSON" } }
        }
    }
}

fn time(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (clock(at)) } }
}

/// A time as the page writes it.
pub fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
