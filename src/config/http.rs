//! Access to the HTTP API of Prometheus or Alertmanager: authentication, CA and headers.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use axum::http::{HeaderName, HeaderValue, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Access to the API. The files are read at each request, so that a change needs no restart.
#[derive(Clone, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpAccess {
    /// File with the bearer token. Set at most one of `tokenFile` and `basicAuth`.
    pub token_file: Option<PathBuf>,
    /// User name and password.
    pub basic_auth: Option<BasicAuth>,
    /// PEM file with the CA certificates to trust, instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// Additional request headers, such as `X-Scope-OrgID` for a tenant. Not for secrets, which belong in files.
    pub headers: BTreeMap<String, String>,
}

/// Without the values of headers: some proxies take a key in one, although it is documented not to belong here.
impl fmt::Debug for HttpAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            token_file,
            basic_auth,
            ca_file,
            headers,
        } = self;
        let names: Vec<_> = headers.keys().collect();
        f.debug_struct("HttpAccess")
            .field("token_file", token_file)
            .field("basic_auth", basic_auth)
            .field("ca_file", ca_file)
            .field("headers", &names)
            .finish()
    }
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

/// Headers that authenticate, or that the client itself sets, in lower case. `deploy/chart/templates/_validate.tpl` has the same
/// list.
pub const RESERVED_HEADERS: [&str; 18] = [
    "accept-encoding",
    "api-key",
    "apikey",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-api-key",
    "x-auth-token",
];

/// Where a pod finds the token that authenticates it to the API server.
const CLUSTER_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

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

    /// Risks of sending the credentials to `url`, each with its path below the section.
    pub(super) fn warnings(&self, url: &str) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        let has_credentials = self.token_file.is_some() || self.basic_auth.is_some();
        if has_credentials && url.parse::<Uri>().is_ok_and(|uri| is_in_clear(&uri)) {
            warnings.push("url: credentials are sent unencrypted; use https");
        }
        let token = self.token_file.as_deref();
        if token.is_some_and(|path| path == Path::new(CLUSTER_TOKEN)) {
            warnings.push(
                "http.tokenFile: this token also has every right of locksmith at the API server; project one with its own audience",
            );
        }
        warnings
    }
}

/// Whether requests leave this host unencrypted.
fn is_in_clear(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_loopback = host == "localhost" || address.is_ok_and(|it| it.is_loopback());
    uri.scheme_str() == Some("http") && !is_loopback
}

/// The fault of a header, without its value. `names` are those of the headers before it.
fn header_fault(name: &str, value: &str, names: &mut Vec<HeaderName>) -> Option<&'static str> {
    let Ok(name) = HeaderName::try_from(name) else {
        return Some("is not a valid header name");
    };
    if RESERVED_HEADERS.contains(&name.as_str()) {
        return Some(
            "is set by locksmith itself, or a credential; those belong in tokenFile or basicAuth",
        );
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
    if has_user {
        return Some("must not contain a user name or password");
    }
    let has_query = url.contains(['?', '#']);
    has_query.then_some("must not contain ? or #, since paths are appended to it")
}

fn is_web(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
}

/// Parses the URL of an API that is given as a flag.
pub fn api_url(text: &str) -> Result<String, &'static str> {
    url_fault(text).map_or_else(|| Ok(text.to_owned()), Err)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::config::{Alertmanager, Prometheus, parse, warnings};

    #[rstest]
    #[case::in_clear("http://p:9090", "tokenFile: /t", &["prometheus.url: credentials are sent unencrypted"])]
    #[case::basic("http://p", "basicAuth: {username: u, passwordFile: /p}", &["prometheus.url: "])]
    #[case::cluster_token(
        "https://p", "tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token", &["prometheus.http.tokenFile: "]
    )]
    #[case::encrypted("https://p", "tokenFile: /t", &[])]
    #[case::loopback("http://127.0.0.1:9090", "tokenFile: /t", &[])]
    #[case::loopback("http://[::1]:9090", "tokenFile: /t", &[])]
    #[case::loopback("http://localhost:9090", "tokenFile: /t", &[])]
    #[case::not_loopback("http://localhost.example", "tokenFile: /t", &["prometheus.url: "])]
    #[case::no_credentials("http://p", "caFile: /c", &[])]
    fn risky_credentials_are_warned_of(
        #[case] url: &str,
        #[case] http: &str,
        #[case] expected: &[&str],
    ) {
        let config = parse(&format!("prometheus: {{url: '{url}', http: {{{http}}}}}")).unwrap();
        let warnings = warnings(&config);
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, start) in warnings.iter().zip(expected) {
            assert!(warning.starts_with(start), "{warning}");
        }
    }

    /// A proxy for `--prometheus` or `--alertmanager` must not obtain the credentials of the configured server.
    #[test]
    fn another_url_gets_no_credentials() {
        let config =
            "{url: https://p, interval: 7s, http: {tokenFile: /t, headers: {X-Scope-OrgID: a}}}";
        let config = parse(&format!("prometheus: {config}\nalertmanager: {config}")).unwrap();
        let url = |url: &str| Some(url.to_owned());
        let other = config
            .prometheus
            .clone()
            .or_at(url("http://127.0.0.1:9090"));
        let expected = Prometheus {
            url: url("http://127.0.0.1:9090"),
            http: HttpAccess::default(),
            ..config.prometheus.clone()
        };
        assert_eq!(other, expected);
        let other = config
            .alertmanager
            .clone()
            .or_at(url("http://127.0.0.1:9093"));
        let expected = Alertmanager {
            url: url("http://127.0.0.1:9093"),
            http: HttpAccess::default(),
            ..config.alertmanager.clone()
        };
        assert_eq!(other, expected);
        for same in [None, url("https://p")] {
            assert_eq!(
                config.prometheus.clone().or_at(same.clone()),
                config.prometheus
            );
            assert_eq!(config.alertmanager.clone().or_at(same), config.alertmanager);
        }
    }

    #[test]
    fn debug_output_has_no_header_value() {
        let access = HttpAccess {
            headers: [("X-Tenant-Key".to_owned(), "open-sesame".to_owned())].into(),
            ..HttpAccess::default()
        };
        let text = format!("{access:?}");
        assert!(text.contains("X-Tenant-Key"), "{text}");
        assert!(!text.contains("open-sesame"), "{text}");
    }
}
