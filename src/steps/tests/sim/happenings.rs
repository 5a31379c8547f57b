//! What people and the rest of the cluster do meanwhile.

use serde_json::json;

use super::react::Event;
use super::{App, Cluster, Place, Verb, place, seconds, unmark};
use crate::api::remediation::{Approval, Decision};
use crate::api::volsync::{USE_COPY_TRIGGER, temporary_name};
use crate::holds::Hold;
use crate::model::fixture::*;
use crate::model::records::{CephCluster, Volume};
use crate::model::{Answer, Change, Delta, Kind, ObjectKind, Reading};

/// Numbers are those of apps.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The API server refuses this kind of write from now on.
    Refuses(Option<Verb>),
    KillSwitch(bool),
    WatchFails(Kind),
    WatchLives(Kind),
    /// A person sets `spec.paused`.
    Pauses(usize, bool),
    /// A person takes a hold off a source as we would.
    Releases(usize),
    /// A person takes a hold off a claim as we would.
    ReleasesClaim(usize),
    /// A person sets a copy trigger of their own.
    SetsTrigger(usize),
    OptsOut(usize),
    /// Somebody writes a mark that cannot be read.
    Marks(usize),
    Aborts,
    DeletesRun,
    DeletesSource(usize),
    DeletesClaim(usize),
    /// The claim is being deleted, and something keeps it.
    ClaimTerminates(usize),
    /// The claim is there again, under another uid, bound at once.
    RecreatesClaim(usize),
    /// The driver finishes a snapshot although it is jammed.
    SnapshotReady(usize),
    LeaderDies,
    /// Somebody deletes the leader by force; its processes run on for a while.
    ForcesLeader,
    /// The provisioners' node is Ready, or is not.
    NodeReady(bool),
    /// VolSync begins another sync of this source, whatever `paused` says.
    AnotherSnapshot(usize),
    /// One more app whose backup hangs.
    AnotherStuck(usize),
    /// A person scales the provisioner.
    Scales(i32),
    /// A person decides on the plan as it is recorded just then.
    Decides(Decision),
    /// Ceph says this of its health.
    Ceph(&'static str),
    /// Prometheus answers the expression with so many series, or not at all.
    Answers(Option<usize>),
    /// The driver makes a volume for somebody.
    MakesVolume,
    /// Somebody asks for a volume, and the driver never answers.
    ClaimHangs,
}

/// The expression Prometheus is asked, where it is.
pub const EXPRESSION: &str = "ceph_health_status > 1";

impl Cluster {
    pub fn happens_after(&mut self, minutes: i64, happening: Happening) {
        self.after(seconds(minutes * 60), Event::Happens(happening));
    }

