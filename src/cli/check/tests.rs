//! Complete checks of a constructed cluster: one without faults, and one with each fault.
//!
//! Asserted: without faults, every check passes; each fault is found by its own check and by no other.

use std::collections::BTreeSet;

use rstest::rstest;

use super::facts::{
    AlertmanagerFacts, ClusterFacts, Facts, LeaseFacts, Observed, PrometheusFacts, Trial, Version,
};
use super::judge::{Outcome, State, judge, shipped_alerts};
use super::report::{Look, Report};
use super::speaks_utf8;
use crate::api::SharedStr;
use crate::cluster::leader::LEASE_NAME;
use crate::cluster::rights::{Purpose, needed};
use crate::config::{Config, Drivers, Mode};
use crate::findings::DetectionSettings;
use crate::model::fixture::{
    DRIVER, LEADER, LEADER_UID, LEASE, PROVISIONER, SNAPSHOTTER_LEASE, STANDBY_UID, World, at,
    deployment, hold_policy, lease, namespace, node, replica, sidecars, snapshot_class,
    storage_class,
};
use crate::model::records::{Lease, Pod, Volume};
use crate::model::{Change, Delta, Kind, WatchState};
use crate::state::view;

const NAMESPACE: &str = "locksmith";
const ACCOUNT: &str = "system:serviceaccount:locksmith:locksmith";

fn log(uid: &str, answer: Result<(), SharedStr>) -> Change {
    Change::LogRead(uid.into(), DRIVER.into(), Some(answer))
}

/// Rook's RBD driver with both sidecars and followed logs, and the daemon as leader.
fn world() -> World {
    let ours = Lease {
        namespace: NAMESPACE.into(),
        ..lease(LEASE_NAME, "locksmith-0", at(-60))
    };
    World::empty()
        .with(namespace(NAMESPACE))
        .with(namespace("rook-ceph"))
        .with(storage_class("ceph-block", DRIVER))
        .with(snapshot_class("csi-ceph-block", DRIVER))
        .with(node("k8s-0"))
        .with(deployment(PROVISIONER))
        .with(replica(PROVISIONER, "7d9f8b6c5d", "leadr"))
        .with(replica(PROVISIONER, "7d9f8b6c5d", "stdby"))
        .with(lease(LEASE, LEADER, at(-300)))
        .with(lease(SNAPSHOTTER_LEASE, LEADER, at(-301)))
        .with(log(LEADER_UID, Ok(())))
        .with(log(STANDBY_UID, Ok(())))
        .with(ours)
}

fn config() -> Config {
    let mut config = Config {
        mode: Mode::Act,
        ..Config::default()
    };
    config.remediation.namespace = Some(NAMESPACE.into());
    config
}

fn shipped_route() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/alerts/alertmanager.yaml");
    std::fs::read_to_string(path).unwrap()
}

/// The facts of a cluster with working monitoring and all rights.
fn facts(world: World, config: &Config) -> Facts {
    let mut model = world.0;
    model.discovery = crate::model::Discovery::of(config);
    let settings = DetectionSettings {
        detect: config.detect.clone(),
        drivers: config.drivers.clone(),
        one_shot: true,
    };
    let view = view::take(&model, config, &settings, at(0));
    let observed = Observed::of(&model, &view, config, (NAMESPACE, LEASE_NAME), at(0));
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let rights = needed(config, NAMESPACE).into_iter();
    let cluster = ClusterFacts {
        observed,
        definitions: Ok(WatchState::Synced),
        trial: Some(Ok(())),
        user: Some(ACCOUNT.to_owned()),
        rights: rights.map(|right| (right, Ok(true))).collect(),
        daemon: Ok(version.clone()),
        prometheus: Some(PrometheusFacts {
            url: "http://prometheus:9090".to_owned(),
            alerts: Ok(shipped_alerts().map(str::to_owned).collect()),
            versions: Ok(vec![version]),
            expressions: vec![("osds".to_owned(), Ok(0)), ("ceph".to_owned(), Ok(2))],
        }),
        alertmanager: Some(AlertmanagerFacts {
            url: "http://alertmanager:9093".to_owned(),
            config: Ok(shipped_route()),
            starting: vec!["LocksmithOperationLocked", "LocksmithSourceOrphaned"],
        }),
    };
    Facts {
        before_install: false,
        mode: config.mode,
        namespace: NAMESPACE.to_owned(),
        in_cluster: true,
        server: "https://kubernetes.default.svc/".to_owned(),
        version: Ok(Version {
            major: 1,
            minor: 36,
            text: "v1.36.0".to_owned(),
        }),
        cluster: Some(cluster),
    }
}

