//! `locksmith test-alert`: sends a harmless alert through Alertmanager, and waits for it at the daemon.
//!
//! [`Test`] sends the alert and observes the daemon and Alertmanager; [`judge`] decides on what it has observed.

mod judge;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::args::daemon_namespace;
use super::check::{State, alertmanager_config};
use super::daemon::{self, Daemon, DaemonArgs};
use super::output::{self, OutputFormat, ResultArgs};
use super::progress::{Printer, REPORT_INTERVAL};
use super::{ClusterArgs, FAILED};
use crate::alerts::TestAlerts;
use crate::alerts::test_alert::{ALERTNAME, ID_LABEL};
use crate::cluster::CALL_TIMEOUT;
use crate::config::{self, Config, HttpAccess, Mode, api_url};
use crate::http_client::HttpClient;
use crate::metrics::AlertSource;
use crate::run_progress::{Line, Tone};
use crate::text::error_chain;
use judge::{ListedAlert, Observed, TestResult, Verdict};

/// Interval of the requests to the daemon.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Path of the test alerts that a daemon has received.
const TEST_ALERTS: &str = "/api/v1/test-alerts";

/// Send a harmless alert through Alertmanager, and wait for it at the daemon
///
/// Sends the alert LocksmithTest to Alertmanager, as Prometheus would, and waits until the webhook of the daemon has received it.
/// It starts no run, and is resolved at the end. If it does not arrive, the most likely reason and its fix are printed. Exits with
/// 0 if it was received, 1 if only a poll of Alertmanager read it, and 2 if it did not arrive.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Configuration of the daemon [default: its ConfigMap, unless --alertmanager and --url are given]
    #[arg(long, value_name = "FILE", env = "LOCKSMITH_CONFIG")]
    config: Option<PathBuf>,
    /// URL of Alertmanager, which gets no credentials or headers of alertmanager.http [default: alertmanager.url]
    #[arg(long, value_name = "URL", value_parser = api_url)]
    alertmanager: Option<String>,
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Namespace of the daemon [default: remediation.namespace, else that of this pod, else volsync-locksmith]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Label of the alert, such as cluster=home; repeatable [default: those that alertmanager.require names]
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Time limit for its arrival; longer than group_wait and group_interval of the route
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    result: ResultArgs,
}

/// The result as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    state: State,
    result: TestResult,
    id: String,
    alertmanager: String,
    receivers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replica: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<AlertSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    docs: String,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let result = args.result.clone();
    let mut test = Test::of(args).await?;
    test.start().await?;
    let observed = test.observe().await;
    let resolved = test.send(Timestamp::now()).await;
    let verdict = observed?;
    let code = match verdict.result.state() {
        State::Pass => 0,
        State::Warn => 1,
        State::Fail => FAILED,
    };
    match result.output.data(&test.report(&verdict))? {
        Some(data) => output::print(data)?,
        None => test.print(&verdict)?,
    }
    if let Err(error) = resolved {
        anstream::eprintln!(
            "the alert is not resolved, and ends by itself: {}",
            error_chain(&*error)
        );
    }
    Ok(ExitCode::from(code))
}

impl Args {
    /// The given configuration, else that of the daemon in the cluster, else the default one.
    async fn config(&self) -> anyhow::Result<Config> {
        if let Some(path) = &self.config {
            return Ok(config::load(path)?);
        }
        if self.alertmanager.is_some() && self.daemon.is_given() {
            return Ok(Config::default());
        }
        let cluster = self.cluster.config().await?;
        let namespace = daemon_namespace(self.namespace.clone(), &Config::default(), &cluster);
        let client = self.cluster.client(CALL_TIMEOUT).await?;
        let config = match daemon::configuration(&client, &namespace).await {
            Ok(config) => config,
            Err(error) if self.alertmanager.is_some() => {
                anstream::eprintln!("warning: {}", error_chain(&*error));
                None
            }
            Err(error) => bail!(
                "{}; pass --config, or --alertmanager and --url",
                error_chain(&*error)
            ),
        };
        let Some(mut config) = config else {
            anstream::eprintln!(
                "warning: no ConfigMap of a daemon in namespace {namespace}: the default configuration is used"
            );
            return Ok(Config::default());
        };
        let http = &mut config.alertmanager.http;
        let headers = std::mem::take(&mut http.headers);
        if *http != HttpAccess::default() {
            // The authors of the ConfigMap must not choose files of this machine, nor where they are sent.
            anstream::eprintln!(
                "warning: credentials and CA of Alertmanager are files of the daemon's pod, and not used: pass --config with files of \
                 this machine"
            );
        }
        *http = HttpAccess {
            headers,
            ..HttpAccess::default()
        };
        Ok(config)
    }
}

/// One test.
struct Test {
    alertmanager: HttpClient,
    daemon: Daemon,
    labels: BTreeMap<String, String>,
    observed: Observed,
    printer: Option<Printer>,
}

