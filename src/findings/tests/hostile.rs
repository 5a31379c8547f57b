//! Cost of a pass over objects of one hostile tenant: names, uids and data sources chosen to be expensive.
//!
//! The cost is measured in rows read, which is the same on every machine. Each pass runs on a small stack.

use jiff::Timestamp;

use crate::api::Uid;
use crate::config::Config;
use crate::findings::{self, DetectionSettings, Finding};
use crate::fixture::on_stack_of;
use crate::model::fixture::*;
use crate::model::records::Claim;
use crate::model::{Model, rows_read};

const CLAIMS: usize = 100_000;

/// Rows that a pass may read per hostile object: itself, the objects it refers to, and those that refer to it.
const ROWS_PER_CLAIM: u64 = 20;

/// The default stack of a thread is 2 MiB; a recursion over 100,000 claims needs tens.
const STACK: usize = 256 << 10;

fn hostile(name: &str) -> Claim {
    let mut claim = claim("tenant", "x").pending().created(at(-60));
    claim.meta.name = name.into();
    claim.from_destination("made-up")
}

fn uid(n: usize) -> Uid {
    Uid::from(format!("00000000-0000-4000-8000-{n:012}"))
}

/// Each claim is named as if VolSync filled the previous one through it.
fn chain() -> World {
    (0..CLAIMS).fold(World::rook(), |world, n| {
        let mut claim = hostile(&format!("vs-prime-{}", uid(n)));
        claim.meta.uid = uid(n + 1);
        world.with(claim)
    })
}

/// Each claim is named as if VolSync filled a missing claim through it.
fn strays() -> World {
    (0..CLAIMS).fold(World::rook(), |world, n| {
        let mut claim = hostile(&format!("vs-prime-{}", uid(CLAIMS + n)));
        claim.meta.uid = uid(n);
        world.with(claim)
    })
}

/// All restore one locked snapshot, and each has an Event that reports the lock.
fn one_lock() -> World {
    let image = snapshot("tenant", "image", "other").created(at(-60));
    let world = World::rook()
        .with(image.clone())
        .with(content(&image).handle("csi-snap-9"));
    (0..CLAIMS).fold(world, |world, n| {
        let name = format!("restore-{n}");
        let restore = claim("tenant", &name)
            .pending()
            .created(at(-60))
            .from_snapshot("image");
        let world = world.with(restore);
        if n % 100 > 0 {
            return world;
        }
        let by = event_on("tenant", &name);
        world.refused("csi-snap-9", by, at(-30), at(-1))
    })
}

/// Snapshots without a status, of a driver without provisioner, and as many leases.
fn snapshots_and_leases() -> World {
    (0..CLAIMS / 2).fold(World::rook(), |world, n| {
        let taken = snapshot("tenant", &format!("snapshot-{n}"), "claim").created(at(-60));
        let taken = taken.without_status();
        let made = content(&taken).driver(OTHER_DRIVER).unseen();
        let name = format!("lease-{n}");
        let world = world.with(taken).with(made);
        world.with(lease(&name, "nobody", at(-300)))
    })
}

/// One pass on a small stack: rows read, duration and findings.
fn pass(model: Model) -> (u64, std::time::Duration, Vec<Finding>) {
    let config = Config::default();
    let settings = DetectionSettings {
        detect: config.detect,
        drivers: config.drivers,
        one_shot: false,
    };
    let now: Timestamp = at(0);
    let work = move || rows_read::during(|| findings::detect(&model, &settings, now));
    let (took, (rows, found)) = on_stack_of(STACK, work);
    (rows, took, found)
}

fn check(world: World, what: &str) -> Vec<Finding> {
    let (rows, took, found) = pass(world.0);
    println!(
        "{CLAIMS} hostile {what}: {rows} rows read in {took:?}, {} findings",
        found.len()
    );
    assert!(rows <= ROWS_PER_CLAIM * CLAIMS as u64, "{rows} rows read");
    found
}

#[test]
fn chained_claim_names_cost_no_recursion() {
    let found = check(chain(), "claims named after each other");
    assert_eq!(
        found.len(),
        1,
        "the first of the chain, which fills no other"
    );
}

#[test]
fn stray_populator_names_cost_no_scan() {
    assert_eq!(
        check(strays(), "claims named like a populator's").len(),
        CLAIMS
    );
}

#[test]
fn one_lock_with_many_waiters_costs_one_pass() {
    let found = check(one_lock(), "claims restored from one locked snapshot");
    assert_eq!(found.len(), CLAIMS + 1);
}

#[test]
fn unserved_snapshots_cost_one_lookup_each_driver() {
    let found = check(snapshots_and_leases(), "snapshots and leases");
    assert_eq!(found.len(), CLAIMS / 2);
}
