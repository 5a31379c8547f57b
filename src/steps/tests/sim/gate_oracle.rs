//! Oracle for run starts: computes each gate a second time, directly from configuration and cluster, without the gate's code.

use jiff::{SignedDuration, Timestamp};

use super::{EXPRESSION, Sim};
use crate::api::StepName;
use crate::api::remediation::{Decision, Phase, Remediation, RemediationStatus, StepPhase};
use crate::config::Window;

impl Sim {
    /// Checks a status of `run` that is about to be recorded.
    pub(super) fn judge_record(&self, run: &Remediation, after: &RemediationStatus) {
        for step in &after.steps {
            if let Some(progress) = &step.progress {
                assert_eq!(step.phase, StepPhase::Started, "{step:?}");
                assert!(progress.done <= progress.total, "{step:?}");
            }
        }
        if after.phase != Phase::Running {
            return;
        }
        let before = run.status.clone().unwrap_or_default();
        let begins = before.phase == Phase::Pending;
        if begins {
            self.judge_beginning(run);
        }
        if begins || before.attempt != after.attempt {
            self.judge_plan(run, after);
        }
    }

    fn judge_beginning(&self, run: &Remediation) {
        let (gates, now) = (&self.config.gates, self.cluster.now);
        let said = |gate: &str| format!("begins although {gate} is closed: {:?}", self.told);
        let windows = &gates.windows;
        let inside = windows.is_empty() || windows.iter().any(|window| is_in(window, now));
        assert!(inside, "{}", said("window"));

        let age = gates.minimum_age.signed();
        let mut stuck = self.findings.iter().filter(|one| one.what.is_stuck());
        assert!(
            stuck.any(|one| now.duration_since(one.since) >= age),
            "{}",
            said("minimumAge")
        );

        let healthy = |health: &str| gates.ceph_health.iter().any(|word| *word == *health);
        let mut clusters = self.model.ceph_clusters.iter();
        let well = clusters.all(|ceph| ceph.health.as_deref().is_some_and(healthy));
        assert!(well, "{}", said("cephHealth"));

        if !gates.promql.is_empty() {
            let answer = self
                .model
                .answers
                .get(EXPRESSION)
                .map(|answer| &answer.series);
            assert_eq!(answer, Some(&Ok(0)), "{}", said("promql"));
        }
        let quiet = gates.progress_within.signed();
        let latest = self.model.creations.latest(&run.spec.driver);
        let idle = latest.is_none_or(|latest| now.duration_since(latest.at.at()) >= quiet);
        assert!(idle, "{}", said("progress"));

        let alike = |earlier: &&Remediation| {
            (&earlier.spec.playbook, &earlier.spec.driver) == (&run.spec.playbook, &run.spec.driver)
        };
        let since = |at: Option<Timestamp>| at.map(|at| now.duration_since(at));
        let within = |age: Option<SignedDuration>, span| age.is_some_and(|age| age < span);
        let earlier = || self.cluster.earlier.iter();
        let cooldown = gates.cooldown.signed();
        let hot = earlier()
            .filter(alike)
            .any(|one| within(since(status(one).finished_at), cooldown));
        assert!(!hot, "{}", said("cooldown"));

        let span = gates.budgets.within.signed();
        let begun = || earlier().filter(|one| within(since(status(one).started_at), span));
        let of_playbook = begun().filter(|one| one.spec.playbook == run.spec.playbook);
        assert!(
            begun().count() < gates.budgets.per_cluster as usize,
            "{}",
            said("budget")
        );
        assert!(
            of_playbook.count() < gates.budgets.per_playbook as usize,
            "{}",
            said("budget")
        );

        // `earlier` is in the order in which the runs ended.
        let latest = earlier()
            .rev()
            .take_while(|one| status(one).phase == Phase::Failed);
        assert!(
            latest.count() < gates.breaker_after as usize,
            "{}",
            said("breaker")
        );
    }

    /// Checks the plan of an attempt: a person approved exactly this one, the approval has not expired, and it deletes no more
    /// than configured.
    fn judge_plan(&self, run: &Remediation, after: &RemediationStatus) {
        let (gates, now) = (&self.config.gates, self.cluster.now);
        let said = || format!("attempt {}: {:?}", after.attempt, self.told);
        let plan = after.plan.as_ref().unwrap();
        let deletions = plan.step(StepName::DeleteFailedSnapshots);
        let deletions = deletions.map_or(0, |step| step.targets.len());
        assert!(deletions <= gates.max_deletions as usize, "{}", said());
        if !self.config.playbooks.0[&run.spec.playbook].approval {
            return;
        }
        let approval = run.spec.approval.as_ref();
        let approval = approval.unwrap_or_else(|| panic!("nobody approved: {}", said()));
        assert_eq!(approval.decision, Decision::Approved, "{}", said());
        assert_eq!(
            approval.plan,
            plan.hash,
            "another plan was approved: {}",
            said()
        );
        let at = approval.at.unwrap();
        assert!(at <= now, "{}", said());
        assert!(
            now.duration_since(at) < gates.approval_lasts.signed(),
            "{}",
            said()
        );
    }
}

fn status(run: &Remediation) -> &RemediationStatus {
    run.status.as_ref().unwrap()
}

/// Whether `now` is in a window that is given in UTC and applies to every day.
fn is_in(window: &Window, now: Timestamp) -> bool {
    let time = now.to_string()[11..16].to_owned();
    let (from, to) = (window.from.to_string(), window.to.to_string());
    if from < to {
        from <= time && time < to
    } else {
        from <= time || time < to
    }
}
