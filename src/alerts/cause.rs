//! The runs that a notification requests: alerts in, a [`Cause`] each out, and the run that serves it already. Pure.
//!
//! One cause has one run, whatever the alert's name, and however often and from however many Alertmanagers it arrives. An
//! alert is only a hint: the gates compare it with the findings.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::payload::{Alert, AlertStatus};
use super::test_alert::is_test;
use crate::api::remediation::{AlertRef, Decision, Phase, RemediationSpec, RemediationStatus};
use crate::api::short_hash;
use crate::api::{SharedStr, Uid};
use crate::config::{Alertmanager, Config, Mode, Playbooks};
use crate::findings::Finding;
use crate::model::records::Run;
use crate::model::{Kind, Model};
use crate::plan::{self};

/// The cause of a run: one playbook about one driver.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Cause {
    /// Playbook.
    pub playbook: String,
    /// CSI driver.
    pub driver: SharedStr,
}

impl Cause {
    /// Whether a run of this spec does everything that the cause requests.
    pub(super) fn is_served_by(&self, run: &RemediationSpec, playbooks: &Playbooks) -> bool {
        run.driver == self.driver && playbooks.covers(&run.playbook, &self.playbook)
    }
}

/// Most alerts that a Remediation lists: it records which alerts requested it, it does not count them.
const MAX_ALERTS: usize = 50;

/// Longest name of an alert that is recorded, in bytes; the rest is cut off. Alertmanager sets no limit.
const MAX_ALERTNAME: usize = 200;

/// Longest fingerprint that is recorded: Alertmanager's have 16 digits.
const MAX_FINGERPRINT: usize = 64;

/// Longest name of a Remediation: it is also the value of labels (Kubernetes: 63).
const MAX_NAME: usize = 63;

/// The alerts about this cluster, and how many are about another.
pub(super) fn ours(alerts: &[Alert], from: &Alertmanager) -> (Vec<Alert>, usize) {
    let ours = alerts.iter().filter(|alert| from.is_ours(&alert.labels));
    let ours: Vec<_> = ours.cloned().collect();
    let other_cluster = alerts.len() - ours.len();
    (ours, other_cluster)
}

/// The causes of `alerts`, each with its alerts, and the number of alerts without any.
///
/// The label `driver` of an alert names the driver it is about; without it, an alert is about every driver with something
/// stuck. Findings without a known driver (orphans on default classes) go to the first of `served`. A test alert has no cause,
/// whatever playbook matches it.
pub fn causes(
    alerts: &[Alert],
    config: &Config,
    findings: &[Finding],
    served: &BTreeSet<SharedStr>,
) -> (BTreeMap<Cause, Vec<AlertRef>>, usize) {
    let watched = || {
        served
            .iter()
            .filter(|driver| config.drivers.find(driver).is_some())
    };
    let stuck: BTreeSet<&SharedStr> = findings
        .iter()
        .filter(|finding| finding.what.is_stuck())
        .filter_map(|finding| finding.driver.as_ref().or_else(|| watched().next()))
        .collect();
    let mut causes: BTreeMap<Cause, Vec<AlertRef>> = BTreeMap::new();
    let mut ignored = 0;
    for alert in alerts {
        let asked: Vec<&String> = config
            .playbooks
            .0
            .iter()
            .filter(|(_, playbook)| {
                alert.status == AlertStatus::Firing
                    && !is_test(alert)
                    && playbook.is_asked_for_by(&alert.labels)
            })
            .map(|(name, _)| name)
            .collect();
        let named = alert.labels.get("driver").filter(|name| !name.is_empty());
        let drivers: Vec<SharedStr> = match named {
            // A forged driver name would start a run of its own.
            Some(name) => watched()
                .filter(|driver| ***driver == **name)
                .cloned()
                .collect(),
            None => stuck.iter().map(|driver| (*driver).clone()).collect(),
        };
        if asked.is_empty() || drivers.is_empty() {
            ignored += 1;
            continue;
        }
        for (playbook, driver) in asked
            .iter()
            .flat_map(|p| drivers.iter().map(move |d| (p, d)))
        {
            let cause = Cause {
                playbook: (*playbook).clone(),
                driver: driver.clone(),
            };
            let known = causes.entry(cause).or_default();
            if known.len() < MAX_ALERTS {
                let alert = reference(alert);
                if !known.contains(&alert) {
                    known.push(alert);
                }
            }
        }
    }
    (causes, ignored)
}

