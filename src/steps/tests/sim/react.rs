//! How the cluster reacts, and when: each event may lead to others.

use super::{Cluster, Happening, Place, seconds};
use crate::api::volsync::temporary_name;
use crate::api::{LockKey, ObjectKey, SharedStr, Uid};
use crate::csi::ErrorClass;
use crate::model::fixture::*;
use crate::model::records::{ClaimPhase, DataSource, Mover, Snapshot};
use crate::model::{Change, Delta, Refusal, Witness};
use jiff::{SignedDuration, Timestamp};

#[derive(Clone, Debug)]
pub enum Event {
    /// VolSync looks at a source.
    Sync(Place),
    /// The driver is asked for a snapshot, not for the first time.
    Take(Place, Uid, u32),
    /// A mover has copied the snapshot, and VolSync tidies up.
    Synced(Place, Uid),
    /// The driver is asked to delete a snapshot.
    Vanish(Place, Uid),
    /// The driver is asked for a volume.
    Bind(Place, Uid, u32),
    /// The pod of an app starts.
    AppUp(Place),
    /// A pod of the provisioner is gone.
    PodGone(Place, Uid),
    /// A new one is Ready.
    PodUp(Place),
    /// The processes of a pod whose object was deleted by force end.
    ZombieEnds(SharedStr),
    /// The leases run out, or were handed over.
    Takeover,
    /// The operator overwrites the pod template.
    Revert,
    /// Somebody or something interferes.
    Happens(Happening),
}

/// Pauses between tries, in seconds.
fn backoff(tries: u32) -> SignedDuration {
    seconds(match tries {
        0 => 5,
        1 => 20,
        2 => 60,
        3 => 120,
        _ => 280,
    })
}

