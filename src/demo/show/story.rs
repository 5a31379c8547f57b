//! Lines of output about everything except the runs. Pure.

use std::net::SocketAddr;
use std::path::Path;

use super::plot::Plot;
use crate::demo::scenario::Jam;
use crate::run_progress::{Line, Tone};

pub(super) fn cluster(api: SocketAddr) -> Line {
    let text = format!("an API server in this process, http://{api}: 3 nodes, Rook-Ceph, VolSync");
    Line::plain("cluster", text)
}

pub(super) fn jam(jam: &Jam) -> Vec<Line> {
    let bad = |text: String| Line::new("", text, Tone::Bad);
    let apps = jam.running.len() + jam.stopped.len();
    vec![
        Line::plain(
            "apps",
            format!(
                "{apps} apps, backed up by {} ReplicationSources",
                jam.sources.len()
            ),
        ),
        Line::new(
            "jam",
            "Ceph hung for a while, and the driver's operation locks stayed behind:",
            Tone::Bad,
        ),
        bad(format!(
            "{} backups have stuck snapshots",
            jam.stuck_snapshots.len()
        )),
        bad(format!(
            "{} restores are refused, their claims stay Pending",
            jam.pending.len()
        )),
        bad(format!(
            "{} sources of deleted claims keep requesting snapshots",
            jam.orphaned.len()
        )),
    ]
}

pub(super) fn daemon(address: SocketAddr) -> Line {
    Line::plain("locksmith", format!("serves http://{address}, in mode act"))
}

pub(super) fn alert(plot: Plot, driver: &str) -> Line {
    let text = format!("{}{{driver=\"{driver}\"}} fires", plot.alertname());
    Line::new("alert", text, Tone::Bad)
}

pub(super) fn approved(run: &str) -> Line {
    Line::plain("person", format!("approves the plan of {run}"))
}

pub(super) fn stays_up() -> Line {
    Line::plain("running", "inspect it; press Ctrl-C to stop")
}

pub(super) fn ways_in(address: SocketAddr, kubeconfig: &Path, config: &Path) -> Vec<Line> {
    vec![
        Line::plain("status page", format!("http://{address}/")),
        Line::plain("metrics", format!("http://{address}/metrics")),
        Line::plain(
            "elsewhere",
            format!("export KUBECONFIG={}", kubeconfig.display()),
        ),
        Line::plain("", format!("export LOCKSMITH_CONFIG={}", config.display())),
        Line::plain("", "locksmith status; locksmith runs"),
        Line::plain(
            "",
            "kubectl get remediations,replicationsources,volumesnapshots -A",
        ),
    ]
}

/// Instructions for the user.
pub(super) fn your_turn(plot: Plot) -> Vec<Line> {
    if !plot.waits_for_you() {
        return Vec::new();
    }
    let ask = |label: &str, text: &str| Line::new(label, text, Tone::Ask);
    vec![
        ask("your turn", "nothing is done until you say so:"),
        ask("", "locksmith status; locksmith plan; locksmith run"),
    ]
}
