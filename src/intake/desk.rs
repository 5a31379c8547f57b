//! The desk where alerts are turned into Remediations, one notification after the other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::sync::Mutex;

use super::{Cause, MAX_ALERTS, Standing, causes, next_name, ours, served, standing};
use crate::api::remediation::{AlertRef, Remediation, RemediationSpec, Trigger};
use crate::config::Config;
use crate::kube_io::{FIELD_MANAGER, WriteError, Writer, bounded};
use crate::metrics::{AlertOutcome, Own};
use crate::model::{Model, Sym};
use crate::server::{Accepted, Intake, Notification, Refused};
use crate::watch::Store;

/// How often alerts are added anew where the engine writes the same run: in its first moments it writes several times.
const TRIES: usize = 5;

/// Turns notifications into Remediations.
#[derive(Clone)]
pub struct Desk {
    store: Store,
    writer: Writer,
    config: Arc<Config>,
    namespace: Sym,
    own: Own,
    /// One at a time: the next one sees what the one before has made.
    turn: Arc<Mutex<Vec<Made>>>,
}

/// A Remediation that was made a moment ago, and that the watch may not show yet.
struct Made {
    run: Remediation,
    at: Instant,
}

/// How long the watch may take to show what was made; after that it is gone again.
const ECHO: Duration = Duration::from_secs(10);

impl Desk {
    /// A desk that writes to `namespace`.
    pub fn new(
        store: Store,
        writer: Writer,
        config: Arc<Config>,
        namespace: Sym,
        own: Own,
    ) -> Self {
        Self {
            store,
            writer,
            config,
            namespace,
            own,
            turn: Arc::default(),
        }
    }

    /// Makes sure that every cause has its Remediation. Persisted when it returns.
    async fn take(
        &self,
        notification: &Notification,
        served: &BTreeSet<Sym>,
    ) -> Result<Accepted, WriteError> {
        let (ours, foreign) = ours(&notification.alerts, &self.config.alertmanager);
        let (causes, ignored) = causes(&ours, &self.config, &self.store.view().findings, served);
        (0..foreign).for_each(|_| self.own.alert(None, AlertOutcome::Foreign));
        (0..ignored).for_each(|_| self.own.alert(None, AlertOutcome::Ignored));
        let mut accepted = Accepted {
            remediations: Vec::new(),
            ignored,
            foreign,
        };
        let mut made = self.turn.lock().await;
        // It may have been a long wait.
        self.writer.term()?;
        for (cause, alerts) in causes {
            let ensured = self.ensure(&mut made, &cause, alerts).await;
            let outcome = match &ensured {
                Ok((_, outcome)) => *outcome,
                Err(_) => AlertOutcome::Refused,
            };
            self.own.alert(Some(&cause.playbook), outcome);
            accepted.remediations.push(ensured?.0);
        }
        Ok(accepted)
    }