/// The drivers that have a StorageClass or VolumeSnapshotClass, or `None` until both have been listed.
pub(super) fn served(model: &Model) -> Option<BTreeSet<SharedStr>> {
    let seen = |kind| model.freshness.trusted(kind);
    if !seen(Kind::StorageClasses) || !seen(Kind::VolumeSnapshotClasses) {
        return None;
    }
    let classes = model.storage_classes.iter().map(|class| &class.provisioner);
    let snapshot_classes = model.snapshot_classes.iter().map(|class| &class.driver);
    Some(classes.chain(snapshot_classes).cloned().collect())
}

/// The alert as a Remediation records it, limited in size.
pub(super) fn reference(alert: &Alert) -> AlertRef {
    let name = alert.labels.get("alertname").map_or("", String::as_str);
    let sent = alert.fingerprint.as_deref().filter(|sent| {
        (1..=MAX_FINGERPRINT).contains(&sent.len()) && sent.bytes().all(|c| c.is_ascii_graphic())
    });
    AlertRef {
        alertname: beginning(name).to_owned(),
        fingerprint: sent.map_or_else(|| fingerprint(alert), str::to_owned),
        starts_at: alert.starts_at,
        resolved_at: None,
    }
}

/// The alerts of `alerts` that no longer fire.
pub(super) fn resolved(alerts: &[Alert]) -> Vec<AlertRef> {
    let resolved = |alert: &&Alert| alert.status == AlertStatus::Resolved;
    alerts.iter().filter(resolved).map(reference).collect()
}

/// The alerts of a run with `firing` added to `known`, or `None` if nothing changes: a new one is added while there is
/// room, and a silenced one fires again.
pub(super) fn with_firing(known: &[AlertRef], firing: &[AlertRef]) -> Option<Vec<AlertRef>> {
    let mut all = known.to_vec();
    let mut changed = false;
    for alert in firing {
        if let Some(known) = all.iter_mut().find(|known| known.is_same(alert)) {
            changed |= known.resolved_at.take().is_some();
        } else if all.len() < MAX_ALERTS {
            all.push(alert.clone());
            changed = true;
        }
    }
    changed.then_some(all)
}

/// The alerts of a run with those of `known` that are among `resolved` marked, or `None` if nothing changes.
pub(super) fn with_resolved(
    known: &[AlertRef],
    resolved: &[AlertRef],
    now: Timestamp,
) -> Option<Vec<AlertRef>> {
    let mut all = known.to_vec();
    let mut changed = false;
    for alert in all.iter_mut().filter(|alert| alert.resolved_at.is_none()) {
        if resolved.iter().any(|resolved| resolved.is_same(alert)) {
            alert.resolved_at = Some(now);
            changed = true;
        }
    }
    changed.then_some(all)
}

/// The beginning of a name, at most [`MAX_ALERTNAME`] bytes.
fn beginning(name: &str) -> &str {
    let ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = ends.take_while(|end| *end <= MAX_ALERTNAME).last();
    &name[..end.unwrap_or(0)]
}

/// The identity of an alert: a hash of its labels, if Alertmanager sends none of its own.
fn fingerprint(alert: &Alert) -> String {
    let mut digest = Sha256::new();
    for part in alert.labels.iter().flat_map(|(name, value)| [name, value]) {
        digest.update(part);
        digest.update([0]);
    }
    short_hash(digest)
}

/// The name of the next run of `cause`, after those in `model`. It is derived from the last run, so that of two creators
/// with the same state, the API server accepts only one.
pub fn next_name(cause: &Cause, last: Option<&Uid>) -> String {
    let mut digest = Sha256::new();
    let last = last.map(ToString::to_string).unwrap_or_default();
    for part in [&*cause.playbook, &*cause.driver, &*last] {
        digest.update(part);
        digest.update([0]);
    }
    let suffix = short_hash(digest);
    let plain = |text: &str| -> String {
        let kept = text.chars().map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        });
        kept.collect()
    };
    let mut stem = format!("{}-{}", plain(&cause.playbook), plain(&cause.driver));
    stem.truncate(MAX_NAME - suffix.len() - 1);
    format!("{}-{suffix}", stem.trim_matches('-'))
}

