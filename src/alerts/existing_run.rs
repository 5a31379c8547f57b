//! The run that serves a [`Cause`] already, and the name of the next one. Pure.
//!
//! One cause has one run, whatever the alert's name, and however often and from however many Alertmanagers it arrives.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::cause::Cause;
use crate::api::remediation::{Decision, Phase, RemediationStatus};
use crate::api::{SharedStr, Uid, short_hash};
use crate::config::{Config, Mode};
use crate::findings::Finding;
use crate::model::Model;
use crate::model::records::Run;
use crate::plan;

/// Longest name of a Remediation: it is also the value of labels (Kubernetes: 63).
const MAX_NAME: usize = 63;

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
    use crate::model::fixture::{DRIVER, World, at, recorded, run_in};
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
