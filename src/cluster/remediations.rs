//! Creates Remediations, records their status, changes them for a person, and reduces them to the limit of etcd.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::client::posting;
use super::{ErrorKind, FIELD_MANAGER, FIELD_MANAGER_CLI, WriteError, bounded};
use crate::api::remediation::{AlertRef, Remediation, RemediationStatus};

/// Attempts to change the alerts of a run while the controller writes to it: it writes several times as a run begins.
const MAX_ATTEMPTS: usize = 5;

/// The Remediations of the namespace of `run`.
fn api_of(client: &Client, run: &Remediation) -> Api<Remediation> {
    Api::namespaced(client.clone(), &run.namespace().unwrap_or_default())
}

fn object(name: &str) -> impl FnOnce() -> String {
    move || format!("Remediation {name}")
}

/// Creates `run` in its namespace, and returns it as stored. `manager` is the field manager.
pub async fn create(
    client: &Client,
    manager: &str,
    run: &Remediation,
) -> Result<Remediation, WriteError> {
    let params = posting(manager);
    let api = api_of(client, run);
    let call = api.create(&params, run);
    bounded("create", object(&run.name_any()), call).await
}

/// Replaces the status of `run`, unless the object was changed since it was read. If it is too large for etcd, its labels
/// and annotations are removed, and the status must be recorded again.
pub async fn record(
    client: &Client,
    mut run: Remediation,
    status: RemediationStatus,
) -> Result<Remediation, WriteError> {
    run.status = Some(status);
    run.metadata.managed_fields = None;
    let params = posting(FIELD_MANAGER);
    let (api, name) = (api_of(client, &run), run.name_any());
    let call = api.replace_status(&name, &params, &run);
    match bounded("record the status of", object(&name), call).await {
        Err(error) if error.kind() == ErrorKind::TooLarge => {
            make_room(&api, &run).await?;
            Err(error)
        }
        written => written,
    }
}

/// Removes the labels and annotations of a run that with its status is too large for etcd: only they are unbounded, and a
/// run that cannot be recorded neither proceeds nor ends.
async fn make_room(api: &Api<Remediation>, run: &Remediation) -> Result<(), WriteError> {
    let name = run.name_any();
    if run.labels().is_empty() && run.annotations().is_empty() {
        return Ok(());
    }
    tracing::warn!(
        run = name,
        "too large: its labels and annotations are removed"
    );
    let mut patch = json!({ "metadata": { "resourceVersion": run.resource_version() } });
    without_labels(&mut patch);
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    let call = api.patch(&name, &params, &patch);
    bounded("remove labels and annotations of", object(&name), call)
        .await
        .map(drop)
}

fn without_labels(patch: &mut Value) {
    patch["metadata"]["labels"] = Value::Null;
    patch["metadata"]["annotations"] = Value::Null;
}

/// Merges a person's `patch` into `run`, in whichever version, as the controller writes to it all the time. If the object
/// would be too large for etcd, labels and annotations are removed as well. Another object with that name is a conflict.
pub async fn change(
    client: &Client,
    run: &Remediation,
    mut patch: Value,
) -> Result<(), WriteError> {
    patch["metadata"]["uid"] = Value::from(run.uid());
    let api = api_of(client, run);
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER_CLI.to_owned()),
        ..PatchParams::default()
    };
    let name = run.name_any();
    let merge = async |patch: &Value| {
        let patch = Patch::Merge(patch);
        let call = api.patch(&name, &params, &patch);
        bounded("change", object(&name), call).await.map(drop)
    };
    match merge(&patch).await {
        Err(error) if error.kind() == ErrorKind::TooLarge => {
            without_labels(&mut patch);
            merge(&patch).await
        }
        changed => changed,
    }
}

/// Changes the alerts of a run by `change`, which returns `None` for no change. Returns whether the run exists.
pub async fn change_alerts(
    client: &Client,
    namespace: &str,
    name: &str,
    change: impl Fn(&[AlertRef]) -> Option<Vec<AlertRef>>,
) -> Result<bool, WriteError> {
    let api: Api<Remediation> = Api::namespaced(client.clone(), namespace);
    for _ in 0..MAX_ATTEMPTS {
        match try_to_change_alerts(&api, name, &change).await {
            // The controller wrote at the same time.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) if error.kind() == ErrorKind::TooLarge => break,
            other => return other,
        }
    }
    // The run exists; the change of its alerts may be lost.
    Ok(true)
}

async fn try_to_change_alerts(
    api: &Api<Remediation>,
    name: &str,
    change: impl Fn(&[AlertRef]) -> Option<Vec<AlertRef>>,
) -> Result<bool, WriteError> {
    let Some(run) = bounded("get", object(name), api.get_opt(name)).await? else {
        return Ok(false);
    };
    let Some(alerts) = change(&run.spec.trigger.alerts) else {
        return Ok(true);
    };
    let patch = json!({
        "metadata": { "resourceVersion": run.metadata.resource_version },
        "spec": { "trigger": { "alerts": alerts } }
    });
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(patch);
    let call = api.patch(name, &params, &patch);
    bounded("update the alerts of", object(name), call).await?;
    Ok(true)
}
