//! The API server's audit log in, every promise that it shows to be broken out. It knows nothing of how the writes came
//! about: it reads what the Remediations' status said when each of them arrived.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use locksmith::api::remediation::{Phase, RemediationStatus};
use locksmith::api::{PlannedStep, StepName};
use locksmith::api::{RESTART_ANNOTATION, TOUCHED_ANNOTATION};
use locksmith::cluster::leader::LEASE_NAME;
use serde_json::Value;

use crate::testbed::Event;

/// A promise, as what breaks it is called.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Rule {
    /// Only while a run is in the step that does this, all of its gates open, and only to what its plan names.
    OpenGate,
    /// Every write names the version, every deletion the uid, that it was decided on.
    Guarded,
    /// No object is deleted twice, no provisioner restarted twice for the same attempt.
    Once,
    /// A snapshot that is ready is never deleted, nor one of which nobody knows.
    NeverReady,
    /// What is deleted was kept as evidence before.
    Evidence,
    /// In mode observe nothing is written at all.
    Observe,
    /// Nothing is written but what the program is for.
    Purpose,
    /// Nothing is held in the end.
    Released,
}

/// One promise, broken.
#[derive(Debug)]
pub struct Violation {
    pub rule: Rule,
    pub what: String,
}

/// What was looked at, and what was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Successful writes of the program, by what they did.
    pub writes: BTreeMap<&'static str, usize>,
    /// Runs that have begun.
    pub runs: usize,
    pub violations: Vec<Violation>,
}

/// What a status said, as far as writes are judged by it.
struct Said {
    at: Timestamp,
    phase: Phase,
    step: Option<StepName>,
    attempt: u32,
    closed: Vec<String>,
    /// Kind, namespace and name of what the step is about, and its uid.
    targets: HashSet<String>,
    evidence: HashSet<String>,
}

/// A write of the program that is judged by what was said.
struct Write {
    at: Timestamp,
    text: String,
    deed: Deed,
}

enum Deed {
    Hold { targets: Vec<String>, run: String },
    Delete { uid: String, step: StepName },
    Restart { target: String, token: String },
    Touch { target: String, token: String },
    HandOver { target: String },
    Forget { uid: String },
}

/// Reads a log, event by event.
pub struct Auditor {
    users: Vec<String>,
    namespace: String,
    /// From when to when the program ran in mode observe.
    observed: Vec<(Timestamp, Timestamp)>,
    said: HashMap<String, Vec<Said>>,
    writes: Vec<Write>,
    /// Whether each version of each snapshot was ready.
    ready: HashMap<(String, String), bool>,
    done: HashSet<String>,
    report: Report,
}

impl Auditor {
    /// Of the program as these users, with its Remediations and Lease in `namespace`.
    pub fn new(users: &[&str], namespace: &str, observed: &[(Timestamp, Timestamp)]) -> Self {
        Self {
            users: users.iter().map(|user| (*user).to_owned()).collect(),
            namespace: namespace.to_owned(),
            observed: observed.to_vec(),
            said: HashMap::new(),
            writes: Vec::new(),
            ready: HashMap::new(),
            done: HashSet::new(),
            report: Report::default(),
        }
    }

    /// Reads one event, in the order of the log.
    pub fn read(&mut self, event: &Event) {
        if !event.is_write() {
            return;
        }
        self.note_snapshot(event);
        if !self.users.contains(&event.user) {
            return;
        }
        let during = |(from, to): &(Timestamp, Timestamp)| (*from..*to).contains(&event.received);
        if self.observed.iter().any(during) {
            self.broken(Rule::Observe, text(event));
        }
        self.guarded(event);
        if (200..300).contains(&event.code) {
            self.note(event);
        }
    }

    /// Every promise that was broken, `held` being what carries a hold in the end.
    pub fn report(mut self, held: &[String]) -> Report {
        for said in self.said.values_mut() {
            said.sort_by_key(|said| said.at);
        }
        let began = |said: &&Vec<Said>| said.iter().any(|said| said.phase == Phase::Running);
        self.report.runs = self.said.values().filter(began).count();
        for write in std::mem::take(&mut self.writes) {
            self.judge(&write);
        }
        for object in held {
            self.broken(Rule::Released, format!("{object} is still held"));
        }
        self.report.violations.sort_by_key(|one| one.rule);
        self.report
    }

