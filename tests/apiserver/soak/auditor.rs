//! Reads the API server's audit log, and returns every broken promise. It judges a write only by the status that the
//! Remediations had when the write arrived.

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

/// A promise, named after its violation.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Rule {
    /// A write occurs only while a run is in the corresponding step, all of its gates are open, and its plan names the
    /// object.
    OpenGate,
    /// Every write has the version, and every deletion the uid, that it was decided on.
    Guarded,
    /// No object is deleted twice, and no provisioner is restarted twice in one attempt.
    Once,
    /// A ready snapshot is never deleted, nor one whose state is unknown.
    NeverReady,
    /// Deleted objects have been recorded as evidence before.
    Evidence,
    /// In mode observe nothing is written.
    Observe,
    /// Nothing is written except for the program's purpose.
    Purpose,
    /// Nothing is held at the end.
    Released,
}

/// A broken promise.
#[derive(Debug)]
pub struct Violation {
    pub rule: Rule,
    pub what: String,
}

/// Result of the audit.
#[derive(Debug, Default)]
pub struct Report {
    /// Successful writes of the program, by kind of write.
    pub writes: BTreeMap<&'static str, usize>,
    /// Number of runs that have started.
    pub runs: usize,
    pub violations: Vec<Violation>,
}

/// The parts of a status by which writes are judged.
struct Said {
    at: Timestamp,
    phase: Phase,
    step: Option<StepName>,
    attempt: u32,
    closed: Vec<String>,
    /// Kind, namespace, name and uid of the step's targets.
    targets: HashSet<String>,
    evidence: HashSet<String>,
}

/// A write of the program that is judged by a status.
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
    /// Start and end of each phase in which the program ran in mode observe.
    observed: Vec<(Timestamp, Timestamp)>,
    said: HashMap<String, Vec<Said>>,
    writes: Vec<Write>,
    /// Whether a snapshot was ready, by object and version.
    ready: HashMap<(String, String), bool>,
    done: HashSet<String>,
    report: Report,
}

impl Auditor {
    /// An auditor of the program under these users, with its Remediations and Lease in `namespace`.
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

    /// Reads an event; events must be in the order of the log.
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

    /// Returns every broken promise; `held` lists the objects still held at the end.
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

    /// Records for every version of a snapshot whether it was ready, whoever wrote it.
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

    /// Checks that a write has the preconditions by which the API server can refuse it.
    fn guarded(&mut self, event: &Event) {
        let has = |path: &str| {
            let body = event.request_body.as_ref();
            body.and_then(|body| string(body, path)).is_some()
        };
        let guarded = match &*event.verb {
            // Whatever its version, all of it is released.
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

    /// Records a successful write.
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
            // Releases sources, or adds sources in another attempt.
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

    /// State of a deleted snapshot: from the response, otherwise from the version in the request.
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

    /// The latest status of a run when a write arrived.
    fn last(&self, run: &str, at: Timestamp) -> Option<&Said> {
        let said = self.said.get(run)?;
        said.iter().rev().find(|said| said.at <= at)
    }

    /// Whether a run that may delete `uid` in `step` has recorded it; of two concurrent runs, either may be the one.
    fn kept(&self, step: StepName, uid: &str, at: Timestamp) -> Result<bool, String> {
        let (mut may, mut why) = (false, Vec::new());
        for run in self.said.keys() {
            let Some(said) = self.last(run, at) else {
                continue;
            };
            match allowed(Some(said), step, uid) {
                // A pod is recreated by its controller.
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

    /// The latest status of the run and attempt in a token.
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

/// Whether a status permits `step` to write to `target`.
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

/// Sources in a new hold, in the form of a target's place.
fn held(body: &Value) -> Vec<String> {
    let sources = body.pointer("/spec/sources").and_then(Value::as_object);
    let places = sources.into_iter().flat_map(|sources| sources.values());
    let places = places.filter_map(Value::as_str);
    places
        .map(|place| format!("replicationsource {place}"))
        .collect()
}

/// Kind, namespace and name, in the form of a target.
fn place(event: &Event) -> String {
    let kind = event.resource.trim_end_matches('s');
    format!("{kind} {}/{}", event.namespace, event.name)
}

/// Request and response as text.
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

/// Whether it is about the object `name`, which for a create is only in the body.
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
