//! The desk where alerts are turned into Remediations, one notification after the other.

use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::sync::Mutex;

use super::{Cause, Standing, causes, next_name, ours, standing};
use crate::api::remediation::{AlertRef, Remediation, RemediationSpec, Trigger};
use crate::config::Config;
use crate::kube_io::{FIELD_MANAGER, WriteError, Writer, bounded};
use crate::metrics::{AlertOutcome, Own};
use crate::model::{Kind, Model, Sym};
use crate::server::{Accepted, Intake, Notification, Refused};
use crate::watch::Store;

/// Most alerts one Remediation lists: it tells what asked, it does not keep count.
const MAX_ALERTS: usize = 50;

/// Turns notifications into Remediations.
#[derive(Clone)]
pub struct Desk {
    store: Store,
    writer: Writer,
    config: Arc<Config>,
    namespace: Sym,
    own: Own,
    /// One at a time: the next one sees what the one before has made.
    turn: Arc<Mutex<Vec<Remediation>>>,
}

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
    async fn take(&self, notification: &Notification) -> Result<Accepted, WriteError> {
        let (ours, foreign) = ours(&notification.alerts, &self.config.alertmanager);
        let is_served = |driver: &str| {
            self.store.read(|model| {
                model.serves(driver) || !model.freshness.trusted(Kind::StorageClasses)
            })
        };
        let (causes, ignored) = causes(&ours, &self.config, &self.store.view(), is_served);
        (0..foreign).for_each(|_| self.own.alert(None, AlertOutcome::Foreign));
        (0..ignored).for_each(|_| self.own.alert(None, AlertOutcome::Ignored));
        let mut accepted = Accepted {
            remediations: Vec::new(),
            ignored,
            foreign,
        };
        self.writer.term()?;
        let mut made = self.turn.lock().await;
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
        made: &mut Vec<Remediation>,
        cause: &Cause,
        alerts: Vec<AlertRef>,
    ) -> Result<(String, AlertOutcome), WriteError> {
        let api: Api<Remediation> = Api::namespaced(self.writer.client().clone(), &self.namespace);
        let standing = self.store.read(|model| {
            // What the watch shows by now need not be remembered any more.
            made.retain(|run| {
                let name = Sym::from(run.name_any());
                model.runs.get(&self.namespace, &name).is_none()
            });
            standing(cause, model, &self.config, Timestamp::now())
        });
        let just_made = made
            .iter_mut()
            .find(|run| (&run.spec.playbook, &run.spec.driver) == (&cause.playbook, &cause.driver));
        if let Some(run) = just_made {
            let name = run.name_any();
            let known = &mut run.spec.trigger.alerts;
            if lacks(known, &alerts) {
                known.extend(alerts.iter().cloned());
                self.add(&api, &name, alerts).await?;
            }
            return Ok((name, AlertOutcome::Joined));
        }
        match standing {
            Standing::Open(name) => {
                if self
                    .store
                    .read(|model| self.has_news(model, &name, &alerts))
                {
                    self.add(&api, &name, alerts).await?;
                }
                Ok((name.to_string(), AlertOutcome::Joined))
            }
            Standing::Cooling(name) => Ok((name.to_string(), AlertOutcome::Joined)),
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
                        made.push(created);
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

    /// Adds alerts a run does not list yet.
    async fn add(
        &self,
        api: &Api<Remediation>,
        name: &str,
        alerts: Vec<AlertRef>,
    ) -> Result<(), WriteError> {
        let object = || format!("Remediation {name}");
        let Some(run) = bounded("get", object, api.get_opt(name)).await? else {
            return Ok(());
        };
        let mut all = run.spec.trigger.alerts.clone();
        all.extend(
            alerts
                .into_iter()
                .filter(|alert| !run.spec.trigger.alerts.contains(alert)),
        );
        all.truncate(MAX_ALERTS);
        if all.len() == run.spec.trigger.alerts.len() {
            return Ok(());
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
        match bounded("add alerts to", object, call).await {
            Ok(_) => Ok(()),
            // The engine wrote at the same time. The run is there, which is all that has to be kept.
            Err(error) if error.kind() == "conflict" => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether a run with these alerts lacks any of the others, and has room for one.
fn lacks(known: &[AlertRef], alerts: &[AlertRef]) -> bool {
    known.len() < MAX_ALERTS && !alerts.iter().all(|alert| known.contains(alert))
}

impl Intake for Desk {
    async fn submit(&self, notification: Notification) -> Result<Accepted, Refused> {
        self.take(&notification).await.map_err(|error| match error {
            WriteError::NotLeader => Refused::NotLeader,
            other => Refused::CannotPersist(other.to_string()),
        })
    }
}
