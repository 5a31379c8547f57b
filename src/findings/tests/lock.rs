//! Operation locks: their evidence, their object, and refusals that are normal.

use jiff::Timestamp;
use rstest::rstest;

use crate::config::{Config, Duration, parse};
use crate::csi::ErrorClass;
use crate::findings::{self, DetectionSettings, FormingLocks};
use crate::model::fixture::*;
use crate::model::records::{CephCluster, Claim, Content, Snapshot, Volume};
use crate::model::{Change, Delta, Kind, WatchState, Witness};

const UID: &str = "15ca3371-4909-4727-9a3c-0d1f6c6a2b11";
const KEY: &str = "pvc-uid-claim-media-sonarr";

fn waiting() -> Claim {
    claim("media", "sonarr").pending().created(at(-9))
}

fn event() -> Witness {
    event_on("media", "sonarr")
}

fn world() -> World {
    World::rook().with(waiting())
}

fn hangs() -> Snapshot {
    snapshot("media", "s", "prowlarr").unready().created(at(-9))
}

/// Watches only the drivers with this name.
fn only(drivers: &str) -> Config {
    parse(&format!("drivers: [{{name: '{drivers}'}}]")).unwrap()
}

/// The found locks: key, object that waits, and start in minutes before 02:00.
fn locks(world: &World, config: &Config) -> Vec<(String, String, i64)> {
    let found = world.found(config, at(0));
    let locks = found.iter().filter_map(|finding| {
        let crate::findings::FindingReason::OperationLock(key) = &finding.what else {
            return None;
        };
        let object = finding.object.as_ref().map(ToString::to_string);
        let since = finding.since.duration_since(at(0)).as_mins();
        Some((key.to_string(), object.unwrap_or_default(), since))
    });
    locks.collect()
}

#[rstest]
#[case::events(world().refused(KEY, event(), at(-8), at(-1)), -8)]
#[case::the_leaders_log(world().refused(KEY, log_of(LEADER_UID), at(-7), at(-1)), -7)]
#[case::statuses(world().refused(KEY, Witness::Status, at(-7), at(-1)), -7)]
#[case::events_and_then_the_log(
    world().refused(KEY, event(), at(-7), at(-4)).refused(KEY, log_of(LEADER_UID), at(-3), at(-1)),
    -7
)]
#[case::only_the_present_leaders_share_counts(
    world().with(lease(LEASE, LEADER, at(-7))).refused(KEY, event(), at(-12), at(-1)),
    -7
)]
#[case::the_snapshotters_leader_is_a_leader_too(
    world().with(lease(SNAPSHOTTER_LEASE, &LEADER.replace("leadr", "stdby"), at(-300)))
        .refused(KEY, log_of(STANDBY_UID), at(-7), at(-1)),
    -7
)]
fn lasting_refusals_are_a_lock(#[case] world: World, #[case] since: i64) {
    let expected = (
        KEY.to_owned(),
        "PersistentVolumeClaim media/sonarr".to_owned(),
        since,
    );
    assert_eq!(locks(&world, &Config::default()), [expected]);
}

