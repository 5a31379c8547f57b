//! How the provisioner is restarted, by who owns its Deployment.

use rstest::rstest;

use super::targets;
use crate::config::WorkloadKind;
use crate::model::fixture::*;
use crate::model::records::Lease;
use crate::plan::{CannotPlan, restart};

fn plan(world: &World) -> Result<Vec<String>, CannotPlan> {
    restart::plan(&world.0, &DRIVER.into()).map(|step| targets(&step))
}

#[test]
fn a_plain_deployment_is_rolled_out_and_its_pods_awaited() {
    let expected = [
        "Rollout Deployment csi-rbdplugin-provisioner".to_owned(),
        format!("Await Pod {LEADER}"),
        "Await Pod csi-rbdplugin-provisioner-7d9f8b6c5d-stdby".to_owned(),
        format!("HandOver Lease {LEASE}"),
        format!("HandOver Lease {SNAPSHOTTER_LEASE}"),
    ];
    assert_eq!(plan(&World::rook()).unwrap(), expected);
}

#[test]
fn the_pods_of_an_operators_deployment_are_replaced() {
    let world = World::rook().with(deployment(PROVISIONER).owned());
    let expected = [
        "Await Deployment csi-rbdplugin-provisioner".to_owned(),
        format!("Replace Pod {LEADER}"),
        "Replace Pod csi-rbdplugin-provisioner-7d9f8b6c5d-stdby".to_owned(),
        format!("HandOver Lease {LEASE}"),
        format!("HandOver Lease {SNAPSHOTTER_LEASE}"),
    ];
    assert_eq!(plan(&world).unwrap(), expected);
}

#[test]
fn pods_of_other_owners_are_nobodys_business() {
    let stray = replica("csi-rbdplugin", "7d9f8b6c5d", "other");
    let mut daemon = replica(PROVISIONER, "7d9f8b6c5d", "daemon");
    daemon.controller = Some(("DaemonSet".into(), "csi-rbdplugin".into()));
    let world = World::rook().with(stray).with(daemon);
    assert_eq!(plan(&world), plan(&World::rook()));
}

fn leases(provisioner: Lease, snapshotter: Lease) -> World {
    World::rook().with(provisioner).with(snapshotter)
}

#[rstest]
#[case::both_leases(World::rook(), true)]
#[case::the_provisioners_lease(leases(lease(LEASE, LEADER, at(-9)), lease(SNAPSHOTTER_LEASE, "", at(-9))), true)]
#[case::the_snapshotters_lease(leases(lease(LEASE, "gone", at(-9)), lease(SNAPSHOTTER_LEASE, LEADER, at(-9))), true)]
#[case::its_sidecars(leases(lease(LEASE, "", at(-9)), lease(SNAPSHOTTER_LEASE, "gone", at(-9))), true)]
#[case::nothing_at_all(World::empty(), false)]
fn the_deployment_is_found_by(#[case] world: World, #[case] found: bool) {
    let plan = plan(&world);
    assert_eq!(plan.is_ok(), found, "{plan:?}");
    assert!(found || matches!(plan, Err(CannotPlan::NoProvisioner(..))));
}

#[rstest]
#[case::the_deployment(World::rook().with(deployment(PROVISIONER).opted_out()))]
#[case::its_namespace(World::rook().with(namespace("rook-ceph").opted_out()))]
#[case::one_of_its_pods(World::rook().with(replica(PROVISIONER, "7d9f8b6c5d", "stdby").opted_out()))]
fn opted_out_provisioner_is_not_restarted(#[case] world: World) {
    assert!(
        matches!(plan(&world), Err(CannotPlan::OptedOut(_))),
        "{:?}",
        plan(&world)
    );
}

/// A StatefulSet or DaemonSet in place of the Deployment, which elects a leader or does not.
fn set(kind: WorkloadKind, elects: bool) -> World {
    let mut set = deployment("csi-rbd");
    set.kind = kind;
    let mut pod = replica("csi-rbd", "x", "0");
    pod.meta.name = "csi-rbd-0".into();
    pod.controller = Some((kind.object_kind().as_str().into(), "csi-rbd".into()));
    let world = World::empty().with(set).with(pod);
    let lease = lease(LEASE, "csi-rbd-0", at(-9));
    if elects { world.with(lease) } else { world }
}

#[rstest]
#[case::a_stateful_set(WorkloadKind::StatefulSet, "StatefulSet", true)]
#[case::a_stateful_set_that_elects_nobody(WorkloadKind::StatefulSet, "StatefulSet", false)]
#[case::a_daemon_set(WorkloadKind::DaemonSet, "DaemonSet", true)]
fn the_pods_of_a_set_are_replaced(
    #[case] kind: WorkloadKind,
    #[case] name: &str,
    #[case] elects: bool,
) {
    let mut expected = vec![
        format!("Await {name} csi-rbd"),
        "Replace Pod csi-rbd-0".to_owned(),
    ];
    expected.extend(elects.then(|| format!("HandOver Lease {LEASE}")));
    assert_eq!(plan(&set(kind, elects)).unwrap(), expected);
}

#[test]
fn pods_that_serve_and_mount_on_each_node_are_not_restarted() {
    let plan = plan(&set(WorkloadKind::DaemonSet, false));
    assert!(
        matches!(plan, Err(CannotPlan::NodeDeployment(..))),
        "{plan:?}"
    );
}

/// A pod's hostname, and so the lease, holds 63 bytes of its name.
#[test]
fn a_holder_whose_name_was_cut_is_found() {
    let long = "rook-ceph-external.cephfs.csi.ceph.com-ctrlplugin";
    let leader = replica(long, "7d9f8b6c5d", "leadr");
    let cut = &leader.meta.name[..63];
    assert!(leader.meta.name.len() > 63);
    let world = leases(
        lease(LEASE, cut, at(-9)),
        lease(SNAPSHOTTER_LEASE, "", at(-9)),
    )
    .with(deployment(long))
    .with(leader.clone());
    let expected = [
        format!("Rollout Deployment {long}"),
        format!("Await Pod {}", leader.meta.name),
        format!("HandOver Lease {LEASE}"),
        format!("HandOver Lease {SNAPSHOTTER_LEASE}"),
    ];
    assert_eq!(plan(&world).unwrap(), expected);
}
