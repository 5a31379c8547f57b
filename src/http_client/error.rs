//! Errors of a request: each names the field of the configuration that is wrong, and none contains a secret.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use reqwest::StatusCode;
use rustls::CertificateError;

use crate::config::HttpAccess;
use crate::text::error_chain;

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
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// No response.
    #[error("{}", error_chain(.0))]
    Request(#[source] reqwest::Error),
    /// The response is too large.
    #[error("the answer is larger than {} MiB", super::MAX_BODY >> 20)]
    TooLarge,
    /// The response cannot be parsed.
    #[error("the answer is not as expected: {0}")]
    Json(#[from] serde_json::Error),
}

impl HttpError {
    /// The error of a request that was sent, or not. Its URL is left out: that of a redirect may contain a secret.
    pub(super) fn request(
        error: reqwest::Error,
        section: Option<&'static str>,
        access: &HttpAccess,
    ) -> Self {
        let error = error.without_url();
        let Some(certificate) = certificate_error(&error) else {
            return Self::Request(error);
        };
        let field = path_of(section, "caFile");
        let advice = match access.ca_file {
            Some(_) => format!("{field}: did not issue the certificate of the server"),
            None => format!("the certificate of the server is not trusted; set {field}"),
        };
        Self::Untrusted {
            advice,
            problem: rustls::Error::InvalidCertificate(certificate).to_string(),
        }
    }

    /// The error of a status, if it is one.
    pub(super) fn of_status(
        status: StatusCode,
        section: Option<&'static str>,
        access: &HttpAccess,
    ) -> Result<(), Self> {
        if status.is_success() {
            return Ok(());
        }
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(Self::Status(status));
        }
        let (token, basic) = (path_of(section, "tokenFile"), path_of(section, "basicAuth"));
        let advice = match (&access.token_file, &access.basic_auth) {
            (Some(_), _) => format!("{token}: not accepted"),
            (None, Some(_)) => format!("{basic}: not accepted"),
            (None, None) if section.is_none() => format!("authentication is required; set {token}"),
            (None, None) => format!("authentication is required; set {token} or {basic}"),
        };
        Err(Self::Refused { advice, status })
    }
}

/// Path of a field of `http`, or the flag for it.
pub(super) fn path_of(section: Option<&'static str>, field: &str) -> String {
    match (section, field) {
        (Some(section), field) => format!("{section}.http.{field}"),
        (None, "tokenFile") => "--token-file".to_owned(),
        (None, "caFile") => "--ca-file".to_owned(),
        (None, field) => field.to_owned(),
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