    // One line a kind of happening, or a few: it is a table.
    #[allow(clippy::too_many_lines)]
    pub fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Refuses(verb) => self.refuses = *verb,
            Happening::KillSwitch(on) => {
                if let Some(namespace) = self.namespaces.get_mut("locksmith") {
                    namespace.stopped = *on;
                    self.news.push_back(namespace.clone().into());
                }
            }
            Happening::WatchFails(kind) => self.news.push_back(Change::Read(
                *kind,
                Reading::Failing("connection refused".to_owned()),
                self.now,
            )),
            Happening::WatchLives(kind) => {
                self.news
                    .push_back(Change::Read(*kind, Reading::Live, self.now));
            }
            Happening::Pauses(app, paused) => self.pause(&place(*app), *paused),
            Happening::Releases(app) => self.take_off(&place(*app), ObjectKind::ReplicationSource),
            Happening::ReleasesClaim(app) => {
                self.take_off(&place(*app), ObjectKind::PersistentVolumeClaim);
            }
            Happening::SetsTrigger(app) => {
                let place = place(*app);
                if let Some(live) = self.claims.get_mut(&place) {
                    live.wish = json!("a person's");
                    live.object["metadata"]["annotations"][USE_COPY_TRIGGER] = live.wish.clone();
                    self.written(ObjectKind::PersistentVolumeClaim, &place);
                }
            }
            Happening::OptsOut(app) => {
                let place = place(*app);
                if let Some(live) = self.sources.get_mut(&place) {
                    live.record.meta.opted_out = true;
                    self.written(ObjectKind::ReplicationSource, &place);
                }
            }
            Happening::Marks(app) => {
                let place = place(*app);
                if let Some(live) = self.sources.get_mut(&place) {
                    live.record.unreadable_mark = true;
                    self.written(ObjectKind::ReplicationSource, &place);
                }
            }
            Happening::ForcesLeader => self.force_leader(),
            Happening::NodeReady(ready) => {
                self.node.ready = *ready;
                self.news.push_back(self.node.clone().into());
            }
            Happening::Aborts => {
                if let Some(mut run) = self.run.clone() {
                    run.spec.abort = true;
                    self.write_run(run);
                }
            }
            Happening::DeletesRun => {
                self.run = None;
                let (namespace, name) = ("locksmith".into(), "r".into());
                self.news
                    .push_back(Change::Run(Delta::Remove { namespace, name }));
            }
            Happening::DeletesSource(app) => {
                let (namespace, name) = place(*app);
                let temporary = temporary_name(&name);
                self.sources.remove(&(namespace.clone(), name.clone()));
                self.delete_snapshot(&(namespace.clone(), temporary.as_str().into()));
                self.news
                    .push_back(Change::Source(Delta::Remove { namespace, name }));
            }
            Happening::DeletesClaim(app) => self.delete_claim(place(*app)),
            Happening::ClaimTerminates(app) => {
                let place = place(*app);
                if let Some(live) = self.claims.get_mut(&place) {
                    live.record.meta.deleting = Some(self.now.into());
                    self.written(ObjectKind::PersistentVolumeClaim, &place);
                }
            }
            Happening::RecreatesClaim(app) => {
                let (namespace, name) = place(*app);
                self.delete_claim((namespace.clone(), name.clone()));
                let uid = self.new_uid("claim");
                self.put_claim(claim(&namespace, &name).uid(&uid.to_string()), false);
            }
            Happening::SnapshotReady(app) => {
                let (namespace, name) = place(*app);
                self.finish_snapshot(&(namespace, temporary_name(&name).as_str().into()));
            }
            Happening::LeaderDies => {
                if let Some(leader) = self.leases[0].holder.clone() {
                    self.delete_pod(&("rook-ceph".into(), leader));
                }
            }
            Happening::AnotherSnapshot(app) => {
                let place = place(*app);
                if let Some(live) = self.sources.get_mut(&place) {
                    live.record.syncing = Some(self.now);
                    self.after(seconds(1), Event::Sync(place));
                }
            }
            Happening::AnotherStuck(app) => {
                self.add(*app, &App::stuck());
                self.news.extend(self.everything());
            }
            Happening::Scales(replicas) => self.scale(*replicas),
            Happening::Decides(decision) => self.decide(*decision),
            Happening::Ceph(health) => {
                let ceph = CephCluster {
                    namespace: "rook-ceph".into(),
                    name: "rook-ceph".into(),
                    health: Some((*health).into()),
                };
                self.ceph = Some(ceph.clone());
                self.news.push_back(Change::CephCluster(Delta::Put(ceph)));
            }
            Happening::Answers(series) => {
                let answer = Answer {
                    at: self.now,
                    series: series.ok_or_else(|| "503".to_owned()),
                };
                self.news
                    .push_back(Change::Answered(EXPRESSION.to_owned(), answer));
            }
            Happening::ClaimHangs => {
                let late = claim("media", "late").pending().created(self.now);
                self.put_claim(late, false);
            }
            Happening::MakesVolume => self.news.push_back(
                Volume {
                    name: "pvc-somebodys".into(),
                    driver: DRIVER.into(),
                    created: self.now.into(),
                }
                .into(),
            ),
        }
    }

    /// As kubectl does: setting what is set already changes nothing, and leaves no trace.
    fn pause(&mut self, place: &Place, paused: bool) {
        if let Some(live) = self.sources.get_mut(place)
            && live.switch() != json!(paused)
        {
            live.object["spec"]["paused"] = json!(paused);
            // Off, on and off again while our mark stands cannot be told from our own doing.
            let hold = Hold::of(ObjectKind::ReplicationSource, &live.object).filter(|_| paused);
            live.wish = hold.map_or(json!(paused), |hold| hold.was);
            self.written(ObjectKind::ReplicationSource, place);
        }
    }

    fn take_off(&mut self, place: &Place, kind: ObjectKind) {
        let object = if kind == ObjectKind::ReplicationSource {
            self.sources.get_mut(place).map(|live| &mut live.object)
        } else {
            self.claims.get_mut(place).map(|live| &mut live.object)
        };
        let Some(object) = object else { return };
        let Some(hold) = Hold::of(kind, object) else {
            return;
        };
        unmark(object);
        let (fields, field) = if kind == ObjectKind::ReplicationSource {
            (&mut object["spec"], "paused")
        } else {
            (&mut object["metadata"]["annotations"], USE_COPY_TRIGGER)
        };
        // Where somebody has changed it since, they leave it at that.
        let ours = fields[field] == json!(true) || fields[field] == json!("locksmith");
        if ours && hold.was.is_null() {
            fields.as_object_mut().unwrap().remove(field);
        } else if ours {
            fields[field] = hold.was;
        }
        self.written(kind, place);
    }

    fn scale(&mut self, replicas: i32) {
        self.deployment.replicas = replicas;
        self.news.push_back(self.deployment.clone().into());
        let of_it = |(_, name): &&Place| name.starts_with(&*self.deployment.meta.name);
        let pods: Vec<_> = self.pods.keys().filter(of_it).cloned().collect();
        let wanted = usize::try_from(replicas).unwrap();
        for place in pods.iter().skip(wanted) {
            self.delete_pod(place);
        }
        for _ in pods.len()..wanted {
            self.start_pod();
        }
    }

    fn decide(&mut self, decision: Decision) {
        let Some(mut run) = self.run.clone() else {
            return;
        };
        let Some(plan) = run.status.as_ref().and_then(|status| status.plan.as_ref()) else {
            return;
        };
        run.spec.approval = Some(Approval {
            decision,
            plan: plan.hash.clone(),
            at: Some(self.now),
            by: Some("ada".to_owned()),
        });
        self.write_run(run);
    }

    fn delete_claim(&mut self, place: Place) {
        self.claims.remove(&place);
        let (namespace, name) = place;
        self.news
            .push_back(Change::Claim(Delta::Remove { namespace, name }));
    }
}
