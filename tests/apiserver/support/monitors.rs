//! A real Prometheus and a real Alertmanager with the shipped configuration.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use regex::{Captures, Regex};
use serde_json::{Value, json};

use super::daemon::{POLL, agent};
use crate::shipped::{RULES, scraping, text};
use crate::testbed::controlplane::{flags, free_port};
use crate::testbed::process::{Guard, Process};

/// Time limit for them to show a result.
const PATIENCE: Duration = Duration::from_secs(180);

/// URL in the shipped route.
const SHIPPED_WEBHOOK: &str = "http://locksmith.volsync-locksmith:9797/webhook";

/// Addresses of both: the program is configured with them before they start.
pub struct Places {
    prometheus: u16,
    alertmanager: u16,
}

impl Places {
    pub fn new() -> Self {
        Self {
            prometheus: free_port(),
            alertmanager: free_port(),
        }
    }

    pub fn prometheus(&self) -> String {
        format!("http://127.0.0.1:{}", self.prometheus)
    }

    pub fn alertmanager(&self) -> String {
        format!("http://127.0.0.1:{}", self.alertmanager)
    }
}

/// Speed of rules and routes.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Pace {
    /// Minutes as shipped become seconds.
    Seconds,
    /// As shipped.
    #[allow(dead_code, reason = "used on the real stack")]
    Shipped,
}

impl Pace {
    fn of(self, shipped: &str) -> String {
        match self {
            Self::Seconds => in_seconds(shipped),
            Self::Shipped => shipped.to_owned(),
        }
    }
}

/// A running Prometheus or Alertmanager; dropping it ends it.
pub struct Monitor {
    url: String,
    process: Process,
    _guard: Guard,
}

impl Monitor {
    /// Prometheus with the shipped rules and configuration, which scrapes `targets` as its only cluster; minutes become
    /// seconds.
    pub async fn prometheus(places: &Places, targets: &[&str]) -> Self {
        Self::scraping(places, targets, Pace::Seconds).await
    }

    /// The same at `pace`.
    pub async fn scraping(places: &Places, targets: &[&str], pace: Pace) -> Self {
        Self::evaluating(places, targets, pace, &RULES).await
    }

    /// The same without rules, in seconds.
    pub async fn without_rules(places: &Places, targets: &[&str]) -> Self {
        Self::evaluating(places, targets, Pace::Seconds, &[]).await
    }

    async fn evaluating(places: &Places, targets: &[&str], pace: Pace, rules: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap().keep();
        for file in rules {
            let name = Path::new(file).file_name().unwrap();
            std::fs::write(directory.join(name), pace.of(&text(file))).unwrap();
        }
        let mut config = scraping("alerts/prometheus.yaml", targets);
        if pace == Pace::Seconds {
            for interval in ["scrape_interval", "evaluation_interval"] {
                config["global"][interval] = json!("1s");
            }
        }
        let alertmanager = format!("127.0.0.1:{}", places.alertmanager);
        let told = &mut config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"];
        *told = json!([alertmanager]);
        std::fs::write(directory.join("prometheus.yaml"), config.to_string()).unwrap();
        let args = flags([
            ("config.file", "prometheus.yaml".to_owned()),
            ("storage.tsdb.path", "data".to_owned()),
            (
                "web.listen-address",
                format!("127.0.0.1:{}", places.prometheus),
            ),
        ]);
        Self::start("prometheus", &directory, &args, places.prometheus()).await
    }

    /// Alertmanager with the shipped route to `webhook`; minutes become seconds.
    pub async fn alertmanager(places: &Places, webhook: &str) -> Self {
        Self::notifying(places, webhook, Pace::Seconds).await
    }

    /// The same at `pace`.
    pub async fn notifying(places: &Places, webhook: &str, pace: Pace) -> Self {
        let shipped = text("alerts/alertmanager.yaml");
        assert!(shipped.contains(SHIPPED_WEBHOOK));
        Self::configured(places, &pace.of(&shipped).replace(SHIPPED_WEBHOOK, webhook)).await
    }

    /// Alertmanager with this configuration.
    pub async fn configured(places: &Places, config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap().keep();
        std::fs::write(directory.join("alertmanager.yaml"), config).unwrap();
        let args = flags([
            ("config.file", "alertmanager.yaml".to_owned()),
            ("storage.path", "data".to_owned()),
            (
                "web.listen-address",
                format!("127.0.0.1:{}", places.alertmanager),
            ),
            // It has no peers.
            ("cluster.listen-address", String::new()),
        ]);
        let url = places.alertmanager();
        Self::start("prometheus-alertmanager", &directory, &args, url).await
    }

