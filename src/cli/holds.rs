//! `locksmith holds`: lists every SnapshotHold.

use std::cmp::Reverse;
use std::process::ExitCode;

use jiff::Timestamp;
use kube::ResourceExt;

use super::args::NamespaceArgs;
use super::hold::namespace_of_holds;
use super::output::{self, List, ListArgs};
use super::table::{Column, Layout};
use super::{ClusterArgs, FAILED};
use crate::api::ObjectKind;
use crate::api::hold::SnapshotHold;
use crate::cluster::{self, CALL_TIMEOUT};
use crate::text::humanize::{count, kubectl_name, plain, span};

/// List all holds, newest first
///
/// A hold ends at its deadline, or with `locksmith release NAME`. Exits with 0 if the API server enforces the holds or there is
/// none, and 2 if it does not or they cannot be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    only: NamespaceArgs,
    #[command(flatten)]
    list: ListArgs,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.cluster.client(CALL_TIMEOUT).await?;
    let mut holds = cluster::hold::list(&client, None).await?;
    if let Some(namespace) = args.only.namespace() {
        holds.retain(|hold| concerns(hold, namespace));
    }
    holds.sort_by_key(|hold| Reverse(hold.creation_timestamp()));
    let list = &args.list;
    if let Some(data) = list.output.data(&List::of(&holds))? {
        output::print(data)?;
    } else {
        let table = || table(&holds, Timestamp::now(), list.layout());
        output::print(list.lines(&holds, "no holds", name, table))?;
    }
    if holds.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let problem = match namespace_of_holds(&client).await {
        Ok(enforced) => not_enforced(&holds, &enforced, Timestamp::now()),
        Err(error) => Some(crate::text::error_chain(&*error)),
    };
    if let Some(problem) = problem {
        anstream::eprintln!("error: the holds may not be in force: {}", plain(&problem));
        return Ok(ExitCode::from(FAILED));
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a hold is in the namespace, or affects snapshots there; a hold of a class affects every namespace.
fn concerns(hold: &SnapshotHold, namespace: &str) -> bool {
    let spec = &hold.spec;
    let of_source = |place: &String| place.split('/').next() == Some(namespace);
    hold.namespace().as_deref() == Some(namespace)
        || spec.sources.values().any(of_source)
        || !spec.snapshot_classes.is_empty()
}

/// The holds that have not ended, in other namespaces than the enforced one, as a problem.
fn not_enforced(holds: &[SnapshotHold], enforced: &str, now: Timestamp) -> Option<String> {
    let elsewhere = |hold: &&SnapshotHold| {
        hold.namespace().as_deref() != Some(enforced) && now <= hold.spec.until
    };
    let names: Vec<_> = holds
        .iter()
        .filter(elsewhere)
        .map(|hold| {
            let namespace = hold.namespace().unwrap_or_default();
            format!("{namespace}/{}", hold.name_any())
        })
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "the API server enforces only those in namespace {enforced}, not {}",
            names.join(", ")
        )
    })
}

/// The name as kubectl prints it.
pub fn name(hold: &SnapshotHold) -> String {
    kubectl_name(ObjectKind::SnapshotHold, &hold.name_any())
}

fn table(holds: &[SnapshotHold], now: Timestamp, layout: Layout) -> Vec<String> {
    let rows = holds.iter().map(|hold| {
        let created = hold.creation_timestamp().map_or(now, |at| at.0);
        vec![
            hold.namespace().unwrap_or_default(),
            hold.name_any(),
            held(hold),
            span(created, now),
            ends(hold.spec.until, now),
            plain(&by(hold)),
        ]
    });
    let columns = [
        Column::Text("NAMESPACE"),
        Column::Text("NAME"),
        Column::Text("HELD"),
        Column::Number("AGE"),
        Column::Text("ENDS"),
        Column::Text("BY"),
    ];
    layout.lines(&columns, rows.collect())
}

/// The number of sources, and the VolumeSnapshotClasses.
fn held(hold: &SnapshotHold) -> String {
    let (sources, classes) = (hold.spec.sources.len(), &hold.spec.snapshot_classes);
    match (sources, classes.is_empty()) {
        (_, true) => count(sources, "source"),
        (0, false) => plain(&format!("class {}", classes.join(", "))),
        (_, false) => plain(&format!(
            "{}, class {}",
            count(sources, "source"),
            classes.join(", ")
        )),
    }
}

/// When a hold ends: `in 5m`, or `ended`.
pub fn ends(until: Timestamp, now: Timestamp) -> String {
    if until < now {
        "ended".to_owned()
    } else {
        format!("in {}", span(now, until))
    }
}

/// The run or the person, with the reason.
fn by(hold: &SnapshotHold) -> String {
    let spec = &hold.spec;
    let by = spec.remediation.as_deref().or(spec.held_by.as_deref());
    let by = by.unwrap_or("-");
    match &spec.reason {
        Some(reason) => format!("{by}: {reason}"),
        None => by.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::fixture::at;

    fn hold(name: &str, spec: &serde_json::Value) -> SnapshotHold {
        let hold = json!({
            "apiVersion": "locksmith.dev/v1alpha1",
            "kind": "SnapshotHold",
            "metadata": {"name": name, "namespace": "locksmith", "creationTimestamp": at(-10)},
            "spec": spec,
        });
        serde_json::from_value(hold).unwrap()
    }

    #[test]
    fn holds_are_listed_with_their_makers_and_ends() {
        let holds = [
            hold(
                "night",
                &json!({"remediation": "night", "until": at(20), "sources": {"u1": "media/a", "u2": "media/b"}}),
            ),
            hold(
                "planned-x",
                &json!({"heldBy": "anna", "reason": "new\ndisks", "until": at(-1), "snapshotClasses": ["rbd"]}),
            ),
            hold(
                "both",
                &json!({"until": at(90), "sources": {"u1": "media/a"}, "snapshotClasses": ["rbd", "nfs"]}),
            ),
        ];
        let layout = |headers| Layout {
            width: None,
            headers,
        };
        let lines = table(&holds, at(0), layout(true));
        let expected = [
            "NAMESPACE  NAME       HELD                       AGE  ENDS    BY",
            "locksmith  night      2 sources                  10m  in 20m  night",
            "locksmith  planned-x  class rbd                  10m  ended   anna: new disks",
            "locksmith  both       1 source, class rbd, nfs   10m  in 90m  -",
        ];
        let bare = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let (lines, expected) = (lines.iter().map(|line| bare(line)), expected.map(bare));
        assert_eq!(lines.collect::<Vec<_>>(), expected);
        assert_eq!(table(&holds, at(0), layout(false)).len(), 3);
        assert_eq!(name(&holds[0]), "snapshothold.locksmith.dev/night");
        assert_eq!(not_enforced(&holds, "locksmith", at(0)), None);
        let problem = not_enforced(&holds[..2], "backup", at(0)).unwrap();
        assert!(
            problem.ends_with("in namespace backup, not locksmith/night"),
            "{problem}"
        );
        let in_media: Vec<_> = holds.iter().map(|hold| concerns(hold, "media")).collect();
        assert_eq!(in_media, [true, true, true]);
        let in_ai: Vec<_> = holds.iter().map(|hold| concerns(hold, "ai")).collect();
        assert_eq!(in_ai, [false, true, true]);
        assert!(concerns(&holds[0], "locksmith"));
    }
}
