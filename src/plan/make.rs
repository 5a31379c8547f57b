//! Puts a plan together from the parts each step plans for itself.

use jiff::Timestamp;

use super::{lint, orphans, restart, snapshots, suspend};
use crate::api::{Action, Plan, PlannedStep, StepName, Target};
use crate::api::{LockKey, ObjectKey, ObjectKind, SharedStr};
use crate::config::{Config, Playbook};
use crate::findings::{self, Finding, FindingReason};
use crate::model::{Model, ProvisionerNotFound};

/// Maximum number of skipped objects per step, of locks in a plan, and of holds in a status: tenants can create any number, and
/// the record of a run must fit into one request.
pub const MAX_LISTED: usize = 100;

/// Maximum number of claims, and of hung deletions, in a plan; the verdict checks all.
const MAX_AWAITED: usize = 1_000;

/// Why no plan could be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CannotPlan {
    /// No workload is known to serve the driver.
    #[error("provisioner of {0} not found: {1}")]
    NoProvisioner(SharedStr, ProvisionerNotFound),
    /// The sidecars run on every node, beside what mounts volumes there.
    #[error(
        "{1} serves {0} on every node without leader election: its pods also mount volumes, so they are not restarted"
    )]
    NodeDeployment(SharedStr, ObjectKey),
    /// The provisioner is excluded by label.
    #[error("{0} opted out by label, so the provisioner cannot be restarted")]
    OptedOut(ObjectKey),
    /// The configuration does not watch the driver.
    #[error("{0} is not a watched driver: add it to drivers in the configuration")]
    UnwatchedDriver(SharedStr),
}

/// Plans `playbook` for `driver`.
pub fn make(
    model: &Model,
    findings: &[Finding],
    playbook: &Playbook,
    driver: &SharedStr,
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
            StepName::SuspendSources => Ok(suspend::plan(
                model,
                driver,
                config.steps.suspend_sources.scope,
            )),
            StepName::DeleteFailedSnapshots => Ok(snapshots::plan(
                model,
                findings,
                driver,
                config.steps.delete_failed_snapshots.scope,
            )),
            StepName::RestartProvisioner => restart::plan(model, driver),
            StepName::VerifyProvisioning => Ok(await_claims(model, driver, config)),
            StepName::DeleteOrphanedSources => Ok(orphans::plan(model, findings, driver)),
            StepName::ResumeSources => Ok(PlannedStep::new(*step)),
        })
        .collect::<Result<_, _>>()?;
    let deletions = steps
        .iter()
        .find(|step| step.step == StepName::DeleteFailedSnapshots);
    let scope = config.steps.delete_failed_snapshots.scope;
    let to_free = snapshots::deletions_to_free(model, deletions, driver, scope);
    let verify = |step: &&mut PlannedStep| step.step == StepName::VerifyProvisioning;
    if let Some(verify) = steps.iter_mut().find(verify) {
        verify.targets.truncate(MAX_AWAITED);
        verify.targets.extend(to_free.into_iter().take(MAX_AWAITED));
    }
    for step in &mut steps {
        step.skipped.truncate(MAX_LISTED);
    }
    let mut plan = Plan::new(driver.clone(), steps, now);
    plan.locks = locks(findings, driver);
    Ok(plan)
}

/// Like [`make`], but returns an error if the linter has a note. Daemon and command line use this.
pub fn make_checked(
    model: &Model,
    findings: &[Finding],
    playbook: &Playbook,
    driver: &SharedStr,
    config: &Config,
    now: Timestamp,
) -> Result<Plan, String> {
    let plan = make(model, findings, playbook, driver, config, now);
    let plan = plan.map_err(|why| why.to_string())?;
    match lint::lint(&plan).first() {
        None => Ok(plan),
        Some(note) => Err(format!("the plan is refused: {note}")),
    }
}

/// Keys of the first locks that were found for `driver`.
fn locks(findings: &[Finding], driver: &SharedStr) -> Vec<LockKey> {
    let of_driver = |finding: &&Finding| finding.driver.as_ref() == Some(driver);
    let keys = findings
        .iter()
        .filter(of_driver)
        .filter_map(|finding| match &finding.what {
            FindingReason::OperationLock(key) => Some(key.clone()),
            _ => None,
        });
    keys.take(MAX_LISTED).collect()
}

/// Every Pending claim of the driver that it can serve, however young: any of them may wait for its locks.
fn await_claims(model: &Model, driver: &SharedStr, config: &Config) -> PlannedStep {
    let targets = findings::awaited(model, &config.drivers, driver)
        .map(|claim| Target {
            object: claim.meta.key(ObjectKind::PersistentVolumeClaim),
            action: Action::Await,
        })
        .collect();
    PlannedStep {
        targets,
        ..PlannedStep::new(StepName::VerifyProvisioning)
    }
}
