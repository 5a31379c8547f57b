//! `locksmith evidence`: prints the objects a run deleted, in a form that `kubectl create -f -` accepts.

use std::process::ExitCode;

use serde_json::Value;

use super::args::RunArgs;
use super::output::{List, ResultArgs};
use crate::api::ObjectKind;
use crate::api::remediation::{EvidenceRecord, Remediation};

/// Print the objects that a run deleted, for `kubectl create -f -`
///
/// Prints a List, in YAML unless -o names another format.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Print all evidence unchanged, including pods, leases, contents, Events and statuses
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    result: ResultArgs,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (_, run) = args.run.read().await?;
    let items = if args.all { all(&run) } else { creatable(&run) };
    let list = List::of(&items);
    // The text is YAML: there is no shorter form.
    let yaml = serde_saphyr::to_string(&list)?;
    args.result.print(&list, || yaml)?;
    Ok(ExitCode::SUCCESS)
}

fn evidence(run: &Remediation) -> impl Iterator<Item = &EvidenceRecord> {
    run.status.iter().flat_map(|status| &status.evidence)
}

/// Every record, unchanged.
fn all(run: &Remediation) -> Vec<Value> {
    let kept = evidence(run).map(|record| serde_json::from_str(&record.content));
    kept.map(Result::unwrap_or_default).collect()
}

/// The deleted objects without fields set by the API server. Pods are left out, as their controllers recreate them, and leases,
/// as they still exist.
fn creatable(run: &Remediation) -> Vec<Value> {
    let deleted = evidence(run).filter(|record| {
        matches!(
            record.object.kind,
            ObjectKind::ReplicationSource | ObjectKind::VolumeSnapshot
        )
    });
    let items = deleted.filter_map(|record| {
        let item = serde_json::from_str(&record.content)
            .ok()
            .and_then(as_created);
        if item.is_none() {
            anstream::eprintln!(
                "warning: {} was too large to record; only its name is known",
                record.object
            );
        }
        item
    });
    items.collect()
}

/// The object of one record as its owner would create it, or `None` if its spec was not recorded.
fn as_created(mut record: Value) -> Option<Value> {
    /// Metadata that the API server sets, or refuses in a new object.
    const SERVER_MADE: [&str; 8] = [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    let mut object = record.get_mut("object")?.take();
    object.get("spec")?;
    let fields = object.as_object_mut()?;
    fields.remove("status");
    let metadata = fields.get_mut("metadata")?.as_object_mut()?;
    metadata.retain(|field, _| !SERVER_MADE.contains(&&**field));
    Some(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::api::ObjectKey;
    use crate::api::remediation::RemediationStatus;
    use crate::model::fixture::run;

    fn record(kind: ObjectKind, object: &Value) -> EvidenceRecord {
        EvidenceRecord {
            object: ObjectKey {
                kind,
                namespace: "media".into(),
                name: "sonarr".into(),
                uid: "u".into(),
            },
            resource_version: "7".to_owned(),
            content: json!({ "object": object, "content": null, "events": [] }).to_string(),
        }
    }

    #[test]
    fn evidence_omits_fields_set_by_the_server() {
        let source = json!({
            "apiVersion": "volsync.backube/v1alpha1",
            "kind": "ReplicationSource",
            "metadata": {
                "name": "sonarr", "namespace": "media", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2026-11-01T02:00:00Z", "labels": {"app": "sonarr"}
            },
            "spec": {"sourcePVC": "sonarr", "restic": {"repository": "secret", "retain": {"daily": 7}}},
            "status": {"lastSyncTime": "2026-11-01T02:00:00Z"},
        });
        let named = json!({"kind": "VolumeSnapshot", "metadata": {"name": "huge"}});
        let mut run = run("night");
        run.status = Some(RemediationStatus {
            evidence: vec![
                record(ObjectKind::Pod, &json!({"kind": "Pod", "spec": {}})),
                record(ObjectKind::ReplicationSource, &source),
                record(ObjectKind::VolumeSnapshot, &named),
            ],
            ..RemediationStatus::default()
        });
        let expected = json!({
            "apiVersion": "volsync.backube/v1alpha1",
            "kind": "ReplicationSource",
            "metadata": {"name": "sonarr", "namespace": "media", "labels": {"app": "sonarr"}},
            "spec": source["spec"],
        });
        assert_eq!(creatable(&run), [expected]);
        assert_eq!(all(&run).len(), 3);
    }
}