impl Test {
    async fn of(args: Args) -> anyhow::Result<Self> {
        let mut config = args.config().await?;
        config.alertmanager = config.alertmanager.or_at(args.alertmanager);
        let Some(alertmanager) = HttpClient::alertmanager(&config.alertmanager) else {
            bail!(
                "the URL of Alertmanager is not known: pass --alertmanager, or set alertmanager.url"
            );
        };
        let id = new_id();
        let labels = labels(&config, &args.label, &id)?;
        let daemon = if let Some(daemon) = args.daemon.daemon() {
            daemon
        } else {
            let cluster = args.cluster.config().await?;
            let namespace = daemon_namespace(args.namespace, &config, &cluster);
            let client = args.cluster.client(CALL_TIMEOUT).await?;
            let tls = config.server.tls.certificate.is_some();
            Daemon::proxied(&client, &namespace, tls)
        };
        Ok(Self {
            observed: Observed {
                id,
                sent: Timestamp::now(),
                timeout: args.timeout,
                replicas: BTreeMap::new(),
                listed: None,
                config: Err(String::new()),
                is_polled: config.mode != Mode::Observe
                    && config.alertmanager.interval.0 <= args.timeout,
            },
            alertmanager,
            daemon,
            labels,
            printer: (args.result.output == OutputFormat::Text).then(Printer::new),
        })
    }

    /// Sends the alert, once the daemon has answered: otherwise its arrival could not be observed.
    async fn start(&mut self) -> anyhow::Result<()> {
        let daemon = self.ask_daemon().await?;
        let role = match (daemon.mode, daemon.leads) {
            (Mode::Observe, _) => "in mode observe",
            (_, true) => "leads",
            (_, false) => "is a standby",
        };
        self.line("daemon", format!("{} {role}", daemon.replica))?;
        self.observed.sent = Timestamp::now();
        let until = self.observed.sent.checked_add(self.observed.timeout);
        self.send(until.context("--timeout is too long")?).await?;
        let text = format!(
            "{} accepted {ALERTNAME} {}",
            self.alertmanager.url(),
            self.observed.id
        );
        self.line("alertmanager", text)?;
        self.observed.config = alertmanager_config(&self.alertmanager).await;
        Ok(())
    }

    /// Waits until the result is known, or the time is over.
    async fn observe(&mut self) -> anyhow::Result<Verdict> {
        let begun = Instant::now();
        let mut polls = tokio::time::interval(POLL_INTERVAL);
        let mut reported = begun;
        loop {
            polls.tick().await;
            self.look().await?;
            if let Some(verdict) = self.observed.settled() {
                return Ok(verdict);
            }
            let Some(left) = self.observed.timeout.checked_sub(begun.elapsed()) else {
                return Ok(self.observed.verdict());
            };
            if reported.elapsed() >= REPORT_INTERVAL {
                reported = Instant::now();
                let left = left.as_secs();
                self.line("waiting", format!("for the alert, at most {left}s more"))?;
            }
        }
    }

    /// Reads the daemon and, until the routes of the alert are known, Alertmanager. A failure is retried.
    async fn look(&mut self) -> anyhow::Result<()> {
        // A replica that has just ended does not answer, and the next request reaches another one.
        if self.ask_daemon().await.is_err() {
            self.line("waiting", "the daemon does not answer".to_owned())?;
        }
        let is_known = |alert: &ListedAlert| !alert.is_unprocessed();
        if self.observed.listed.as_ref().is_some_and(is_known) {
            return Ok(());
        }
        // The id has only hexadecimal digits.
        let path = format!(
            "/api/v2/alerts?filter={ID_LABEL}%3D%22{}%22",
            self.observed.id
        );
        let listed: Result<Vec<ListedAlert>, _> = self.alertmanager.get_json(&path).await;
        let Some(listed) = listed.ok().and_then(|mut listed| listed.pop()) else {
            return Ok(());
        };
        let is_new = !listed.is_unprocessed();
        self.observed.listed = Some(listed);
        if let (true, Some(receivers)) = (is_new, self.observed.receivers()) {
            let receivers: Vec<_> = receivers.into_iter().collect();
            self.line("route", format!("to {}", receivers.join(", ")))?;
        }
        Ok(())
    }

    /// Reads the test alerts that a replica has received.
    async fn ask_daemon(&mut self) -> anyhow::Result<TestAlerts> {
        let answer = self.daemon.get(TEST_ALERTS).await;
        let answer = answer.map_err(anyhow::Error::msg);
        let answer = answer.context("failed to read the test alerts of the daemon")?;
        let answer: TestAlerts = serde_json::from_str(&answer)
            .context("the daemon does not answer as this version of locksmith would")?;
        let replica = answer.replica.clone();
        self.observed.replicas.insert(replica, answer.clone());
        Ok(answer)
    }

