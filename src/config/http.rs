//! Access to the HTTP API of Prometheus or Alertmanager: authentication, CA and headers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::http::{HeaderName, HeaderValue, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Access to the API. The files are read at each request, so that a change needs no restart.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpAccess {
    /// File with the bearer token. Set at most one of `tokenFile` and `basicAuth`.
    pub token_file: Option<PathBuf>,
    /// User name and password.
    pub basic_auth: Option<BasicAuth>,
    /// PEM file with the CA certificates to trust, instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// Additional request headers, such as `X-Scope-OrgID` for a tenant. Secrets belong in files.
    pub headers: BTreeMap<String, String>,
}

/// Basic authentication.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// User name.
    #[schemars(extend("pattern" = "^[^:]+$"))]
    pub username: String,
    /// File with the password.
    pub password_file: PathBuf,
}

/// Headers that authenticate, or that the client itself sets, in lower case. Prometheus reserves them in `http_headers`, too.
/// `deploy/chart/templates/_validate.tpl` has the same list.
const RESERVED: [&str; 13] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

impl HttpAccess {
    /// Every error, with its path below this section.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.basic_auth.is_some() && self.token_file.is_some() {
            faults.push("basicAuth: must be null if tokenFile is set".to_owned());
        }
        if let Some(BasicAuth { username, .. }) = &self.basic_auth
            && (username.is_empty() || username.contains(':'))
        {
            faults.push("basicAuth.username: must not be empty nor contain a colon".to_owned());
        }
        let mut names = Vec::new();
        for (name, value) in &self.headers {
            let fault = header_fault(name, value, &mut names);
            faults.extend(fault.map(|fault| format!("headers.{name}: {fault}")));
        }
        faults
    }
}

/// The fault of a header, without its value. `names` are those of the headers before it.
fn header_fault(name: &str, value: &str, names: &mut Vec<HeaderName>) -> Option<&'static str> {
    let Ok(name) = HeaderName::try_from(name) else {
        return Some("is not a valid header name");
    };
    if RESERVED.contains(&name.as_str()) {
        return Some("is set by locksmith itself; credentials belong in tokenFile or basicAuth");
    }
    if names.contains(&name) {
        return Some("is listed twice; case does not matter");
    }
    names.push(name);
    HeaderValue::try_from(value)
        .is_err()
        .then_some("has a value that no header may have")
}

/// The fault of the URL of an API.
pub(super) fn url_fault(url: &str) -> Option<&'static str> {
    let Some(uri) = url.parse::<Uri>().ok().filter(is_web) else {
        return Some("must be an http or https URL, such as http://prometheus.monitoring:9090");
    };
    let has_user = uri.authority().is_some_and(|it| it.as_str().contains('@'));
    has_user.then_some("must not contain a user name or password; use http.basicAuth")
}

fn is_web(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
}

/// Parses the URL of an API that is given as a flag.
pub fn api_url(text: &str) -> Result<String, &'static str> {
    url_fault(text).map_or_else(|| Ok(text.to_owned()), Err)
}
