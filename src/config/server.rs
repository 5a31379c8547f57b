//! The HTTP server: where it listens, by which certificate, and whom it lets in.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The HTTP server.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Server {
    /// Address and port of /metrics, /webhook, /healthz, /readyz and /api/v1.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// How it proves who it is.
    pub tls: Tls,
    /// Whom it lets in.
    pub auth: Auth,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 9797)),
            tls: Tls::default(),
            auth: Auth::default(),
        }
    }
}

/// Files in PEM, read again when they change. Neither or both are set; without them it speaks plain HTTP.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// The certificate, and those between it and its authority.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// Who may post to /webhook. At most one of `token_file` and `kubernetes`; with neither, anybody.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    /// A file of bearer tokens, one a line, each of which is let in.
    pub token_file: Option<PathBuf>,
    /// Bearer tokens are shown to the API server (TokenReview), which is asked whether their owner may `post` to
    /// `/webhook` (SubjectAccessReview).
    pub kubernetes: bool,
    /// Whether /metrics and /api/v1 ask for the same, as `get`.
    pub metrics: bool,
}

impl Server {
    /// Every fault, with its path below `server`.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let Self { tls, auth, .. } = self;
        let method = auth.token_file.is_some() || auth.kubernetes;
        [
            (tls.certificate.is_some() && tls.key.is_none())
                .then_some("tls.key: must be set, as tls.certificate is"),
            (tls.key.is_some() && tls.certificate.is_none())
                .then_some("tls.certificate: must be set, as tls.key is"),
            (auth.token_file.is_some() && auth.kubernetes)
                .then_some("auth.kubernetes: must be false where auth.tokenFile is set"),
            (auth.metrics && !method)
                .then_some("auth.metrics: needs auth.tokenFile or auth.kubernetes"),
        ]
        .into_iter()
        .flatten()
        .map(|fault| format!("server.{fault}"))
    }
}
