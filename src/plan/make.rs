//! Puts a plan together from the parts each step plans for itself.

use jiff::Timestamp;

use super::{Action, Plan, PlannedStep, StepName, Target, orphans, restart, snapshots, suspend};
use crate::config::{Config, Playbook};
use crate::findings::{self, Finding, What};
use crate::model::{LockKey, Model, ObjectKey, ObjectKind, ProvisionerNotFound, Sym};

/// Why there is nothing that could be planned.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CannotPlan {
    /// Neither field that switches a source off is in the schema.
    #[error(
        "the ReplicationSource CRD has neither spec.paused nor spec.suspend: there is no field with which to hold a \
         source; nothing was written"
    )]
    NoSwitch,
    /// The schema has not been read.
    #[error("the schema of the ReplicationSource CRD has not been read yet")]
    SchemaUnknown,
    /// No workload is known to serve the driver.
    #[error("found no provisioner of {0}: {1}; if it runs, name it in drivers[].provisioner")]
    NoProvisioner(Sym, ProvisionerNotFound),
    /// The sidecars run on every node, beside what mounts volumes there.
    #[error(
        "{1} serves {0} on each node without electing a leader: its pods mount volumes, too, and are not restarted"
    )]
    NodeDeployment(Sym, ObjectKey),
    /// The provisioner may not be touched.
    #[error("{0} opted out by label, so that the provisioner cannot be restarted")]
    OptedOut(ObjectKey),
    /// It was asked for something the driver is not in the configuration for.
    #[error("{0} is not a watched driver: add it to drivers in the configuration")]
    UnwatchedDriver(Sym),
}

/// What `playbook` would do about `driver` now.
pub fn make(
    model: &Model,
    findings: &[Finding],
    playbook: &Playbook,
    driver: &Sym,
    config: &Config,
    now: Timestamp,
) -> Result<Plan, CannotPlan> {
    if config.drivers.find(driver).is_none() {
        return Err(CannotPlan::UnwatchedDriver(driver.clone()));
    }
    let mut steps: Vec<PlannedStep> = playbook
        .steps
        .iter()
        .map(|step| match step {
            StepName::SuspendSources => {
                suspend::plan(model, driver, config.steps.suspend_sources.method)
            }
            StepName::DeleteFailedSnapshots => Ok(snapshots::plan(
                model,
                findings,
                driver,
                config.steps.delete_failed_snapshots.scope,
            )),
            StepName::RestartProvisioner => restart::plan(model, driver),
            StepName::VerifyProvisioning => Ok(await_claims(model, driver, config)),
            StepName::DeleteOrphanedSources => Ok(orphans::plan(model, findings, driver)),
            StepName::ResumeSources => Ok(PlannedStep {
                step: *step,
                targets: Vec::new(),
                spared: Vec::new(),
                replicas: None,
            }),
        })
        .collect::<Result<_, _>>()?;
    let deletions = steps
        .iter()
        .find(|step| step.step == StepName::DeleteFailedSnapshots);
    let scope = config.steps.delete_failed_snapshots.scope;
    let to_free = snapshots::deletions_to_free(model, deletions, driver, scope);
    let verify = |step: &&mut PlannedStep| step.step == StepName::VerifyProvisioning;
    if let Some(verify) = steps.iter_mut().find(verify) {
        verify.targets.extend(to_free);
    }
    let mut plan = Plan::new(driver.clone(), steps, now);
    plan.locks = locks(findings, driver);
    Ok(plan)
}

/// Keys of the first locks that were found for `driver`.
fn locks(findings: &[Finding], driver: &Sym) -> Vec<LockKey> {
    const LISTED: usize = 100;
    let of_driver = |finding: &&Finding| finding.driver.as_ref() == Some(driver);
    let keys = findings
        .iter()
        .filter(of_driver)
        .filter_map(|finding| match &finding.what {
            What::OperationLock(key) => Some(key.clone()),
            _ => None,
        });
    keys.take(LISTED).collect()
}

/// Every Pending claim of the driver that it can serve, however young: any of them may wait for its locks.
fn await_claims(model: &Model, driver: &Sym, config: &Config) -> PlannedStep {
    let targets = findings::awaited(model, &config.drivers, driver)
        .map(|claim| Target {
            object: claim.meta.key(ObjectKind::PersistentVolumeClaim),
            action: Action::Await,
        })
        .collect();
    PlannedStep {
        step: StepName::VerifyProvisioning,
        targets,
        spared: Vec::new(),
        replicas: None,
    }
}
