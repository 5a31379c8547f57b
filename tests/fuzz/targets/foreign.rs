//! Objects of an API server, in any version of their kinds: what cannot be understood is left out, and only existing
//! objects are planned for and changed.

use std::collections::HashSet;
use std::sync::LazyLock;

use jiff::Timestamp;
use locksmith::api::ceph::CephCluster;
use locksmith::api::hold::SnapshotHold;
use locksmith::api::remediation::Remediation;
use locksmith::api::{Action, Plan};
use locksmith::api::{ObjectKey, ObjectKind};
use locksmith::config::{Config, Mode};
use locksmith::findings::DetectionSettings;
use locksmith::holds::{self, policy};
use locksmith::model::{Change, Delta, Kind, Model, Refusal, WatchState, Witness};
use locksmith::plan::{self};
use locksmith::server::status_page::{self, Facts};
use locksmith::state::view;
use locksmith::steps::{self, Intent, NextAction};
use locksmith::watch::{Patterns, convert};
use serde::de::DeserializeOwned;
use serde_json::Value;

static CONFIG: LazyLock<Config> = LazyLock::new(|| Config {
    mode: Mode::Act,
    ..Config::default()
});
static PATTERNS: LazyLock<Patterns> =
    LazyLock::new(|| Patterns::new(&CONFIG).expect("the common patterns"));
static SCRIPTS: LazyLock<usize> = LazyLock::new(|| scripts(&Model::default()));

pub fn run(data: &[u8]) {
    let Ok(Value::Array(objects)) = serde_json::from_slice(data) else {
        return;
    };
    let mut model = Model::default();
    model.apply(Change::Leads(Some(1)));
    for kind in Kind::ALL {
        model.apply(Change::Read(kind, WatchState::Synced, super::now()));
    }
    for object in objects {
        for change in changes(object) {
            model.apply(change);
        }
    }
    let now = super::now();
    model.forget(now);
    let missing = policy::not_as_shipped(&model);
    let of_another = policy::not_in_force(&model, "locksmith");
    assert!(missing.is_none() || of_another == missing);
    shows(&model);
    plans(&model, now);
}

/// An object as applied by the watch of its kind.
fn changes(object: Value) -> Vec<Change> {
    fn of<K: DeserializeOwned, T>(
        object: Value,
        convert: impl Fn(&K) -> Option<T>,
        wrap: fn(Delta<T>) -> Change,
    ) -> Vec<Change> {
        let read = serde_json::from_value(object).ok();
        let record = read.and_then(|object| convert(&object));
        record
            .map(|record| wrap(Delta::Apply(record)))
            .into_iter()
            .collect()
    }
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    match &*kind {
        "PersistentVolumeClaim" => of(object, convert::claim, Change::Claim),
        "PersistentVolume" => of(object, convert::volume, Change::Volume),
        "StorageClass" => of(object, convert::storage_class, Change::StorageClass),
        "Pod" => of(object, convert::pod, Change::Pod),
        "Deployment" => of(object, convert::deployment, Change::Deployment),
        "StatefulSet" => of(object, convert::stateful_set, Change::StatefulSet),
        "DaemonSet" => of(object, convert::daemon_set, Change::DaemonSet),
        "Node" => of(object, convert::node, Change::Node),
        "Lease" => of(object, convert::lease, Change::Lease),
        "Namespace" => of(object, convert::namespace, Change::Namespace),
        "VolumeSnapshot" => of(
            object,
            |it| convert::snapshot(it, &PATTERNS),
            Change::Snapshot,
        ),
        "VolumeSnapshotContent" => of(
            object,
            |it| convert::content(it, &PATTERNS),
            Change::Content,
        ),
        "VolumeSnapshotClass" => of(object, convert::snapshot_class, Change::SnapshotClass),
        "ReplicationSource" => of(object, convert::source, Change::Source),
        "ReplicationDestination" => of(object, convert::destination, Change::Destination),
        "CephCluster" => of(
            object,
            |it: &CephCluster| convert::ceph_cluster(it),
            Change::CephCluster,
        ),
        "Remediation" => of(object, |it: &Remediation| convert::run(it), Change::Run),
        "SnapshotHold" => of(
            object,
            |it: &SnapshotHold| convert::hold(it),
            Change::SnapshotHold,
        ),
        "ValidatingAdmissionPolicy" => of(object, policy::policy_record, Change::HoldPolicy),
        "ValidatingAdmissionPolicyBinding" => {
            of(object, policy::binding_record, Change::HoldBinding)
        }
        "Event" => told(object),
        _ => Vec::new(),
    }
}

/// The changes from an Event about a claim.
fn told(event: Value) -> Vec<Change> {
    let event = serde_json::from_value(event).ok();
    let Some(failure) = event.and_then(|event| convert::failure(&event)) else {
        return Vec::new();
    };
    let patterns = PATTERNS.of(Some(&failure.driver));
    let refused = patterns.find(&failure.error.message).map(|key| {
        Change::Refused(Refusal {
            driver: failure.driver.clone(),
            key,
            witness: Witness::Event(failure.claim.clone()),
            first: failure.first,
            at: failure.error.at,
            message: failure.error.message.clone(),
        })
    });
    let failed = Change::ProvisioningFailed(failure.claim, failure.error);
    refused.into_iter().chain([failed]).collect()
}

