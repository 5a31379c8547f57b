//! `locksmith playbooks`: lists the configured playbooks.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::ClusterArgs;
use super::daemon::{self, NAMESPACE};
use super::output::{self, List, ListArgs, OutputFormat};
use super::table::Column;
use crate::cluster::CALL_TIMEOUT;
use crate::config::{self, Config, Gates, Mode, Playbook};

/// List the configured playbooks: the alerts that start each, its steps and gates
///
/// Reads the file in --config, otherwise the ConfigMap of the daemon. If there is no daemon, the playbooks are the default ones.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Configuration file [default: the daemon's ConfigMap]
    #[arg(long, value_name = "FILE", env = "LOCKSMITH_CONFIG")]
    config: Option<PathBuf>,
    /// Namespace of the daemon
    #[arg(short, long, value_name = "NAME", default_value = NAMESPACE)]
    namespace: String,
    #[command(flatten)]
    list: ListArgs,
}

/// A playbook with the settings that apply to its runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'c> {
    name: &'c str,
    mode: Mode,
    #[serde(flatten)]
    playbook: &'c Playbook,
    gates: &'c Gates,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.config().await?;
    let items = items(&config);
    let text = match args.list.output.data(&List::of(&items))? {
        Some(data) => data,
        None => text(&items, &args.list),
    };
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    async fn config(&self) -> anyhow::Result<Config> {
        if let Some(path) = &self.config {
            return Ok(config::load(path)?);
        }
        let client = self.cluster.client(CALL_TIMEOUT).await?;
        let config = daemon::configuration(&client, &self.namespace).await?;
        Ok(config.unwrap_or_else(|| {
            anstream::eprintln!(
                "no daemon with a ConfigMap in namespace {}: these are the default playbooks",
                self.namespace
            );
            Config::default()
        }))
    }
}

fn items(config: &Config) -> Vec<Item<'_>> {
    let playbooks = config.playbooks.0.iter();
    playbooks
        .map(|(name, playbook)| Item {
            name,
            mode: config.mode,
            playbook,
            gates: &config.gates,
        })
        .collect()
}

/// The columns; those from the fifth on are only shown if wide.
const COLUMNS: [Column; 7] = [
    Column::Text("NAME"),
    Column::Text("MODE"),
    Column::Text("ALERTS"),
    Column::Text("STEPS"),
    Column::Number("ATTEMPTS"),
    Column::Text("APPROVAL"),
    Column::Text("GATES"),
];
const NARROW: usize = 4;

fn text(items: &[Item<'_>], list: &ListArgs) -> String {
    let table = || {
        let wide = list.output == OutputFormat::Wide;
        let shown = if wide { COLUMNS.len() } else { NARROW };
        let rows = items.iter().map(|item| {
            let mut row = item.row();
            row.truncate(shown);
            row
        });
        list.layout()
            .lines(COLUMNS.split_at(shown).0, rows.collect())
    };
    list.lines(items, "no playbooks", |item| item.name.to_owned(), table)
}

impl Item<'_> {
    fn row(&self) -> Vec<String> {
        let playbook = self.playbook;
        let steps = playbook.steps.iter().map(|step| step.as_str());
        let approval = if playbook.approval { "required" } else { "-" };
        vec![
            self.name.to_owned(),
            self.mode.as_str().to_owned(),
            alerts(playbook),
            steps.collect::<Vec<_>>().join(", "),
            playbook.attempts.to_string(),
            approval.to_owned(),
            gates(self.gates),
        ]
    }
}

/// Each line of matchers; one that only requires a name is that name.
fn alerts(playbook: &Playbook) -> String {
    let lines = playbook.alerts.iter().map(|line| {
        let matchers: Vec<_> = line.iter().map(ToString::to_string).collect();
        match matchers.as_slice() {
            [one] => one
                .strip_prefix("alertname=\"")
                .and_then(|name| name.strip_suffix('"'))
                .unwrap_or(one)
                .to_owned(),
            _ => matchers.join(" "),
        }
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        "-".to_owned()
    } else {
        lines.join(", ")
    }
}

/// The configured limits, by the gate they belong to.
fn gates(gates: &Gates) -> String {
    let mut texts = vec![
        format!("minimumAge {}", gates.minimum_age),
        format!("cooldown {}", gates.cooldown),
        format!(
            "blastRadius {} and {}",
            gates.max_deletions, gates.max_deletions_share
        ),
        format!(
            "budget {} in {}",
            gates.budgets.per_playbook, gates.budgets.within
        ),
        format!("breaker after {}", gates.breaker_after),
    ];
    texts.extend(
        gates
            .windows
            .iter()
            .map(|window| format!("window {window}")),
    );
    texts.extend(gates.promql.keys().map(|name| format!("promql {name}")));
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = "
mode: plan
prometheus: {url: 'http://prometheus:9090'}
gates:
  windows: [{from: '22:00', to: '05:00', timeZone: UTC}]
  promql: {ill: up == 0}
playbooks:
  heal:
    alerts: [[alertname=A], ['alertname=~\"B|C\"', namespace=media]]
    steps: [suspendSources, restartProvisioner, resumeSources]
    approval: true
  by-hand: {alerts: [], steps: [restartProvisioner]}
";
        config::parse(text).unwrap()
    }

    fn list(output: OutputFormat, no_headers: bool) -> String {
        let config = config();
        text(&items(&config), &ListArgs { output, no_headers })
    }

    #[test]
    fn playbooks_are_listed_with_alerts_steps_and_gates() {
        let wide = list(OutputFormat::Wide, false);
        let lines: Vec<_> = wide.lines().collect();
        assert_eq!(lines.len(), 3, "{wide}");
        assert!(lines[0].starts_with("NAME") && lines[0].ends_with("GATES"));
        assert!(lines[1].starts_with("by-hand  plan  -  "), "{wide}");
        for part in [
            "heal     plan  A, alertname=~\"B|C\" namespace=\"media\"  suspendSources, restartProvisioner, resumeSources",
            "2  required  minimumAge 2m, cooldown 30m, blastRadius 50 and 50%, budget 4 in 1day, breaker after 3",
            "window 22:00 to 05:00 UTC, promql ill",
        ] {
            assert!(lines[2].contains(part), "{part} in {wide}");
        }
        assert!(!list(OutputFormat::Text, false).contains("GATES"));
        assert_eq!(list(OutputFormat::Name, false), "by-hand\nheal\n");
        assert_eq!(list(OutputFormat::Text, true).lines().count(), 2);
    }

    #[test]
    fn playbook_as_data_has_the_fields_of_the_configuration() {
        let config = config();
        let value = serde_json::to_value(&items(&config)[1]).unwrap();
        assert_eq!(value["name"], "heal");
        assert_eq!(value["mode"], "plan");
        assert_eq!(value["steps"][1], "restartProvisioner");
        assert_eq!(value["alerts"][0][0], "alertname=\"A\"");
        assert_eq!(value["gates"]["promql"]["ill"], "up == 0");
    }
}
