//! Requests to a daemon: at a URL, or at its Service through the API server.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::Request;
use kube::Client;

use crate::config::{Config, HttpAccess, api_url};
use crate::http_client::HttpClient;
use crate::text::error_chain;

/// Timeout of a request through the API server.
const TIMEOUT: Duration = Duration::from_secs(10);

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
    /// The daemon with this configuration, through the API server.
    pub fn proxied(client: &Client, namespace: &str, config: &Config) -> Self {
        let tls = config.server.tls.certificate.is_some();
        let service = if tls {
            "https:locksmith:http"
        } else {
            "locksmith:http"
        };
        Self::Proxied {
            client: client.clone(),
            service: format!("/api/v1/namespaces/{namespace}/services/{service}/proxy"),
        }
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
