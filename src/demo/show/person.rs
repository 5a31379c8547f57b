//! Replaces the person who approves, if the user does not.

use std::collections::HashMap;
use std::time::Duration;

use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;

use super::plot::Plot;
use super::story;
use crate::api::remediation::{Decision, Phase, Remediation};
use crate::run_progress::Line;

/// Time between two looks at the runs. A plan is approved at the second look that shows it.
const POLL_INTERVAL: Duration = Duration::from_secs(3);

/// Runs until dropped, or until a run whose plan was approved has started or ended.
pub(super) async fn run(plot: Plot, speed: f64, client: Client, lines: mpsc::Sender<Line>) {
    if !plot.asks_a_person() {
        return std::future::pending().await;
    }
    let api: Api<Remediation> = Api::all(client.clone());
    // The plans that waited at the previous look, by the uids of their runs.
    let mut seen: HashMap<String, String> = HashMap::new();
    // The uid of the run whose plan was approved last.
    let mut approved: Option<String> = None;
    loop {
        tokio::time::sleep(POLL_INTERVAL.div_f64(speed)).await;
        let Ok(runs) = api.list(&ListParams::default()).await else {
            continue;
        };
        // Until the run starts, its plan may be made again, and then waits for another approval.
        let waits = |run: &Remediation| run.uid() == approved && is_pending(run);
        if approved.is_some() && !runs.iter().any(waits) {
            return;
        }
        let mut waiting = HashMap::new();
        for run in &runs {
            let (Some(uid), Some(plan)) = (run.uid(), waiting_plan(run)) else {
                continue;
            };
            // A plan that has just changed may change again, and its approval would be in vain.
            let has_settled = seen.get(&uid).is_some_and(|seen| seen == plan);
            if has_settled && approve(&client, run, plan).await {
                drop(lines.send(story::approved(&run.name_any())).await);
                approved = Some(uid.clone());
            }
            waiting.insert(uid, plan.to_owned());
        }
        seen = waiting;
    }
}

/// Whether the run has neither started nor ended.
fn is_pending(run: &Remediation) -> bool {
    let status = run.status.as_ref();
    status.is_none_or(|status| status.phase == Phase::Pending)
}

/// The hash of the plan that waits for approval; `None` if the decision on this plan was made already.
fn waiting_plan(run: &Remediation) -> Option<&str> {
    let status = run.status.as_ref().filter(|_| is_pending(run))?;
    let mut gates = status.gates.iter();
    let waits = gates.any(|gate| gate.gate == "approval" && !gate.open);
    let plan = status.plan.as_ref()?.hash.as_str();
    let decision = run.spec.approval.as_ref();
    let is_decided = decision.is_some_and(|decision| decision.plan == plan);
    (waits && !is_decided).then_some(plan)
}

/// Approves this plan of the run, as `locksmith approve` does.
async fn approve(client: &Client, run: &Remediation, plan: &str) -> bool {
    let api: Api<Remediation> =
        Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let approval = json!({
        "decision": Decision::Approved,
        "plan": plan,
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
