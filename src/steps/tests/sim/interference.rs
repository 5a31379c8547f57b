//! What people and the rest of the cluster do meanwhile.

use super::react::Event;
use super::{App, Cluster, Place, Verb, place, seconds};
use crate::api::remediation::{Approval, Decision};
use crate::api::volsync::temporary_name;
use crate::model::fixture::*;
use crate::model::records::{CephCluster, Volume};
use crate::model::{Answer, Change, Delta, Kind, WatchState};

/// Numbers are those of apps.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The API server refuses this kind of write from now on.
    Refuses(Option<Verb>),
    KillSwitch(bool),
    WatchFails(Kind),
    WatchLives(Kind),
    /// A person takes a source out of the hold.
    Releases(usize),
    /// A person deletes the hold.
    DeletesHold,
    /// Whether the API server enforces holds from now on.
    Enforces(bool),
    OptsOut(usize),
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
                WatchState::Failing("connection refused".to_owned()),
                self.now,
            )),
            Happening::WatchLives(kind) => {
                self.news
                    .push_back(Change::Read(*kind, WatchState::Synced, self.now));
            }
            Happening::Releases(app) => self.release(&place(*app)),
            Happening::DeletesHold => {
                for name in self.holds.keys().cloned().collect::<Vec<_>>() {
                    self.delete_hold(&name);
                }
            }
            Happening::Enforces(enforces) => self.enforces = *enforces,
            Happening::OptsOut(app) => {
                if let Some(source) = self.sources.get_mut(&place(*app)) {
                    source.meta.opted_out = true;
                    self.news.push_back(source.clone().into());
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
                    .push_back(Change::Run(Delta::Delete { namespace, name }));
            }
            Happening::DeletesSource(app) => {
                let (namespace, name) = place(*app);
                let temporary = temporary_name(&name);
                self.sources.remove(&(namespace.clone(), name.clone()));
                self.delete_snapshot(&(namespace.clone(), temporary.as_str().into()));
                self.news
                    .push_back(Change::Source(Delta::Delete { namespace, name }));
            }
            Happening::DeletesClaim(app) => self.delete_claim(place(*app)),
            Happening::ClaimTerminates(app) => {
                if let Some(claim) = self.claims.get_mut(&place(*app)) {
                    claim.meta.deleting = Some(self.now.into());
                    self.news.push_back(claim.clone().into());
                }
            }
            Happening::RecreatesClaim(app) => {
                let (namespace, name) = place(*app);
                self.delete_claim((namespace.clone(), name.clone()));
                let uid = self.new_uid("claim");
                self.put_claim(claim(&namespace, &name).uid(&uid.to_string()));
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
                if let Some(source) = self.sources.get_mut(&place) {
                    source.syncing = Some(self.now);
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
                self.news.push_back(Change::CephCluster(Delta::Apply(ceph)));
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
                self.put_claim(late);
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

    /// A person takes one source out of the hold.
    fn release(&mut self, place: &Place) {
        let holds = self.holds.values().cloned().collect::<Vec<_>>();
        for mut hold in holds {
            hold.sources.retain(|_, of| of != place);
            self.put_hold(hold);
        }
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
            .push_back(Change::Claim(Delta::Delete { namespace, name }));
    }
}
