//! Random clusters, random trouble, random times at which the process dies: the invariants hold all the while.
//!
//! They are asserted by the simulator itself, on every act, at every moment and at the end: see
//! [`super::sim::Sim`]. `PROPTEST_CASES` sets how many nights are tried.

use proptest::prelude::*;
use proptest::{collection, option};

use super::sim::{App, Chance, ClaimIs, Cluster, Happening, Sim, SnapshotIs, Verb, seconds};
use crate::config::{Config, Duration, Mode, Percent, ResumeWhen, SuspendMethod};
use crate::model::Kind;
use crate::model::fixture::at;
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
    let theirs = (
        option::weighted(0.2, any::<bool>()),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    );
    (mover, claim, snapshot, theirs).prop_map(
        |(mover, claim, snapshot, (paused, trigger, opted_out))| App {
            mover,
            claim,
            snapshot,
            paused,
            trigger,
            opted_out,
        },
    )
}

fn happening() -> impl Strategy<Value = Happening> {
    let app = 0..APPS;
    let verb = prop::sample::select(vec![Verb::Hold, Verb::Delete, Verb::Rollout, Verb::Replace]);
    prop_oneof![
        2 => option::of(verb).prop_map(Happening::Refuses),
        2 => any::<bool>().prop_map(Happening::KillSwitch),
        2 => prop::sample::select(Kind::ALL.to_vec()).prop_map(Happening::WatchFails),
        2 => prop::sample::select(Kind::ALL.to_vec()).prop_map(Happening::WatchLives),
        3 => (app.clone(), any::<bool>()).prop_map(|(app, paused)| Happening::Pauses(app, paused)),
        2 => app.clone().prop_map(Happening::Releases),
        2 => app.clone().prop_map(Happening::ReleasesClaim),
        2 => app.clone().prop_map(Happening::SetsTrigger),
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
        1 => (APPS..2 * APPS).prop_map(Happening::AnotherStuck),
    ]
}

prop_compose! {
    fn config()(
        mode in prop_oneof![8 => Just(Mode::Act), 1 => Just(Mode::Plan), 1 => Just(Mode::Observe)],
        deadline in 5..180_u64,
        give_up in 15..60_u64,
        max_deletions in prop_oneof![1 => 0..3_u32, 3 => Just(50)],
        share in prop::sample::select(vec![20, 100, 100, 100]),
        attempts in 1..4_u32,
        batch in 1..6_u32,
        all_above in option::of(0..=100_u8),
        when in prop::sample::select(vec![ResumeWhen::Running, ResumeWhen::Bound, ResumeWhen::All]),
        paused_alone in prop::bool::weighted(0.1),
    ) -> Config {
        let mut config = Config { mode, ..Config::default() };
        config.steps.suspend_sources.deadline = Duration::from_secs(deadline * 60);
        if paused_alone {
            config.steps.suspend_sources.method = SuspendMethod::Paused;
        }
        let resume = &mut config.steps.resume_sources;
        (resume.batch, resume.when) = (batch, when);
        resume.resume_all_above = all_above.map(Percent::new);
        config.gates.give_up_after = Duration::from_secs(give_up * 60);
        config.gates.max_deletions = max_deletions;
        config.gates.max_deletions_share = Percent::new(share);
        config.playbooks.0.get_mut("csi-operation-locks").unwrap().attempts = attempts;
        config
    }
}

prop_compose! {
    fn chance()(seed in any::<u64>(), lag in 0..8_u64, fails in 0..30_u64, dies in 0..50_u64) -> Chance {
        Chance { seed, lag, fails, dies }
    }
}

prop_compose! {
    fn night(operator: bool)(
        apps in collection::vec(app(), 1..=APPS),
        jams_to_come in 0..3_u32,
        takeover in 10..250_i64,
        happenings in collection::vec((0..30_i64, happening()), 0..8),
        config in config(),
        chance in chance(),
    ) -> Night {
        Night { apps, operator, jams_to_come, takeover, happenings, config, chance }
    }
}

/// One night, as a case prints it.
#[derive(Clone, Debug)]
struct Night {
    apps: Vec<App>,
    operator: bool,
    jams_to_come: u32,
    takeover: i64,
    happenings: Vec<(i64, Happening)>,
    config: Config,
    chance: Chance,
}

impl Night {
    fn dream(self) -> Sim {
        let mut cluster = Cluster::jammed(&self.apps, self.operator);
        cluster.jams_to_come = self.jams_to_come;
        cluster.takeover = seconds(self.takeover);
        for (minute, happening) in self.happenings {
            cluster.happens_after(minute, happening);
        }
        let mut sim = Sim::new(cluster, self.config, self.chance);
        sim.run_until(at(24 * 60));
        sim
    }
}

/// Said by [`super::sim::Sim`] at every moment; here what is left at the end.
fn try_it(night: Night) -> Result<(), TestCaseError> {
    let sim = night.dream();
    sim.judge_end();
    let over = sim.cluster.run.is_none() || sim.status().phase.finished();
    prop_assert!(over, "the run never ends: {:#?}", sim.told);
    Ok(())
}

// By who owns the provisioner, so that the two use two processors.
proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_night_brings_a_plain_provisioner(night in night(false)) {
        try_it(night)?;
    }

    #[test]
    fn whatever_the_night_brings_an_operators_provisioner(night in night(true)) {
        try_it(night)?;
    }
}