#[rstest]
#[case::for_as_long_as_a_healthy_driver_may(world().refused(KEY, event(), at(-6), at(-1)))]
#[case::by_a_standby(world().refused(KEY, log_of(STANDBY_UID), at(-9), at(-1)))]
#[case::by_a_pod_that_is_gone(world().refused(KEY, log_of("uid-gone"), at(-9), at(-1)))]
#[case::by_the_leader_before(
    world().with(lease(LEASE, LEADER, at(-2))).refused(KEY, event(), at(-12), at(-3))
)]
#[case::mostly_by_the_leader_before(
    world().with(lease(LEASE, LEADER, at(-4))).refused(KEY, event(), at(-12), at(-1))
)]
#[case::by_the_snapshotters_leader_before(
    world().with(lease(SNAPSHOTTER_LEASE, LEADER, at(-4))).refused(KEY, event(), at(-12), at(-1))
)]
#[case::long_ago(world().refused(KEY, event(), at(-40), at(-20)))]
#[case::twice_with_hours_between(
    world().refused(KEY, event(), at(-180), at(-180)).refused(KEY, log_of(LEADER_UID), at(-1), at(-1))
)]
#[case::and_bound_since(
    World::rook().with(claim("media", "sonarr")).refused(KEY, event(), at(-9), at(-1))
)]
#[case::and_gone_since(World::rook().refused(KEY, event(), at(-9), at(-1)))]
#[case::deleted_and_recreated(world().with(waiting().uid("new")).refused(KEY, event(), at(-9), at(-1)))]
#[case::of_a_ready_snapshot(
    World::rook().with(snapshot("media", "s", "prowlarr"))
        .refused("snapshot-uid-snapshot-media-s", log_of(LEADER_UID), at(-9), at(-1))
)]
#[case::of_a_handle_that_leads_nowhere(world().refused("0001-0009", log_of(LEADER_UID), at(-9), at(-1)))]
#[case::that_the_driver_has_accepted_since(
    World::rook().with(hangs().created(at(-30)))
        .with(content(&hangs()).handle("csi-1").error(ErrorClass::Locked(key("volume-of-s"))))
)]
#[case::handle_without_a_waiter(
    World::rook().with(snapshot("media", "s", "prowlarr")).with(content(&hangs()).handle("csi-1"))
        .refused("csi-1", log_of(LEADER_UID), at(-9), at(-1))
)]
fn short_or_unrelated_refusals_are_no_lock(#[case] world: World) {
    assert_eq!(locks(&world, &Config::default()), []);
}

#[rstest]
#[case::a_claim(world(), KEY, "PersistentVolumeClaim media/sonarr")]
#[case::a_claim_that_does_not_go(
    World::rook().with(claim("media", "sonarr").deleting(at(-9))),
    KEY,
    "PersistentVolumeClaim media/sonarr"
)]
#[case::a_snapshot(
    World::rook().with(hangs()),
    "snapshot-uid-snapshot-media-s",
    "VolumeSnapshot media/s"
)]
#[case::a_ready_snapshot_that_does_not_go(
    World::rook().with(snapshot("media", "s", "prowlarr").deleting(at(-9))),
    "snapshot-uid-snapshot-media-s",
    "VolumeSnapshot media/s"
)]
#[case::the_volume_a_snapshot_is_taken_of(
    World::rook().with(hangs()).with(content(&hangs())),
    "volume-of-s",
    "VolumeSnapshot media/s"
)]
#[case::a_snapshot_by_its_handle(
    World::rook().with(hangs()).with(content(&hangs()).handle("csi-1").error(ErrorClass::Timeout)),
    "csi-1",
    "VolumeSnapshot media/s"
)]
#[case::a_content_whose_snapshot_is_gone(
    World::rook().with(content(&hangs()).handle("csi-1").deleting(at(-9))),
    "csi-1",
    "VolumeSnapshotContent snapcontent-uid-snapshot-media-s"
)]
#[case::a_restore_by_the_handle_of_its_ready_snapshot(
    World::rook().with(snapshot("media", "s", "prowlarr")).with(content(&hangs()).handle("csi-1"))
        .with(waiting().from_snapshot("s")),
    "csi-1",
    "PersistentVolumeClaim media/sonarr"
)]
#[case::the_claim_at_the_end_of_a_path(
    World::rook().with(waiting().uid(UID)), "projects/p/zones/z/disks/pvc-15ca3371-4909-4727-9a3c-0d1f6c6a2b11",
    "PersistentVolumeClaim media/sonarr"
)]
#[case::the_claim_within_a_path(
    World::rook().with(waiting().uid(UID)), "modeInstance/us-east4/pvc-15ca3371-4909-4727-9a3c-0d1f6c6a2b11/vol1",
    "PersistentVolumeClaim media/sonarr"
)]
#[case::the_claim_whose_uid_is_cut_short(
    World::rook().with(waiting().uid(UID)), "pvc-15ca337149094727", "PersistentVolumeClaim media/sonarr"
)]
#[case::the_snapshot_whose_uid_is_cut_short(
    World::rook().with(hangs().uid(UID)), "snapshot-15ca337149094727", "VolumeSnapshot media/s"
)]
#[case::the_snapshot_whose_volume_is_called_like_a_claim(
    World::rook().with(claim("media", "sonarr").uid(UID)).with(hangs()).with(Content {
        volume_handle: Some("projects/p/disks/pvc-15ca3371-4909-4727-9a3c-0d1f6c6a2b11".into()),
        ..content(&hangs())
    }),
    "projects/p/disks/pvc-15ca3371-4909-4727-9a3c-0d1f6c6a2b11", "VolumeSnapshot media/s"
)]
fn key_leads_to_its_object(#[case] world: World, #[case] key: &str, #[case] object: &str) {
    let world = world.refused(key, log_of(LEADER_UID), at(-8), at(-1));
    let found = locks(&world, &Config::default());
    assert_eq!(found, [(key.to_owned(), object.to_owned(), -8)]);
}