/// The checks that do not pass: name, and whether it fails.
fn faults(outcomes: &[Outcome]) -> Vec<(&'static str, State)> {
    let faults = outcomes.iter().filter(|it| it.state != State::Pass);
    faults.map(|it| (it.id.as_str(), it.state)).collect()
}

#[test]
fn cluster_in_order_passes_every_check() {
    let outcomes = judge(&facts(world(), &config()));
    assert_eq!(faults(&outcomes), []);
    let made: BTreeSet<_> = outcomes.iter().map(|it| it.id).collect();
    let all: BTreeSet<_> = super::catalog::CheckId::ALL.iter().copied().collect();
    assert_eq!(made, all);
    assert_eq!(Report::of(&outcomes, None, false).exit_code(), 0);
}

/// A pod of the provisioner without its snapshotter.
fn without_snapshotter(suffix: &str) -> Pod {
    let mut pod = replica(PROVISIONER, "7d9f8b6c5d", suffix);
    let mut containers = sidecars("csi-rbdplugin").containers.into_vec();
    containers.retain(|name| **name != *"csi-snapshotter");
    pod.sidecars.as_mut().unwrap().containers = containers.into();
    pod
}

#[rstest]
#[case::policy_edited("hold-policy", State::Fail, |world: World| {
    let mut policy = hold_policy();
    policy.difference = Some("was edited: spec.matchConstraints differs from the shipped one".into());
    world.with(policy)
})]
#[case::policy_forbidden("hold-policy", State::Fail, |world: World| {
    world.reading(Kind::HoldPolicy, WatchState::Failing("forbidden".to_owned()))
})]
#[case::policy_not_served("policy-api", State::Fail, |world: World| {
    world.reading(Kind::HoldBinding, WatchState::NotServed)
})]
#[case::volsync_missing("volsync-crds", State::Fail, |world: World| {
    world.reading(Kind::ReplicationSources, WatchState::NotServed)
})]
#[case::snapshots_missing("snapshot-crds", State::Fail, |world: World| {
    world.reading(Kind::VolumeSnapshotContents, WatchState::NotServed)
})]
#[case::clock("clock", State::Fail, |world: World| {
    world.reading(Kind::Clock, WatchState::Failing("1h ahead of the API server's".to_owned()))
})]
#[case::pods_forbidden("observation", State::Fail, |world: World| {
    world.reading(Kind::Pods, WatchState::Failing("forbidden".to_owned()))
})]
#[case::snapshotter_absent("sidecars", State::Fail, |world: World| {
    // Its lease stays, and nobody renews it.
    let stale = Lease { renewed: Some(at(-60)), ..lease(SNAPSHOTTER_LEASE, LEADER, at(-301)) };
    world.with(without_snapshotter("leadr")).with(without_snapshotter("stdby")).with(stale)
})]
#[case::lease_stale("leases", State::Fail, |world: World| {
    world.with(Lease { renewed: Some(at(-60)), ..lease(LEASE, LEADER, at(-300)) })
})]
#[case::second_lease_missing("leases", State::Warn, |world: World| {
    let name = SNAPSHOTTER_LEASE.into();
    world.with(Change::Lease(Delta::Delete { namespace: "rook-ceph".into(), name }))
})]
#[case::log_forbidden("log", State::Fail, |world: World| world.with(log(LEADER_UID, Err("forbidden".into()))))]
#[case::log_slow("log", State::Warn, |world: World| world.with(Change::LogRead(LEADER_UID.into(), DRIVER.into(), None)))]
#[case::daemon_vanished("leader", State::Fail, |world: World| {
    let ours = lease(LEASE_NAME, "locksmith-0", at(-60));
    world.with(Lease { namespace: NAMESPACE.into(), renewed: Some(at(-60)), ..ours })
})]
fn fault_of_the_cluster_is_found_by_its_check_alone(
    #[case] check: &str,
    #[case] state: State,
    #[case] change: fn(World) -> World,
) {
    let outcomes = judge(&facts(change(world()), &config()));
    assert_eq!(faults(&outcomes), [(check, state)]);
}

