//! HTTP client for Prometheus and Alertmanager: authentication, CA and headers of [`HttpAccess`].
//!
//! Credentials and the CA are read from their files at each request, so that a rotated Secret needs no restart. A redirect to
//! another origin is refused, since it would carry credentials and headers there.

mod error;
#[cfg(test)]
mod tests;

use error::Field;
pub use error::{HttpError, shortened};

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, RequestBuilder, StatusCode, Url, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{Alertmanager, BasicAuth, Config, HttpAccess, Prometheus};

/// Timeout of a request, the body of its response included.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Largest response body that is read, in bytes: some 20,000 alerts.
const MAX_BODY: usize = 16 << 20;

/// Maximum number of redirects within an origin.
const MAX_REDIRECTS: usize = 5;

/// Header `User-Agent`, for the logs of proxies.
const USER_AGENT: &str = concat!("locksmith/", env!("CARGO_PKG_VERSION"));

/// A client for one API.
pub struct HttpClient {
    /// Section of the configuration, such as `alertmanager`, for errors; `None` if flags give the access.
    section: Option<&'static str>,
    /// URL that paths are appended to.
    url: String,
    /// Scheme, host and port of the URL, for errors.
    origin: String,
    access: HttpAccess,
    transport: Mutex<Option<Transport>>,
}

/// The clients, and the content of the CA file that they were built with.
struct Transport {
    ca: Option<Vec<u8>>,
    get: Client,
    post: Client,
}

#[derive(Clone, Copy)]
enum Verb {
    Get,
    Post,
}

/// The content of the files.
struct Secrets {
    authorization: Option<Authorization>,
    ca: Option<Vec<u8>>,
}

enum Authorization {
    /// Value of the header.
    Bearer(HeaderValue),
    Basic {
        username: String,
        password: String,
    },
}

impl HttpClient {
    /// A client for the expressions of gates, if there are any.
    pub fn for_gates(config: &Config) -> Option<Self> {
        if config.gates.promql.is_empty() {
            return None;
        }
        Self::prometheus(&config.prometheus)
    }

    /// A client for Prometheus, if its URL is known.
    pub fn prometheus(config: &Prometheus) -> Option<Self> {
        let url = config.url.as_deref()?;
        Some(Self::new(Some("prometheus"), url, config.http.clone()))
    }

    /// A client for Alertmanager, if its URL is known.
    pub fn alertmanager(config: &Alertmanager) -> Option<Self> {
        let url = config.url.as_deref()?;
        Some(Self::new(Some("alertmanager"), url, config.http.clone()))
    }

    /// A client for the API of a daemon, with access by flags.
    pub fn daemon(url: &str, access: HttpAccess) -> Self {
        Self::new(None, url, access)
    }

    fn new(section: Option<&'static str>, url: &str, access: HttpAccess) -> Self {
        Self {
            section,
            origin: origin(url),
            url: url.trim_end_matches('/').to_owned(),
            access,
            transport: Mutex::default(),
        }
    }

    /// The URL that paths are appended to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads the files once, so that an unusable one is reported before the first request.
    pub async fn check_files(&self) -> Result<(), HttpError> {
        let secrets = self.secrets().await?;
        self.client(secrets.ca, Verb::Get).map(drop)
    }

    /// The text at `path`.
    pub async fn get_text(&self, path: &str) -> Result<String, HttpError> {
        let body = self.send(path, Verb::Get, |request| request).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// The JSON at `path`.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, HttpError> {
        let body = self.send(path, Verb::Get, |request| request).await?;
        self.parse(&body)
    }

    /// The JSON that is returned for a form.
    pub async fn post_form<T: DeserializeOwned>(
        &self,
        path: &str,
        form: &(impl Serialize + ?Sized),
    ) -> Result<T, HttpError> {
        let body = self.send(path, Verb::Post, |it| it.form(form)).await?;
        self.parse(&body)
    }

