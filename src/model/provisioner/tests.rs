//! Finding the provisioner of a driver, in every deployed layout of leases and identities.
//!
//! Each world has two permitted namespaces, `rook-ceph` and `kube-system`. Asserted is the workload that is found:
//! 1. by each kind of identity that holds a lease;
//! 2. among stale and forged leases of the same name;
//! 3. without a lease;
//! 4. by the configuration; and the error if none is found.

use rstest::rstest;

use super::*;
use crate::model::fixture::*;
use crate::model::records::{Lease, Pod, Sidecars, Workload};
use crate::model::{Change, Delta};

const RANDOM: &str = "1704123456789-6806-rook-ceph-rbd-csi-ceph-com";

/// Rook without any lease.
fn without_leases() -> World {
    let gone = |world: World, name: &str| {
        let (namespace, name) = ("rook-ceph".into(), name.into());
        world.with(Change::Lease(Delta::Delete { namespace, name }))
    };
    let mut world = [LEASE, SNAPSHOTTER_LEASE]
        .into_iter()
        .fold(World::rook(), gone);
    world.0.discovery.namespaces =
        ProvisionerNamespaces(vec!["rook-ceph".into(), "kube-system".into()]);
    world
}

/// A cluster without a provisioner.
fn without_provisioner() -> World {
    let gone = |world: World, suffix: &str| {
        let pod = replica(PROVISIONER, "7d9f8b6c5d", suffix);
        let (namespace, name) = (pod.meta.namespace, pod.meta.name);
        world.with(Change::Pod(Delta::Delete { namespace, name }))
    };
    ["leadr", "stdby"].into_iter().fold(without_leases(), gone)
}

fn held(provisioner: &str, snapshotter: &str) -> World {
    without_leases()
        .with(lease(LEASE, provisioner, at(-300)))
        .with(lease(SNAPSHOTTER_LEASE, snapshotter, at(-300)))
}

/// The workload that is found, or the error.
fn found(world: &World) -> String {
    let found = world.0.find_provisioner(DRIVER);
    found.map_or_else(
        |why| why.to_string(),
        |found| {
            let key = found.workload.key();
            format!("{} {}", key.kind.as_str(), key.name)
        },
    )
}

/// Names of the pods whose logs count.
fn leaders(world: &World) -> Vec<String> {
    let provisioner = world.0.find_provisioner(DRIVER).unwrap();
    let leaders = world.0.replicas(&provisioner).filter(|it| it.leads);
    let mut names: Vec<_> = leaders.map(|it| it.pod.meta.name.to_string()).collect();
    names.sort();
    names
}

fn with_sidecars(mut pod: Pod, change: impl FnOnce(&mut Sidecars)) -> Pod {
    change(pod.sidecars.as_mut().unwrap());
    pod
}

fn on_host_network(pod: Pod, node: &str) -> Pod {
    with_sidecars(pod, |it| {
        (it.host_network, it.node) = (true, Some(node.into()));
    })
}

fn naming(pod: Pod, driver: &str) -> Pod {
    with_sidecars(pod, |it| it.driver = Some(driver.into()))
}

/// A StatefulSet or DaemonSet in `kube-system`.
fn set(kind: WorkloadKind, name: &str) -> Workload {
    let mut set = deployment(name);
    set.kind = kind;
    set.meta.namespace = "kube-system".into();
    set.meta.uid = format!("uid-set-{name}").into();
    set
}

/// A pod of `set`.
fn pod_of(set: &Workload, suffix: &str) -> Pod {
    let mut pod = replica(&set.meta.name, "x", suffix);
    pod.meta.namespace = set.meta.namespace.clone();
    pod.meta.name = format!("{}-{suffix}", set.meta.name).as_str().into();
    pod.controller = Some((
        set.kind.object_kind().as_str().into(),
        set.meta.name.clone(),
    ));
    pod.template_hash = None;
    pod
}

fn elsewhere(mut lease: Lease, namespace: &str) -> Lease {
    lease.namespace = namespace.into();
    lease
}

