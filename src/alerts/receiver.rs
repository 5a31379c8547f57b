//! Turns notifications into Remediations, one at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::{Api, ResourceExt};
use tokio::sync::Mutex;

use super::cause::{Cause, causes, ours, served};
use super::existing_run::{ExistingRun, existing_run, next_name};
use super::recorded_alerts::{resolved, with_firing, with_resolved};
use super::test_alert::is_test;
use super::{Accepted, Notification, ReceiveAlerts, Refused};
use crate::api::SharedStr;
use crate::api::remediation::{AlertRef, Phase, Remediation, RemediationSpec, Trigger};
use crate::cluster::remediations::{self, change_alerts};
use crate::cluster::{ErrorKind, FIELD_MANAGER, WriteError, Writer, bounded};
use crate::config::Config;
use crate::metrics::{AlertOutcome, SelfMetrics};
use crate::model::Model;
use crate::model::records::Run;
use crate::state::Store;

/// Turns notifications into Remediations.
#[derive(Clone)]
pub struct AlertReceiver {
    store: Store,
    writer: Writer,
    config: Arc<Config>,
    namespace: SharedStr,
    own: SelfMetrics,
    /// One notification at a time: the next one must see the Remediations that the one before has created.
    serial: Arc<Mutex<Vec<RecentRun>>>,
}

/// A Remediation that was just created, and that the watch may not show yet.
struct RecentRun {
    run: Remediation,
    at: Instant,
}

/// Time for which a created Remediation counts although the watch does not show it; after that it counts as deleted. Too short
/// a time creates a second run, so it allows for more lag than the controller, which only reads the run again.
const CREATED_WITHIN: Duration = Duration::from_secs(10);

impl AlertReceiver {
    /// A receiver that creates Remediations in `namespace`.
    pub fn new(
        store: Store,
        writer: Writer,
        config: Arc<Config>,
        namespace: SharedStr,
        own: SelfMetrics,
    ) -> Self {
        Self {
            store,
            writer,
            config,
            namespace,
            own,
            serial: Arc::default(),
        }
    }

    /// Ensures that every cause has a Remediation, which is persisted when this returns.
    async fn take(
        &self,
        notification: &Notification,
        served: &BTreeSet<SharedStr>,
    ) -> Result<Accepted, WriteError> {
        let (ours, other_cluster) = ours(&notification.alerts, &self.config.alertmanager);
        let (causes, ignored) = causes(&ours, &self.config, &self.store.view().findings, served);
        (0..other_cluster).for_each(|_| self.own.alert(None, AlertOutcome::OtherCluster));
        let tests = ours.iter().filter(|alert| is_test(alert)).count();
        (0..tests).for_each(|_| self.own.alert(None, AlertOutcome::Test));
        (tests..ignored).for_each(|_| self.own.alert(None, AlertOutcome::Ignored));
        let mut accepted = Accepted {
            remediations: Vec::new(),
            ignored,
            other_cluster,
        };
        let mut made = self.serial.lock().await;
        // The lock may have been awaited for long.
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

    /// Marks resolved alerts on runs that have not started: a run whose alerts are all resolved or silenced must not act
    /// hours later.
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
        for name in waiting {
            let mark = |known: &[AlertRef]| with_resolved(known, resolved, now);
            self.change_alerts(&name, mark).await?;
        }
        Ok(())
    }

    /// The Remediation of `cause`: the open one, the last one during its cooldown, or a new one.
    async fn ensure(
        &self,
        made: &mut Vec<RecentRun>,
        cause: &Cause,
        alerts: Vec<AlertRef>,
    ) -> Result<(String, AlertOutcome), WriteError> {
        let existing = self.store.judge(|model, view| {
            made.retain(|RecentRun { run, at }| {
                let name = SharedStr::from(run.name_any());
                at.elapsed() < CREATED_WITHIN && model.runs.get(&self.namespace, &name).is_none()
            });
            let now = Timestamp::now();
            existing_run(
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
            if self
                .change_alerts(&name, |known| with_firing(known, &alerts))
                .await?
            {
                return Ok((name, AlertOutcome::Joined));
            }
            // It has been deleted meanwhile.
            made.remove(at);
        }
        match existing {
            ExistingRun::Open(name) => {
                let news = self
                    .store
                    .read(|model| self.adds_alerts(model, &name, &alerts));
                let add = |known: &[AlertRef]| with_firing(known, &alerts);
                if news && !self.change_alerts(&name, add).await? {
                    // On a retry, the watch shows it, too.
                    let object = format!("Remediation {name}");
                    return Err(WriteError::Gone { object });
                }
                Ok((name.to_string(), AlertOutcome::Joined))
            }
            ExistingRun::Cooling(name) | ExistingRun::Rejected(name) => {
                Ok((name.to_string(), AlertOutcome::Joined))
            }
            ExistingRun::Free(last) => {
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
                let mut run = Remediation::new(&name, spec);
                run.metadata.namespace = Some(self.namespace.to_string());
                let client = self.writer.client();
                match remediations::create(client, FIELD_MANAGER, &run).await {
                    Ok(created) => {
                        tracing::info!(run = name, playbook = cause.playbook, driver = %cause.driver, "remediation created");
                        made.push(RecentRun {
                            run: created,
                            at: Instant::now(),
                        });
                        Ok((name, AlertOutcome::Started))
                    }
                    // Another replica with the same state may have created the same name first, or the watch is late.
                    Err(error) if error.kind() == ErrorKind::Conflict => {
                        let api: Api<Remediation> =
                            Api::namespaced(client.clone(), &self.namespace);
                        let call = api.get_metadata_opt(&name);
                        let there = bounded("get", || format!("Remediation {name}"), call).await?;
                        there.map(|_| (name, AlertOutcome::Joined)).ok_or(error)
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    async fn change_alerts(
        &self,
        name: &str,
        change: impl Fn(&[AlertRef]) -> Option<Vec<AlertRef>>,
    ) -> Result<bool, WriteError> {
        change_alerts(self.writer.client(), &self.namespace, name, change).await
    }

    /// Whether this would change the run as last observed.
    fn adds_alerts(&self, model: &Model, name: &SharedStr, alerts: &[AlertRef]) -> bool {
        model
            .runs
            .get(&self.namespace, name)
            .is_none_or(|run| with_firing(&run.object.spec.trigger.alerts, alerts).is_some())
    }
}

impl ReceiveAlerts for AlertReceiver {
    async fn receive(&self, notification: Notification) -> Result<Accepted, Refused> {
        let served = self.store.read(served).ok_or(Refused::NotSeen)?;
        let taken = self.take(&notification, &served).await;
        taken.map_err(|error| match error {
            WriteError::NotLeader => Refused::NotLeader,
            other => Refused::CannotPersist(other.to_string()),
        })
    }
}
