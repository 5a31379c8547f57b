//! Gathers the facts: a one-shot observation of the cluster, a review of each right, a trial hold, and the monitoring's
//! APIs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::{Client, Config as ClusterConfig, ResourceExt};
use serde_json::Value;

use super::facts::{
    AlertmanagerFacts, ClusterFacts, Facts, Observed, PrometheusFacts, Trial, Version,
};
use super::judge::shipped_alerts;
use crate::api::hold::{SnapshotHold, SnapshotHoldSpec};
use crate::api::{StepName, Uid};
use crate::cli::args::in_cluster;
use crate::cli::daemon::{BUILD_INFO, Daemon};
use crate::cluster::leader::LEASE_NAME;
use crate::cluster::rights::{self, Right};
use crate::cluster::{self, CALL_TIMEOUT, ErrorKind, FIELD_MANAGER_CLI, reviews};
use crate::config::{Config, Mode};
use crate::holds::{self, policy::Probe};
use crate::http_client::HttpClient;
use crate::text::error_chain;
use crate::watch::{self, prometheus};

/// Number of concurrent reviews.
const CONCURRENCY: usize = 16;

/// Longest time of a trial hold that is not deleted; the API server ends it then.
const TRIAL: SignedDuration = SignedDuration::from_secs(60);

/// The uid that the trial holds. No object has it: the API server makes random ones (RFC 9562, version 4).
const TRIAL_UID: &str = "00000000-0000-0000-0000-000000000001";

/// Sources of the facts.
pub struct Sources {
    /// The cluster, and the user.
    pub cluster: ClusterConfig,
    /// The daemon's configuration, its namespace included.
    pub config: Config,
    /// Namespace of the daemon.
    pub namespace: String,
    /// Whether locksmith is yet to be installed.
    pub before_install: bool,
    /// The daemon, if not through the API server.
    pub daemon: Option<Daemon>,
    /// Time limit for reading the cluster.
    pub timeout: Duration,
}

/// Gathers everything.
pub async fn gather(sources: Sources) -> anyhow::Result<Facts> {
    let mut facts = Facts {
        before_install: sources.before_install,
        mode: sources.config.mode,
        namespace: sources.namespace.clone(),
        in_cluster: in_cluster(),
        server: sources.cluster.cluster_url.to_string(),
        version: Err(String::new()),
        cluster: None,
    };
    let client = cluster::logging(sources.cluster.clone())?;
    facts.version = version(&client, sources.timeout).await;
    if facts.version.is_ok() {
        facts.cluster = Some(of_cluster(&client, &sources).await?);
    }
    Ok(facts)
}

async fn version(client: &Client, timeout: Duration) -> Result<Version, String> {
    let answer = tokio::time::timeout(timeout, client.apiserver_version()).await;
    let answer = answer.map_err(|_| "no answer in time".to_owned())?;
    let info = answer.map_err(|error| error_chain(&error))?;
    // Some providers write `30+`.
    let number = |text: &str| {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        digits
            .parse()
            .map_err(|_| format!("{text:?} is no version"))
    };
    Ok(Version {
        major: number(&info.major)?,
        minor: number(&info.minor)?,
        text: info.git_version,
    })
}

async fn of_cluster(client: &Client, sources: &Sources) -> anyhow::Result<ClusterFacts> {
    let Sources {
        config, namespace, ..
    } = sources;
    let observing = observed(client, sources);
    let (observed, definitions, rights, user, daemon, prometheus, alertmanager) = tokio::join!(
        observing,
        watch::definitions_state(client, namespace),
        reviewed(client, config, namespace),
        reviews::own_name(client),
        daemon_version(client, sources),
        prometheus_facts(config),
        alertmanager(config),
    );
    let observed = observed?;
    let trial = if holds(config) && !sources.before_install && observed.hold_policy.is_none() {
        Some(trial(client, namespace).await)
    } else {
        None
    };
    Ok(ClusterFacts {
        observed,
        definitions,
        trial,
        user,
        rights,
        daemon,
        prometheus,
        alertmanager,
    })
}

/// Whether a run would hold anything: only then has the account the right to.
fn holds(config: &Config) -> bool {
    let playbooks = config.playbooks.0.values();
    let mut steps = playbooks.flat_map(|playbook| &playbook.steps);
    config.mode == Mode::Act && steps.any(|step| *step == StepName::SuspendSources)
}

/// A one-shot observation, as by `locksmith status`. Our own CRDs have a separate check, so that an outdated one does not
/// delay the observation.
async fn observed(client: &Client, sources: &Sources) -> anyhow::Result<Observed> {
    let mut config = sources.config.clone();
    config.mode = Mode::Observe;
    let seen = watch::look(client.clone(), &config, sources.timeout).await?;
    let of = (sources.namespace.as_str(), LEASE_NAME);
    let now = Timestamp::now();
    Ok(seen
        .store
        .read(|model| Observed::of(model, &seen.view, &config, of, now)))
}