fn stale(mut lease: Lease) -> Lease {
    lease.renewed = Some(at(-9000));
    lease
}

const DOTTED: &str = "rook-ceph.rbd.csi.ceph.com-ctrlplugin";

/// The operator's Deployment, whose pod names contain dots, with a lease under the name that csi-lib-utils sanitised.
fn operators() -> World {
    let holder = format!("{}-6c5d7d9f8b-abcde", sanitized(DOTTED));
    without_provisioner()
        .with(deployment(DOTTED).owned())
        .with(replica(DOTTED, "6c5d7d9f8b", "abcde"))
        .with(replica(DOTTED, "6c5d7d9f8b", "fghij"))
        .with(lease(LEASE, &holder, at(-9)))
        .with(lease(SNAPSHOTTER_LEASE, &holder, at(-9)))
}

fn cut_and_sanitised() -> World {
    let name = "rook-ceph-external.cephfs.csi.ceph.com-ctrlplugin";
    let pod = replica(name, "6c5d7d9f8b", "abcde");
    let holder = sanitized(host_name(&pod.meta.name));
    assert!(pod.meta.name.len() > 63 && holder.len() <= 63);
    without_provisioner()
        .with(deployment(name).owned())
        .with(pod)
        .with(lease(LEASE, &holder, at(-9)))
}

/// The provisioners of two drivers on one node, both in its network.
fn host_network() -> World {
    let other = |suffix| {
        let pod = replica("csi-cephfsplugin-provisioner", "5f6d7c8b9", suffix);
        let pod = with_sidecars(pod, |it| *it = sidecars("csi-cephfsplugin"));
        on_host_network(pod, "node-1")
    };
    let [leader, standby] = [("leadr", "node-1"), ("stdby", "node-2")]
        .map(|(suffix, node)| on_host_network(replica(PROVISIONER, "7d9f8b6c5d", suffix), node));
    held("node-1", "node-1")
        .with(deployment("csi-cephfsplugin-provisioner"))
        .with(other("aaaaa"))
        .with(leader)
        .with(standby)
}

fn stateful_set() -> World {
    let set = set(WorkloadKind::StatefulSet, "csi-rbd");
    let world = without_provisioner()
        .with(pod_of(&set, "0"))
        .with(pod_of(&set, "1"))
        .with(elsewhere(lease(LEASE, "csi-rbd-1", at(-9)), "kube-system"));
    world.with(set)
}

const CLASSIC: &str = "Deployment csi-rbdplugin-provisioner";
const BOTH: [&str; 2] = [LEADER, "csi-rbdplugin-provisioner-7d9f8b6c5d-stdby"];

#[rstest]
#[case::the_pods_name(held(LEADER, LEADER), CLASSIC, &[LEADER])]
#[case::a_made_up_identity_beside_a_pods_name(held(RANDOM, LEADER), CLASSIC, &BOTH)]
#[case::two_made_up_identities(held(RANDOM, RANDOM), CLASSIC, &BOTH)]
#[case::a_pod_that_is_gone(held("gone", "gone"), CLASSIC, &BOTH)]
#[case::the_snapshotters_pod_alone(held("", LEADER), CLASSIC, &[LEADER])]
#[case::a_name_with_dots(
    operators(),
    "Deployment rook-ceph.rbd.csi.ceph.com-ctrlplugin",
    &["rook-ceph.rbd.csi.ceph.com-ctrlplugin-6c5d7d9f8b-abcde"]
)]
#[case::a_long_name_with_dots(
    cut_and_sanitised(),
    "Deployment rook-ceph-external.cephfs.csi.ceph.com-ctrlplugin",
    &["rook-ceph-external.cephfs.csi.ceph.com-ctrlplugin-6c5d7d9f8b-abcde"]
)]
#[case::the_node(host_network(), CLASSIC, &[LEADER])]
#[case::a_pod_of_a_stateful_set(stateful_set(), "StatefulSet csi-rbd", &["csi-rbd-1"])]
#[case::another_hostname(
    held("chosen", "chosen").with(with_sidecars(
        replica(PROVISIONER, "7d9f8b6c5d", "leadr"),
        |it| it.hostname = Some("chosen".into()),
    )),
    CLASSIC,
    &[LEADER]
)]
fn provisioner_is_found_by_its_lease_holder(
    #[case] world: World,
    #[case] workload: &str,
    #[case] leading: &[&str],
) {
    assert_eq!(found(&world), workload);
    assert_eq!(leaders(&world), leading);
}