fn cluster(facts: &mut Facts) -> &mut ClusterFacts {
    facts.cluster.as_mut().unwrap()
}

fn without_right(facts: &mut Facts, of: fn(Purpose) -> bool) {
    let rights = cluster(facts).rights.iter_mut();
    let first = rights.into_iter().find(|(right, _)| of(right.purpose));
    first.unwrap().1 = Ok(false);
}

#[rstest]
#[case::kubernetes_old("api-version", State::Fail, |facts: &mut Facts| facts.version.as_mut().unwrap().minor = 29)]
#[case::crd_old("locksmith-crds", State::Fail, |facts: &mut Facts| {
    cluster(facts).definitions = Ok(WatchState::Failing("lacks status.held".to_owned()));
})]
#[case::crd_missing("locksmith-crds", State::Fail, |facts: &mut Facts| cluster(facts).definitions = Ok(WatchState::NotServed))]
#[case::crd_unread("locksmith-crds", State::Warn, |facts: &mut Facts| cluster(facts).definitions = Err("no answer".to_owned()))]
#[case::not_enforced("hold-effect", State::Fail, |facts: &mut Facts| {
    cluster(facts).trial = Some(Err(Trial::Refuted("accepted".to_owned())));
})]
#[case::not_tried("hold-effect", State::Warn, |facts: &mut Facts| {
    cluster(facts).trial = Some(Err(Trial::NotTried("forbidden".to_owned())));
})]
#[case::namespace_missing("provisioner-namespaces", State::Fail, |facts: &mut Facts| {
    cluster(facts).observed.missing_namespaces = vec!["csi".into()];
})]
#[case::account_may_not_watch("rights-observe", State::Fail, |facts: &mut Facts| without_right(facts, |of| of == Purpose::Observe))]
#[case::account_may_not_record("rights-record", State::Fail, |facts: &mut Facts| without_right(facts, |of| of == Purpose::Record))]
#[case::account_may_not_act("rights-steps", State::Fail, |facts: &mut Facts| without_right(facts, |of| matches!(of, Purpose::Step(_))))]
#[case::person_may_not_act("rights-steps", State::Warn, |facts: &mut Facts| {
    without_right(facts, |of| matches!(of, Purpose::Step(_)));
    cluster(facts).user = Some("jane".to_owned());
})]
#[case::reviews_forbidden("rights-record", State::Warn, |facts: &mut Facts| {
    let rights = &mut cluster(facts).rights;
    let right = rights.iter_mut().find(|(right, _)| right.purpose == Purpose::Record);
    right.unwrap().1 = Err("forbidden".to_owned());
})]
#[case::never_led("leader", State::Fail, |facts: &mut Facts| cluster(facts).observed.leader = None)]
#[case::released("leader", State::Fail, |facts: &mut Facts| {
    let released = LeaseFacts { name: LEASE_NAME.into(), holder: "".into(), held: false, renewed: None };
    cluster(facts).observed.leader = Some(released);
})]
#[case::other_version("daemon-version", State::Warn, |facts: &mut Facts| cluster(facts).daemon = Ok("0.0.1".to_owned()))]
#[case::no_prometheus("prometheus", State::Warn, |facts: &mut Facts| cluster(facts).prometheus = None)]
#[case::no_rules("rules", State::Fail, |facts: &mut Facts| {
    cluster(facts).prometheus.as_mut().unwrap().alerts = Ok(BTreeSet::from(["Other".to_owned()]));
})]
#[case::one_rule_missing("rules", State::Warn, |facts: &mut Facts| {
    let alerts = &mut cluster(facts).prometheus.as_mut().unwrap().alerts;
    alerts.as_mut().unwrap().remove("LocksmithDown");
})]
#[case::not_scraped("target", State::Fail, |facts: &mut Facts| {
    cluster(facts).prometheus.as_mut().unwrap().versions = Ok(Vec::new());
})]
#[case::expression_refused("promql", State::Fail, |facts: &mut Facts| {
    let expressions = &mut cluster(facts).prometheus.as_mut().unwrap().expressions;
    expressions[0].1 = Err("parse error: unclosed left parenthesis".to_owned());
})]
#[case::alertmanager_unreachable("alertmanager", State::Fail, |facts: &mut Facts| {
    cluster(facts).alertmanager.as_mut().unwrap().config = Err("refused".to_owned());
})]
#[case::alertmanager_unreachable_from_outside("alertmanager", State::Warn, |facts: &mut Facts| {
    cluster(facts).alertmanager.as_mut().unwrap().config = Err("refused".to_owned());
    facts.in_cluster = false;
})]
#[case::no_route("alert-route", State::Warn, |facts: &mut Facts| {
    let config = &mut cluster(facts).alertmanager.as_mut().unwrap().config;
    *config = Ok(config.as_ref().unwrap().replace("receiver: locksmith-home", "receiver: pager"));
})]
#[case::alerts_of_ones_own("alert-route", State::Warn, |facts: &mut Facts| {
    cluster(facts).alertmanager.as_mut().unwrap().starting.clear();
})]
#[case::route_of_unknown_webhook("alert-route", State::Warn, |facts: &mut Facts| {
    let config = &mut cluster(facts).alertmanager.as_mut().unwrap().config;
    let hidden = config.as_ref().unwrap().replace("http://locksmith.volsync-locksmith:9797/webhook", "<secret>");
    *config = Ok(hidden.replace("locksmith-home", "home"));
})]
fn fault_beside_the_cluster_is_found_by_its_check_alone(
    #[case] check: &str,
    #[case] state: State,
    #[case] change: fn(&mut Facts),
) {
    let mut facts = facts(world(), &config());
    change(&mut facts);
    let outcomes = judge(&facts);
    assert_eq!(faults(&outcomes), [(check, state)]);
    for outcome in outcomes {
        let wrong = outcome.state != State::Pass;
        assert_eq!(outcome.fix().is_some(), wrong, "{outcome:?}");
    }
}

