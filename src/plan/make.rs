//! Puts a plan together from the parts each step plans for itself.

use jiff::Timestamp;

use super::{Action, Plan, PlannedStep, StepName, Target, orphans, restart, snapshots, suspend};
use crate::config::{Config, Playbook};
use crate::findings::{ClaimReason, Finding, What};
use crate::model::{Model, ObjectKey, ObjectKind, Sym};

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
    /// No lease leads to a Deployment.
    #[error(
        "found no Deployment that serves {0}: no pod holds its provisioner's or its snapshotter's lease"
    )]
    NoProvisioner(Sym),
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
    let steps = playbook
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
            StepName::VerifyProvisioning => Ok(await_claims(model, findings, driver)),
            StepName::DeleteOrphanedSources => Ok(orphans::plan(model, findings, driver)),
            StepName::ResumeSources => Ok(PlannedStep {
                step: *step,
                targets: Vec::new(),
                spared: Vec::new(),
                replicas: None,
            }),
        })
        .collect::<Result<_, _>>()?;
    Ok(Plan::new(driver.clone(), steps, now))
}

/// The claims that are to become Bound: those whose data source exists.
fn await_claims(model: &Model, findings: &[Finding], driver: &Sym) -> PlannedStep {
    let of_driver = |finding: &&Finding| finding.driver.as_ref() == Some(driver);
    let targets = findings
        .iter()
        .filter(of_driver)
        .filter(|finding| match finding.what {
            What::PendingClaim(ClaimReason::SnapshotMissing) => false,
            What::PendingClaim(ClaimReason::AwaitingPopulator) => !finding.chain.is_empty(),
            What::PendingClaim(_) => true,
            _ => false,
        })
        .filter_map(|finding| finding.object.clone())
        .filter(|object| object.kind == ObjectKind::PersistentVolumeClaim)
        // Of a namespace that opted out no claim, whatever is wrong with it, decides what becomes of a run.
        .filter(|object| {
            let claim = model.claims.get(&object.namespace, &object.name);
            claim.is_none_or(|claim| !model.opted_out(&claim.meta))
        })
        .map(|object| Target {
            object,
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