    /// Sends the alert, which fires until `until`.
    async fn send(&self, until: Timestamp) -> anyhow::Result<()> {
        let alert = json!([{
            "labels": self.labels,
            "annotations": {
                "summary": "Test of the route to locksmith",
                "description": "Sent by locksmith test-alert. It starts nothing, and is resolved by itself.",
            },
            "startsAt": self.observed.sent,
            "endsAt": until,
        }]);
        let sent = self.alertmanager.post_json("/api/v2/alerts", &alert).await;
        sent.with_context(|| format!("failed to send the alert to {}", self.alertmanager.url()))
    }

    fn line(&self, label: &str, text: String) -> anyhow::Result<()> {
        match &self.printer {
            Some(printer) => printer.line(&Line::plain(label, text)),
            None => Ok(()),
        }
    }

    fn print(&self, verdict: &Verdict) -> anyhow::Result<()> {
        let Some(printer) = &self.printer else {
            return Ok(());
        };
        let (label, tone) = match verdict.result.state() {
            State::Pass => ("received", Tone::Good),
            State::Warn => ("polled", Tone::Ask),
            State::Fail => (verdict.result.as_str(), Tone::Bad),
        };
        printer.line(&Line::new(label, verdict.found.clone(), tone))?;
        if let Some(hint) = verdict.hint {
            printer.line(&Line::plain("", hint))?;
            printer.line(&Line::plain("", format!("see {}", verdict.result.docs())))?;
        }
        Ok(())
    }

    fn report(&self, verdict: &Verdict) -> Report {
        let arrival = verdict.arrival.as_ref();
        let seconds = arrival.map(|(_, arrival)| {
            let after = arrival.at.duration_since(self.observed.sent);
            after.as_secs_f64()
        });
        Report {
            state: verdict.result.state(),
            result: verdict.result,
            id: self.observed.id.clone(),
            alertmanager: self.alertmanager.url().to_owned(),
            receivers: self
                .observed
                .receivers()
                .unwrap_or_default()
                .into_iter()
                .collect(),
            replica: arrival.map(|(replica, _)| replica.clone()),
            via: arrival.map(|(_, arrival)| arrival.via),
            seconds,
            found: verdict.found.clone(),
            hint: verdict.hint,
            docs: verdict.result.docs(),
        }
    }
}

/// The labels of the alert: fixed ones, those that `alertmanager.require` names, and `given`.
fn labels(
    config: &Config,
    given: &[(String, String)],
    id: &str,
) -> anyhow::Result<BTreeMap<String, String>> {
    let required = config.alertmanager.require.iter();
    let required = required.filter_map(|matcher| {
        let value = matcher.value()?;
        Some((matcher.label().to_owned(), value.to_owned()))
    });
    let mut labels: BTreeMap<_, _> = required.chain(given.iter().cloned()).collect();
    let fixed = [(ALERTNAME_LABEL, ALERTNAME), (ID_LABEL, id)];
    labels.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
    // The sample routes notify nobody of this severity.
    let severity = labels.entry("severity".to_owned());
    severity.or_insert_with(|| "info".to_owned());
    if !config.alertmanager.is_ours(&labels) {
        let require = config.alertmanager.require.iter().map(ToString::to_string);
        let require: Vec<_> = require.collect();
        bail!(
            "alertmanager.require: pass --label so that the alert satisfies {}",
            require.join(", ")
        );
    }
    Ok(labels)
}

/// The label with the name of an alert.
const ALERTNAME_LABEL: &str = "alertname";

/// Parses `NAME=VALUE`.
fn label(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(valid)
    {
        return Err("the name must have only letters, digits and underscores");
    }
    if [ALERTNAME_LABEL, ID_LABEL].contains(&name) {
        return Err("this label is set by locksmith");
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A random id, seeded by the operating system.
fn new_id() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requiring(matchers: &[&str]) -> Config {
        let mut config = Config::default();
        let matchers = matchers.iter().map(|text| text.parse().unwrap());
        config.alertmanager.require = matchers.collect();
        config
    }

    #[test]
    fn labels_satisfy_the_required_matchers() {
        let given = |label: &str| (label.to_owned(), "lab".to_owned());
        let config = requiring(&["cluster=\"home\"", "tier=~\"lab|prod\""]);
        let error = labels(&config, &[], "1").unwrap_err().to_string();
        let expected = "alertmanager.require: pass --label so that the alert satisfies \
                        cluster=\"home\", tier=~\"lab|prod\"";
        assert_eq!(error, expected);
        let labels = labels(&config, &[given("tier")], "1").unwrap();
        let expected = [
            ("alertname", ALERTNAME),
            ("cluster", "home"),
            ("severity", "info"),
            ("test_id", "1"),
            ("tier", "lab"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(labels, expected.into());
    }

    #[test]
    fn label_cannot_replace_the_name_of_the_alert() {
        assert_eq!(label("cluster=a=b"), Ok(("cluster".into(), "a=b".into())));
        for wrong in ["cluster", "=x", "1a=x", "a-b=x", "alertname=X", "test_id=1"] {
            label(wrong).unwrap_err();
        }
    }

    #[test]
    fn ids_are_random() {
        assert_ne!(new_id(), new_id());
        assert_eq!(new_id().len(), 16);
    }
}