#[test]
fn driver_that_is_not_watched_is_in_the_block_for_the_configuration() {
    let mut config = config();
    config.drivers = Drivers(vec![crate::config::Driver {
        name: "*.rbd.csi.ceph.com".into(),
        ..config.drivers.find(DRIVER).unwrap().clone()
    }]);
    let other = storage_class("ebs", "ebs.csi.aws.com");
    let facts = facts(world().with(other), &config);
    let outcomes = judge(&facts);
    assert_eq!(faults(&outcomes), [("drivers-watched", State::Warn)]);
    let observed = facts.cluster.as_ref().map(|cluster| &cluster.observed);
    let text = Report::of(&outcomes, observed, false).text(Look {
        colour: false,
        unicode: false,
    });
    let indented = text.lines().filter_map(|line| line.strip_prefix("    "));
    let block: Vec<_> = indented.skip_while(|line| *line != "drivers:").collect();
    let block = block.join("\n");
    let parsed = crate::config::parse(&block).unwrap();
    assert!(parsed.drivers.find("ebs.csi.aws.com").is_some(), "{block}");
    assert_eq!(parsed.provisioner_namespaces.0, ["rook-ceph".into()]);
}

/// Entries of `drivers`: one in use, one of volumes whose class is gone, one of nothing.
#[test]
fn entry_that_no_class_names_is_reported() {
    let mut config = config();
    let found = |config: &Config| {
        let old = Change::Volume(Delta::Apply(Volume {
            name: "pv-old".into(),
            driver: "old.csi.example.com".into(),
            created: at(-60).into(),
        }));
        let outcomes = judge(&facts(world().with(old), config));
        let outcome = outcomes
            .into_iter()
            .find(|it| it.id.as_str() == "drivers-configured");
        let outcome = outcome.unwrap();
        (outcome.state, outcome.found)
    };
    let entry = |name: &str| crate::config::Driver {
        name: name.into(),
        ..Config::default().drivers.find(DRIVER).unwrap().clone()
    };
    config.drivers = Drivers(vec![entry(DRIVER)]);
    assert_eq!(
        found(&config),
        (State::Pass, "every entry of drivers is in use".to_owned())
    );
    config.drivers.0.push(entry("old.csi.example.com"));
    let (state, text) = found(&config);
    assert_eq!(state, State::Pass);
    assert!(
        text.ends_with("only volumes and no class name old.csi.example.com"),
        "{text}"
    );
    config.drivers.0.push(entry("*.misspelt.com"));
    let (state, text) = found(&config);
    assert_eq!(
        (state, &*text),
        (State::Warn, "no class and no volume names *.misspelt.com")
    );
}