/// The run that serves a cause already, if there is one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum ExistingRun {
    /// An unfinished run: repeated alerts join it.
    Open(SharedStr),
    /// A finished run whose cooldown has not passed.
    Cooling(SharedStr),
    /// A person rejected the plan of this run, and the next run's would be the same.
    Rejected(SharedStr),
    /// None; the uid is that of the last finished run.
    Free(Option<Uid>),
}

/// The run in `namespace` that serves `cause` already.
pub(super) fn existing_run(
    cause: &Cause,
    namespace: &SharedStr,
    model: &Model,
    findings: &[Finding],
    config: &Config,
    now: Timestamp,
) -> ExistingRun {
    // One jam has several symptoms, each with an alert: the run that does the most serves all of them.
    let mut runs: Vec<_> = model
        .runs
        .iter()
        .filter(|run| run.meta.namespace == *namespace)
        .filter(|run| cause.is_served_by(&run.object.spec, &config.playbooks))
        .collect();
    runs.sort_by_key(|run| (run.meta.created, &run.meta.uid));
    let open = runs.iter().find(|run| {
        run.object
            .status
            .as_ref()
            .is_none_or(|status| !status.phase.finished())
    });
    if let Some(run) = open {
        return ExistingRun::Open(run.meta.name.clone());
    }
    let cooling = runs.iter().rev().find(|run| {
        let status = run.object.status.as_ref().filter(|it| counts(it, config));
        // The same time as in gate `cooldown`.
        let finished =
            status.and_then(|status| Some(status.finished_at?.max(run.meta.created.at())));
        finished.is_some_and(|at| now.duration_since(at) < config.gates.cooldown.signed())
    });
    let own = |run: &&&Run| run.object.spec.playbook == cause.playbook;
    if let Some(run) = cooling {
        return ExistingRun::Cooling(run.meta.name.clone());
    }
    match runs.iter().rfind(own) {
        Some(run) if offers_rejected_plan(cause, run, model, findings, config, now) => {
            ExistingRun::Rejected(run.meta.name.clone())
        }
        last => ExistingRun::Free(last.map(|run| run.meta.uid.clone())),
    }
}

/// Whether the plan of `last` was rejected, and a new run would have the same plan: a rejected plan is not offered again.
fn offers_rejected_plan(
    cause: &Cause,
    last: &Run,
    model: &Model,
    findings: &[Finding],
    config: &Config,
    now: Timestamp,
) -> bool {
    let approval = last.object.spec.approval.as_ref();
    let Some(rejected) = approval.filter(|it| it.decision == Decision::Rejected) else {
        return false;
    };
    let Some(playbook) = config.playbooks.0.get(&cause.playbook) else {
        return false;
    };
    plan::make(model, findings, playbook, &cause.driver, config, now)
        .is_ok_and(|plan| plan.hash == rejected.plan)
}

