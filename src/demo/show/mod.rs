//! `locksmith demo`: creates a jam in an embedded cluster, and lets the daemon, the same as `serve`, repair it.
//!
//! ```text
//! play ─► Cluster ─► daemon (serve) ─► jam ─► alert (stands in for Prometheus and Alertmanager)
//!                          │
//!                    Remediations ─► story ─► a line each to the terminal
//! ```

mod alert;
mod person;
mod plot;
mod story;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Config as ClusterConfig, ResourceExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Cluster;
use super::apiserver;
use super::scenario::{self, playbook_jam};
use super::world::{Timings, WorldConfig};
use crate::api::remediation::Remediation;
use crate::app::{App, AppOptions};
use crate::run_progress::{self, Line};

pub use plot::Plot;

/// Namespace of the Remediations and the Lease.
pub const NAMESPACE: &str = "locksmith";

/// Much longer than any scenario takes, as the machine may be loaded.
const PATIENCE: Duration = Duration::from_secs(600);

/// Options of the demo.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The scenario.
    pub plot: Plot,
    /// Speed factor.
    pub speed: f64,
    /// Address of the daemon.
    pub listen: SocketAddr,
}

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster could not be started.
    #[error(transparent)]
    Cluster(#[from] super::cluster::Error),
    /// The jam could not be created.
    #[error("failed to set the scene: {0}")]
    Scene(#[from] scenario::Error),
    /// The kubeconfig or the configuration could not be written to a file.
    #[error("failed to write the kubeconfig and the configuration: {0}")]
    Files(#[source] std::io::Error),
    /// The configuration could not be serialized.
    #[error("failed to write the configuration: {0}")]
    Config(#[from] serde_saphyr::ser_error::Error),
    /// The daemon cannot use the cluster.
    #[error("failed to use the embedded cluster: {0}")]
    Unusable(#[from] axum::http::uri::InvalidUri),
    /// The daemon cannot listen.
    #[error("{0}; --listen 127.0.0.1:0 takes a free port")]
    Serve(#[from] crate::server::ServeError),
    /// The daemon ended.
    #[error("the daemon ended: {0}")]
    Daemon(String),
    /// The scenario did not end in time.
    #[error(
        "the story did not end within {}",
        humantime::format_duration(PATIENCE)
    )]
    Endless,
}

/// A running demo. Dropping it ends everything.
#[derive(Debug)]
pub struct Show {
    options: Options,
    cluster: Cluster,
    _directory: tempfile::TempDir,
    daemon: tokio::task::JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
    /// The runs as far as their progress has been printed.
    told: Vec<Arc<Remediation>>,
    _parts: [AbortOnDropHandle<()>; 2],
}

impl Show {
    /// Starts the daemon and creates the jam, and prints each stage.
    pub async fn begin(options: Options, lines: mpsc::Sender<Line>) -> Result<Self, Error> {
        let Options { plot, speed, .. } = options;
        let world = WorldConfig {
            layout: plot.layout(),
            ..WorldConfig::new(Timings::fast().stretched(1.0 / speed))
        };
        let cluster = Cluster::start(apiserver::Options::default(), world).await?;
        let told = |line| {
            let lines = lines.clone();
            // Without a receiver, lines are dropped.
            async move { drop(lines.send(line).await) }
        };
        told(story::cluster(cluster.server.addr())).await;
        let person = cluster.world.person(scenario::MANAGER);
        scenario::namespaces(&person, &[NAMESPACE]).await?;
        let directory = tempfile::Builder::new()
            .prefix("locksmith-demo-")
            .tempdir()
            .map_err(Error::Files)?;
        let kubeconfig = directory.path().join("kubeconfig");
        std::fs::write(&kubeconfig, cluster.server.kubeconfig()).map_err(Error::Files)?;
        let config = plot.config(speed, options.listen);
        let file = directory.path().join("locksmith.yaml");
        std::fs::write(&file, serde_saphyr::to_string(&config)?).map_err(Error::Files)?;
        // It is in this process: no proxy in the environment leads to it.
        let way = format!("http://{}", cluster.server.addr()).parse()?;
        let app = App::bind(AppOptions {
            cluster: ClusterConfig::new(way),
            config,
            identity: "locksmith-demo".to_owned(),
        })?;
        let address = app.address();
        let stop = CancellationToken::new();
        let daemon = tokio::spawn(app.run(stop.clone()));
        told(story::daemon(address)).await;
        for line in story::ways_in(address, &kubeconfig, &file) {
            told(line).await;
        }

        let jam = playbook_jam(&cluster.world, plot.outage()).await?;
        for line in story::jam(&jam).into_iter().chain(story::your_turn(plot)) {
            told(line).await;
        }
        let alert = alert::run(plot, speed, address, lines.clone());
        let approval = person::run(plot, speed, cluster.server.client(), lines);
        Ok(Self {
            options,
            cluster,
            _directory: directory,
            daemon,
            stop,
            told: Vec::new(),
            _parts: [
                AbortOnDropHandle::new(tokio::spawn(alert)),
                AbortOnDropHandle::new(tokio::spawn(approval)),
            ],
        })
    }

    /// The last line of the demo.
    pub fn stays_up(&self) -> Line {
        story::stays_up()
    }

    /// Prints the progress of the runs until the end of the scenario.
    pub async fn tell(&mut self, lines: &mpsc::Sender<Line>) -> Result<(), Error> {
        let plot = self.options.plot;
        let patience = if plot.waits_for_you() {
            Duration::MAX
        } else {
            PATIENCE.div_f64(self.options.speed.min(1.0))
        };
        let client = self.cluster.server.client();
        let telling = tell(client, lines, &mut self.told, |runs| plot.is_over(runs));
        tokio::select! {
            told = tokio::time::timeout(patience, telling) => told.map_err(|_| Error::Endless),
            ended = &mut self.daemon => Err(Error::Daemon(why(ended))),
        }
    }

    /// Continues to print until the daemon ends.
    pub async fn stay(&mut self, lines: &mpsc::Sender<Line>) -> Error {
        tokio::select! {
            () = tell(self.cluster.server.client(), lines, &mut self.told, |_| false) => Error::Endless,
            ended = &mut self.daemon => Error::Daemon(why(ended)),
        }
    }

    /// Shuts down in order, as SIGTERM does.
    pub async fn end(mut self) -> Result<(), Error> {
        self.stop.cancel();
        match (&mut self.daemon).await {
            Ok(Ok(())) => Ok(()),
            ended => Err(Error::Daemon(why(ended))),
        }
    }
}

fn why(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "nobody asked it to".to_owned(),
        Ok(Err(error)) => crate::text::error_chain(&*error),
        Err(error) => error.to_string(),
    }
}

/// Follows the Remediations until `is_over` accepts all of them. Progress that `runs` already has is not sent again.
async fn tell(
    client: Client,
    lines: &mpsc::Sender<Line>,
    runs: &mut Vec<Arc<Remediation>>,
    is_over: impl Fn(&[Arc<Remediation>]) -> bool,
) {
    let api: Api<Remediation> = Api::all(client);
    let mut changes = watcher(api, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .boxed();
    while let Some(change) = changes.next().await {
        let Ok(run) = change else { continue };
        let known = runs.iter().position(|known| known.uid() == run.uid());
        let before = known.and_then(|at| runs[at].status.as_ref());
        for line in run_progress::of_run(&run, before) {
            drop(lines.send(line).await);
        }
        match known {
            Some(at) => runs[at] = Arc::new(run),
            None => runs.push(Arc::new(run)),
        }
        if is_over(runs) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::api::PostParams;

    use super::*;
    use crate::api::remediation::{Phase, RemediationSpec, RemediationStatus, Trigger};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn progress_of_a_run_is_told_once() {
        let world = WorldConfig::new(Timings::fast());
        let cluster = Cluster::start(apiserver::Options::default(), world);
        let cluster = cluster.await.unwrap();
        let client = cluster.server.client();
        let runs: Api<Remediation> = Api::namespaced(client.clone(), "default");
        let spec = RemediationSpec {
            playbook: "heal".to_owned(),
            driver: "d".into(),
            trigger: Trigger::default(),
            approval: None,
            abort: false,
        };
        let run = Remediation::new("night", spec);
        let mut run = runs.create(&PostParams::default(), &run).await.unwrap();
        run.status = Some(RemediationStatus {
            phase: Phase::Failed,
            message: "a step failed".to_owned(),
            ..RemediationStatus::default()
        });
        let params = PostParams::default();
        runs.replace_status("night", &params, &run).await.unwrap();

        let (lines, mut received) = mpsc::channel(16);
        let mut told = Vec::new();
        tell(client.clone(), &lines, &mut told, |_| true).await;
        assert_eq!(received.recv().await.unwrap().text, "a step failed");
        tell(client, &lines, &mut told, |_| true).await;
        assert_eq!(received.try_recv().ok(), None);
    }
}
