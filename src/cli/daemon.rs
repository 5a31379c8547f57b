//! The daemon in the cluster: requests to it, at a URL or at its Service through the API server, and its configuration.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use axum::http::Request;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use serde::Serialize;

use crate::config::{self, Config, HttpAccess, api_url};
use crate::http_client::{HttpClient, TIMEOUT};
use crate::metrics::{REVISION, UNKNOWN_REVISION};
use crate::text::error_chain;

/// Namespace of the daemon and the Remediations, as in the deploy files.
pub const NAMESPACE: &str = "volsync-locksmith";

/// Name of the Deployment and the Service, as in the deploy files.
const NAME: &str = "locksmith";

/// File of the configuration in its ConfigMap, as in the deploy files.
const CONFIG_FILE: &str = "locksmith.yaml";

/// The series that each daemon exports.
pub const BUILD_INFO: &str = "locksmith_build_info";

/// Flags that choose a daemon.
#[derive(Clone, Debug, clap::Args)]
pub struct DaemonArgs {
    /// URL of the daemon [default: its Service, through the API server]
    #[arg(long, value_name = "URL", value_parser = api_url)]
    url: Option<String>,
    /// File with a bearer token for --url, if the daemon has server.auth.metrics
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// PEM file with the CA of --url [default: the CAs of the system]
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
}

impl DaemonArgs {
    /// Whether `--url` is given.
    pub fn is_given(&self) -> bool {
        self.url.is_some()
    }

    /// The daemon at `--url`, if it is given.
    pub fn daemon(self) -> Option<Daemon> {
        let access = HttpAccess {
            token_file: self.token_file,
            ca_file: self.ca_file,
            ..HttpAccess::default()
        };
        Some(Daemon::At(HttpClient::daemon(&self.url?, access)))
    }
}

/// A daemon. With several replicas, a request reaches any of them.
pub enum Daemon {
    /// At a URL.
    At(HttpClient),
    /// Through the API server, which requires the right to `get services/proxy`.
    Proxied {
        /// Client of the API server.
        client: Client,
        /// Path of the Service.
        service: String,
    },
}

impl Daemon {
    /// The daemon in `namespace`, through the API server.
    pub fn proxied(client: &Client, namespace: &str, tls: bool) -> Self {
        let scheme = if tls { "https:" } else { "" };
        Self::Proxied {
            client: client.clone(),
            service: format!("/api/v1/namespaces/{namespace}/services/{scheme}{NAME}:http/proxy"),
        }
    }

    /// Its build, from its own metrics, or the reason why it cannot be read.
    pub async fn build(&self) -> Result<Build, String> {
        let metrics = self.get("/metrics").await?;
        Build::in_metrics(&metrics).ok_or_else(|| format!("its metrics have no {BUILD_INFO}"))
    }

    /// The text at `path`, or the reason why it cannot be read.
    pub async fn get(&self, path: &str) -> Result<String, String> {
        match self {
            Self::At(http) => {
                let answer = http.get_text(path).await;
                answer.map_err(|error| error.to_string())
            }
            Self::Proxied { client, service } => {
                let request = Request::get(format!("{service}{path}")).body(Vec::new());
                let request = request.map_err(|error| error.to_string())?;
                let answer = tokio::time::timeout(TIMEOUT, client.request_text(request)).await;
                let answer = answer.map_err(|_| "no answer in time".to_owned())?;
                answer.map_err(|error| error_chain(&error))
            }
        }
    }
}

/// Version of a program, and the commit that it was built from, if known.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Build {
    /// Version.
    pub version: String,
    /// Commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

impl Build {
    /// That of this program.
    pub fn own() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: REVISION.map(str::to_owned),
        }
    }

    fn in_metrics(metrics: &str) -> Option<Self> {
        let line = metrics.lines().find(|line| line.starts_with(BUILD_INFO))?;
        let label = |name: &str| {
            let (_, rest) = line.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        Some(Self {
            version: label("version")?,
            revision: label("revision").filter(|revision| revision != UNKNOWN_REVISION),
        })
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version)?;
        match &self.revision {
            Some(revision) => write!(f, " ({revision})"),
            None => Ok(()),
        }
    }
}