/// A second driver's provisioner in the same namespace: the configured container, or an argument, distinguishes them.
#[rstest]
#[case::by_its_container(|pod: Pod| with_sidecars(pod, |it| *it = sidecars("csi-cephfsplugin")))]
#[case::by_an_argument(|pod: Pod| naming(pod, OTHER_DRIVER))]
fn random_identity_leads_to_the_drivers_workload(#[case] other: fn(Pod) -> Pod) {
    let world = held(RANDOM, RANDOM)
        .with(deployment("csi-other-provisioner"))
        .with(other(replica(
            "csi-other-provisioner",
            "5f6d7c8b9",
            "aaaaa",
        )));
    assert_eq!(found(&world), CLASSIC);
}

#[rstest]
#[case::live_before_stale(
    held(LEADER, LEADER).with(elsewhere(stale(lease(LEASE, "csi-rbd-1", at(-9000))), "kube-system")),
    CLASSIC
)]
#[case::live_elsewhere_before_stale(
    stateful_set().with(stale(lease(LEASE, RANDOM, at(-9000)))),
    "StatefulSet csi-rbd"
)]
#[case::lease_with_a_workload_before_one_without(
    held(LEADER, LEADER).with(elsewhere(
        Lease { renewed: Some(at(9)), ..lease(LEASE, RANDOM, at(-9)) },
        "kube-system",
    )),
    CLASSIC
)]
#[case::forged_in_a_tenants_namespace(
    held(RANDOM, RANDOM).with(elsewhere(
        Lease { renewed: Some(at(9)), ..lease(LEASE, "mine-0", at(-9)) },
        "tenant",
    )),
    CLASSIC
)]
fn live_and_permitted_lease_takes_precedence(#[case] world: World, #[case] workload: &str) {
    assert_eq!(found(&world), workload);
}

/// In any order of observing the leases.
#[test]
fn order_of_observation_does_not_matter() {
    let leases = || {
        let stale = elsewhere(stale(lease(LEASE, "csi-rbd-1", at(-9000))), "kube-system");
        [lease(LEASE, RANDOM, at(-9)), stale]
    };
    let set = || set(WorkloadKind::StatefulSet, "csi-rbd");
    let there = || without_leases().with(pod_of(&set(), "1")).with(set());
    let [first, second] = leases();
    let forward = there().with(first).with(second);
    let [first, second] = leases();
    let backward = there().with(second).with(first);
    assert_eq!(
        (found(&forward), found(&backward)),
        (CLASSIC.into(), CLASSIC.into())
    );
}

/// `--node-deployment`: there is no election, and the snapshotter's container may have another name (democratic-csi).
#[test]
fn driver_without_election_is_found_by_its_sidecars() {
    let set = set(WorkloadKind::DaemonSet, "node");
    let democratic = |suffix| {
        with_sidecars(pod_of(&set, suffix), |it| {
            let names = [
                "csi-rbdplugin",
                "external-provisioner",
                "external-snapshotter",
            ];
            it.containers = names.map(Into::into).into();
        })
    };
    let world = without_provisioner()
        .with(democratic("a"))
        .with(democratic("b"));
    let world = world.with(set);
    assert_eq!(found(&world), "DaemonSet node");
    assert_eq!(leaders(&world), ["node-a", "node-b"]);
    assert_eq!(world.has_snapshotter(), Some(true));
}

