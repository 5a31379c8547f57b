//! `locksmith plan`: shows the plan of a playbook and its gates. Writes nothing.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::bail;
use clap_complete::engine::ArgValueCandidates;
use jiff::Timestamp;
use kube::Client;
use serde::Serialize;

use super::args::ReadArgs;
use super::completion;
use super::daemon::NAMESPACE;
use super::output::{self, List, ResultArgs};
use super::plan_summary::summary;
use super::render_plan::{gates_text, plan_text};
use crate::api::Plan;
use crate::api::SharedStr;
use crate::api::remediation::{GateRecord, Remediation, RemediationSpec, Trigger};
use crate::config::{Config, Playbook};
use crate::findings::Finding;
use crate::gates::{self, GateName};
use crate::model::Model;
use crate::plan::{self};
use crate::run_context::RunContext;
use crate::state::view::View;
use crate::text::humanize::plain;

/// Show the plan of a playbook, and which gates are closed
///
/// Reads the cluster once and changes nothing. Exits with 0 if the run would start or nothing is stuck, 1 if a gate is closed,
/// and 2 if there is no plan, or nothing stuck was found but not everything could be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    what: PlanArgs,
    #[command(flatten)]
    result: ResultArgs,
}

/// Selects a plan.
#[derive(Clone, Debug, clap::Args)]
pub struct PlanArgs {
    /// Playbook to plan
    #[arg(
        value_name = "PLAYBOOK",
        default_value = "csi-operation-locks",
        add = ArgValueCandidates::new(completion::playbooks)
    )]
    pub playbook: String,
    /// CSI driver to plan for [default: every driver with a finding]
    #[arg(long, value_name = "NAME")]
    pub driver: Option<String>,
    /// List every object with its uid, and every gate
    #[arg(long)]
    pub details: bool,
}

/// The plan for one driver.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// The playbook.
    pub playbook: String,
    /// The driver.
    pub driver: SharedStr,
    /// The plan, if one could be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Why there is no plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The result of each gate.
    pub gates: Vec<GateRecord>,
}

impl Planned {
    /// Plan and gates as text: a summary with the limits of `config`, at most `columns` wide, or every object and every gate.
    pub fn text(&self, config: &Config, details: bool, columns: usize) -> String {
        let text = match (&self.plan, &self.error) {
            (Some(plan), _) if details => {
                format!("{}\n{}", plan_text(plan), gates_text(&self.gates))
            }
            (Some(plan), _) => summary(plan, &self.gates, Some(config), columns),
            (None, error) => {
                let error = error.as_deref().unwrap_or_default();
                format!("no plan: {error}\n{}", gates_text(&self.gates))
            }
        };
        format!("{}: {text}", self.playbook)
    }
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.read.config()?;
    let client = args.read.client().await?;
    let all = args.what.plans(&args.read, client, &config).await?;
    args.result
        .print(&List::of(&all), || text(&all, &config, args.what.details))?;
    if all.iter().any(|planned| planned.plan.is_none()) {
        return Ok(ExitCode::from(super::FAILED));
    }
    let mut gates = all.iter().flat_map(|planned| &planned.gates);
    Ok(ExitCode::from(u8::from(gates.any(|gate| !gate.open))))
}

/// The plans for people; ~ marks objects that are changed, + created, - deleted.
fn text(all: &[Planned], config: &Config, details: bool) -> String {
    if all.is_empty() {
        return "Nothing is stuck.\n".to_owned();
    }
    let columns = output::prose(output::width());
    let plans = all.iter();
    let mut text: String = plans
        .map(|planned| planned.text(config, details, columns) + "\n")
        .collect();
    text.push_str("nothing was written");
    if !details {
        text.push_str("; --details lists every object and gate");
    }
    text + "\n"
}

/// Collections that could not be read, with the reason.
pub fn unseen(view: &View) -> String {
    let doubts = view.freshness.unsynced().map(|(kind, state)| {
        let why = state.problem().unwrap_or("no response yet");
        format!("{}: {}", kind.as_str(), plain(why))
    });
    let others = view.doubts.iter();
    let others = others.map(|doubt| plain(&format!("{}: {}", doubt.subject, doubt.message)));
    doubts.chain(others).collect::<Vec<_>>().join("; ")
}

