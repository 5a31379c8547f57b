//! The inputs of every decision about a run: its record and the cluster at one moment. Pure.

mod live_state;

pub use live_state::{LiveState, TailRefusal};

use std::sync::LazyLock;

use jiff::Timestamp;

use crate::api::remediation::{Remediation, RemediationStatus};
use crate::api::{Plan, StepName};
use crate::config::Config;
use crate::findings::{Finding, FindingReason};
use crate::model::Model;
use crate::model::records::RunRef;

/// The status of a run that has none yet.
static NO_STATUS: LazyLock<RemediationStatus> = LazyLock::new(RemediationStatus::default);

/// One run and the cluster, as gates, steps and the final verification read them.
#[derive(Clone)]
pub struct RunContext<'a> {
    /// The run, with its status as last recorded.
    pub run: &'a Remediation,
    /// Its name and uid.
    pub id: RunRef,
    /// Its plan: the recorded one, or the one to be judged ([`Self::with_plan`]); `None` if there is none.
    pub plan: Option<&'a Plan>,
    /// The cluster.
    pub model: &'a Model,
    /// Its findings.
    pub findings: &'a [Finding],
    /// The configuration.
    pub config: &'a Config,
    /// Uncached reads, if any were made for this decision.
    pub live: Option<&'a LiveState>,
    /// The time.
    pub now: Timestamp,
}

impl<'a> RunContext<'a> {
    /// The context of `run` at `now`, with its recorded plan.
    pub fn new(
        run: &'a Remediation,
        model: &'a Model,
        findings: &'a [Finding],
        config: &'a Config,
        live: Option<&'a LiveState>,
        now: Timestamp,
    ) -> Self {
        let status = run.status.as_ref();
        Self {
            run,
            id: RunRef::of(run),
            plan: status.and_then(|status| status.plan.as_ref()),
            model,
            findings,
            config,
            live,
            now,
        }
    }

    /// The same with another plan, which is not recorded yet.
    pub fn with_plan<'b>(&self, plan: Option<&'b Plan>) -> RunContext<'b>
    where
        'a: 'b,
    {
        RunContext {
            plan,
            ..self.clone()
        }
    }

    /// The status as last recorded.
    pub fn status(&self) -> &'a RemediationStatus {
        self.run.status.as_ref().unwrap_or(&NO_STATUS)
    }

    /// Findings that concern the run: those of its driver, and, if the run would delete orphaned sources, orphaned sources
    /// without a known driver.
    pub fn stuck(&self) -> impl Iterator<Item = &'a Finding> {
        let driver = &self.run.spec.driver;
        let deletes_orphans = self
            .plan
            .is_some_and(|plan| plan.step(StepName::DeleteOrphanedSources).is_some());
        self.findings.iter().filter(move |finding| {
            finding.what.is_stuck()
                && match &finding.driver {
                    Some(of) => of == driver,
                    None => {
                        deletes_orphans && matches!(finding.what, FindingReason::OrphanedSource(_))
                    }
                }
        })
    }
}
