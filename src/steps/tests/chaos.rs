//! Random clusters, random trouble, random times at which the process dies: the invariants hold all the while.
//!
//! They are asserted by the simulator itself, on every act, at every moment and at the end: see
//! [`super::sim::Sim`]. `PROPTEST_CASES` sets how many nights are tried.

use proptest::prelude::*;
use proptest::{collection, option};

use super::sim::{
    App, ClaimIs, Cluster, EXPRESSION, FaultRates, Happening, Sim, SnapshotIs, Verb, seconds,
};
use crate::api::remediation::{Decision, Phase, Remediation};
use crate::config::{Budgets, Config, Duration, Gates, Mode, Percent, ResumeWhen, Window};
use crate::model::Kind;
use crate::model::fixture::{at, run_in};
use crate::model::records::Mover;

const APPS: usize = 6;

fn app() -> impl Strategy<Value = App> {
    let mover = prop_oneof![
        6 => Just(Mover::Job),
        2 => Just(Mover::Kopia),
        1 => Just(Mover::Syncthing),
        1 => Just(Mover::External),
    ];
    let claim = prop_oneof![
        5 => Just(ClaimIs::Bound),
        3 => Just(ClaimIs::Restoring),
        1 => Just(ClaimIs::Terminating),
        1 => Just(ClaimIs::Missing),
    ];
    let snapshot = prop_oneof![
        4 => Just(SnapshotIs::Absent),
        5 => Just(SnapshotIs::Stuck),
        1 => Just(SnapshotIs::StuckAndProtected),
        1 => Just(SnapshotIs::Accepted),
    ];
    let opted_out = prop::bool::weighted(0.1);
    (mover, claim, snapshot, opted_out).prop_map(|(mover, claim, snapshot, opted_out)| App {
        mover,
        claim,
        snapshot,
        opted_out,
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    let app = 0..APPS;
    let verb = prop::sample::select(vec![
        Verb::Hold,
        Verb::Delete,
        Verb::Rollout,
        Verb::Replace,
        Verb::Touch,
        Verb::HandOver,
    ]);
    prop_oneof![
        2 => option::of(verb).prop_map(Happening::Refuses),
        2 => any::<bool>().prop_map(Happening::KillSwitch),
        2 => prop::sample::select(Kind::ALL.to_vec()).prop_map(Happening::WatchFails),
        2 => prop::sample::select(Kind::ALL.to_vec()).prop_map(Happening::WatchLives),
        3 => app.clone().prop_map(Happening::Releases),
        1 => Just(Happening::DeletesHold),
        2 => any::<bool>().prop_map(Happening::Enforces),
        1 => app.clone().prop_map(Happening::OptsOut),
        1 => Just(Happening::Aborts),
        1 => Just(Happening::DeletesRun),
        1 => app.clone().prop_map(Happening::DeletesSource),
        1 => app.clone().prop_map(Happening::DeletesClaim),
        1 => app.clone().prop_map(Happening::ClaimTerminates),
        1 => app.clone().prop_map(Happening::RecreatesClaim),
        2 => app.clone().prop_map(Happening::SnapshotReady),
        1 => app.prop_map(Happening::AnotherSnapshot),
        1 => Just(Happening::LeaderDies),
        1 => Just(Happening::ForcesLeader),
        1 => any::<bool>().prop_map(Happening::NodeReady),
        1 => (APPS..2 * APPS).prop_map(Happening::AnotherStuck),
        1 => (0..4_i32).prop_map(Happening::Scales),
        2 => Just(Happening::Decides(Decision::Approved)),
        1 => Just(Happening::Decides(Decision::Rejected)),
        2 => prop::sample::select(vec!["HEALTH_OK", "HEALTH_WARN", "HEALTH_ERR"]).prop_map(Happening::Ceph),
        2 => option::weighted(0.8, 0..2_usize).prop_map(Happening::Answers),
        1 => Just(Happening::MakesVolume),
        1 => Just(Happening::ClaimHangs),
    ]
}

/// Of windows in UTC, at two on a Sunday: in it, about to be, about to be over, never in time, and past midnight.
fn windows() -> impl Strategy<Value = Vec<Window>> {
    let window = prop::sample::select(vec![
        ("00:00", "23:00"),
        ("02:10", "03:00"),
        ("01:00", "02:05"),
        ("12:00", "13:00"),
        ("22:00", "02:20"),
    ]);
    let window = window.prop_map(|(from, to)| {
        let text = format!("{{from: \"{from}\", to: \"{to}\", timeZone: UTC}}");
        serde_saphyr::from_str(&text).unwrap()
    });
    prop_oneof![3 => Just(Vec::new()), 1 => collection::vec(window, 1..3)]
}

prop_compose! {
    /// Mostly such as let the run begin, at once or after a while.
    fn gates()(
        max_deletions in prop_oneof![1 => 0..3_u32, 3 => Just(50)],
        share in prop::sample::select(vec![20, 100, 100, 100]),
        give_up in 15..60_u64,
        cooldown in 1..120_u64,
        minimum_age in prop_oneof![3 => 0..20_u64, 1 => 20..120_u64],
        budgets in (1..6_u32, 1..4_u32, 1..48_u64),
        breaker_after in 1..4_u32,
        windows in windows(),
        ceph_warns in any::<bool>(),
        asks in prop::bool::weighted(0.1),
        approval_lasts in 1..60_u64,
    ) -> Gates {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let mut gates = Gates {
            max_deletions,
            max_deletions_share: Percent::new(share),
            give_up_after: minutes(give_up),
            cooldown: minutes(cooldown),
            minimum_age: minutes(minimum_age),
            breaker_after,
            windows,
            approval_lasts: minutes(approval_lasts),
            ..Gates::default()
        };
        let (per_cluster, per_playbook, hours) = budgets;
        gates.budgets = Budgets { within: minutes(60 * hours), per_cluster, per_playbook, ..gates.budgets };
        if !ceph_warns {
            gates.ceph_health = vec!["HEALTH_OK".to_owned()];
        }
        if asks {
            gates.promql = [("ill".to_owned(), EXPRESSION.to_owned())].into();
        }
        gates
    }
}

/// A run that is over: how many minutes ago, how it ended, and whether it was of the same cause.
type Earlier = (i64, Phase, bool);

fn earlier() -> impl Strategy<Value = Vec<Earlier>> {
    let phase = prop::sample::select(vec![Phase::Succeeded, Phase::Failed, Phase::Failed]);
    let runs = collection::vec((1..2000_i64, phase, any::<bool>()), 1..4);
    prop_oneof![2 => Just(Vec::new()), 1 => runs]
}

fn recorded((minutes, phase, alike): Earlier, playbook: &str, number: usize) -> Remediation {
    let mut run = run_in(&format!("earlier-{number}"), phase);
    run.spec.playbook = (if alike { playbook } else { "another" }).to_owned();
    let status = run.status.as_mut().unwrap();
    (status.started_at, status.finished_at) = (Some(at(-minutes - 3)), Some(at(-minutes)));
    run
}

prop_compose! {
    fn config()(
        mode in prop_oneof![8 => Just(Mode::Act), 1 => Just(Mode::Plan), 1 => Just(Mode::Observe)],
        deadline in 5..180_u64,
        gates in gates(),
        approval in prop::bool::weighted(0.2),
        attempts in 1..4_u32,
        batch in 1..6_u32,
        all_above in option::of(0..=100_u8),
        when in prop::sample::select(vec![ResumeWhen::Running, ResumeWhen::Bound, ResumeWhen::All]),
    ) -> Config {
        let mut config = Config { mode, gates, ..Config::default() };
        // What it was told counts for the whole night.
        config.prometheus.interval = Duration::from_secs(24 * 3600);
        config.steps.suspend_sources.deadline = Duration::from_secs(deadline * 60);
        let resume = &mut config.steps.resume_sources;
        (resume.batch, resume.when) = (batch, when);
        resume.resume_all_above = all_above.map(Percent::new);
        for playbook in config.playbooks.0.values_mut() {
            (playbook.attempts, playbook.approval) = (attempts, approval);
        }
        config
    }
}

prop_compose! {
    fn chance()(
        seed in any::<u64>(), lag in 0..8_u64, fails in 0..30_u64, dies in 0..50_u64, races in 0..20_u64,
    ) -> FaultRates {
        FaultRates { seed, lag, fails, dies, races }
    }
}

prop_compose! {
    fn night(operator: bool)(
        apps in collection::vec(app(), 1..=APPS),
        jams_to_come in 0..3_u32,
        takeover in 10..250_i64,
        troubles in (prop::bool::weighted(0.1), prop::bool::weighted(0.1), prop::bool::weighted(0.3)),
        literal in prop::bool::weighted(0.3),
        happenings in collection::vec((0..30_i64, happening()), 0..8),
        playbook in prop::sample::select(vec!["csi-operation-locks", "csi-operation-locks", "failed-snapshots"]),
        earlier in earlier(),
        config in config(),
        chance in chance(),
    ) -> Night {
        let mut config = config;
        if literal {
            config.playbooks.0.get_mut("csi-operation-locks").unwrap().steps.swap(1, 2);
        }
        Night { apps, operator, jams_to_come, takeover, troubles, happenings, playbook, earlier, config, chance }
    }
}

/// One night, as a case prints it.
#[derive(Clone, Debug)]
struct Night {
    apps: Vec<App>,
    operator: bool,
    jams_to_come: u32,
    takeover: i64,
    /// Whether snapshots time out, whether new volumes hang, and whether the snapshotter loses track of deletions.
    troubles: (bool, bool, bool),
    happenings: Vec<(i64, Happening)>,
    playbook: &'static str,
    earlier: Vec<Earlier>,
    config: Config,
    chance: FaultRates,
}

impl Night {
    fn dream(self) -> Sim {
        let mut cluster = Cluster::jammed(&self.apps, self.operator);
        cluster.jams_to_come = self.jams_to_come;
        cluster.takeover = seconds(self.takeover);
        (cluster.times_out, cluster.hangs, cluster.loses_track) = self.troubles;
        let run = cluster.run.as_mut().unwrap();
        self.playbook.clone_into(&mut run.spec.playbook);
        let mut earlier = self.earlier;
        // In the order they ended in.
        earlier.sort_by_key(|(minutes, ..)| -minutes);
        earlier.dedup_by_key(|(minutes, ..)| *minutes);
        let earlier = earlier.into_iter().enumerate();
        let earlier = earlier.map(|(number, run)| recorded(run, self.playbook, number));
        cluster.earlier = earlier.collect();
        for (minute, happening) in self.happenings {
            cluster.happens_after(minute, happening);
        }
        let mut sim = Sim::new(cluster, self.config, self.chance);
        sim.run_until(at(24 * 60));
        sim
    }
}

/// [`super::sim::Sim`] checks its invariants in every pass; this checks the end.
fn try_it(night: Night) -> Result<(), TestCaseError> {
    let sim = night.dream();
    sim.check_end();
    let over = sim.cluster.run.is_none() || sim.status().phase.finished();
    prop_assert!(over, "the run never ends: {:#?}", sim.told);
    Ok(())
}

// By who owns the provisioner, so that the two use two processors.
proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_faults_keep_the_invariants_of_a_plain_provisioner(night in night(false)) {
        try_it(night)?;
    }

    #[test]
    fn random_faults_keep_the_invariants_of_an_operators(night in night(true)) {
        try_it(night)?;
    }
}