/// The driver called `name`; an error with the drivers in use if it is none of them.
fn known_driver(view: &View, name: &str) -> anyhow::Result<SharedStr> {
    let found = view.findings.iter().filter_map(|it| it.driver.as_ref());
    let known: BTreeSet<&SharedStr> = view.drivers.iter().chain(found).collect();
    match known.iter().find(|driver| ****driver == *name) {
        Some(driver) => Ok((*driver).clone()),
        // It may be one of those that could not be read.
        None if !view.is_certain() => Ok(name.into()),
        None => {
            let known: Vec<_> = known.iter().map(|driver| plain(driver)).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            bail!("no watched driver in use is called {name}; those in use: {known}")
        }
    }
}

impl PlanArgs {
    /// Reads the cluster, and plans for each selected driver.
    pub async fn plans(
        &self,
        read: &ReadArgs,
        client: Client,
        config: &Config,
    ) -> anyhow::Result<Vec<Planned>> {
        let Some(playbook) = config.playbooks.0.get(&self.playbook) else {
            let known: Vec<_> = config.playbooks.0.keys().map(String::as_str).collect();
            bail!(
                "there is no playbook {}; the configuration has {}",
                self.playbook,
                known.join(", ")
            );
        };
        let seen = read.look(client, config).await?;
        let drivers: BTreeSet<SharedStr> = match &self.driver {
            Some(driver) => [known_driver(&seen.view, driver)?].into(),
            None => seen
                .view
                .stuck()
                .filter_map(|it| it.driver.clone())
                .collect(),
        };
        if drivers.is_empty() && !seen.view.is_certain() {
            bail!(
                "nothing stuck was found, but not everything could be read: {}",
                unseen(&seen.view)
            );
        }
        let (findings, now) = (&seen.view.findings, Timestamp::now());
        Ok(seen.store.read(|model| {
            let plans = drivers.into_iter();
            plans
                .map(|driver| self.planned(model, findings, playbook, driver, config, now))
                .collect()
        }))
    }

    /// The plan for `driver` and its gates at `now`.
    pub fn planned(
        &self,
        model: &Model,
        findings: &[Finding],
        playbook: &Playbook,
        driver: SharedStr,
        config: &Config,
        now: Timestamp,
    ) -> Planned {
        let run = self.run(driver.clone(), config, None);
        let plan = plan::make_checked(model, findings, playbook, &driver, config, now);
        let cx = RunContext::new(&run, model, findings, config, None, now);
        let mut gates = gates::judge_all(&cx.with_plan(plan.as_ref().ok()));
        // Only a daemon can hold the Lease.
        gates.retain(|gate| !GateName::Leadership.is_of(gate));
        let (plan, error) = match plan {
            Ok(plan) => (Some(plan), None),
            Err(why) => (None, Some(why)),
        };
        Planned {
            playbook: self.playbook.clone(),
            driver,
            plan,
            error,
            gates,
        }
    }

    /// The Remediation that would run it.
    pub fn run(&self, driver: SharedStr, config: &Config, person: Option<String>) -> Remediation {
        let spec = RemediationSpec {
            playbook: self.playbook.clone(),
            driver,
            trigger: Trigger {
                alerts: Vec::new(),
                person,
            },
            approval: None,
            abort: false,
        };
        let mut run = Remediation::new("", spec);
        run.metadata.name = None;
        run.metadata.generate_name = Some(format!("{}-", self.playbook));
        let namespace = config.remediation.namespace.as_deref();
        run.metadata.namespace = Some(namespace.unwrap_or(NAMESPACE).to_owned());
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn misspelt_driver_is_refused_with_those_in_use() {
        let view = fixture::healthy();
        let driver = view.drivers[0].clone();
        assert_eq!(known_driver(&view, &driver).unwrap(), driver);
        let error = known_driver(&view, "typo").unwrap_err().to_string();
        assert!(
            error.contains("typo") && error.contains(&*driver),
            "{error}"
        );
        // Its class may be one that could not be read.
        let view = fixture::half_seen();
        assert_eq!(&*known_driver(&view, "typo").unwrap(), "typo");
    }
}
