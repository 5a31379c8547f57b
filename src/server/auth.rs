//! Authenticates and authorizes requests by their headers.

mod reviews;

use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, StatusCode, header};
use kube::Client;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::problem::Problem;
use super::webhook::RETRY_AFTER_FAILURE;
use crate::config::Auth;
use reviews::Reviews;

/// Why authentication could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The tokens cannot be read.
    #[error("server.auth.tokenFile: failed to read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file contains no token.
    #[error("server.auth.tokenFile: {0} contains no token")]
    Empty(PathBuf),
}

/// Authorizes requests; by default, all of them.
#[derive(Default)]
pub struct Authenticator {
    check: Check,
    /// Whether GET requests are authorized, too.
    reads: bool,
}

#[derive(Default)]
enum Check {
    #[default]
    Nothing,
    Tokens(PathBuf),
    Reviews(Reviews),
}

impl Authenticator {
    /// Creates the authenticator that `auth` configures; `client` is for reviews by the API server.
    pub async fn new(auth: &Auth, client: &Client) -> Result<Self, AuthError> {
        let check = match &auth.token_file {
            Some(path) => {
                tokens(path).await?;
                Check::Tokens(path.clone())
            }
            None if auth.kubernetes => Check::Reviews(Reviews::new(client.clone())),
            None => Check::Nothing,
        };
        Ok(Self {
            check,
            reads: auth.metrics,
        })
    }

    /// Authorizes a POST to /webhook, or returns the error response.
    pub(super) async fn authorize_post(&self, headers: &HeaderMap) -> Result<(), Problem> {
        self.authorize(headers, "post", "/webhook").await
    }

    /// Authorizes a GET of `path`, or returns the error response.
    pub(super) async fn authorize_get(
        &self,
        headers: &HeaderMap,
        path: &'static str,
    ) -> Result<(), Problem> {
        if self.reads {
            self.authorize(headers, "get", path).await
        } else {
            Ok(())
        }
    }

    async fn authorize(
        &self,
        headers: &HeaderMap,
        verb: &'static str,
        path: &'static str,
    ) -> Result<(), Problem> {
        let token = || bearer(headers).ok_or_else(|| unauthorized("a bearer token is required"));
        match &self.check {
            Check::Nothing => Ok(()),
            Check::Tokens(file) => {
                let token = token()?;
                match tokens(file).await {
                    Ok(tokens) if tokens.contain(token) => Ok(()),
                    Ok(_) => Err(unauthorized("the bearer token is not accepted")),
                    Err(error) => {
                        tracing::error!(%error, "failed to read the tokens; every request is refused");
                        Err(Problem::retryable(
                            "the tokens cannot be read",
                            RETRY_AFTER_FAILURE,
                        ))
                    }
                }
            }
            Check::Reviews(reviews) => reviews.authorize(token()?, verb, path).await,
        }
    }
}

fn unauthorized(why: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, why)
}

/// The token in `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Digests of tokens. All have the same length, so that the time of a comparison reveals nothing.
struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// Whether `token` is one of them, in constant time.
    fn contain(&self, token: &str) -> bool {
        let asked = digest(token);
        let hits = self.0.iter().map(|known| known.ct_eq(&asked));
        hits.fold(Choice::from(0), |any, hit| any | hit).into()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The tokens in the file. They are read for each request, which is rare, so that no change is missed.
async fn tokens(path: &Path) -> Result<Tokens, AuthError> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|source| AuthError::Read {
        path: path.to_owned(),
        source,
    })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let tokens: Vec<_> = lines.map(digest).collect();
    if tokens.is_empty() {
        return Err(AuthError::Empty(path.to_owned()));
    }
    Ok(Tokens(tokens))
}