async fn reviewed(
    client: &Client,
    config: &Config,
    namespace: &str,
) -> Vec<(Right, Result<bool, String>)> {
    let rights = rights::needed(config, namespace).into_iter();
    let reviews = rights.map(|right| async move {
        let has = tokio::time::timeout(CALL_TIMEOUT, reviews::has(client, &right)).await;
        let has = match has {
            Ok(has) => has.map_err(|error| error_chain(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        };
        (right, has)
    });
    futures::stream::iter(reviews)
        .buffered(CONCURRENCY)
        .collect()
        .await
}

/// Holds a uid that no source has, proves by dry-run creates that the API server enforces it, and releases it.
async fn trial(client: &Client, namespace: &str) -> Result<(), Trial> {
    let nobody = Uid::from(TRIAL_UID);
    let spec = SnapshotHoldSpec {
        remediation: None,
        until: holds::deadline(Timestamp::now(), TRIAL),
        reason: Some("trial of locksmith check".to_owned()),
        held_by: reviews::own_name(client).await,
        sources: BTreeMap::from([(nobody.clone(), holds::place(namespace, "locksmith-probe"))]),
        snapshot_classes: Vec::new(),
    };
    let mut hold = SnapshotHold::new("", spec);
    hold.metadata.name = None;
    hold.metadata.generate_name = Some("check-".to_owned());
    hold.metadata.namespace = Some(namespace.to_owned());
    let created = cluster::hold::create(client, FIELD_MANAGER_CLI, &hold);
    let created = created
        .await
        .map_err(|error| Trial::NotTried(format!("no trial hold: {error}")))?;
    let probe = Probe {
        namespace: namespace.into(),
        source: Some(nobody),
        class: None,
    };
    let refuted = cluster::hold::refuted(client, &probe).await;
    let key = cluster::hold::key(&created);
    let released = cluster::hold::delete(client, &key, async || Ok(())).await;
    match (refuted, released) {
        (Err(error), _) => Err(Trial::NotTried(format!("no dry-run snapshot: {error}"))),
        (Ok(Some(why)), _) => Err(Trial::Refuted(why)),
        (Ok(None), Err(error)) if error.kind() != ErrorKind::NotFound => {
            Err(Trial::NotTried(format!(
                "the trial hold {} was not deleted and ends by itself within {TRIAL:#}: {error}",
                created.name_any()
            )))
        }
        (Ok(None), _) => Ok(()),
    }
}

/// The version of the daemon: at the given URL, otherwise through the API server.
async fn daemon_version(client: &Client, sources: &Sources) -> Result<String, String> {
    let build = if let Some(daemon) = &sources.daemon {
        daemon.build().await
    } else {
        let tls = sources.config.server.tls.certificate.is_some();
        let daemon = Daemon::proxied(client, &sources.namespace, tls);
        daemon.build().await
    };
    build.map(|build| build.version)
}

async fn prometheus_facts(config: &Config) -> Option<PrometheusFacts> {
    let http = HttpClient::prometheus(&config.prometheus)?;
    let query = [("query", BUILD_INFO)];
    let evaluated = config.gates.promql.iter().map(async |(name, expression)| {
        let series = prometheus::series(&http, expression).await;
        (name.clone(), series.map_err(|error| error.to_string()))
    });
    let (rules, versions, expressions) = tokio::join!(
        http.get_json::<Value>("/api/v1/rules?type=alert"),
        http.post_form::<Value>("/api/v1/query", &query),
        futures::future::join_all(evaluated),
    );
    let alerts = rules.map(|answer| alert_names(&answer));
    let versions = versions.map(|answer| {
        let series = answer["data"]["result"].as_array().into_iter().flatten();
        let version = |one: &Value| {
            one["metric"]["version"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        series.map(version).collect()
    });
    Some(PrometheusFacts {
        url: http.url().to_owned(),
        alerts: alerts.map_err(|error| error.to_string()),
        versions: versions.map_err(|error| error.to_string()),
        expressions,
    })
}

fn alert_names(answer: &Value) -> BTreeSet<String> {
    let groups = answer["data"]["groups"].as_array().into_iter().flatten();
    let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
    rules
        .filter_map(|rule| rule["name"].as_str().map(ToOwned::to_owned))
        .collect()
}

async fn alertmanager(config: &Config) -> Option<AlertmanagerFacts> {
    let http = HttpClient::alertmanager(&config.alertmanager)?;
    Some(AlertmanagerFacts {
        url: http.url().to_owned(),
        config: alertmanager_config(&http).await,
        starting: shipped_alerts()
            .filter(|name| starts(config, name))
            .collect(),
    })
}

/// The configuration that Alertmanager uses, as YAML, or why it cannot be read.
pub async fn alertmanager_config(http: &HttpClient) -> Result<String, String> {
    let status: Value = http
        .get_json("/api/v2/status")
        .await
        .map_err(|error| error.to_string())?;
    let config = status["config"]["original"].as_str();
    config
        .map(ToOwned::to_owned)
        .ok_or_else(|| "its status has no configuration".to_owned())
}

/// Whether an alert of this name starts a playbook.
fn starts(config: &Config, name: &str) -> bool {
    let labels = [("alertname".to_owned(), name.to_owned())].into();
    let playbooks = config.playbooks.0.values();
    playbooks
        .into_iter()
        .any(|playbook| playbook.is_asked_for_by(&labels))
}