impl Cluster {
    pub fn after(&mut self, delay: SignedDuration, event: Event) {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), event);
    }

    /// When something happens next.
    pub fn next_event(&self) -> Option<Timestamp> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    /// Lets everything happen that is due.
    pub fn react(&mut self) {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= self.now
        {
            match entry.remove() {
                Event::Sync(place) => self.sync(&place),
                Event::Take(place, uid, tries) => self.take_snapshot(&place, &uid, tries),
                Event::Synced(place, uid) => self.synced(&place, &uid),
                Event::Vanish(place, uid) => self.vanish(&place, &uid),
                Event::Bind(place, uid, tries) => self.bind(&place, &uid, tries),
                Event::AppUp(place) => self.app_up(&place),
                Event::PodGone(place, uid) => self.pod_gone(&place, &uid),
                Event::PodUp(place) => self.pod_up(&place),
                Event::ZombieEnds(name) => {
                    self.zombies.remove(&name);
                    self.process_ended(&name);
                }
                Event::Takeover => self.take_over(),
                Event::Revert => {
                    self.deployment.restarted_by = None;
                    self.news.push_back(self.deployment.clone().into());
                }
                Event::Happens(happening) => self.happen(&happening),
            }
        }
    }

    /// VolSync makes the snapshot of a sync in progress again whenever it is missing; refused, it retries.
    fn sync(&mut self, place: &Place) {
        let Some(source) = self.sources.get(place) else {
            return;
        };
        let copies = matches!(source.mover, Mover::Job | Mover::Kopia) && source.syncing.is_some();
        let there = self
            .claims
            .get(place)
            .is_some_and(|claim| claim.meta.deleting.is_none() && claim.phase == ClaimPhase::Bound);
        let name = temporary_name(&place.1);
        let at = (place.0.clone(), name.as_str().into());
        if !copies || !there || self.snapshots.contains_key(&at) {
            return;
        }
        if self.refuses_snapshots_of(&source.meta.uid) {
            self.after(seconds(60), Event::Sync(place.clone()));
            return;
        }
        let uid = self.new_uid("made");
        let made = snapshot(&place.0, &name, &place.1).uid(&uid.to_string());
        let made = made.without_status().created(self.now);
        self.news.push_back(made.clone().into());
        self.snapshots.insert(at.clone(), made);
        self.after(seconds(2), Event::Take(at, uid, 0));
    }

    fn take_snapshot(&mut self, place: &Place, uid: &Uid, tries: u32) {
        let Some(snapshot) = self.snapshots.get(place).filter(|s| s.meta.uid == *uid) else {
            return;
        };
        let fresh = content(snapshot);
        if !self.led {
            self.after(
                backoff(tries),
                Event::Take(place.clone(), uid.clone(), tries),
            );
            return;
        }
        let content = self
            .contents
            .entry(fresh.meta.name.clone())
            .or_insert(fresh);
        if self.jammed {
            let locked = key(&format!("snapshot-{uid}"));
            if content.error.is_none() && content.handle.is_none() {
                content.error =
                    Some(status_error(ErrorClass::Locked(locked.clone()), "locked").into());
                content.error.as_mut().unwrap().since = self.now;
                self.news.push_back(content.clone().into());
            }
            self.refuse(&locked);
            self.after(
                backoff(tries),
                Event::Take(place.clone(), uid.clone(), tries + 1),
            );
            return;
        }
        if self.times_out {
            content.error = Some(status_error(ErrorClass::Timeout, "no answer").into());
            content.error.as_mut().unwrap().since = self.now;
            self.news.push_back(content.clone().into());
            self.after(
                backoff(tries),
                Event::Take(place.clone(), uid.clone(), tries + 1),
            );
            return;
        }
        content.handle = Some(format!("csi-{uid}").as_str().into());
        content.taken = Some(self.now.into());
        content.error = None;
        self.news.push_back(content.clone().into());
        if let Some(snapshot) = self.snapshots.get_mut(place) {
            snapshot.ready = Some(true);
            self.news.push_back(snapshot.clone().into());
        }
        self.after(seconds(20), Event::Synced(place.clone(), uid.clone()));
    }

    fn synced(&mut self, place: &Place, uid: &Uid) {
        let Some(snapshot) = self.snapshots.get(place).filter(|s| s.meta.uid == *uid) else {
            return;
        };
        let of = (place.0.clone(), snapshot.source_claim.clone().unwrap());
        if let Some(source) = self.sources.get_mut(&of) {
            source.syncing = None;
            self.news.push_back(source.clone().into());
        }
        self.delete_snapshot(place);
    }

    pub fn delete_snapshot(&mut self, place: &Place) {
        let now = self.now;
        if let Some(snapshot) = self.snapshots.get_mut(place)
            && snapshot.meta.deleting.is_none()
        {
            snapshot.meta.deleting = Some(now.into());
            let uid = snapshot.meta.uid.clone();
            self.news.push_back(snapshot.clone().into());
            let content = content(snapshot).meta.name;
            if let Some(content) = self.contents.get_mut(&content) {
                content.meta.deleting = Some(now.into());
                self.news.push_back(content.clone().into());
                if self.loses_track && self.jammed && content.handle.is_none() {
                    self.lost.insert(uid);
                    return;
                }
            }
            self.after(seconds(1), Event::Vanish(place.clone(), uid));
        }
    }

    /// The content changes, so that the snapshotter looks at it.
    pub fn touch(&mut self, object: &ObjectKey, token: &str) -> bool {
        let Some(content) = self.contents.get_mut(&object.name) else {
            return false;
        };
        if content.meta.uid != object.uid || content.meta.deleting.is_none() {
            return false;
        }
        content.touched_by = Some(token.into());
        let uid = content.snapshot.clone().unwrap();
        self.news.push_back(content.clone().into());
        let of = |(place, it): (&Place, &Snapshot)| (it.meta.uid == uid).then(|| place.clone());
        if self.lost.remove(&uid)
            && let Some(place) = self.snapshots.iter().find_map(of)
        {
            self.after(seconds(1), Event::Vanish(place, uid));
        }
        true
    }

    fn vanish(&mut self, place: &Place, uid: &Uid) {
        let Some(snapshot) = self.snapshots.get(place).filter(|s| s.meta.uid == *uid) else {
            return;
        };
        let content = content(snapshot).meta.name;
        let accepted = self
            .contents
            .get(&content)
            .is_some_and(|c| c.handle.is_some());
        if !self.led || (self.jammed && !accepted) {
            self.after(seconds(25), Event::Vanish(place.clone(), uid.clone()));
            return;
        }
        let of = snapshot.source_claim.clone();
        self.contents.remove(&content);
        self.snapshots.remove(place);
        let (namespace, name) = place.clone();
        self.news
            .push_back(Change::Snapshot(Delta::Delete { namespace, name }));
        self.news.push_back(Change::Content(Delta::Delete {
            namespace: "".into(),
            name: content,
        }));
        if let Some(of) = of {
            self.after(seconds(4), Event::Sync((place.0.clone(), of)));
        }
    }

    fn bind(&mut self, place: &Place, uid: &Uid, tries: u32) {
        let claim = self
            .claims
            .get_mut(place)
            .filter(|claim| claim.meta.uid == *uid);
        let Some(claim) = claim.filter(|claim| claim.meta.deleting.is_none()) else {
            return;
        };
        let restorable = match &claim.data_source {
            Some(DataSource::Snapshot(name)) => self
                .snapshots
                .get(&(place.0.clone(), name.clone()))
                .is_some_and(|snapshot| snapshot.ready == Some(true)),
            _ => true,
        };
        if self.jammed || !self.led || !restorable || self.hangs {
            if self.jammed {
                self.refuse(&key(&format!("pvc-{uid}")));
            }
            self.after(
                backoff(tries),
                Event::Bind(place.clone(), uid.clone(), tries + 1),
            );
            return;
        }
        claim.phase = ClaimPhase::Bound;
        claim.names_volume = true;
        self.news.push_back(claim.clone().into());
        self.after(seconds(8), Event::AppUp(place.clone()));
    }

    fn app_up(&mut self, place: &Place) {
        let name = format!("{}-0", place.1);
        if let Some(pod) = self.pods.get_mut(&(place.0.clone(), name.as_str().into())) {
            (pod.running, pod.ready) = (true, true);
            self.news.push_back(pod.clone().into());
        }
    }

    /// The leader refuses: its log says so, and an Event or a status.
    fn refuse(&mut self, locked: &LockKey) {
        let leader = self.leases[0].holder.clone().unwrap();
        self.log.push_back((leader, locked.clone()));
        if self.log.len() > 50 {
            self.log.pop_front();
        }
        let first = *self.refused.entry(locked.clone()).or_insert(self.now);
        self.news.push_back(self.refusal(locked, first));
    }

    pub fn refusal(&self, locked: &LockKey, first: Timestamp) -> Change {
        Change::Refused(Refusal {
            driver: DRIVER.into(),
            key: locked.clone(),
            witness: Witness::Status,
            first,
            at: self.now,
            message: "locked".into(),
        })
    }

    fn pod_gone(&mut self, place: &Place, uid: &Uid) {
        let Some(pod) = self.pods.get(place).filter(|pod| pod.meta.uid == *uid) else {
            return;
        };
        self.news.push_back(pod.clone().ended().into());
        self.remove_pod(place);
        self.process_ended(&place.1);
    }

    /// Somebody deletes the leader by force: its object goes at once, and its node ends its processes later.
    pub fn force_leader(&mut self) {
        let Some(name) = self.leases[0].holder.clone() else {
            return;
        };
        let place = (SharedStr::from("rook-ceph"), name.clone());
        if self.pods.contains_key(&place) {
            self.remove_pod(&place);
            self.zombies.insert(name.clone());
            self.after(seconds(100), Event::ZombieEnds(name));
        }
    }

    /// The pod's object goes; where it is to have another, that is made.
    fn remove_pod(&mut self, place: &Place) {
        self.pods.remove(place);
        let (namespace, name) = place.clone();
        self.news.push_back(Change::Pod(Delta::Delete {
            namespace,
            name: name.clone(),
        }));
        self.log.retain(|(pod, _)| *pod != name);
        let of_it = |(_, name): &&Place| name.starts_with(PROVISIONER);
        let wanted = usize::try_from(self.deployment.replicas).unwrap();
        if self.pods.keys().filter(of_it).count() < wanted {
            self.start_pod();
        }
    }

    /// Nobody renews what it held.
    fn process_ended(&mut self, name: &SharedStr) {
        if self.led && self.leases[0].holder.as_ref() == Some(name) {
            (self.jammed, self.led) = (false, false);
            let now = self.now;
            for lease in &mut self.leases {
                lease.renewed = Some(now);
                self.news.push_back(lease.clone().into());
            }
            self.after(self.takeover, Event::Takeover);
        }
    }

    /// One more pod of the provisioner.
    pub fn start_pod(&mut self) {
        let serial = self.new_uid("").to_string();
        let fresh = replica(PROVISIONER, "6c5d7d9f8b", &serial[4..]).not_ready();
        let at = (fresh.meta.namespace.clone(), fresh.meta.name.clone());
        self.put_pod(fresh);
        self.after(seconds(8), Event::PodUp(at));
    }

    fn pod_up(&mut self, place: &Place) {
        if let Some(pod) = self.pods.get_mut(place) {
            pod.ready = true;
            self.news.push_back(pod.clone().into());
        }
    }

    fn take_over(&mut self) {
        if self.led {
            return;
        }
        let of_provisioner = |name: &str| name.starts_with(PROVISIONER);
        let ready = self
            .pods
            .values()
            .find(|pod| of_provisioner(&pod.meta.name) && pod.ready && pod.meta.deleting.is_none());
        let Some(holder) = ready.map(|pod| pod.meta.name.clone()) else {
            // Where a person has scaled it to nothing, for ever.
            let again = if self.deployment.replicas == 0 {
                300
            } else {
                5
            };
            self.after(seconds(again), Event::Takeover);
            return;
        };
        let now = self.now;
        self.led = true;
        for lease in &mut self.leases {
            lease.holder = Some(holder.clone());
            lease.acquired = Some(now);
            lease.renewed = Some(at(100_000));
            self.news.push_back(lease.clone().into());
        }
        if self.jams_to_come > 0 {
            self.jams_to_come -= 1;
            self.jammed = true;
        }
        // A new leader asks for everything at once.
        let again = self.queue.extract_if(.., |_, event| {
            matches!(event, Event::Take(..) | Event::Bind(..) | Event::Vanish(..))
        });
        for (_, event) in again.collect::<Vec<_>>() {
            let event = match event {
                Event::Take(place, uid, _) => Event::Take(place, uid, 0),
                Event::Bind(place, uid, _) => Event::Bind(place, uid, 0),
                other => other,
            };
            self.after(seconds(2), event);
        }
    }
}