    /// Posts JSON; the body of the response is ignored.
    pub async fn post_json(&self, path: &str, body: &impl Serialize) -> Result<(), HttpError> {
        let sent = self.send(path, Verb::Post, |it| it.json(body)).await;
        sent.map(drop)
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, HttpError> {
        serde_json::from_slice(body).map_err(|error| HttpError::json(&error, &self.origin))
    }

    async fn send(
        &self,
        path: &str,
        verb: Verb,
        content: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Vec<u8>, HttpError> {
        let Secrets { authorization, ca } = self.secrets().await?;
        let client = self.client(ca, verb)?;
        let url = format!("{}{path}", self.url);
        let request = match verb {
            Verb::Get => client.get(url),
            Verb::Post => client.post(url),
        };
        let request = content(request).headers(self.headers());
        let request = match authorization {
            Some(Authorization::Bearer(value)) => request.header(AUTHORIZATION, value),
            Some(Authorization::Basic { username, password }) => {
                request.basic_auth(username, Some(password))
            }
            None => request,
        };
        let (origin, section, access) = (&*self.origin, self.section, &self.access);
        let failed = |error| HttpError::request(error, origin, section, access);
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(failed)? {
            if body.len() + part.len() > MAX_BODY {
                let origin = origin.to_owned();
                return Err(HttpError::TooLarge { origin });
            }
            body.extend_from_slice(&part);
        }
        if !status.is_success() {
            return Err(HttpError::of_status(status, &body, origin, section, access));
        }
        Ok(body)
    }

    /// The configured headers. Some contain keys of an API, so none is shown in a trace of the connection.
    fn headers(&self) -> HeaderMap {
        let headers = self.access.headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::try_from(name).ok()?;
            let mut value = HeaderValue::try_from(value).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        headers.collect()
    }

    async fn secrets(&self) -> Result<Secrets, HttpError> {
        let HttpAccess {
            token_file,
            basic_auth,
            ca_file,
            headers: _,
        } = &self.access;
        let authorization = if let Some(path) = token_file {
            let token = self.secret(Field::TokenFile, path).await?;
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let mut value = value.map_err(|_| {
                self.unusable(
                    Field::TokenFile,
                    path,
                    "contains characters that no token may have",
                )
            })?;
            value.set_sensitive(true);
            Some(Authorization::Bearer(value))
        } else if let Some(BasicAuth {
            username,
            password_file,
        }) = basic_auth
        {
            let field = Field::PasswordFile;
            Some(Authorization::Basic {
                username: username.clone(),
                password: self.secret(field, password_file).await?,
            })
        } else {
            None
        };
        let ca = match ca_file {
            Some(path) => Some(self.read(Field::CaFile, path).await?),
            None => None,
        };
        Ok(Secrets { authorization, ca })
    }

    /// The secret in a file, without the white space around it.
    async fn secret(&self, field: Field, path: &Path) -> Result<String, HttpError> {
        let bytes = self.read(field, path).await?;
        match std::str::from_utf8(&bytes).map(str::trim) {
            Ok("") => Err(self.unusable(field, path, "is empty")),
            Ok(secret) => Ok(secret.to_owned()),
            Err(_) => Err(self.unusable(field, path, "is not text")),
        }
    }

    async fn read(&self, field: Field, path: &Path) -> Result<Vec<u8>, HttpError> {
        let read = tokio::fs::read(path).await;
        read.map_err(|source| HttpError::Read {
            field: field.path(self.section),
            path: path.to_owned(),
            source,
        })
    }

    fn unusable(&self, field: Field, path: &Path, problem: &'static str) -> HttpError {
        HttpError::Unusable {
            field: field.path(self.section),
            path: path.to_owned(),
            problem,
        }
    }

    /// The client for `verb` that trusts these CA certificates, built when they change.
    fn client(&self, ca: Option<Vec<u8>>, verb: Verb) -> Result<Client, HttpError> {
        let mut transport = self
            .transport
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = match transport.take().filter(|known| known.ca == ca) {
            Some(known) => known,
            None => self.transport(ca)?,
        };
        let client = match verb {
            Verb::Get => known.get.clone(),
            Verb::Post => known.post.clone(),
        };
        *transport = Some(known);
        Ok(client)
    }

    fn transport(&self, ca: Option<Vec<u8>>) -> Result<Transport, HttpError> {
        let certificates = match (&ca, &self.access.ca_file) {
            (Some(pem), Some(path)) => Some(self.certificates(pem, path)?),
            _ => None,
        };
        let client = |policy| {
            let mut builder = Client::builder()
                .timeout(TIMEOUT)
                .user_agent(USER_AGENT)
                .redirect(policy)
                // A Service chooses a replica for each connection.
                .pool_max_idle_per_host(0);
            if let Some(certificates) = &certificates {
                builder = builder.tls_certs_only(certificates.clone());
            }
            builder
                .build()
                .map_err(|source| match &self.access.ca_file {
                    Some(path) => self.wrong_ca(path, source),
                    None => HttpError::Tls(source),
                })
        };
        Ok(Transport {
            get: client(redirect::Policy::custom(within_origin))?,
            post: client(redirect::Policy::custom(keeping_the_method))?,
            ca,
        })
    }

    fn certificates(&self, pem: &[u8], path: &Path) -> Result<Vec<Certificate>, HttpError> {
        let certificates = Certificate::from_pem_bundle(pem);
        let certificates = certificates.map_err(|source| self.wrong_ca(path, source))?;
        if certificates.is_empty() {
            return Err(self.unusable(Field::CaFile, path, "contains no PEM certificate"));
        }
        Ok(certificates)
    }

    fn wrong_ca(&self, path: &Path, source: reqwest::Error) -> HttpError {
        HttpError::Ca {
            field: Field::CaFile.path(self.section),
            path: path.to_owned(),
            source,
        }
    }
}

/// Scheme, host and port, without a user name, path or query.
fn origin(url: &str) -> String {
    let url = Url::parse(url).map(|url| url.origin().ascii_serialization());
    url.unwrap_or_else(|_| "the server".to_owned())
}

/// As [`within_origin`], and only if the redirected request is a POST, too: after other redirects it would be a GET.
fn keeping_the_method(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let status = attempt.status();
    if !matches!(
        status,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    ) {
        return attempt.error(format!(
            "redirected with {status}, which a POST does not follow"
        ));
    }
    within_origin(attempt)
}

/// Follows a redirect only within the scheme, host and port of the request before it.
fn within_origin(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let to = attempt.url().origin();
    let stays = attempt
        .previous()
        .last()
        .is_some_and(|from| from.origin() == to);
    if !stays {
        let to = to.ascii_serialization();
        return attempt.error(format!("redirected to {to}, which is not followed"));
    }
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error("too many redirects");
    }
    attempt.follow()
}