fn overridden(kind: WorkloadKind, namespace: &str, name: &str) -> World {
    let mut world = stateful_set();
    let kind = kind.object_kind().as_str();
    let text = format!(
        "drivers: [{{name: '{DRIVER}', provisioner: {{namespace: {namespace}, kind: {kind}, name: {name}}}}}]"
    );
    world.0.discovery = Discovery::of(&crate::config::parse(&text).unwrap());
    world
}

#[test]
fn configured_provisioner_takes_precedence() {
    let world = overridden(WorkloadKind::StatefulSet, "kube-system", "csi-rbd");
    assert_eq!(found(&world), "StatefulSet csi-rbd");
    assert_eq!(leaders(&world), ["csi-rbd-1"]);
}

#[rstest]
#[case::nothing(
    without_provisioner(),
    "no lease rook-ceph-rbd-csi-ceph-com or external-snapshotter-leader-rook-ceph-rbd-csi-ceph-com, \
     and no pod with its sidecars, in rook-ceph, kube-system; name the workload in drivers[].provisioner"
)]
#[case::a_lease_outside_the_namespaces(
    without_provisioner().with(elsewhere(lease(LEASE, "x-0", at(-9)), "storage")),
    "no lease rook-ceph-rbd-csi-ceph-com or external-snapshotter-leader-rook-ceph-rbd-csi-ceph-com, \
     and no pod with its sidecars, in rook-ceph, kube-system; leases of that name are in storage: \
     add their namespace to provisionerNamespaces"
)]
#[case::a_holder_that_matches_no_pod(
    without_provisioner().with(lease(LEASE, "node-9", at(-9))),
    "no pod matches \"node-9\", the holder of lease rook-ceph/rook-ceph-rbd-csi-ceph-com; \
     name the workload in drivers[].provisioner"
)]
#[case::lease_without_holder(
    without_provisioner().with(lease(LEASE, "", at(-9))),
    "no holder of lease rook-ceph/rook-ceph-rbd-csi-ceph-com, and no workload with its sidecars there; \
     start it, or name it in drivers[].provisioner"
)]
#[case::pod_without_controller(
    without_provisioner().with(pod("rook-ceph", "bare", &[])).with(lease(LEASE, "bare", at(-9))),
    "Pod rook-ceph/bare holds its lease, but belongs to no Deployment, StatefulSet or DaemonSet; \
     restart it by hand"
)]
#[case::several(
    held(RANDOM, RANDOM)
        .with(deployment("second"))
        .with(replica("second", "5f6d7c8b9", "aaaaa")),
    "several workloads run its sidecars: Deployment rook-ceph/csi-rbdplugin-provisioner, \
     Deployment rook-ceph/second; name one in drivers[].provisioner"
)]
#[case::named_and_not_there(
    overridden(WorkloadKind::Deployment, "kube-system", "csi-rbd"),
    "Deployment kube-system/csi-rbd does not exist; correct drivers[].provisioner"
)]
fn missing_provisioner_is_explained(#[case] world: World, #[case] why: &str) {
    assert_eq!(found(&world), why);
}

#[test]
fn lease_names_match_rook() {
    let (provisioner, snapshotter) = lease_names("rook-ceph.rbd.csi.ceph.com");
    assert_eq!(provisioner, "rook-ceph-rbd-csi-ceph-com");
    assert_eq!(
        snapshotter,
        "external-snapshotter-leader-rook-ceph-rbd-csi-ceph-com"
    );
}

/// A lease of 15 s, the sidecars' default, renewed this many seconds ago by this clock.
#[rstest]
#[case::renewed_recently(5, true)]
#[case::by_a_clock_that_is_behind(-30, true)]
#[case::by_a_clock_that_is_ahead(5 + 30, true)]
#[case::expired(15 + 31, false)]
fn lease_is_held_within_duration_and_clock_tolerance(#[case] ago: i64, #[case] held: bool) {
    let mut short = lease(LEASE, LEADER, at(-300));
    short.seconds = 15;
    short.renewed = Some(at(0) - jiff::SignedDuration::from_secs(ago));
    assert_eq!(short.held(at(0)), held);
}