    fn broken(&mut self, rule: Rule, what: String) {
        self.report.violations.push(Violation { rule, what });
    }

    fn count(&mut self, what: &'static str) {
        *self.report.writes.entry(what).or_default() += 1;
    }

    /// Remembers of every version of a snapshot whether it was ready, whoever wrote it.
    fn note_snapshot(&mut self, event: &Event) {
        if event.resource != "volumesnapshots" || event.code >= 300 {
            return;
        }
        let Some(body) = &event.response_body else {
            return;
        };
        let (Some(uid), Some(version)) = (
            string(body, "/metadata/uid"),
            string(body, "/metadata/resourceVersion"),
        ) else {
            return;
        };
        let ready = body.pointer("/status/readyToUse") == Some(&Value::Bool(true));
        self.ready.insert((uid, version), ready);
    }

    /// Whether a write that the API server may refuse gives it what it needs to.
    fn guarded(&mut self, event: &Event) {
        let has = |path: &str| {
            let body = event.request_body.as_ref();
            body.and_then(|body| string(body, path)).is_some()
        };
        let guarded = match &*event.verb {
            // Whatever it has become, all of it is released.
            "delete" if event.resource == "snapshotholds" => has("/preconditions/uid"),
            "delete" => has("/preconditions/uid") && has("/preconditions/resourceVersion"),
            "patch" | "update" if event.resource != "events" => has("/metadata/resourceVersion"),
            "deletecollection" => false,
            _ => true,
        };
        if !guarded {
            self.broken(Rule::Guarded, text(event));
        }
    }

    /// Takes note of a write that was made.
    fn note(&mut self, event: &Event) {
        let body = event.request_body.as_ref().unwrap_or(&Value::Null);
        let own = event.namespace == self.namespace;
        let by_uid = |step| Deed::Delete {
            uid: string(body, "/preconditions/uid").unwrap_or_default(),
            step,
        };
        let (what, deed) = match (&*event.resource, &*event.verb) {
            ("events", "create" | "patch") => ("event", None),
            ("leases", "create" | "update") if own && is(event, body, LEASE_NAME) => {
                ("lease", None)
            }
            ("remediations", "create") if own => ("run", None),
            ("remediations", "patch") if own => ("alerts", None),
            ("remediations", "update") if own && event.subresource == "status" => {
                self.note_status(event.received, body);
                ("status", None)
            }
            ("remediations", "delete") if own => (
                "forget",
                Some(Deed::Forget {
                    uid: string(body, "/preconditions/uid").unwrap_or_default(),
                }),
            ),
            ("snapshotholds", "create") if own => {
                let run = string(body, "/metadata/ownerReferences/0/uid").unwrap_or_default();
                (
                    "hold",
                    Some(Deed::Hold {
                        targets: held(body),
                        run,
                    }),
                )
            }
            // More sources, in another attempt, or fewer.
            ("snapshotholds", "patch" | "delete") if own => ("release", None),
            // The proof of a hold, which stores nothing.
            ("volumesnapshots", "create") if own && event.uri.contains("dryRun=All") => {
                ("proof", None)
            }
            ("leases", "patch")
                if body.pointer("/spec") == Some(&serde_json::json!({"holderIdentity": ""})) =>
            {
                let target = place(event);
                ("hand over", Some(Deed::HandOver { target }))
            }
            ("deployments", "patch") => match restart(body) {
                Some(token) => (
                    "restart",
                    Some(Deed::Restart {
                        target: place(event),
                        token,
                    }),
                ),
                None => return self.broken(Rule::Purpose, text(event)),
            },
            ("volumesnapshotcontents", "patch") => match touch(body) {
                Some(token) => (
                    "touch",
                    Some(Deed::Touch {
                        target: place(event),
                        token,
                    }),
                ),
                None => return self.broken(Rule::Purpose, text(event)),
            },
            ("volumesnapshots", "delete") => {
                self.note_end_of_snapshot(event, body);
                ("delete", Some(by_uid(StepName::DeleteFailedSnapshots)))
            }
            ("pods", "delete") => ("replace", Some(by_uid(StepName::RestartProvisioner))),
            ("replicationsources", "delete") => (
                "delete source",
                Some(by_uid(StepName::DeleteOrphanedSources)),
            ),
            _ => return self.broken(Rule::Purpose, text(event)),
        };
        self.count(what);
        if let Some(deed) = deed {
            self.writes.push(Write {
                at: event.received,
                text: text(event),
                deed,
            });
        }
    }

