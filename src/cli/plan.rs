//! `locksmith plan`: what would be done now, gate by gate. Writes nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use kube::Client;
use serde::Serialize;

use super::ClusterArgs;
use super::log::{self, LogFormat};
use super::render_plan::{gates_text, plan_text};
use crate::api::Plan;
use crate::api::SharedStr;
use crate::api::remediation::{
    GateRecord, Remediation, RemediationSpec, RemediationStatus, Trigger,
};
use crate::config::{self, Config, Playbook};
use crate::findings::Finding;
use crate::gates::{self, GateName, Situation};
use crate::model::{Model, WatchState};
use crate::plan::{self};
use crate::state::view::View;
use crate::text::humanize::plain;
use crate::watch;

/// Namespace of the Remediations where the configuration names none: that of the deploy files.
pub const NAMESPACE: &str = "volsync-locksmith";

/// Show what a playbook would do now, and which gates are closed
///
/// Looks once and changes nothing. Exits with 0 when it would go ahead or nothing is stuck, with 1 when a gate is closed, and
/// with 2 when there is no plan.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    what: PlanArgs,
    /// How to tell it
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,
}

/// Which plan.
#[derive(Clone, Debug, clap::Args)]
pub struct PlanArgs {
    /// The playbook
    #[arg(value_name = "PLAYBOOK", default_value = "csi-operation-locks")]
    pub playbook: String,
    /// The CSI driver; else each that something is stuck of
    #[arg(long, value_name = "NAME")]
    pub driver: Option<String>,
    /// The daemon's configuration; without one, the defaults of deploy/locksmith.yaml
    #[arg(long, value_name = "FILE", env = "LOCKSMITH_CONFIG")]
    pub config: Option<PathBuf>,
    /// How long to look for at most
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Output {
    /// For people: ~ is changed, - is deleted, a blank is only looked at
    #[default]
    Text,
    /// A list, one of each driver
    Json,
    /// The same
    Yaml,
}

/// What would be done about one driver.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// The playbook.
    pub playbook: String,
    /// The driver.
    pub driver: SharedStr,
    /// The plan, or why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What each gate says.
    pub gates: Vec<GateRecord>,
}

impl Planned {
    /// As a person checks it.
    pub fn text(&self) -> String {
        let plan = match (&self.plan, &self.error) {
            (Some(plan), _) => plan_text(plan),
            (None, error) => format!("no plan: {}", error.as_deref().unwrap_or_default()),
        };
        format!("{}: {plan}\n{}", self.playbook, gates_text(&self.gates))
    }
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    log::start(LogFormat::Pretty, "off");
    let client = args.cluster.client(args.what.timeout).await?;
    let all = args.what.plans(client).await?;
    match args.output {
        Output::Json => anstream::println!("{}", serde_json::to_string_pretty(&all)?),
        Output::Yaml => anstream::print!("{}", serde_saphyr::to_string(&all)?),
        Output::Text if all.is_empty() => {
            anstream::println!("nothing is stuck of any driver; nothing would be done");
        }
        Output::Text => {
            for planned in &all {
                anstream::println!("{}", planned.text());
            }
            anstream::println!("nothing was written");
        }
    }
    if all.iter().any(|planned| planned.plan.is_none()) {
        return Ok(ExitCode::from(super::FAILED));
    }
    let mut gates = all.iter().flat_map(|planned| &planned.gates);
    Ok(ExitCode::from(u8::from(gates.any(|gate| !gate.open))))
}

/// What could not be looked at, and why.
pub fn unseen(view: &View) -> String {
    let doubts = view.freshness.unsynced().map(|(kind, reading)| {
        let why = match reading {
            WatchState::Failing(why) => plain(why),
            _ => "no answer yet".to_owned(),
        };
        format!("{}: {why}", kind.as_str())
    });
    let others = view.doubts.iter();
    let others = others.map(|doubt| plain(&format!("{}: {}", doubt.subject, doubt.message)));
    doubts.chain(others).collect::<Vec<_>>().join("; ")
}

impl PlanArgs {
    /// The configuration that is meant.
    pub fn config(&self) -> anyhow::Result<Config> {
        Ok(match &self.config {
            Some(path) => config::load(path)?,
            None => Config::default(),
        })
    }

    /// Looks, and plans for each driver that is meant.
    pub async fn plans(&self, client: Client) -> anyhow::Result<Vec<Planned>> {
        let config = self.config()?;
        let Some(playbook) = config.playbooks.0.get(&self.playbook) else {
            let known: Vec<_> = config.playbooks.0.keys().map(String::as_str).collect();
            bail!(
                "there is no playbook {}; there are {}",
                self.playbook,
                known.join(", ")
            );
        };
        let seen = watch::look(client, &config, self.timeout).await?;
        let drivers: BTreeSet<SharedStr> = match &self.driver {
            Some(driver) => [driver.as_str().into()].into(),
            None => seen
                .view
                .stuck()
                .filter_map(|it| it.driver.clone())
                .collect(),
        };
        if drivers.is_empty() && !seen.view.is_certain() {
            bail!(
                "nothing stuck was seen, and not everything: {}",
                unseen(&seen.view)
            );
        }
        let (findings, now) = (&seen.view.findings, Timestamp::now());
        Ok(seen.store.read(|model| {
            let plans = drivers.into_iter();
            plans
                .map(|driver| self.planned(model, findings, playbook, driver, &config, now))
                .collect()
        }))
    }

    /// The plan for `driver` and the gates before it, at `now`.
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
        let status = RemediationStatus::default();
        let plan = plan::make_checked(model, findings, playbook, &driver, config, now);
        let mut gates = gates::judge_all(&Situation {
            run: &run,
            status: &status,
            plan: plan.as_ref().ok(),
            model,
            findings,
            config,
            now,
        });
        // A question to a replica, not to a person.
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

    /// The Remediation that would do it.
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
