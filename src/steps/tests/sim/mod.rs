//! A cluster in memory, whose VolSync, snapshot controller, driver and operator react as the real ones do, as far as
//! it matters here. Time passes from one event to the next.

mod gate_oracle;
mod interference;
mod react;
mod shell;
mod writes;

pub use interference::{EXPRESSION, Happening};
pub use shell::{FaultRates, Sim};

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::remediation::Remediation;
use crate::api::volsync::temporary_name;
use crate::api::{LockKey, SharedStr, Uid};
use crate::csi::ErrorClass;
use crate::model::fixture::*;
use crate::model::records::{
    CephCluster, Claim, Content, Lease, Mover, Namespace, Node, Pod, Protection, Snapshot,
    SnapshotHold, Source, Workload,
};
use crate::model::{Change, Delta};
use react::Event;

pub type Place = (SharedStr, SharedStr);

/// A kind of write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    Hold,
    Release,
    Delete,
    Rollout,
    Replace,
    Touch,
    HandOver,
}

/// One app: a source, the claim it backs up, and how the night left them.
#[derive(Clone, Debug)]
pub struct App {
    pub mover: Mover,
    pub claim: ClaimIs,
    pub snapshot: SnapshotIs,
    pub opted_out: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimIs {
    Bound,
    /// Pending, from a snapshot that is ready.
    Restoring,
    Terminating,
    Missing,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SnapshotIs {
    Absent,
    Stuck,
    StuckAndProtected,
    /// Not ready, but the driver has it.
    Accepted,
}

impl App {
    /// Running, and backed up an hour ago.
    pub fn fine() -> Self {
        Self {
            mover: Mover::Job,
            claim: ClaimIs::Bound,
            snapshot: SnapshotIs::Absent,
            opted_out: false,
        }
    }

    /// Its backup hangs.
    pub fn stuck() -> Self {
        Self {
            snapshot: SnapshotIs::Stuck,
            ..Self::fine()
        }
    }

    /// Its restore hangs.
    pub fn restoring() -> Self {
        Self {
            claim: ClaimIs::Restoring,
            ..Self::fine()
        }
    }
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Cluster {
    pub now: Timestamp,
    pub sources: BTreeMap<Place, Source>,
    pub claims: BTreeMap<Place, Claim>,
    pub holds: BTreeMap<SharedStr, SnapshotHold>,
    /// Whether the API server enforces holds. The policy may look as it ships, and the server be told otherwise.
    pub enforces: bool,
    pub snapshots: BTreeMap<Place, Snapshot>,
    pub contents: BTreeMap<SharedStr, Content>,
    pub pods: BTreeMap<Place, Pod>,
    pub deployment: Workload,
    pub leases: [Lease; 2],
    /// The one that provisioners run on.
    pub node: Node,
    /// Pods whose object was deleted by force while their processes run.
    pub zombies: BTreeSet<SharedStr>,
    pub namespaces: BTreeMap<SharedStr, Namespace>,
    pub run: Option<Remediation>,
    /// Runs that are over.
    pub earlier: Vec<Remediation>,
    /// What Ceph says of its health, where there is a CephCluster.
    pub ceph: Option<CephCluster>,
    /// Whether there is a leader at all.
    pub led: bool,
    /// Whether it refuses everything.
    pub jammed: bool,
    /// How many of the next leaders will do so too.
    pub jams_to_come: u32,
    /// The kind of write the API server refuses.
    pub refuses: Option<Verb>,
    /// Until when it fails to list anything.
    pub lists_fail_until: Option<Timestamp>,
    /// Whether the driver answers no CreateSnapshot in time, jammed or not.
    pub times_out: bool,
    /// Whether the driver keeps a call for a new volume for ever, and refuses nothing: nothing tells of it.
    pub hangs: bool,
    /// Whether the snapshotter loses track of what is deleted while its creation hangs, until the content changes.
    pub loses_track: bool,
    /// Snapshots that are never deleted because of that.
    lost: BTreeSet<Uid>,
    /// Whether something reverts rollouts.
    pub reverts: bool,
    /// How long a lease takes to be taken over.
    pub takeover: SignedDuration,
    /// Refusals in the log of each pod, and when each key was first refused.
    log: VecDeque<(SharedStr, LockKey)>,
    refused: BTreeMap<LockKey, Timestamp>,
    serial: u64,
    queue: BTreeMap<(Timestamp, u64), Event>,
    /// What watches have yet to show.
    pub news: VecDeque<Change>,
}

/// The place of the app of that number.
pub fn place(app: usize) -> Place {
    let namespace = if app.is_multiple_of(2) {
        "media"
    } else {
        "selfhosted"
    };
    (namespace.into(), format!("a{app}").as_str().into())
}

pub fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

impl Cluster {
    /// Rook's RBD driver, jammed for half an hour, and these apps.
    pub fn jammed(apps: &[App], operator: bool) -> Self {
        let mut deployment = deployment(PROVISIONER);
        if operator {
            deployment = deployment.owned();
        }
        let mut asked = run("r");
        asked.metadata.creation_timestamp = Some(Time(at(-1)));
        let mut cluster = Self {
            now: at(0),
            sources: BTreeMap::new(),
            claims: BTreeMap::new(),
            holds: BTreeMap::new(),
            enforces: true,
            snapshots: BTreeMap::new(),
            contents: BTreeMap::new(),
            pods: BTreeMap::new(),
            deployment,
            leases: [LEASE, SNAPSHOTTER_LEASE].map(|name| lease(name, LEADER, at(-300))),
            node: node(NODE),
            zombies: BTreeSet::new(),
            namespaces: BTreeMap::new(),
            run: Some(asked),
            earlier: Vec::new(),
            ceph: None,
            led: true,
            jammed: true,
            jams_to_come: 0,
            refuses: None,
            lists_fail_until: None,
            times_out: false,
            hangs: false,
            loses_track: false,
            lost: BTreeSet::new(),
            reverts: operator,
            takeover: seconds(140),
            log: VecDeque::new(),
            refused: BTreeMap::new(),
            serial: 0,
            queue: BTreeMap::new(),
            news: VecDeque::new(),
        };
        for name in ["locksmith", "rook-ceph", "media", "selfhosted"] {
            cluster.namespaces.insert(name.into(), namespace(name));
        }
        for suffix in ["leadr", "stdby"] {
            cluster.put_pod(replica(PROVISIONER, "7d9f8b6c5d", suffix));
        }
        for lease in &mut cluster.leases {
            lease.renewed = Some(at(100_000));
        }
        for (number, app) in apps.iter().enumerate() {
            cluster.add(number, app);
        }
        cluster.news.clear();
        cluster
    }

    fn add(&mut self, number: usize, app: &App) {
        let place = place(number);
        let (namespace, name) = (&*place.0, &*place.1);
        let mut source = source(namespace, name).mover(app.mover);
        source.meta.opted_out = app.opted_out;
        let mut pod = pod(namespace, &format!("{name}-0"), &[name]);
        if app.claim != ClaimIs::Bound {
            pod = pod.waiting();
        }
        if app.claim != ClaimIs::Missing {
            self.put_pod(pod);
        }
        let claim = claim(namespace, name);
        match app.claim {
            ClaimIs::Bound => self.put_claim(claim),
            ClaimIs::Terminating => self.put_claim(claim.deleting(at(-40))),
            ClaimIs::Missing => {}
            ClaimIs::Restoring => {
                let image = format!("{name}-image");
                let restored = claim.pending().from_snapshot(&image).created(at(-30));
                let uid = restored.meta.uid.clone();
                let image = snapshot(namespace, &image, name).owner(None);
                self.snapshots
                    .insert((place.0.clone(), image.meta.name.clone()), image);
                self.refused.insert(key(&format!("pvc-{uid}")), at(-30));
                self.put_claim(restored);
                self.after(seconds(20), Event::Bind(place.clone(), uid, 4));
            }
        }
        if app.snapshot != SnapshotIs::Absent {
            source.syncing = Some(at(-31));
            self.add_stuck(&place, app.snapshot);
        }
        self.sources.insert(place, source);
    }

    fn add_stuck(&mut self, of: &Place, how: SnapshotIs) {
        let name = temporary_name(&of.1);
        let mut stuck = snapshot(&of.0, &name, &of.1).unready().created(at(-31));
        if how == SnapshotIs::StuckAndProtected {
            stuck = stuck.protected(Protection::DoNotDelete);
        }
        let mut content = content(&stuck);
        if how == SnapshotIs::Accepted {
            content = content.handle("csi-accepted");
        } else {
            let locked = key(&format!("snapshot-{}", stuck.meta.uid));
            content = content.error(ErrorClass::Locked(locked));
        }
        let (place, uid) = (
            (of.0.clone(), stuck.meta.name.clone()),
            stuck.meta.uid.clone(),
        );
        self.contents.insert(content.meta.name.clone(), content);
        self.snapshots.insert(place.clone(), stuck);
        self.after(seconds(30), Event::Take(place, uid, 4));
    }

    fn put_claim(&mut self, claim: Claim) {
        let place = (claim.meta.namespace.clone(), claim.meta.name.clone());
        self.news.push_back(claim.clone().into());
        self.claims.insert(place, claim);
    }

    /// One more claim that the driver is asked for.
    pub fn restore(&mut self, claim: Claim) {
        let place = (claim.meta.namespace.clone(), claim.meta.name.clone());
        let uid = claim.meta.uid.clone();
        self.put_claim(claim);
        self.after(seconds(10), Event::Bind(place, uid, 0));
    }

    fn put_pod(&mut self, pod: Pod) {
        self.news.push_back(pod.clone().into());
        self.pods
            .insert((pod.meta.namespace.clone(), pod.meta.name.clone()), pod);
    }

    fn new_uid(&mut self, of: &str) -> Uid {
        self.serial += 1;
        Uid::from(&*format!("uid-{of}-{}", self.serial))
    }

    /// Everything there is, as a fresh list shows it.
    pub fn everything(&self) -> Vec<Change> {
        let mut all: Vec<Change> = Vec::new();
        all.extend(self.sources.values().cloned().map(Change::from));
        all.extend(self.claims.values().cloned().map(Change::from));
        all.extend(self.holds.values().cloned().map(Change::from));
        all.extend(
            self.snapshots
                .values()
                .map(|snapshot| snapshot.clone().into()),
        );
        all.extend(self.contents.values().map(|content| content.clone().into()));
        all.extend(self.pods.values().map(|pod| pod.clone().into()));
        all.push(self.node.clone().into());
        all.extend(
            self.namespaces
                .values()
                .map(|namespace| namespace.clone().into()),
        );
        all.extend(self.leases.iter().map(|lease| lease.clone().into()));
        all.extend(self.run.clone().map(Change::from));
        all.extend(self.earlier.iter().cloned().map(Change::from));
        let put = |ceph| Change::CephCluster(Delta::Apply(ceph));
        all.extend(self.ceph.clone().map(put));
        all.extend(
            self.refused
                .iter()
                .map(|(key, first)| self.refusal(key, *first)),
        );
        all.push(hold_policy().into());
        all.push(hold_binding().into());
        all.push(self.deployment.clone().into());
        all.push(storage_class("ceph-block", DRIVER).into());
        all.push(snapshot_class("csi-ceph-block", DRIVER).into());
        all
    }

    /// Sources that are held now: place and deadline.
    pub fn held(&self) -> impl Iterator<Item = (&Place, Timestamp)> {
        let active = self.holds.values().filter(|hold| hold.is_active(self.now));
        active.flat_map(|hold| hold.sources.values().map(|place| (place, hold.until)))
    }

    /// Whether the API server refuses a snapshot of this source.
    pub fn refuses_snapshots_of(&self, source: &Uid) -> bool {
        let mut active = self.holds.values().filter(|hold| hold.is_active(self.now));
        self.enforces && active.any(|hold| hold.sources.contains_key(source))
    }
}
