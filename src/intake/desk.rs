//! The desk where alerts are turned into Remediations, one notification after the other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::sync::Mutex;

use super::{
    Cause, Standing, causes, next_name, ours, resolved, served, standing, with_firing,
    with_resolved,
};
use crate::api::remediation::{AlertRef, Phase, Remediation, RemediationSpec, Trigger};
use crate::config::Config;
use crate::kube_io::{FIELD_MANAGER, WriteError, Writer, bounded};
use crate::metrics::{AlertOutcome, Own};
use crate::model::records::Run;
use crate::model::{Model, Sym};
use crate::server::{Accepted, Intake, Notification, Refused};
use crate::watch::Store;

/// How often a change of alerts is retried where the engine writes the same run: in its first moments it writes several times.
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
        self.writer.confirm().await?;
        for (cause, alerts) in causes {
            let ensured = self.ensure(&mut made, &cause, alerts).await;
            let outcome = match &ensured {
                Ok((_, outcome)) => *outcome,
                Err(_) => AlertOutcome::Refused,
            };
            self.own.alert(Some(&cause.playbook), outcome);
            accepted.remediations.push(ensured?.0);
        }
        self.resolve(&resolved(&ours)).await?;
        Ok(accepted)
    }

    /// Marks the alerts that no longer fire on the runs that have not begun: one whose alerts are all resolved or silenced
    /// is not to act hours later.
    async fn resolve(&self, resolved: &[AlertRef]) -> Result<(), WriteError> {
        let now = Timestamp::now();
        let waiting: Vec<_> = self.store.read(|model| {
            let is_pending = |run: &&Run| {
                let status = run.object.status.as_ref();
                status.is_none_or(|status| status.phase == Phase::Pending)
            };
            let concerned = |run: &&Run| {
                with_resolved(&run.object.spec.trigger.alerts, resolved, now).is_some()
            };
            let runs = model.runs.iter();
            let runs = runs.filter(|run| run.meta.namespace == self.namespace);
            let runs = runs.filter(is_pending).filter(concerned);
            runs.map(|run| run.meta.name.clone()).collect()
        });
        let api: Api<Remediation> = Api::namespaced(self.writer.client().clone(), &self.namespace);
        for name in waiting {
            let mark = |known: &[AlertRef]| with_resolved(known, resolved, now);
            change_alerts(&api, &name, mark).await?;
        }
        Ok(())
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
            standing(
                cause,
                &self.namespace,
                model,
                &view.findings,
                &self.config,
                now,
            )
        });
        let playbooks = &self.config.playbooks;
        let just_made = made
            .iter()
            .position(|made| cause.is_served_by(&made.run.spec, playbooks));
        if let Some(at) = just_made {
            let run = &mut made[at].run;
            let name = run.name_any();
            let known = &mut run.spec.trigger.alerts;
            let Some(all) = with_firing(known, &alerts) else {
                return Ok((name, AlertOutcome::Joined));
            };
            *known = all;
            if change_alerts(&api, &name, |known| with_firing(known, &alerts)).await? {
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
                let add = |known: &[AlertRef]| with_firing(known, &alerts);
                if news && !change_alerts(&api, &name, add).await? {
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
            .is_none_or(|run| with_firing(&run.object.spec.trigger.alerts, alerts).is_some())
    }
}

/// Changes the alerts that a run lists by `change`, which returns `None` where nothing is to be changed; returns whether there
/// is such a run.
async fn change_alerts(
    api: &Api<Remediation>,
    name: &str,
    change: impl Fn(&[AlertRef]) -> Option<Vec<AlertRef>>,
) -> Result<bool, WriteError> {
    for _ in 0..TRIES {
        match try_to_change_alerts(api, name, &change).await {
            // The engine wrote at the same time.
            Err(error) if error.kind() == "conflict" => {}
            Err(error) if error.kind() == "too_large" => break,
            other => return other,
        }
    }
    // The run is there, which is all that has to be kept.
    Ok(true)
}

async fn try_to_change_alerts(
    api: &Api<Remediation>,
    name: &str,
    change: impl Fn(&[AlertRef]) -> Option<Vec<AlertRef>>,
) -> Result<bool, WriteError> {
    let object = || format!("Remediation {name}");
    let Some(run) = bounded("get", object, api.get_opt(name)).await? else {
        return Ok(false);
    };
    let Some(alerts) = change(&run.spec.trigger.alerts) else {
        return Ok(true);
    };
    let patch = json!({
        "metadata": { "resourceVersion": run.metadata.resource_version },
        "spec": { "trigger": { "alerts": alerts } }
    });
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(patch);
    let call = api.patch(name, &params, &patch);
    bounded("change the alerts of", object, call).await?;
    Ok(true)
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