    async fn start(binary: &'static str, directory: &Path, args: &[String], url: String) -> Self {
        is_free(url.strip_prefix("http://").unwrap()).await;
        let mut guard = Guard::new(directory);
        let process = Process::spawn(&mut guard, directory, binary, Path::new(binary), args);
        let mut monitor = Self {
            url,
            process,
            _guard: guard,
        };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while monitor.ask("/-/ready", &[]).await.is_err() {
            assert_eq!(monitor.process.exited(), None, "{}", monitor.log());
            assert!(tokio::time::Instant::now() < deadline, "{}", monitor.log());
            tokio::time::sleep(POLL).await;
        }
        monitor
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.process.log_tail()
    }

    /// Body of a page with status 200.
    async fn ask(&self, page: &str, query: &[(&str, &str)]) -> Result<String, String> {
        let url = format!("{}{page}", self.url);
        let query: Vec<_> = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        tokio::task::spawn_blocking(move || {
            let request = agent().get(&url).query_pairs(query);
            let mut answer = request.call().map_err(|error| error.to_string())?;
            let body = answer.body_mut().read_to_string();
            let body = body.map_err(|error| error.to_string())?;
            if answer.status() == 200 {
                Ok(body)
            } else {
                Err(body)
            }
        })
        .await
        .unwrap()
    }

    /// Body of a page.
    pub async fn page(&self, page: &str) -> String {
        self.ask(page, &[]).await.unwrap()
    }

    /// The series that Prometheus returns for an expression, without those that are NaN.
    pub async fn series(&self, expr: &str) -> Vec<Value> {
        let answer = self.ask("/api/v1/query", &[("query", expr)]).await;
        let answer = answer.unwrap_or_else(|error| panic!("{expr}: {error}"));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let series = answer["data"]["result"].as_array().unwrap();
        let number = |one: &&Value| one["value"][1] != "NaN";
        series.iter().filter(number).cloned().collect()
    }

    /// Waits until an expression returns a series, or none.
    pub async fn until(&self, expr: &str, something: bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.series(expr).await.is_empty() == something {
            assert!(
                tokio::time::Instant::now() < deadline,
                "waited in vain for {} of {expr}: {}",
                if something { "anything" } else { "the end" },
                self.page("/api/v1/alerts").await
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// The alerts of Alertmanager.
    pub async fn alerts(&self) -> Vec<Value> {
        serde_json::from_str(&self.page("/api/v2/alerts").await).unwrap()
    }

    /// Waits until `wanted` accepts the alerts of Alertmanager.
    pub async fn alerts_until(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let alerts = self.alerts().await;
            if wanted(&alerts) {
                return alerts;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "waited in vain for {what}: {alerts:#?}\n{}",
                self.log()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Makes an alert of the cluster `home` fire.
    pub fn fire(&self, name: &str, labels: &[&str]) {
        let name = format!("alertname={name}");
        let add = ["alert", "add", &name, "cluster=home"];
        self.amtool(&[&add[..], labels].concat());
    }

    /// Output of amtool for a command on this Alertmanager.
    pub fn amtool(&self, args: &[&str]) -> String {
        let mut amtool = Command::new("amtool");
        amtool.args(["--alertmanager.url", &self.url]).args(args);
        let done = amtool.output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }
}

/// Waits until an address can be listened on: a killed process keeps it until it has ended, which nobody waits for.
async fn is_free(address: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Err(error) = TcpListener::bind(address) {
        assert!(tokio::time::Instant::now() < deadline, "{address}: {error}");
        tokio::time::sleep(POLL).await;
    }
}

/// Rules or routes with all waits divided by 60, so that minutes are seconds: those of `for`, `keep_firing_for`,
/// `interval`, `group_wait`, `group_interval` and `repeat_interval`. Seconds become one second. Expressions are unchanged.
fn in_seconds(shipped: &str) -> String {
    let waits = Regex::new(
        r"(?m)^(\s*(?:for|keep_firing_for|interval|group_wait|group_interval|repeat_interval): )(\d+)(s|m|h)$",
    )
    .unwrap();
    let shortened = waits.replace_all(shipped, |wait: &Captures<'_>| {
        let number: u32 = wait[2].parse().unwrap();
        let seconds = match &wait[3] {
            "s" => 1,
            "m" => number,
            _ => number * 60,
        };
        format!("{}{seconds}s", &wait[1])
    });
    shortened.into_owned()
}

#[test]
fn only_waits_are_scaled() {
    let shipped =
        "  expr: rate(x[5m])\n  for: 15m\n  group_wait: 30s\n  repeat_interval: 4h\n  for: 0m\n";
    let shortened =
        "  expr: rate(x[5m])\n  for: 15s\n  group_wait: 1s\n  repeat_interval: 240s\n  for: 0s\n";
    assert_eq!(in_seconds(shipped), shortened);
}