/// Whether a finished run counts for the cooldown: one that changed something, could not be planned, or waited in vain; in
/// mode plan, also one that was planned.
fn counts(status: &RemediationStatus, config: &Config) -> bool {
    match status.phase {
        Phase::Failed | Phase::NothingToDo | Phase::Expired => true,
        Phase::Planned => config.mode == Mode::Plan,
        Phase::Pending | Phase::Running | Phase::Succeeded | Phase::Aborted => {
            status.started_at.is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::api::remediation::Approval;
    use crate::config::Matcher;
    use crate::model::fixture::{DRIVER, UNWATCHED, World, at, recorded, run_in};
    use crate::model::{Change, Delta};

    /// Namespace of the fixture's runs.
    fn namespace() -> SharedStr {
        run_in("r", Phase::Pending)
            .metadata
            .namespace
            .unwrap()
            .as_str()
            .into()
    }

    #[test]
    fn run_of_another_daemon_is_not_joined() {
        let run = run_in("theirs", Phase::Running);
        let world = World::empty().with(Change::Run(Delta::Apply(recorded(run))));
        let cause = Cause {
            playbook: "csi-operation-locks".to_owned(),
            driver: DRIVER.into(),
        };
        let elsewhere = SharedStr::from("another-locksmith");
        let standing = existing_run(&cause, &elsewhere, &world.0, &[], &Config::default(), at(0));
        assert_eq!(standing, ExistingRun::Free(None));
    }

    #[rstest]
    #[case::that_acted(Mode::Act, Phase::Succeeded, Some(-20), -10, true)]
    #[case::that_acted_long_ago(Mode::Act, Phase::Succeeded, Some(-130), -120, false)]
    #[case::that_failed(Mode::Act, Phase::Failed, Some(-20), -10, true)]
    #[case::that_never_began(Mode::Act, Phase::Aborted, None, -10, false)]
    #[case::that_could_not_be_planned(Mode::Act, Phase::Failed, None, -10, true)]
    #[case::that_had_nothing_to_do(Mode::Act, Phase::NothingToDo, None, -10, true)]
    #[case::without_approval(Mode::Act, Phase::Expired, None, -10, true)]
    #[case::that_was_planned_where_plans_are_wanted(Mode::Plan, Phase::Planned, None, -10, true)]
    #[case::that_was_planned_before_it_may_act(Mode::Act, Phase::Planned, None, -10, false)]
    fn finished_run_cools_down(
        #[case] mode: Mode,
        #[case] phase: Phase,
        #[case] started: Option<i64>,
        #[case] finished: i64,
        #[case] cools: bool,
    ) {
        let mut run = run_in("last", phase);
        let status = run.status.as_mut().unwrap();
        status.started_at = started.map(at);
        status.finished_at = Some(at(finished));
        let world = World::empty().with(Change::Run(Delta::Apply(recorded(run))));
        let cause = Cause {
            playbook: "csi-operation-locks".to_owned(),
            driver: DRIVER.into(),
        };
        let config = Config {
            mode,
            ..Config::default()
        };
        let standing = existing_run(&cause, &namespace(), &world.0, &[], &config, at(0));
        assert_eq!(
            standing == ExistingRun::Cooling("last".into()),
            cools,
            "{standing:?}"
        );
    }

    /// The run that does the most serves every symptom; one that does less does not serve the others.
    #[rstest]
    #[case::of_the_same_playbook("failed-snapshots", "failed-snapshots", true)]
    #[case::that_does_more("csi-operation-locks", "failed-snapshots", true)]
    #[case::that_does_less("failed-snapshots", "csi-operation-locks", false)]
    #[case::that_waits_for_a_person("orphaned-sources", "failed-snapshots", false)]
    fn alert_joins_open_run(#[case] open: &str, #[case] asked: &str, #[case] joins: bool) {
        let mut run = run_in("open", Phase::Running);
        run.spec.playbook = open.to_owned();
        let world = World::empty().with(Change::Run(Delta::Apply(recorded(run))));
        let cause = Cause {
            playbook: asked.to_owned(),
            driver: DRIVER.into(),
        };
        let standing = existing_run(
            &cause,
            &namespace(),
            &world.0,
            &[],
            &Config::default(),
            at(0),
        );
        assert_eq!(
            standing == ExistingRun::Open("open".into()),
            joins,
            "{standing:?}"
        );
    }

    /// The plan of the last run was rejected; only a different plan is offered again.
    #[rstest]
    #[case::as_it_was(World::jam(), Decision::Rejected, ExistingRun::Rejected("last".into()))]
    #[case::of_one_more_source(
        World::jam().with(crate::model::fixture::source("media", "new")),
        Decision::Rejected,
        ExistingRun::Free(Some("uid-last".into()))
    )]
    #[case::that_was_approved(World::jam(), Decision::Approved, ExistingRun::Free(Some("uid-last".into())))]
    fn rejected_plan_is_not_offered_again(
        #[case] now: World,
        #[case] decision: Decision,
        #[case] expected: ExistingRun,
    ) {
        let config = Config::default();
        let cause = Cause {
            playbook: "csi-operation-locks".to_owned(),
            driver: DRIVER.into(),
        };
        let findings = |world: &World| world.found(&config, at(0));
        let playbook = &config.playbooks.0[&cause.playbook];
        let jam = World::jam();
        let plan = plan::make(
            &jam.0,
            &findings(&jam),
            playbook,
            &cause.driver,
            &config,
            at(0),
        );
        let mut run = run_in("last", Phase::Aborted);
        run.metadata.uid = Some("uid-last".to_owned());
        run.status.as_mut().unwrap().finished_at = Some(at(-60));
        run.spec.approval = Some(Approval {
            decision,
            plan: plan.unwrap().hash,
            at: Some(at(-61)),
            by: Some("ada".to_owned()),
        });
        let now = now.with(Change::Run(Delta::Apply(recorded(run))));
        let findings = findings(&now);
        let standing = existing_run(&cause, &namespace(), &now.0, &findings, &config, at(0));
        assert_eq!(standing, expected);
    }

    fn firing(alertname: &str, driver: Option<&str>) -> Alert {
        let labels = [("alertname", Some(alertname)), ("driver", driver)];
        let labels = labels
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        Alert {
            status: AlertStatus::Firing,
            labels: labels.collect(),
            starts_at: at(-5),
            fingerprint: Some("f".to_owned()),
        }
    }

    #[rstest]
    #[case::known_driver(Some(DRIVER), &[DRIVER])]
    #[case::invented_driver(Some("x1.rbd.csi.ceph.com"), &[])]
    #[case::unwatched_driver(Some(UNWATCHED), &[])]
    #[case::without_driver(None, &[DRIVER])]
    #[case::empty_driver(Some(""), &[DRIVER])]
    fn alert_selects_drivers(#[case] driver: Option<&str>, #[case] about: &[&str]) {
        // The driver of an orphan on default classes is unknown.
        let orphan = Finding {
            what: crate::findings::FindingReason::OrphanedSource(
                crate::findings::SourceReason::ClaimMissing,
            ),
            object: None,
            since: at(-60),
            driver: None,
            class: None,
            bytes: 0,
            restores: None,
            chain: Vec::new(),
            evidence: Vec::new(),
        };
        let drivers = BTreeSet::from([DRIVER.into(), UNWATCHED.into()]);
        let alert = firing("LocksmithSourceOrphaned", driver);
        let (causes, ignored) = causes(&[alert], &Config::default(), &[orphan], &drivers);
        let found: Vec<_> = causes.keys().map(|cause| &*cause.driver).collect();
        assert_eq!(
            (found, ignored),
            (about.to_vec(), usize::from(about.is_empty()))
        );
    }

    #[test]
    fn test_alert_starts_nothing_whatever_matches_it() {
        let mut config = Config::default();
        for playbook in config.playbooks.0.values_mut() {
            playbook.alerts = vec![vec![r#"alertname=~"Locksmith.+""#.parse().unwrap()]];
        }
        let drivers = BTreeSet::from([DRIVER.into()]);
        let found = |name| {
            let (causes, ignored) = causes(&[firing(name, Some(DRIVER))], &config, &[], &drivers);
            (causes.len(), ignored)
        };
        assert_eq!(found("LocksmithTest"), (0, 1));
        assert_eq!(found("LocksmithTested"), (config.playbooks.0.len(), 0));
    }

    #[test]
    fn alert_is_ours_if_every_matcher_matches() {
        let alert = |labels: &[(&str, &str)]| Alert {
            status: AlertStatus::Firing,
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            starts_at: Timestamp::UNIX_EPOCH,
            fingerprint: None,
        };
        let home = alert(&[("cluster", "home"), ("tier", "prod")]);
        let lab = alert(&[("cluster", "home"), ("tier", "lab")]);
        let other = alert(&[("cluster", "office"), ("tier", "prod")]);
        let unnamed = alert(&[("tier", "prod")]);
        let all = [home.clone(), lab, other, unnamed];
        let require = |matchers: &[&str]| Alertmanager {
            require: matchers.iter().map(|text| text.parse().unwrap()).collect(),
            ..Alertmanager::default()
        };
        assert_eq!(ours(&all, &require(&[])), (all.to_vec(), 0));
        let of_home = require(&["cluster=\"home\"", "tier!=\"lab\""]);
        assert_eq!(ours(&all, &of_home), (vec![home], 3));
    }

    /// Attack: alerts without end, with names and fingerprints that fill a Remediation to the limit of etcd, so that its
    /// status cannot be recorded. Defence: both the size and the number of recorded alerts are limited.
    #[test]
    fn recorded_alerts_are_limited_in_size() {
        let alerts: Vec<_> = (0..5_000)
            .map(|n| {
                let mut alert = firing("LocksmithOperationLocked", Some(DRIVER));
                let name = format!("{n}{}", "ä".repeat(10_000));
                alert.labels.insert("alertname".to_owned(), name);
                alert.fingerprint = Some("f".repeat(10_000));
                alert
            })
            .collect();
        let mut config = Config::default();
        let all: Matcher = r#"alertname=~".*ä""#.parse().unwrap();
        for playbook in config.playbooks.0.values_mut() {
            playbook.alerts = vec![vec![Matcher::clone(&all)]];
        }
        let (causes, ignored) = causes(&alerts, &config, &[], &BTreeSet::from([DRIVER.into()]));
        assert_eq!((causes.len(), ignored), (config.playbooks.0.len(), 0));
        for alerts in causes.values() {
            let bytes = serde_json::to_string(alerts).unwrap().len();
            assert!(
                alerts.len() == MAX_ALERTS && bytes < 32 << 10,
                "{bytes} bytes"
            );
        }
    }

    #[test]
    fn alerts_without_fingerprint_are_identified_by_labels() {
        let of = |driver| {
            let mut alert = firing("LocksmithOperationLocked", Some(driver));
            alert.fingerprint = None;
            reference(&alert).fingerprint
        };
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
    }

    #[test]
    fn resolved_alert_is_marked_until_it_fires_again() {
        let alert = |fingerprint: &str, minute: i64| AlertRef {
            alertname: "LocksmithRestoreStuck".to_owned(),
            fingerprint: fingerprint.to_owned(),
            starts_at: at(minute),
            resolved_at: None,
        };
        let known = [alert("a", -5), alert("b", -5)];
        let resolved = with_resolved(&known, &[alert("a", -5), alert("b", -60)], at(0)).unwrap();
        let marks: Vec<_> = resolved.iter().map(|alert| alert.resolved_at).collect();
        assert_eq!(marks, [Some(at(0)), None], "of b, an earlier firing ended");
        assert_eq!(with_resolved(&resolved, &[alert("a", -5)], at(1)), None);
        assert_eq!(with_firing(&known, &[alert("a", -5)]), None);
        let again = with_firing(&resolved, &[alert("a", -5)]);
        assert_eq!(again.unwrap(), known);
        assert_eq!(with_firing(&known, &[alert("b", -1)]).unwrap().len(), 3);
    }

    /// Attack: alerts about invented drivers, each of which starts a Remediation whose failure counts for the circuit
    /// breaker. Defence: only drivers that a class of the cluster names are accepted.
    #[test]
    fn alert_about_an_invented_driver_starts_nothing() {
        let config = Config::default();
        let alerts = ["made-up.rbd.csi.ceph.com", DRIVER].map(|driver| Alert {
            status: AlertStatus::Firing,
            labels: [
                ("alertname", "LocksmithOperationLocked"),
                ("driver", driver),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            starts_at: at(-5),
            fingerprint: Some(driver.to_owned()),
        });
        let served = BTreeSet::from([DRIVER.into()]);
        let (causes, ignored) = causes(&alerts, &config, &[], &served);
        let drivers: Vec<_> = causes.keys().map(|cause| &*cause.driver).collect();
        assert_eq!((drivers, ignored), (vec![DRIVER], 1));
    }

    #[test]
    fn run_name_is_a_label_value_derived_from_the_last_run() {
        let cause = Cause {
            playbook: "csi-operation-locks".to_owned(),
            driver: "rook-ceph.rbd.csi.ceph.com".into(),
        };
        let first = next_name(&cause, None);
        assert_eq!(first, next_name(&cause, None));
        assert!(
            first.len() <= MAX_NAME && first.starts_with("csi-operation-locks-rook-ceph-rbd"),
            "{first}"
        );
        assert_ne!(first, next_name(&cause, Some(&"uid".into())));
        let long = Cause {
            playbook: "p".repeat(200),
            driver: "d".into(),
        };
        assert_eq!(next_name(&long, None).len(), MAX_NAME);
    }
}
