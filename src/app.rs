//! The daemon: wires observation, decision and writes, and shuts them down in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Config as ClusterConfig;
use tokio_util::sync::CancellationToken;

use crate::alerts::{
    Accepted, AlertReceiver, Notification, Poller, ReceiveAlerts, Refused, TestAlertLog,
};
use crate::api::SharedStr;
use crate::cluster::leader::{self, Leadership};
use crate::cluster::{self, EventRecorder, Writer};
use crate::config::{self, Config, Mode};
use crate::controller::{self, Controller};
use crate::http_client::HttpClient;
use crate::metrics::{Metrics, SelfMetrics};
use crate::model::Change;
use crate::server::{self, Authenticator, Certificate, PageInfo, ServeError, Server, Services};
use crate::state::{Recorder, Store};
use crate::tasks::{TaskEnded, Tasks};
use crate::watch::{self, Patterns};

/// Time at shutdown to write the remaining Events.
const EVENT_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Options of a daemon.
pub struct AppOptions {
    /// The cluster.
    pub cluster: ClusterConfig,
    /// The checked configuration.
    pub config: Config,
    /// Name of this replica; unique among them.
    pub identity: String,
}

/// A daemon that listens, but has not started.
pub struct App {
    server: Server,
    options: AppOptions,
}

impl App {
    /// Binds its address.
    pub fn bind(options: AppOptions) -> Result<Self, ServeError> {
        let server = Server::bind(options.config.server.listen)?;
        Ok(Self { server, options })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Runs until `stop`, then shuts down in order: finishes requests, stops the running step, whose state is recorded, and
    /// releases the lease.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        run(self.server, self.options, stop).await
    }
}

async fn run(server: Server, options: AppOptions, stop: CancellationToken) -> anyhow::Result<()> {
    let AppOptions {
        cluster,
        mut config,
        identity,
    } = options;
    config
        .remediation
        .namespace
        .get_or_insert_with(|| SharedStr::from(cluster.default_namespace.as_str()));
    let config = Arc::new(config);
    let own = SelfMetrics::default();
    let reading = cluster::reading(&cluster).context("failed to reach the cluster")?;
    let guard = Authenticator::new(&config.server.auth, &reading).await?;
    let certificate = Certificate::load(&config.server.tls).await?;
    for warning in config::warnings(&config) {
        tracing::warn!(warning, "the configuration is valid, with a risk");
    }
    report_unusable_files(&config).await;
    let (store, mut watches) = watch::start(&reading, &config, &own)?;
    let recorder = Recorder::default();
    watches.spawn("history", recorder.clone().follow(store.views()));
    let page = PageInfo {
        cluster: cluster_name(&cluster, &config),
        namespace: config
            .remediation
            .namespace
            .as_deref()
            .unwrap_or_default()
            .to_owned(),
        replica: identity.clone(),
        links: config.server.links.clone(),
        recorder,
    };
    let test_alerts = TestAlertLog::new(&config.alertmanager);
    let mut acting = Tasks::default();
    let receiver = if config.mode == Mode::Observe {
        None
    } else {
        let shared = Shared {
            store: &store,
            config: &config,
            own: &own,
            test_alerts: &test_alerts,
            stop: &stop,
        };
        Some(start_writers(&cluster, &shared, identity, &mut acting)?)
    };
    tracing::info!(address = %server.address(), mode = config.mode.as_str(), "listening");
    let services = Services {
        views: store.views(),
        metrics: Metrics::new(store.views(), own.clone()),
        own,
        alerts: ActingReceiver(receiver),
        test_alerts,
        guard,
        page,
        shutdown: stop.clone(),
    };
    let serving = server.serve(server::router(services), certificate, stop.clone());
    let mut serving = std::pin::pin!(serving);
    let failed = tokio::select! {
        ended = &mut serving => {
            // A server that has ended by itself stops everything else.
            stop.cancel();
            acting.all_ended().await;
            return Ok(ended?);
        }
        failed = unless_stopped(&mut watches, &stop) => failed,
        failed = unless_stopped(&mut acting, &stop) => failed,
    };
    tracing::error!(error = %failed, "a task failed; shutting down");
    stop.cancel();
    // The first error is returned; how the server ends afterwards does not matter.
    let _ = serving.await;
    acting.all_ended().await;
    Err(failed.into())
}

/// Logs an unusable file of a client that this daemon starts. That is no reason to end: holds are released without Prometheus and
/// Alertmanager, and each later request reads the file again.
async fn report_unusable_files(config: &Config) {
    let alertmanager = match config.mode {
        Mode::Observe => None,
        Mode::Plan | Mode::Act => HttpClient::alertmanager(&config.alertmanager),
    };
    for http in [HttpClient::for_gates(config), alertmanager]
        .into_iter()
        .flatten()
    {
        if let Err(error) = http.check_files().await {
            tracing::error!(%error, "requests fail until this file can be used");
        }
    }
}

/// The API server, and the labels of alerts that are about this cluster.
fn cluster_name(cluster: &ClusterConfig, config: &Config) -> String {
    let labels = config.alertmanager.require.iter().map(ToString::to_string);
    let labels: Vec<_> = labels.collect();
    let url = &cluster.cluster_url;
    if labels.is_empty() {
        url.to_string()
    } else {
        format!("{} ({url})", labels.join(", "))
    }
}