#[test]
fn provisioner_elsewhere_is_reported_with_its_namespace() {
    let mut config = config();
    config.provisioner_namespaces.0 = vec![NAMESPACE.into()];
    let outcomes = judge(&facts(world(), &config));
    assert_eq!(faults(&outcomes), [("provisioner", State::Fail)]);
    let found = outcomes.iter().find(|it| it.id.as_str() == "provisioner");
    let fix = found.and_then(Outcome::fix).unwrap();
    assert!(fix.contains("held in rook-ceph"), "{fix}");
}

#[test]
fn unreachable_server_is_the_only_check() {
    let mut facts = facts(world(), &config());
    facts.version = Err("connection refused".to_owned());
    facts.cluster = None;
    let outcomes = judge(&facts);
    assert_eq!(faults(&outcomes), [("api-reachable", State::Fail)]);
    assert_eq!(Report::of(&outcomes, None, false).exit_code(), 2);
}

#[test]
fn expressions_that_close_their_gate_now_are_named() {
    let found = |expressions: Vec<(String, Result<usize, String>)>| {
        let mut facts = facts(world(), &config());
        cluster(&mut facts).prometheus.as_mut().unwrap().expressions = expressions;
        let outcomes = judge(&facts);
        let found = outcomes.into_iter().find(|it| it.id.as_str() == "promql");
        found.map(|it| (it.state, it.found))
    };
    let of = |name: &str, series| (name.to_owned(), Ok(series));
    let passes = |text: &str| Some((State::Pass, text.to_owned()));
    assert_eq!(found(Vec::new()), None);
    assert_eq!(found(vec![of("ceph", 0)]), passes("1 expression"));
    assert_eq!(
        found(vec![of("ceph", 2), of("osds", 0)]),
        passes("2 expressions; closed now by ceph")
    );
}

/// Before the installation, our own objects do not exist, and are not reported as missing.
#[test]
fn nothing_of_ours_is_checked_before_the_installation() {
    let mut config = config();
    config.mode = Mode::Observe;
    let mut facts = facts(world(), &config);
    facts.before_install = true;
    let cluster = cluster(&mut facts);
    cluster.definitions = Ok(WatchState::NotServed);
    cluster.observed.hold_policy = Some("there is no policy".to_owned());
    cluster.observed.leader = None;
    cluster.daemon = Err("no Service".to_owned());
    (cluster.prometheus, cluster.alertmanager) = (None, None);
    assert_eq!(faults(&judge(&facts)), []);
}

#[test]
fn hints_are_shown_for_faults_alone() {
    let mut facts = facts(world(), &config());
    cluster(&mut facts).observed.leader = None;
    let report = Report::of(&judge(&facts), None, false);
    let text = report.text(Look {
        colour: false,
        unicode: true,
    });
    let lines: Vec<_> = text.lines().collect();
    let at = lines.iter().position(|line| line.starts_with('×')).unwrap();
    assert_eq!(
        lines[at..at + 4],
        [
            "× leader: no replica ever led in namespace locksmith",
            "    Only the replica that holds Lease locksmith records and acts.",
            "    Check that the pods run and may write the Lease: kubectl -n locksmith get pods,lease/locksmith",
            "    see deploy/docs/check.md#leader",
        ]
    );
    assert_eq!(text.matches("see deploy/docs/").count(), 1, "{text}");
    assert!(text.ends_with(", 0 warnings, 1 failed\n"), "{text}");
    let ascii = report.text(Look {
        colour: false,
        unicode: false,
    });
    assert!(ascii.is_ascii(), "{ascii}");
    let coloured = report.text(Look {
        colour: true,
        unicode: true,
    });
    let plain = anstream::adapter::strip_str(&coloured).to_string();
    assert_eq!(plain, text);
}

#[rstest]
#[case(&[("LANG", "de_DE.UTF-8")], true)]
#[case(&[("LANG", "en_US.utf8"), ("LC_ALL", "C")], false)]
#[case(&[("LC_ALL", ""), ("LC_CTYPE", "C.UTF-8")], true)]
#[case(&[], false)]
fn locale_decides_on_symbols(#[case] set: &[(&str, &str)], #[case] utf8: bool) {
    let variable = |name: &str| {
        let value = set.iter().find(|(known, _)| *known == name);
        value.map(|(_, value)| (*value).to_owned())
    };
    assert_eq!(speaks_utf8(variable), utf8);
}