    fn note_status(&mut self, at: Timestamp, body: &Value) {
        let uid = string(body, "/metadata/uid").unwrap_or_default();
        let status = body.get("status").cloned().unwrap_or_default();
        let Ok(status) = serde_json::from_value::<RemediationStatus>(status) else {
            return self.broken(Rule::Purpose, format!("a status of {uid} that is none"));
        };
        let planned = status
            .step
            .and_then(|step| status.plan.as_ref()?.step(step));
        let held = planned.into_iter().flat_map(PlannedStep::held_sources);
        let held = held.map(|(namespace, name)| format!("replicationsource {namespace}/{name}"));
        let held: Vec<_> = held.collect();
        let targets = planned.into_iter().flat_map(|step| &step.targets);
        let closed = status.gates.iter().filter(|gate| !gate.open);
        let kept = status.evidence.iter();
        let said = Said {
            at,
            phase: status.phase,
            step: status.step,
            attempt: status.attempt,
            closed: closed.map(|gate| gate.gate.clone()).collect(),
            targets: targets
                .flat_map(|target| {
                    let object = &target.object;
                    let (kind, namespace, name) =
                        (object.kind.as_str(), &object.namespace, &object.name);
                    let kind = kind.to_lowercase();
                    [format!("{kind} {namespace}/{name}"), object.uid.to_string()]
                })
                .chain(held)
                .collect(),
            evidence: kept.map(|kept| kept.object.uid.to_string()).collect(),
        };
        self.said.entry(uid).or_default().push(said);
    }

    /// What a snapshot was when it was deleted: the answer tells, or else the version that the deletion named.
    fn note_end_of_snapshot(&mut self, event: &Event, body: &Value) {
        let answer = event.response_body.as_ref();
        let told = answer.filter(|answer| answer.get("kind") == Some(&"VolumeSnapshot".into()));
        let ready = match told {
            Some(snapshot) => {
                Some(snapshot.pointer("/status/readyToUse") == Some(&Value::Bool(true)))
            }
            None => string(body, "/preconditions/uid")
                .zip(string(body, "/preconditions/resourceVersion"))
                .and_then(|version| self.ready.get(&version).copied()),
        };
        match ready {
            Some(false) => {}
            Some(true) => self.broken(Rule::NeverReady, format!("{} was ready", text(event))),
            None => self.broken(
                Rule::NeverReady,
                format!("{}: in which state?", text(event)),
            ),
        }
    }

    /// What a run's status said last when a write arrived.
    fn last(&self, run: &str, at: Timestamp) -> Option<&Said> {
        let said = self.said.get(run)?;
        said.iter().rev().find(|said| said.at <= at)
    }

    /// Whether a run that may delete `uid` in `step` has kept it: of two that are at work at once, either may be the one.
    fn kept(&self, step: StepName, uid: &str, at: Timestamp) -> Result<bool, String> {
        let (mut may, mut why) = (false, Vec::new());
        for run in self.said.keys() {
            let Some(said) = self.last(run, at) else {
                continue;
            };
            match allowed(Some(said), step, uid) {
                // A pod comes back by itself.
                Ok(()) if said.evidence.contains(uid) || step == StepName::RestartProvisioner => {
                    return Ok(true);
                }
                Ok(()) => may = true,
                Err(not) => why.push(not),
            }
        }
        if may {
            return Ok(false);
        }
        why.dedup();
        Err(format!(
            "of {} runs none may: {}",
            why.len(),
            why.join("; ")
        ))
    }

    /// What the run and attempt that a token names last said.
    fn attempt(&self, token: &str, at: Timestamp) -> Option<&Said> {
        let (run, attempt) = token.rsplit_once('-')?;
        let said = self.last(run, at)?;
        (said.attempt.to_string() == attempt).then_some(said)
    }

