//! Replaces the person who approves, if the user does not.

use std::time::Duration;

use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;

use super::plot::Plot;
use super::story;
use crate::api::remediation::{Decision, Remediation};
use crate::run_progress::Line;

/// Time until a person decides.
const THINKS: Duration = Duration::from_secs(6);

/// Runs until dropped, or until a plan is approved.
pub(super) async fn run(plot: Plot, speed: f64, client: Client, lines: mpsc::Sender<Line>) {
    if !plot.asks_a_person() {
        return std::future::pending().await;
    }
    let api: Api<Remediation> = Api::all(client.clone());
    loop {
        tokio::time::sleep(THINKS.div_f64(speed)).await;
        let Ok(runs) = api.list(&ListParams::default()).await else {
            continue;
        };
        for run in &runs {
            if approve(&client, run).await {
                drop(lines.send(story::approved(&run.name_any())).await);
                return;
            }
        }
    }
}

/// Approves the plan that waits for approval, as `locksmith approve` does.
async fn approve(client: &Client, run: &Remediation) -> bool {
    let status = run.status.as_ref();
    let plan = status.and_then(|status| status.plan.as_ref());
    let waits = status.is_some_and(|status| {
        let mut gates = status.gates.iter();
        gates.any(|gate| gate.gate == "approval" && !gate.open)
    });
    let (Some(plan), true) = (plan, waits) else {
        return false;
    };
    let api: Api<Remediation> =
        Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let approval = json!({
        "decision": Decision::Approved,
        "plan": plan.hash,
        "by": "demo",
        "at": jiff::Timestamp::now(),
    });
    let patch = json!({
        "metadata": {"resourceVersion": run.resource_version()},
        "spec": {"approval": approval},
    });
    let params = PatchParams {
        field_manager: Some("locksmith-demo".to_owned()),
        ..PatchParams::default()
    };
    api.patch(&run.name_any(), &params, &Patch::Merge(patch))
        .await
        .is_ok()
}
