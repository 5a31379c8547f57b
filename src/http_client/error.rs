//! Errors of a request: each names the field of the configuration that is wrong, and none contains a secret.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use reqwest::StatusCode;
use rustls::CertificateError;
use serde_json::Value;
use serde_json::error::Category;

use crate::config::HttpAccess;
use crate::text::error_chain;

/// Most characters of a server's text in an error, which ends in conditions and logs.
const MAX_TEXT: usize = 300;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A configured file cannot be read.
    #[error("{field}: failed to read {path}: {source}")]
    Read {
        /// Path of the field that names the file.
        field: String,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The content of a configured file cannot be used.
    #[error("{field}: {path} {problem}")]
    Unusable {
        /// Path of the field that names the file.
        field: String,
        /// The file.
        path: PathBuf,
        /// The fault.
        problem: &'static str,
    },
    /// The content of the CA file is no list of certificates.
    #[error("{field}: {path} contains no valid CA certificate: {}", error_chain(.source))]
    Ca {
        /// Path of the field that names the file.
        field: String,
        /// The file.
        path: PathBuf,
        /// The error of the TLS library.
        source: reqwest::Error,
    },
    /// The TLS library or the system's CA certificates cannot be used.
    #[error("failed to set up TLS: {}", error_chain(.0))]
    Tls(#[source] reqwest::Error),
    /// No trusted CA has issued the certificate of the server.
    #[error("{advice}: {problem}")]
    Untrusted {
        /// The field to set or correct.
        advice: String,
        /// The error of the TLS library.
        problem: String,
    },
    /// The server refused the credentials, or requires some.
    #[error("{advice}: {status}")]
    Refused {
        /// The field to set or correct.
        advice: String,
        /// 401 or 403.
        status: StatusCode,
    },
    /// Another status than success.
    #[error("{origin} returned {status}{detail}")]
    Status {
        /// Scheme, host and port of the server.
        origin: String,
        /// The status.
        status: StatusCode,
        /// The error in the body of the response, after a colon; empty if there is none.
        detail: String,
    },
    /// No response.
    #[error("{origin}: {}", shortened(&error_chain(.source)))]
    Request {
        /// Scheme, host and port of the server.
        origin: String,
        /// The error of the request.
        source: reqwest::Error,
    },
    /// The response is too large.
    #[error("{origin} returned more than {} MiB", super::MAX_BODY >> 20)]
    TooLarge {
        /// Scheme, host and port of the server.
        origin: String,
    },
    /// The response cannot be parsed. The parser's own message is left out, since it contains the response.
    #[error(
        "{origin} returned unexpected JSON: {category:?} error at line {line}, column {column}"
    )]
    Json {
        /// Scheme, host and port of the server.
        origin: String,
        /// The kind of the error.
        category: Category,
        /// Line of the response, from 1.
        line: usize,
        /// Column of the line, in bytes.
        column: usize,
    },
}

impl HttpError {
    /// The error of a request that was sent, or not. Its URL is left out: that of a redirect may contain a secret.
    pub(super) fn request(
        error: reqwest::Error,
        origin: &str,
        section: Option<&'static str>,
        access: &HttpAccess,
    ) -> Self {
        let source = error.without_url();
        let Some(certificate) = certificate_error(&source) else {
            let origin = origin.to_owned();
            return Self::Request { origin, source };
        };
        let field = Field::CaFile.path(section);
        let advice = match access.ca_file {
            Some(_) => format!("{field}: did not issue the certificate of the server"),
            None => format!("the certificate of the server is not trusted; set {field}"),
        };
        Self::Untrusted {
            advice,
            problem: rustls::Error::InvalidCertificate(certificate).to_string(),
        }
    }

    /// The error of a response with `status`, which is no success, and `body`.
    pub(super) fn of_status(
        status: StatusCode,
        body: &[u8],
        origin: &str,
        section: Option<&'static str>,
        access: &HttpAccess,
    ) -> Self {
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let detail = detail(body).map(|text| format!(": {text}"));
            return Self::Status {
                origin: origin.to_owned(),
                status,
                detail: detail.unwrap_or_default(),
            };
        }
        let (token, basic) = (
            Field::TokenFile.path(section),
            Field::BasicAuth.path(section),
        );
        let advice = match (&access.token_file, &access.basic_auth) {
            (Some(_), _) => format!("{token}: not accepted"),
            (None, Some(_)) => format!("{basic}: not accepted"),
            (None, None) if section.is_none() => format!("authentication is required; set {token}"),
            (None, None) => format!("authentication is required; set {token} or {basic}"),
        };
        Self::Refused { advice, status }
    }

    /// The error of a response that is not the expected JSON.
    pub(super) fn json(error: &serde_json::Error, origin: &str) -> Self {
        Self::Json {
            origin: origin.to_owned(),
            category: error.classify(),
            line: error.line(),
            column: error.column(),
        }
    }
}

/// The error in the body of a response: field `error` of Prometheus, or the string of Alertmanager.
fn detail(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = body["error"].as_str().or_else(|| body.as_str())?;
    Some(shortened(text))
}

/// The first `MAX_TEXT` characters of a text from a server, in one line.
pub fn shortened(text: &str) -> String {
    let mut rest = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = rest.by_ref().take(MAX_TEXT).collect();
    if rest.next().is_some() {
        short.push('\u{2026}');
    }
    short
}

/// A field of `http` that an error names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Field {
    TokenFile,
    BasicAuth,
    PasswordFile,
    CaFile,
}

impl Field {
    /// Its path in `section`, or the flag for it. Basic auth has no flags.
    pub(super) fn path(self, section: Option<&'static str>) -> String {
        let (name, flag) = match self {
            Self::TokenFile => ("tokenFile", "--token-file"),
            Self::BasicAuth => ("basicAuth", "basicAuth"),
            Self::PasswordFile => ("basicAuth.passwordFile", "basicAuth.passwordFile"),
            Self::CaFile => ("caFile", "--ca-file"),
        };
        section.map_or_else(
            || flag.to_owned(),
            |section| format!("{section}.http.{name}"),
        )
    }
}

/// The fault of the server's certificate if another CA could cure it. An expired one, or one for another name, is none.
fn certificate_error(error: &reqwest::Error) -> Option<CertificateError> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(fault)) = error.downcast_ref() {
            let other_ca = matches!(
                fault,
                CertificateError::UnknownIssuer
                    | CertificateError::BadSignature
                    | CertificateError::Other(_)
            );
            return other_ca.then(|| fault.clone());
        }
        // The source of an io::Error is that of the error it wraps, not the wrapped error itself.
        cause = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}