/// The sidecar writes a message only once, so a refusal in a status lasts until now. The driver returns "Volume ID" even
/// where its log has "Snapshot ID" (ceph-csi `rbd/controllerserver.go`).
#[rstest]
#[case::its_own_key("snapshot-uid-snapshot-media-s", "snapshot-uid-snapshot-media-s")]
#[case::the_key_of_its_volume("volume-of-s", "snapshot-uid-snapshot-media-s")]
fn lasting_status_error_is_a_lock(#[case] said: &str, #[case] found: &str) {
    let world = World::rook()
        .with(hangs())
        .with(content(&hangs()).error(ErrorClass::Locked(key(said))));
    let expected = (found.to_owned(), "VolumeSnapshot media/s".to_owned(), -15);
    assert_eq!(locks(&world, &Config::default()), [expected]);
}

#[test]
fn error_from_before_the_restart_counts_from_the_takeover() {
    let world = World::rook()
        .with(hangs())
        .with(content(&hangs()).error(ErrorClass::Locked(key("volume-of-s"))))
        .with(lease(SNAPSHOTTER_LEASE, LEADER, at(-4)));
    assert_eq!(locks(&world, &Config::default()), []);
}

#[rstest]
#[case::unset(None, 150, 5)]
#[case::unset_with_a_slow_driver(None, 240, 8)]
#[case::unset_with_a_quick_driver(None, 10, 5)]
#[case::set(Some(3), 150, 3)]
#[case::configured_below_the_default(Some(1), 240, 1)]
fn threshold_follows_the_grpc_timeout(
    #[case] after: Option<u64>,
    #[case] timeout: u64,
    #[case] minutes: i64,
) {
    let mut config = only("*.rbd.csi.ceph.com");
    config.detect.locked_after = after.map(|minutes| Duration::from_secs(minutes * 60));
    config.drivers.0[0].grpc_timeout = Duration::from_secs(timeout);
    let refused = |from| world().refused(KEY, event(), from, at(-1));
    assert_eq!(locks(&refused(at(-1 - minutes)), &config), []);
    assert_eq!(locks(&refused(at(-2 - minutes)), &config).len(), 1);
}

#[test]
fn huge_grpc_timeout_does_not_panic() {
    let mut config = only("*.rbd.csi.ceph.com");
    config.drivers.0[0].grpc_timeout = Duration(std::time::Duration::MAX);
    let world = world().refused(KEY, event(), at(-9), at(-1));
    assert_eq!(locks(&world, &config), []);
}

#[test]
fn refusals_of_an_unwatched_driver_are_ignored() {
    let config = only("*.cephfs.csi.ceph.com");
    let world = world().refused(KEY, event(), at(-9), at(-1));
    assert_eq!(locks(&world, &config), []);
}