/// The configuration of the daemon in `namespace`, from the ConfigMap that its Deployment mounts; `None` if there is no such
/// Deployment or ConfigMap.
pub async fn configuration(client: &Client, namespace: &str) -> anyhow::Result<Option<Config>> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deployment = deployments.get_opt(NAME).await;
    let deployment = deployment.context("failed to read the Deployment of the daemon")?;
    let Some(name) = deployment.as_ref().and_then(mounted) else {
        return Ok(None);
    };
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = maps.get_opt(&name).await;
    let map = map.context("failed to read the ConfigMap of the daemon")?;
    let text = map.and_then(|map| map.data?.remove(CONFIG_FILE));
    let config = text.map(|text| config::parse(&text)).transpose();
    config.with_context(|| format!("ConfigMap {namespace}/{name}"))
}

/// The ConfigMap of the configuration. kustomize adds a hash to its name.
fn mounted(deployment: &Deployment) -> Option<String> {
    let volumes = &deployment.spec.as_ref()?.template.spec.as_ref()?.volumes;
    let maps = volumes.iter().flatten();
    let names = maps.filter_map(|volume| Some(volume.config_map.as_ref()?.name.clone()));
    names
        .into_iter()
        .find(|name| name.starts_with("locksmith-config"))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::Uri;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain(false, "locksmith:http")]
    #[case::tls(true, "https:locksmith:http")]
    #[tokio::test]
    async fn service_is_read_through_the_api_server(#[case] tls: bool, #[case] service: &str) {
        // Installed once per process; another test may have done so.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let echo = Router::new().fallback(async |uri: Uri| uri.to_string());
        tokio::spawn(async { axum::serve(listener, echo).await });
        let client = Client::try_from(kube::Config::new(server.parse().unwrap())).unwrap();
        let daemon = Daemon::proxied(&client, "backup", tls);
        let asked = daemon.get("/api/v1/test-alerts").await.unwrap();
        let proxy = format!("/api/v1/namespaces/backup/services/{service}/proxy");
        assert_eq!(asked, format!("{proxy}/api/v1/test-alerts"));
    }

    #[rstest]
    #[case::release("revision=\"abc\",version=\"0.2.0\"", Some("0.2.0 (abc)"))]
    #[case::other_order("version=\"0.2.0\",revision=\"abc\"", Some("0.2.0 (abc)"))]
    #[case::unknown_commit("version=\"0.2.0\",revision=\"unknown\"", Some("0.2.0"))]
    #[case::older("version=\"0.1.0\"", Some("0.1.0"))]
    #[case::no_version("revision=\"abc\"", None)]
    fn build_is_read_from_its_labels(#[case] labels: &str, #[case] build: Option<&str>) {
        let metrics =
            format!("# TYPE {BUILD_INFO} gauge\n{BUILD_INFO}{{{labels}}} 1\nversion=\"3\"\n");
        let found = Build::in_metrics(&metrics).map(|build| build.to_string());
        assert_eq!(found.as_deref(), build);
    }

    #[test]
    fn deployed_configuration_is_found_by_its_volume() {
        let deploy = include_str!("../../deploy/base/locksmith.yaml");
        let documents = deploy.split("\n---\n");
        let deployment = documents
            .filter(|text| text.contains("\nkind: Deployment"))
            .map(|text| serde_saphyr::from_str::<Deployment>(text).unwrap())
            .next();
        let deployment = deployment.unwrap();
        assert_eq!(deployment.metadata.name.as_deref(), Some(NAME));
        assert_eq!(mounted(&deployment).as_deref(), Some("locksmith-config"));
    }
}
