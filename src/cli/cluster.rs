//! Turns flags, kubeconfig or service account into a client configuration.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cluster;
use crate::text::error_chain;
use axum::http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::completion::option_of_line;

/// Flags that choose a cluster.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClusterArgs {
    /// Kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Kubeconfig context [default: the current context]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// User to act as, such as system:serviceaccount:volsync-locksmith:locksmith [default: yourself]
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
}

/// Where a missing right to read comes from.
pub const GRANTED_BY: &str = "ClusterRole locksmith-read grants reading. To read as the daemon does, pass --as system:serviceaccount:volsync-locksmith:locksmith";

/// Why no client for a cluster could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No cluster is configured.
    #[error(
        "no cluster configured: found no usable kubeconfig (--kubeconfig, $KUBECONFIG, ~/.kube/config) and no pod service account: {0}"
    )]
    Nowhere(#[source] InferConfigError),
    /// The kubeconfig has no such context.
    #[error("no context {asked:?} in the kubeconfig; it has {}", list(.known))]
    Context {
        /// The requested context.
        asked: String,
        /// The existing contexts.
        known: Vec<String>,
    },
    /// The kubeconfig cannot be used.
    #[error("failed to use the kubeconfig: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// No client can be created from the configuration.
    #[error("failed to create a client for the cluster: {0}")]
    Client(#[source] kube::Error),
    /// The API server does not answer, or refuses our credentials.
    #[error("cannot reach the API server at {server}: {why}")]
    Unreachable {
        /// Its URL.
        server: String,
        /// The error with all its causes.
        why: String,
    },
}

impl ClusterArgs {
    /// The flags in a line that may be incomplete, for its completion.
    pub fn from_line(line: &[String]) -> Self {
        Self {
            kubeconfig: option_of_line(line, "--kubeconfig").map(PathBuf::from),
            context: option_of_line(line, "--context"),
            user: option_of_line(line, "--as"),
        }
    }

    /// The URL of the cluster, its credentials, and the proxy to use.
    pub async fn config(&self) -> Result<Config, ClusterError> {
        let mut config = self.chosen().await?;
        let environment = ["HTTPS_PROXY", "https_proxy"].into_iter();
        let mut named = environment.filter_map(|name| std::env::var(name).ok());
        let proxy = named.find_map(|text| text.parse().ok());
        // One of the kubeconfig's own is for this cluster in any case.
        let of_environment = config.proxy_url.is_some() && config.proxy_url == proxy;
        if of_environment && !leads_over_a_proxy(&config.cluster_url, &Matcher::from_env()) {
            config.proxy_url = None;
        }
        if self.user.is_some() {
            config.auth_info.impersonate.clone_from(&self.user);
        }
        Ok(config)
    }

    async fn chosen(&self) -> Result<Config, ClusterError> {
        if self.kubeconfig.is_none() && self.context.is_none() {
            return Config::infer().await.map_err(ClusterError::Nowhere);
        }
        let kubeconfig = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path)?,
            None => Kubeconfig::read()?,
        };
        self.check_context(&kubeconfig)?;
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        Ok(Config::from_custom_kubeconfig(kubeconfig, &options).await?)
    }

    /// A client for reading, once the API server has answered. An unreachable server is reported here once, and not by each
    /// watch.
    pub async fn client(&self, within: Duration) -> Result<Client, ClusterError> {
        let config = self.config().await?;
        let server = config.cluster_url.to_string();
        let client = cluster::logging(config).map_err(ClusterError::Client)?;
        let why = match tokio::time::timeout(within, client.apiserver_version()).await {
            Ok(Ok(_)) => return Ok(client),
            Ok(Err(error)) => error_chain(&error),
            Err(_) => format!("no answer within {}", humantime::format_duration(within)),
        };
        Err(ClusterError::Unreachable { server, why })
    }

    fn check_context(&self, kubeconfig: &Kubeconfig) -> Result<(), ClusterError> {
        let known = kubeconfig
            .contexts
            .iter()
            .map(|context| context.name.clone());
        match &self.context {
            Some(asked) if !known.clone().any(|name| name == *asked) => {
                Err(ClusterError::Context {
                    asked: asked.clone(),
                    known: known.collect(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// As in kubectl: no proxy for loopback addresses or hosts in `$NO_PROXY`. kube matches `$NO_PROXY` against the proxy instead.
fn leads_over_a_proxy(server: &Uri, environment: &Matcher) -> bool {
    let host = server.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    let here = host == "localhost" || address.is_ok_and(|it: IpAddr| it.is_loopback());
    !here && environment.intercept(server).is_some()
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://cluster.example:6443", true)]
    #[case("https://10.96.0.1", false)]
    #[case("https://api.lab.example:6443", false)]
    #[case("https://notlab.example:6443", true)]
    #[case("https://127.0.0.1:6443", false)]
    #[case("https://[::1]:6443", false)]
    #[case("https://localhost:6443", false)]
    #[case("http://cluster.example:8080", false)]
    fn local_cluster_uses_no_proxy(#[case] server: &'static str, #[case] over: bool) {
        let environment = Matcher::builder()
            .https("http://proxy.example:3128")
            .no("10.0.0.0/8, .lab.example,")
            .build();
        let server = Uri::from_static(server);
        assert_eq!(leads_over_a_proxy(&server, &environment), over);
    }

    const TWO_CLUSTERS: &str = "
apiVersion: v1
kind: Config
current-context: home
clusters:
- {name: home, cluster: {server: 'https://127.0.0.1:6443'}}
- {name: lab, cluster: {server: 'https://127.0.0.1:7443'}}
users:
- {name: me, user: {token: t}}
contexts:
- {name: home, context: {cluster: home, user: me}}
- {name: lab, context: {cluster: lab, user: me, namespace: media}}
";

    fn args(directory: &tempfile::TempDir, context: Option<&str>) -> ClusterArgs {
        let path = directory.path().join("config");
        std::fs::write(&path, TWO_CLUSTERS).unwrap();
        ClusterArgs {
            kubeconfig: Some(path),
            context: context.map(str::to_owned),
            user: None,
        }
    }

    #[tokio::test]
    async fn default_context_is_the_current_one() {
        let directory = tempfile::tempdir().unwrap();
        let home = args(&directory, None).config().await.unwrap();
        let lab = args(&directory, Some("lab")).config().await.unwrap();
        assert_eq!(home.cluster_url.to_string(), "https://127.0.0.1:6443/");
        assert_eq!(lab.cluster_url.to_string(), "https://127.0.0.1:7443/");
        assert_eq!(lab.default_namespace, "media");
    }

    #[tokio::test]
    async fn unknown_context_error_lists_existing_contexts() {
        let directory = tempfile::tempdir().unwrap();
        let error = args(&directory, Some("hime")).config().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "no context \"hime\" in the kubeconfig; it has home, lab"
        );
    }

    #[tokio::test]
    async fn unreachable_server_error_has_the_root_cause() {
        // Installed once per process; another test may have done so.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        std::fs::write(&path, TWO_CLUSTERS.replace("6443", &port.to_string())).unwrap();
        let args = ClusterArgs {
            kubeconfig: Some(path),
            ..ClusterArgs::default()
        };
        let error = args
            .client(Duration::from_secs(10))
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains(&format!("https://127.0.0.1:{port}/")),
            "{error}"
        );
        assert!(
            error.starts_with("cannot reach the API server at "),
            "{error}"
        );
        assert!(error.contains("refused"), "{error}");
        assert!(!error.contains("ServiceError"), "{error}");
    }

    #[tokio::test]
    async fn missing_kubeconfig_is_named() {
        let args = ClusterArgs {
            kubeconfig: Some("/nowhere/config".into()),
            ..ClusterArgs::default()
        };
        let error = args.config().await.unwrap_err().to_string();
        assert!(error.contains("/nowhere/config"), "{error}");
    }
}