/// A path that ends in a claim's uid is the reason why that claim is Pending, as the bare key is.
#[rstest]
#[case("projects/p/zones/z/disks/pvc-15ca3371-4909-4727-9a3c-0d1f6c6a2b11")]
#[case("pvc-15ca337149094727")]
fn lock_by_path_or_short_uid_explains_its_claim(#[case] key: &str) {
    let world = World::rook()
        .with(waiting().uid(UID).created(at(-15)))
        .refused(key, log_of(LEADER_UID), at(-8), at(-1));
    let kinds: Vec<_> = world
        .stuck()
        .into_iter()
        .filter(|found| found.starts_with("pending_claim"))
        .collect();
    assert_eq!(kinds, ["pending_claim operation_lock sonarr"]);
}

#[test]
fn ambiguous_short_uid_matches_nothing() {
    let other = claim("media", "radarr")
        .pending()
        .created(at(-9))
        .uid("15ca3371-4909-4727-9a3c-0d1f6c6a2b12");
    let world = World::rook().with(waiting().uid(UID)).with(other).refused(
        "pvc-15ca337149094727",
        log_of(LEADER_UID),
        at(-8),
        at(-1),
    );
    assert_eq!(locks(&world, &Config::default()), []);
}

/// Number of forming locks, and the start and due time of the oldest in minutes after 02:00.
fn forming(world: &World) -> Vec<(usize, i64, i64)> {
    let settings = DetectionSettings::default();
    let (_, forming) = findings::detect_with_forming(&world.0, &settings, at(0));
    let minutes = |time: Timestamp| time.duration_since(at(0)).as_mins();
    let of = |of: &FormingLocks| (of.count, minutes(of.since), minutes(of.due));
    forming.iter().map(of).collect()
}

#[rstest]
#[case::none(world(), &[])]
#[case::first_refusal(world().refused(KEY, event(), at(-1), at(-1)), &[])]
#[case::second_refusal(world().refused(KEY, event(), at(-2), at(-1)), &[(1, -2, 3)])]
#[case::not_yet_a_lock(world().refused(KEY, event(), at(-6), at(-1)), &[(1, -6, -1)])]
#[case::a_lock(world().refused(KEY, event(), at(-7), at(-1)), &[])]
#[case::nobody_waits(world().refused("pvc-unknown", log_of(LEADER_UID), at(-3), at(-1)), &[])]
#[case::two_keys(
    world()
        .with(claim("media", "radarr").pending().created(at(-9)))
        .refused(KEY, event(), at(-2), at(-1))
        .refused("pvc-uid-claim-media-radarr", event_on("media", "radarr"), at(-4), at(-1)),
    &[(2, -4, 1)]
)]
fn young_refusals_are_a_forming_lock(#[case] world: World, #[case] expected: &[(usize, i64, i64)]) {
    assert_eq!(forming(&world), expected);
}

/// A claim of this age in minutes, which this witness has refused since `first` minutes and at least a minute ago.
fn refused_claim(world: World, number: usize, age: i64, first: i64, by: Witness) -> World {
    let waits = claim("media", &format!("app-{number}")).pending();
    let key = format!("pvc-{}", waits.meta.uid);
    let world = world.with(waits.created(at(-age)));
    world.refused(&key, by, at(-first), at(-1))
}

/// Five claims of this age in minutes, refused since `first` minutes.
fn five(age: i64, first: i64) -> World {
    (0..5).fold(World::rook(), |world, number| {
        refused_claim(world, number, age, first, log_of(LEADER_UID))
    })
}

/// Five snapshots of this age in minutes, refused since `first` minutes for these keys.
fn five_snapshots(age: i64, first: i64, returned: fn(&Snapshot) -> String) -> World {
    (0..5).fold(World::rook(), |world, number| {
        let hangs = snapshot("media", &format!("app-{number}"), "prowlarr").unready();
        let hangs = hangs.created(at(-age));
        let error = ErrorClass::Locked(key(&returned(&hangs)));
        let mut refused = content(&hangs).created(at(-age)).error(error);
        refused.error.as_mut().unwrap().since = at(-first);
        world.with(hangs).with(refused)
    })
}

