//! Held objects, as shown by the cluster.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use locksmith::api::hold::{NUDGE_ANNOTATION, SnapshotHold, SnapshotHoldSpec};
use locksmith::api::remediation::{Phase, Remediation, RemediationStatus};
use locksmith::api::volsync::{LATEST_COPY_STATUS, ReplicationSource, USE_COPY_TRIGGER};
use locksmith::demo::scenario;
use locksmith::holds::{self, policy};
use locksmith::model::records::RunRef;
use serde_json::json;

use super::{NAMESPACE, PATIENCE, Stage};
use crate::testbed::Event;

/// Installs the policy that enforces holds, and waits until the API server enforces it.
pub async fn install_policy(client: &Client) {
    let (policy, binding) = policy::objects(NAMESPACE).unwrap();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let params = PostParams::default();
    policies.create(&params, &policy).await.unwrap();
    bindings.create(&params, &binding).await.unwrap();
}

/// Names of the sources that these hold now, in order.
fn held_by<'h>(all: impl IntoIterator<Item = &'h SnapshotHold>) -> Vec<String> {
    let now = Timestamp::now();
    let active = all.into_iter().filter(|hold| now < hold.spec.until);
    let places = active.flat_map(|hold| hold.spec.sources.values());
    let mut names: Vec<_> = places
        .map(|place| holds::parse_place(place).unwrap().1.to_string())
        .collect();
    names.sort();
    names
}

impl Stage {
    /// Waits until the program has created a SnapshotHold.
    pub async fn first_hold(&self) {
        let hold = |event: &Event| {
            event.user == self.user
                && event.verb == "create"
                && event.resource == "snapshotholds"
                && event.code < 300
        };
        self.testbed.audit().expect("a hold", hold).await;
    }

    /// Names of the sources held now, in order.
    pub async fn held(&self) -> Vec<String> {
        held_by(&self.list::<SnapshotHold>().await)
    }

    /// Waits until exactly these sources are held: the last batch of releases may follow the end of a run.
    pub async fn held_until(&self, names: &[String]) {
        self.until::<SnapshotHold>("exactly what is expected to be held", |all| {
            held_by(all.iter().map(|hold| &**hold)) == names
        })
        .await;
    }

    /// Names of the sources that a successful run leaves held, in order: the orphaned ones, and those of stopped apps.
    pub fn held_after_run(&self) -> Vec<String> {
        let orphaned = self.jam.orphaned.iter().map(|source| source.name.clone());
        let stopped = self.jam.stopped.iter().flat_map(|app| app.sources.clone());
        let mut names: Vec<_> = orphaned.chain(stopped).collect();
        names.sort();
        names
    }

    /// Holds `source`, and a number of others that do not exist, for a run that has failed since.
    pub async fn create_leftover_hold(
        &self,
        source: &scenario::Identity,
        others: u32,
        until: Timestamp,
    ) {
        let params = PostParams::default();
        let runs = self.api::<Remediation>(NAMESPACE);
        let run = super::named(
            json!({"name": "gone"}),
            json!({"spec": {"playbook": "csi-operation-locks", "driver": super::DRIVER}}),
        );
        let mut run: Remediation = runs.create(&params, &run).await.unwrap();
        run.status = Some(RemediationStatus {
            phase: Phase::Failed,
            ..RemediationStatus::default()
        });
        let run = runs.replace_status("gone", &params, &run).await.unwrap();
        let run = RunRef::of(&run);
        let place = holds::place(&source.namespace, &source.name);
        let absent = (0..others).map(|number| {
            let uid = format!("00000000-0000-4000-8000-{number:012}");
            (uid.as_str().into(), format!("media/absent-{number}"))
        });
        let spec = SnapshotHoldSpec {
            remediation: Some(run.name.to_string()),
            until,
            reason: None,
            held_by: None,
            sources: absent
                .chain([(source.uid.as_str().into(), place)])
                .collect(),
            snapshot_classes: Vec::new(),
        };
        let hold = holds::object(&run.hold(), &run, spec);
        let api = self.api::<SnapshotHold>(NAMESPACE);
        api.create(&params, &hold).await.unwrap();
    }

    /// Waits until there is no SnapshotHold, and no trace of one.
    pub async fn released(&self) {
        self.released_within(PATIENCE).await;
    }

    /// The same, if the release is delayed.
    pub async fn released_within(&self, limit: Duration) {
        let all: Api<SnapshotHold> = Api::all(self.testbed.client());
        let none = |all: &[Arc<SnapshotHold>]| all.is_empty();
        scenario::until(all, "every source to be released", limit, none)
            .await
            .unwrap();
        self.nothing_is_held().await;
    }

    /// Asserts that nothing is held, and that no source and no claim has a trace of a hold.
    pub async fn nothing_is_held(&self) {
        assert_eq!(self.held().await, Vec::<String>::new());
        for source in self.list::<ReplicationSource>().await {
            assert_eq!(source.spec.paused, None, "{}", source.name_any());
            let touched = source.annotations().contains_key(NUDGE_ANNOTATION);
            assert!(!touched, "{}", source.name_any());
        }
        for claim in self.list::<PersistentVolumeClaim>().await {
            let annotations = claim.annotations();
            for key in [USE_COPY_TRIGGER, LATEST_COPY_STATUS] {
                assert!(!annotations.contains_key(key), "{}", claim.name_any());
            }
        }
    }

    /// Moves the deadline of every hold to `until`.
    pub async fn move_deadline(&self, until: Timestamp) {
        for hold in self.list::<SnapshotHold>().await {
            let patch = json!({"spec": {"until": until}});
            self.patch::<SnapshotHold>(NAMESPACE, &hold.name_any(), &patch)
                .await;
        }
    }
}
