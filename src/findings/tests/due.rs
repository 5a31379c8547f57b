//! Without a change, findings appear only at the predicted time.

use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use crate::config::Config;
use crate::csi::ErrorClass;
use crate::findings::{DetectionSettings, detect, next_due};
use crate::model::Model;
use crate::model::fixture::*;

/// Stuck objects without their reasons, which change when a lease becomes stale.
fn stuck(model: &Model, settings: &DetectionSettings, now: Timestamp) -> Vec<String> {
    let found = detect(model, settings, now).into_iter();
    let found = found.filter(|finding| finding.what.is_stuck());
    found
        .map(|finding| format!("{} {:?}", finding.what.kind().as_str(), finding.object))
        .collect()
}

fn locked() -> World {
    let hangs = snapshot("media", "volsync-prowlarr-src", "prowlarr").unready();
    let key = key(&format!("snapshot-{}", hangs.meta.uid));
    let mut refused = content(&hangs).error(ErrorClass::Locked(key));
    refused.error.as_mut().unwrap().since = at(-1);
    World::rook().with(refused).with(hangs.created(at(-1)))
}

/// Five snapshots that are refused, on a driver that has just created a volume.
fn jam() -> World {
    let volume = volume("pvc-other", DRIVER, at(-1));
    (0..5).fold(World::rook().with(volume), |world, number| {
        let name = format!("volsync-app-{number}-src");
        let hangs = snapshot("media", &name, "prowlarr")
            .unready()
            .created(at(-3));
        let key = key(&format!("snapshot-{}", hangs.meta.uid));
        let mut refused = content(&hangs).error(ErrorClass::Locked(key));
        refused.error.as_mut().unwrap().since = at(-1);
        world.with(refused).with(hangs)
    })
}

fn terminating() -> World {
    World::rook()
        .with(source("media", "lost"))
        .with(claim("media", "lost").deleting(at(-3)))
}

#[rstest]
#[case::claim(World::rook().with(claim("media", "prowlarr").pending().created(at(-2))), 1)]
#[case::snapshot(World::rook().with(snapshot("media", "one", "prowlarr").unready().created(at(-4))), 1)]
#[case::accepted_snapshot(
    World::rook().with(content(&snapshot("media", "one", "prowlarr")).handle("csi-1"))
        .with(snapshot("media", "one", "prowlarr").unready().created(at(-4))),
    1
)]
#[case::deletion(
    World::rook().with(snapshot("media", "one", "prowlarr").deleting(at(-4)))
        .with(content(&snapshot("media", "one", "prowlarr")).handle("csi-1").deleting(at(-3))),
    1
)]
#[case::deletion_of_a_content(
    World::rook().with(content(&snapshot("media", "one", "prowlarr")).handle("csi-1").deleting(at(-3))), 1
)]
#[case::source(terminating(), 1)]
#[case::young_source(terminating().with(source("media", "lost").created(at(-1))), 1)]
#[case::lock(locked(), 2)]
#[case::jam(jam(), 10)]
#[case::several_one_after_the_other(
    terminating()
        .with(claim("media", "prowlarr").pending().created(at(-2)))
        .with(claim("media", "sonarr").pending().created(at(-5))),
    3
)]
fn finding_appears_when_it_is_due(#[case] world: World, #[case] number: usize) {
    let config = Config::default();
    let settings = DetectionSettings {
        detect: config.detect,
        drivers: config.drivers,
        one_shot: false,
    };
    let (model, mut now) = (world.0, at(0));
    let mut seen = stuck(&model, &settings, now);
    assert!(seen.len() < number, "{seen:?}");
    while let Some(due) = next_due(&model, &settings, now) {
        assert!(due > now, "no later than {now}");
        let before = due - SignedDuration::from_nanos(1);
        assert_eq!(stuck(&model, &settings, before), seen, "before {due}");
        seen = stuck(&model, &settings, due);
        now = due;
    }
    assert_eq!(seen, stuck(&model, &settings, at(60 * 24)));
    assert_eq!(seen.len(), number, "{seen:?}");
}

/// Five claims have been refused for long enough for a jam, but the driver created a volume two minutes ago.
#[test]
fn jam_in_logs_appears_when_the_driver_has_been_idle() {
    let volume = volume("pvc-other", DRIVER, at(-2));
    let world = (0..5).fold(World::rook().with(volume), |world, number| {
        let waits = claim("media", &format!("app-{number}")).pending();
        let key = format!("pvc-{}", waits.meta.uid);
        let waits = waits.created(at(-5));
        world
            .with(waits)
            .refused(&key, log_of(LEADER_UID), at(-2), at(0))
    });
    let settings = DetectionSettings::default();
    let due = next_due(&world.0, &settings, at(0)).unwrap();
    assert_eq!(
        stuck(&world.0, &settings, due - SignedDuration::from_nanos(1)),
        [""; 0]
    );
    let found = stuck(&world.0, &settings, due);
    let locks = found.iter().filter(|it| it.starts_with("operation_lock"));
    assert_eq!(locks.count(), 5, "{found:?}");
}
