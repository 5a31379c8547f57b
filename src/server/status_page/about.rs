//! Sources of the page: cluster, drivers, logs, leader, version, last alert. Pure.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{Facts, time};
use crate::config::Mode;
use crate::state::view::{ProvisionerView, View};
use crate::text::humanize;

/// Most drivers listed; the others are counted.
const MAX_DRIVERS: usize = 20;

pub(super) fn section(view: &View, facts: &Facts, now: Timestamp) -> Markup {
    let kinds = view.objects.iter().filter(|(_, number)| **number > 0);
    let kinds = kinds.map(|(kind, number)| format!("{} {number}", kind.as_str()));
    let objects: Vec<_> = kinds.collect();
    html! {
        section aria-labelledby="observed" {
            h2 #observed { "Observed" }
            dl.facts {
                dt { "Cluster" } dd { (or_dash(&facts.cluster)) }
                dt { "Drivers" }
                dd {
                    @if view.provisioners.is_empty() { "none in use" }
                    @for provisioner in view.provisioners.iter().take(MAX_DRIVERS) {
                        div { (driver(provisioner)) }
                    }
                    @if let Some(more) = view.provisioners.len().checked_sub(MAX_DRIVERS).filter(|more| *more > 0) {
                        div { "and " (more) " more" }
                    }
                }
                dt { "Objects" } dd { (or_dash(&objects.join(", "))) }
                dt { "Last alert" }
                dd {
                    @match facts.last_alert {
                        Some((source, at)) => { (humanize::span(at, now)) " ago by " (source.as_str()) ", " (time(at)) }
                        None => "none since this process started",
                    }
                }
                dt { "Replica" }
                dd {
                    (or_dash(&facts.replica)) ": "
                    @match (view.mode, facts.leads) {
                        (Mode::Observe, _) => "mode observe, so it does not stand for leader",
                        (_, true) => "the leader",
                        (_, false) => "standby; another replica leads, or none does",
                    }
                }
                dt { "Version" } dd { (env!("CARGO_PKG_VERSION")) }
            }
        }
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// A driver, its provisioner, and the logs that are read.
fn driver(provisioner: &ProvisionerView) -> Markup {
    let logs = provisioner.followed + provisioner.unreadable.len() + provisioner.unopened;
    html! {
        (provisioner.driver) ": "
        @match (&provisioner.workload, &provisioner.problem) {
            (Some(workload), _) => {
                (humanize::place(workload)) ", "
                @if logs == 0 {
                    "watched by Events and statuses"
                } @else {
                    (provisioner.followed) " of " (humanize::count(logs, "pod log")) " followed"
                }
            }
            (None, Some(problem)) => span.ask { "provisioner not found: " (humanize::plain(problem)) },
            (None, None) => span.ask { "provisioner not found" },
        }
    }
}