fn own_key(snapshot: &Snapshot) -> String {
    format!("snapshot-{}", snapshot.meta.uid)
}

fn created(minutes: i64) -> Volume {
    volume("pvc-other", DRIVER, at(minutes))
}

fn ceph(health: &str) -> Change {
    Change::CephCluster(Delta::Apply(CephCluster {
        namespace: "rook-ceph".into(),
        name: "rook-ceph".into(),
        health: Some(health.into()),
    }))
}

/// With the default timeout of 150 s, in a jam 75 s of refusals after a call of 150 s are a lock.
#[rstest]
#[case::five_claims(five(9, 3), 5)]
#[case::five_snapshots(five_snapshots(9, 2, own_key), 5)]
#[case::one_key_more_that_is_refused_too_recently(
    five(9, 3).with(waiting()).refused(KEY, log_of(LEADER_UID), at(-2), at(-1)),
    5
)]
#[case::one_key_more_by_events_only(
    five(9, 3).with(waiting()).refused(KEY, event(), at(-3), at(-1)),
    5
)]
#[case::on_healthy_ceph(five(9, 3).with(ceph("HEALTH_OK")), 5)]
#[case::on_a_driver_that_has_created_nothing_for_its_timeout(five(9, 3).with(created(-3)), 5)]
fn jam_is_found_early(#[case] world: World, #[case] expected: usize) {
    assert_eq!(locks(&world, &Config::default()).len(), expected);
}

#[rstest]
#[case::refused_too_recently(five(9, 2))]
#[case::refused_by_another_call_at_first(five(4, 3))]
#[case::four_claims(five(9, 3).with(claim("media", "app-0")))]
#[case::on_a_driver_that_creates(five(9, 3).with(created(-2)))]
#[case::by_events_only(
    (0..5).fold(World::rook(), |world, number| {
        refused_claim(world, number, 9, 3, event_on("media", &format!("app-{number}")))
    })
)]
#[case::by_the_leader_before(five(9, 3).with(lease(LEASE, LEADER, at(-3))))]
#[case::in_statuses_from_before_the_takeover(
    five_snapshots(60, 50, own_key).with(lease(SNAPSHOTTER_LEASE, LEADER, at(-3)))
)]
#[case::snapshots_of_one_volume(five_snapshots(9, 3, |_| "csi-volume-1".to_owned()))]
#[case::snapshots_of_different_volumes_by_their_volumes_keys(
    five_snapshots(9, 3, |snapshot| format!("csi-volume-of-{}", snapshot.meta.name))
)]
#[case::ceph_reports_a_warning(five(9, 3).with(ceph("HEALTH_WARN")))]
#[case::leases_are_not_listed_yet(five(9, 3).reading(Kind::Leases, WatchState::Never))]
#[case::deletions(
    (0..5).fold(five(9, 3), |world, number| {
        world.with(claim("media", &format!("app-{number}")).pending().created(at(-9)).deleting(at(-3)))
    })
)]
#[case::volumes_are_not_listed_yet(five(9, 3).reading(Kind::PersistentVolumes, WatchState::Never))]
#[case::contents_are_not_watched(
    five(9, 3).reading(Kind::VolumeSnapshotContents, WatchState::Failing("timeout".into()))
)]
fn several_refusals_are_no_jam(#[case] world: World) {
    assert_eq!(locks(&world, &Config::default()), []);
}

#[test]
fn configured_threshold_holds_in_a_jam_too() {
    let mut config = Config::default();
    config.detect.locked_after = Some(Duration::from_secs(5 * 60));
    assert_eq!(locks(&five(9, 3), &config), []);
}

#[rstest]
#[case::five_claims(five(9, 2), &[(5, -2, 0)])]
#[case::on_a_driver_that_creates(five(9, 2).with(created(-1)), &[(5, -2, 1)])]
fn due_time_of_forming_locks_considers_a_jam(
    #[case] world: World,
    #[case] expected: &[(usize, i64, i64)],
) {
    assert_eq!(forming(&world), expected);
}