    /// The Remediation of `cause`: the one that is open, the last one while it cools down, or a new one.
    async fn ensure(
        &self,
        made: &mut Vec<Made>,
        cause: &Cause,
        alerts: Vec<AlertRef>,
    ) -> Result<(String, AlertOutcome), WriteError> {
        let api: Api<Remediation> = Api::namespaced(self.writer.client().clone(), &self.namespace);
        let standing = self.store.judge(|model, view| {
            made.retain(|Made { run, at }| {
                let name = Sym::from(run.name_any());
                at.elapsed() < ECHO && model.runs.get(&self.namespace, &name).is_none()
            });
            let now = Timestamp::now();
            standing(cause, model, &view.findings, &self.config, now)
        });
        let playbooks = &self.config.playbooks;
        let just_made = made
            .iter()
            .position(|made| cause.is_served_by(&made.run.spec, playbooks));
        if let Some(at) = just_made {
            let run = &mut made[at].run;
            let name = run.name_any();
            let known = &mut run.spec.trigger.alerts;
            if !lacks(known, &alerts) {
                return Ok((name, AlertOutcome::Joined));
            }
            known.extend(alerts.iter().cloned());
            known.truncate(MAX_ALERTS);
            if self.add(&api, &name, &alerts).await? {
                return Ok((name, AlertOutcome::Joined));
            }
            // Somebody has deleted it meanwhile.
            made.remove(at);
        }
        match standing {
            Standing::Open(name) => {
                let news = self
                    .store
                    .read(|model| self.has_news(model, &name, &alerts));
                if news && !self.add(&api, &name, &alerts).await? {
                    // Asked again, the watch shows it, too.
                    let object = format!("Remediation {name}");
                    return Err(WriteError::Gone { object });
                }
                Ok((name.to_string(), AlertOutcome::Joined))
            }
            Standing::Cooling(name) | Standing::Rejected(name) => {
                Ok((name.to_string(), AlertOutcome::Joined))
            }
            Standing::Free(last) => {
                let name = next_name(cause, last.as_ref());
                let spec = RemediationSpec {
                    playbook: cause.playbook.clone(),
                    driver: cause.driver.clone(),
                    trigger: Trigger {
                        alerts,
                        person: None,
                    },
                    approval: None,
                    abort: false,
                };
                let run = Remediation::new(&name, spec);
                let params = PostParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PostParams::default()
                };
                let call = api.create(&params, &run);
                match bounded("create", || format!("Remediation {name}"), call).await {
                    Ok(created) => {
                        tracing::info!(run = name, playbook = cause.playbook, driver = %cause.driver, "asked for");
                        made.push(Made {
                            run: created,
                            at: Instant::now(),
                        });
                        Ok((name, AlertOutcome::Started))
                    }
                    // Somebody who saw the same runs may have made the same name first; or nobody made anything.
                    Err(error) if error.kind() == "conflict" => {
                        let call = api.get_metadata_opt(&name);
                        let there = bounded("get", || format!("Remediation {name}"), call).await?;
                        there.map(|_| (name, AlertOutcome::Joined)).ok_or(error)
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// The same of the run as it was last seen.
    fn has_news(&self, model: &Model, name: &Sym, alerts: &[AlertRef]) -> bool {
        model
            .runs
            .get(&self.namespace, name)
            .is_none_or(|run| lacks(&run.object.spec.trigger.alerts, alerts))
    }

    /// Adds alerts a run does not list yet; says whether there is such a run.
    async fn add(
        &self,
        api: &Api<Remediation>,
        name: &str,
        alerts: &[AlertRef],
    ) -> Result<bool, WriteError> {
        for _ in 0..TRIES {
            match Self::try_to_add(api, name, alerts).await {
                // The engine wrote at the same time.
                Err(error) if error.kind() == "conflict" => {}
                other => return other,
            }
        }
        // The run is there, which is all that has to be kept.
        Ok(true)
    }

    async fn try_to_add(
        api: &Api<Remediation>,
        name: &str,
        alerts: &[AlertRef],
    ) -> Result<bool, WriteError> {
        let object = || format!("Remediation {name}");
        let Some(run) = bounded("get", object, api.get_opt(name)).await? else {
            return Ok(false);
        };
        let mut all = run.spec.trigger.alerts.clone();
        let known = &run.spec.trigger.alerts;
        all.extend(alerts.iter().filter(|it| !known.contains(it)).cloned());
        all.truncate(MAX_ALERTS);
        if all.len() == known.len() {
            return Ok(true);
        }
        let patch = json!({
            "metadata": { "resourceVersion": run.metadata.resource_version },
            "spec": { "trigger": { "alerts": all } }
        });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(patch);
        let call = api.patch(name, &params, &patch);
        bounded("add alerts to", object, call).await?;
        Ok(true)
    }
}

/// Whether a run with these alerts lacks any of the others, and has room for one.
fn lacks(known: &[AlertRef], alerts: &[AlertRef]) -> bool {
    known.len() < MAX_ALERTS && !alerts.iter().all(|alert| known.contains(alert))
}

impl Intake for Desk {
    async fn submit(&self, notification: Notification) -> Result<Accepted, Refused> {
        let served = self.store.read(served).ok_or(Refused::NotSeen)?;
        let taken = self.take(&notification, &served).await;
        taken.map_err(|error| match error {
            WriteError::NotLeader => Refused::NotLeader,
            other => Refused::CannotPersist(other.to_string()),
        })
    }
}
