//! Settings of the HTTP server: address, certificate and authentication.

use std::net::SocketAddr;
use std::path::PathBuf;

use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// HTTP server.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Server {
    /// Address and port of /metrics, /webhook, /healthz, /readyz and /api/v1.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// TLS certificate.
    pub tls: Tls,
    /// Authentication of clients.
    pub auth: Auth,
    /// Links of the status page, such as to dashboards and runbooks.
    pub links: Vec<Link>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 9797)),
            tls: Tls::default(),
            auth: Auth::default(),
            links: Vec::new(),
        }
    }
}

/// A link of the status page.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Link {
    /// Text of the link.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Absolute http or https URL.
    #[schemars(extend("pattern" = "^https?://"))]
    pub url: String,
}

impl Link {
    /// The fault of the link, with its path. Other schemes, such as `javascript:`, would run in the page.
    fn fault(&self) -> Option<&'static str> {
        if self.name.trim().is_empty() {
            return Some("name: must not be empty");
        }
        let is_web = |url: Url| matches!(url.scheme(), "http" | "https");
        let valid = Url::parse(&self.url).is_ok_and(is_web);
        (!valid).then_some("url: must be an absolute http or https URL")
    }
}

/// PEM files, reloaded when they change. Set both or neither; without them the server uses plain HTTP.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain: the certificate, followed by the intermediates.
    pub certificate: Option<PathBuf>,
    /// Private key of the certificate.
    pub key: Option<PathBuf>,
}

/// Authentication of POST /webhook. Set at most one of `tokenFile` and `kubernetes`; with neither, anybody may post.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    /// File with the accepted bearer tokens, one per line.
    pub token_file: Option<PathBuf>,
    /// Validates bearer tokens with the API server (TokenReview), and requires the right to `post` to `/webhook`
    /// (SubjectAccessReview).
    pub kubernetes: bool,
    /// Whether /metrics, /api/v1 and the status page require the same, with the verb `get`.
    pub metrics: bool,
}

impl Server {
    /// Every error, with its path below `server`.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let Self {
            tls, auth, links, ..
        } = self;
        let links = links.iter().enumerate();
        let links = links.filter_map(|(at, link)| Some(format!("links[{at}].{}", link.fault()?)));
        let method = auth.token_file.is_some() || auth.kubernetes;
        [
            (tls.certificate.is_some() && tls.key.is_none())
                .then_some("tls.key: must be set together with tls.certificate"),
            (tls.key.is_some() && tls.certificate.is_none())
                .then_some("tls.certificate: must be set together with tls.key"),
            (auth.token_file.is_some() && auth.kubernetes)
                .then_some("auth.kubernetes: must be false if auth.tokenFile is set"),
            (auth.metrics && !method)
                .then_some("auth.metrics: requires auth.tokenFile or auth.kubernetes"),
        ]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .chain(links)
        .map(|fault| format!("server.{fault}"))
    }
}