    fn judge(&mut self, write: &Write) {
        let (at, text) = (write.at, &write.text);
        let verdict = match &write.deed {
            Deed::Hold { targets, run } => {
                let said = self.last(run, at);
                let mut each = targets.iter();
                each.try_for_each(|target| allowed(said, StepName::SuspendSources, target))
            }
            Deed::Restart { target, token } => allowed(
                self.attempt(token, at),
                StepName::RestartProvisioner,
                target,
            ),
            Deed::Touch { target, token } => allowed(
                self.attempt(token, at),
                StepName::VerifyProvisioning,
                target,
            ),
            Deed::HandOver { target } => {
                let runs = self.said.keys();
                let mut verdicts = runs
                    .map(|run| allowed(self.last(run, at), StepName::RestartProvisioner, target));
                let may = verdicts.any(|verdict| verdict.is_ok());
                may.then_some(())
                    .ok_or_else(|| "no run was restarting its holder".to_owned())
            }
            Deed::Delete { uid, step } => match self.kept(*step, uid, at) {
                Ok(true) => Ok(()),
                Ok(false) => return self.broken(Rule::Evidence, format!("{at} {text} {uid}")),
                Err(why) => Err(why),
            },
            Deed::Forget { uid } => match self.last(uid, at) {
                Some(said) if said.phase.finished() => Ok(()),
                _ => Err("its run was not over".to_owned()),
            },
        };
        if let Err(why) = verdict {
            self.broken(Rule::OpenGate, format!("{at} {text}: {why}"));
        }
        let once = match &write.deed {
            Deed::Hold { .. } | Deed::HandOver { .. } => return,
            Deed::Delete { uid, .. } | Deed::Forget { uid } => uid.clone(),
            Deed::Restart { token, .. } => token.clone(),
            Deed::Touch { target, token } => format!("{token} {target}"),
        };
        if !self.done.insert(once.clone()) {
            self.broken(
                Rule::Once,
                format!("{at} {text}: {once} for the second time"),
            );
        }
    }
}

/// Whether what a run said lets `step` do something to `target`.
fn allowed(said: Option<&Said>, step: StepName, target: &str) -> Result<(), String> {
    let Some(said) = said else {
        return Err("no run had said anything".to_owned());
    };
    if said.phase != Phase::Running || said.step != Some(step) {
        let under_way = said.step.map_or("no step", StepName::as_str);
        return Err(format!(
            "the run was {}, in {under_way}",
            said.phase.as_str()
        ));
    }
    if !said.closed.is_empty() {
        return Err(format!("closed: {}", said.closed.join(", ")));
    }
    if !said.targets.contains(target) {
        return Err("the plan does not name it".to_owned());
    }
    Ok(())
}

/// Sources that a new hold names, as a target's place is written.
fn held(body: &Value) -> Vec<String> {
    let sources = body.pointer("/spec/sources").and_then(Value::as_object);
    let places = sources.into_iter().flat_map(|sources| sources.values());
    let places = places.filter_map(Value::as_str);
    places
        .map(|place| format!("replicationsource {place}"))
        .collect()
}

/// Kind, namespace and name, as a target's are written.
fn place(event: &Event) -> String {
    let kind = event.resource.trim_end_matches('s');
    format!("{kind} {}/{}", event.namespace, event.name)
}

/// What was asked, and what was answered.
fn text(event: &Event) -> String {
    format!(
        "{} {} by {}: {}",
        event.verb, event.uri, event.user, event.code
    )
}

fn string(body: &Value, path: &str) -> Option<String> {
    let text = body.pointer(path)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether it is about the object called `name`: of a create, only the body tells.
fn is(event: &Event, body: &Value, name: &str) -> bool {
    event.name == name || string(body, "/metadata/name").as_deref() == Some(name)
}

fn touch(body: &Value) -> Option<String> {
    let annotations = body.pointer("/metadata/annotations")?;
    Some(annotations.get(TOUCHED_ANNOTATION)?.as_str()?.to_owned())
}

fn restart(body: &Value) -> Option<String> {
    let annotations = body.pointer("/spec/template/metadata/annotations")?;
    Some(annotations.get(RESTART_ANNOTATION)?.as_str()?.to_owned())
}