fn view_of(model: &Model) -> view::View {
    let settings = DetectionSettings {
        detect: CONFIG.detect.clone(),
        drivers: CONFIG.drivers.clone(),
        one_shot: false,
    };
    view::take(model, &CONFIG, &settings, super::now())
}

/// Number of scripts and similar elements in the status page.
fn scripts(model: &Model) -> usize {
    let page = status_page::document(&view_of(model), &Facts::default(), super::now());
    // Its own drawings, of which there is one more with each driver.
    let page = page
        .into_string()
        .replace("<svg class=\"picture", "")
        .replace("<svg class=\"spark\"", "");
    ["<script", "<img", "<svg", "<iframe"]
        .map(|it| page.matches(it).count())
        .iter()
        .sum()
}

/// Whatever the names of objects, the page has only its own script.
fn shows(model: &Model) {
    assert_eq!(scripts(model), *SCRIPTS);
}

fn plans(model: &Model, now: Timestamp) {
    let findings = view_of(model).findings;
    for class in model.storage_classes.iter() {
        for playbook in CONFIG.playbooks.0.values() {
            let made = plan::make(model, &findings, playbook, &class.provisioner, &CONFIG, now);
            if let Ok(plan) = made {
                is_about_what_is_there(model, &plan);
            }
        }
    }
    let held = holds::due(model, (&CONFIG.steps.resume_sources).into(), now);
    let named: usize = model.holds.iter().map(|hold| hold.sources.len()).sum();
    assert!(held.len() <= named);
    for run in model.runs.iter() {
        let next = steps::next(&run.object, model, &findings, &CONFIG, None, now);
        if let NextAction::Act(intents) = next {
            let status = run
                .object
                .status
                .as_ref()
                .expect("only a run that has begun acts");
            let plan = status.plan.as_ref().expect("only a run with a plan acts");
            does_what_is_planned(plan, &intents);
        }
    }
}

/// Asserts that each target is in the model with this uid, and that none is protected from deletion.
fn is_about_what_is_there(model: &Model, plan: &Plan) {
    for target in plan.steps.iter().flat_map(|step| &step.targets) {
        let ObjectKey {
            kind,
            namespace,
            name,
            uid,
        } = &target.object;
        if *kind == ObjectKind::Lease {
            let lease = model.leases.get(namespace, name);
            assert!(
                lease.is_some_and(|lease| lease.uid == *uid),
                "{}",
                target.object
            );
            continue;
        }
        let there = match kind {
            ObjectKind::PersistentVolumeClaim => {
                model.claims.get(namespace, name).map(|it| &it.meta)
            }
            ObjectKind::VolumeSnapshot => model.snapshots.get(namespace, name).map(|it| &it.meta),
            ObjectKind::ReplicationSource => model.sources.get(namespace, name).map(|it| &it.meta),
            ObjectKind::VolumeSnapshotContent => {
                model.contents.get_cluster(name).map(|it| &it.meta)
            }
            ObjectKind::Deployment => model.deployments.get(namespace, name).map(|it| &it.meta),
            ObjectKind::StatefulSet => model.stateful_sets.get(namespace, name).map(|it| &it.meta),
            ObjectKind::DaemonSet => model.daemon_sets.get(namespace, name).map(|it| &it.meta),
            ObjectKind::Pod => model.pods.get(namespace, name).map(|it| &it.meta),
            _ => None,
        };
        let there = there.expect("a target is an object that is there");
        assert_eq!(there.uid, *uid);
        if target.action == Action::Await {
            continue;
        }
        assert!(!model.opted_out(there), "{}", target.object);
        if let (Action::Delete, Some(snapshot)) =
            (target.action, model.snapshots.get(namespace, name))
            && *kind == ObjectKind::VolumeSnapshot
        {
            assert!(
                snapshot.ready != Some(true) && snapshot.by_volsync,
                "{}",
                target.object
            );
        }
    }
}

fn does_what_is_planned(plan: &Plan, intents: &[Intent]) {
    let targets: HashSet<&ObjectKey> = plan
        .steps
        .iter()
        .flat_map(|step| &step.targets)
        .map(|target| &target.object)
        .collect();
    let held: HashSet<String> = plan
        .steps
        .iter()
        .flat_map(locksmith::api::PlannedStep::held_sources)
        .map(|(namespace, name)| holds::place(namespace, name))
        .collect();
    for intent in intents {
        match intent {
            Intent::CreateHold { spec, .. } => {
                assert!(spec.sources.values().all(|place| held.contains(place)));
            }
            Intent::PatchHold { change, .. } => {
                assert!(change.remove.is_empty() && !change.release_classes);
                assert!(change.add.values().all(|place| held.contains(place)));
            }
            _ => assert!(targets.contains(intent.object())),
        }
    }
}