/// The first of `tasks` to end before `stop`, after which all must end.
async fn unless_stopped(tasks: &mut Tasks, stop: &CancellationToken) -> TaskEnded {
    let ended = tasks.ended().await;
    if stop.is_cancelled() {
        return std::future::pending().await;
    }
    ended
}

/// State that the server and the writers share.
struct Shared<'a> {
    store: &'a Store,
    config: &'a Arc<Config>,
    own: &'a SelfMetrics,
    test_alerts: &'a TestAlertLog,
    stop: &'a CancellationToken,
}

/// Starts everything that writes.
fn start_writers(
    cluster: &ClusterConfig,
    shared: &Shared<'_>,
    identity: String,
    acting: &mut Tasks,
) -> anyhow::Result<AlertReceiver> {
    let &Shared {
        store,
        config,
        own,
        test_alerts,
        stop,
    } = shared;
    let namespace = config.remediation.namespace.clone();
    let namespace =
        namespace.unwrap_or_else(|| SharedStr::from(cluster.default_namespace.as_str()));
    let writing = cluster::writing(cluster).context("failed to reach the cluster")?;
    let (leadership, election) = leader::stand(
        writing.clone(),
        &namespace,
        identity,
        own.heartbeats().add("leadership"),
        stop.clone(),
    );
    let patterns = Arc::new(Patterns::new(config)?);
    let (events, delivery) = EventRecorder::new(writing.clone(), own.clone());
    let writer = Writer::new(
        writing,
        store.clone(),
        patterns.clone(),
        config.clone(),
        leadership.clone(),
    );
    let receiver = AlertReceiver::new(
        store.clone(),
        writer.clone(),
        config.clone(),
        namespace.clone(),
        own.clone(),
    );
    let controller = Controller {
        store: store.clone(),
        writer,
        events,
        patterns,
        config: config.clone(),
        own: own.clone(),
        heartbeat: own.heartbeats().add("controller"),
        namespace,
    };
    if let Some(http) = HttpClient::alertmanager(&config.alertmanager) {
        let poller = Poller {
            http,
            receiver: receiver.clone(),
            own: own.clone(),
            test_alerts: test_alerts.clone(),
        };
        let polling = poller.run(config.clone(), leadership.clone());
        acting.spawn("alertmanager", until(stop.clone(), polling));
    }
    acting.spawn("leadership", election);
    let reporting = report_leadership(leadership, store.clone(), own.clone());
    acting.spawn("term", until(stop.clone(), reporting));
    acting.spawn("controller", until(stop.clone(), controller.clone().run()));
    acting.spawn(
        "sweeper",
        until(stop.clone(), controller::sweep(controller)),
    );
    acting.spawn("events", drain_events(stop.clone(), delivery));
    Ok(receiver)
}

/// Runs `task` until `stop`. It ends at an await; the next leader sees a write under way in the cluster.
async fn until(stop: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = task => {}
    }
}

/// Runs `delivery` until all Events are written, or [`EVENT_DRAIN_TIMEOUT`] after `stop`.
async fn drain_events(stop: CancellationToken, delivery: impl Future<Output = ()>) {
    let enough = async {
        stop.cancelled().await;
        tokio::time::sleep(EVENT_DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        () = enough => {}
        () = delivery => {}
    }
}

async fn report_leadership(mut leadership: Leadership, store: Store, own: SelfMetrics) {
    let mut reported = None;
    loop {
        let term = leadership.term().map(|term| term.number);
        // A renewal is not reported.
        if term != reported {
            own.leads(term.is_some());
            store.tell(Change::Leads(term)).await;
            reported = term;
        }
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

/// Receives alerts if this daemon acts. In mode observe there is no receiver, and the server responds by itself.
struct ActingReceiver(Option<AlertReceiver>);

impl ReceiveAlerts for ActingReceiver {
    async fn receive(&self, notification: Notification) -> Result<Accepted, Refused> {
        match &self.0 {
            Some(receiver) => receiver.receive(notification).await,
            None => Err(Refused::NotLeader),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpAccess;

    /// A Secret that is missing must not keep the daemon from detecting, and from releasing holds.
    #[tokio::test]
    async fn missing_file_of_a_client_does_not_stop_the_daemon() {
        // Installed once per process; another test may have done so.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = "{server: {listen: 127.0.0.1:0}, gates: {promql: {up: up == 0}}, \
             prometheus: {url: http://127.0.0.1:1, http: {tokenFile: /missing}}, \
             alertmanager: {url: http://127.0.0.1:1, http: {tokenFile: /missing}}}";
        let app = App::bind(AppOptions {
            cluster: ClusterConfig::new("http://127.0.0.1:1".parse().unwrap()),
            config: config::parse(config).unwrap(),
            identity: "locksmith-0".to_owned(),
        });
        let app = app.unwrap();
        let url = format!("http://{}", app.address());
        let stop = CancellationToken::new();
        let running = tokio::spawn(app.run(stop.clone()));
        let daemon = HttpClient::daemon(&url, HttpAccess::default());
        daemon.get_text("/metrics").await.unwrap();
        stop.cancel();
        running.await.unwrap().unwrap();
    }
}
