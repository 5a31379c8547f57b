//! Requests to a real HTTP server on 127.0.0.1.
//!
//! 1. A token, a password and headers are sent, and a rotated token or CA is used at the next request.
//! 2. An unusable file, a wrong CA and refused credentials are errors that name the field and contain no secret.
//! 3. A redirect carries no credentials to another origin, and turns no POST into a GET.
//! 4. An error names the server, and contains at most a line of its response.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Redirect;
use axum::routing::{get, post};
use axum_server::tls_rustls::RustlsConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;

const TOKEN: &str = "eyJhbGciOi-first";

/// Serves on a free port until the test ends; returns the address.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}

/// Returns the received header in the body.
fn echo(header: &'static str) -> Router {
    let handler = async move |headers: HeaderMap| {
        let value = headers.get(header).map(|value| value.to_str().unwrap());
        value.unwrap_or("nothing").to_owned()
    };
    Router::new().route("/", get(handler))
}

/// A client for Alertmanager at `url`.
fn client(url: &str, access: HttpAccess) -> HttpClient {
    let config = Alertmanager {
        url: Some(url.to_owned()),
        http: access,
        ..Alertmanager::default()
    };
    HttpClient::alertmanager(&config).unwrap()
}

fn write(directory: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Installed once per process; another test may have done so.
fn install_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

#[tokio::test]
async fn rotated_token_is_sent() {
    install_provider();
    let directory = tempfile::tempdir().unwrap();
    let token = write(&directory, "token", &format!("{TOKEN}\n"));
    let address = serve(echo("authorization")).await;
    let access = HttpAccess {
        token_file: Some(token.clone()),
        ..HttpAccess::default()
    };
    let http = client(&format!("http://{address}/"), access);
    http.check_files().await.unwrap();
    assert_eq!(http.get_text("/").await.unwrap(), format!("Bearer {TOKEN}"));
    std::fs::write(token, "second").unwrap();
    assert_eq!(http.get_text("/").await.unwrap(), "Bearer second");
}

#[tokio::test]
async fn password_and_headers_are_sent() {
    install_provider();
    let directory = tempfile::tempdir().unwrap();
    let access = HttpAccess {
        basic_auth: Some(BasicAuth {
            username: "locksmith".to_owned(),
            password_file: write(&directory, "password", "open sesame\n"),
        }),
        headers: [("X-Scope-OrgID".to_owned(), "home".to_owned())].into(),
        ..HttpAccess::default()
    };
    let address = serve(echo("authorization")).await;
    let http = client(&format!("http://{address}"), access.clone());
    // RFC 7617: base64 of `locksmith:open sesame`.
    let expected = "Basic bG9ja3NtaXRoOm9wZW4gc2VzYW1l";
    assert_eq!(http.get_text("/").await.unwrap(), expected);
    let address = serve(echo("x-scope-orgid")).await;
    let http = client(&format!("http://{address}"), access);
    assert_eq!(http.get_text("/").await.unwrap(), "home");
}

/// A new certificate for 127.0.0.1, which is its own CA.
fn issue() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap()
}

#[tokio::test]
async fn wrong_ca_is_refused_and_a_rotated_one_is_used() {
    install_provider();
    let directory = tempfile::tempdir().unwrap();
    let (own, other) = (issue(), issue());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let tls = RustlsConfig::from_pem(certificate.clone().into(), key.into()).await;
    let server = axum_server::from_tcp_rustls(listener, tls.unwrap()).unwrap();
    tokio::spawn(server.serve(echo("host").into_make_service()));

    let untrusted = client(&url, HttpAccess::default()).get_text("/").await;
    let error = untrusted.unwrap_err().to_string();
    assert!(error.contains("set alertmanager.http.caFile"), "{error}");

    let ca = write(&directory, "ca.crt", &other.cert.pem());
    let access = HttpAccess {
        ca_file: Some(ca.clone()),
        ..HttpAccess::default()
    };
    let http = client(&url, access);
    http.check_files().await.unwrap();
    let error = http.get_text("/").await.unwrap_err().to_string();
    assert!(error.starts_with("alertmanager.http.caFile: "), "{error}");

    std::fs::write(&ca, certificate).unwrap();
    http.get_text("/").await.unwrap();
    std::fs::write(&ca, other.cert.pem()).unwrap();
    http.get_text("/").await.unwrap_err();
}

/// Attack: a server that redirects the client, to obtain its token. Defence: only redirects within the origin are followed.
#[tokio::test]
async fn redirect_carries_no_token_to_another_origin() {
    install_provider();
    let directory = tempfile::tempdir().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    let elsewhere = serve(Router::new().fallback(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
    }))
    .await;
    let away = format!("http://{elsewhere}/login?state=secret");
    let router = echo("authorization")
        .route("/away", get(async move || Redirect::temporary(&away)))
        .route("/within", get(async || Redirect::temporary("/")));
    let address = serve(router).await;
    let access = HttpAccess {
        token_file: Some(write(&directory, "token", TOKEN)),
        headers: [("X-Scope-OrgID".to_owned(), "home".to_owned())].into(),
        ..HttpAccess::default()
    };
    let http = client(&format!("http://{address}"), access);
    let error = http.get_text("/away").await.unwrap_err().to_string();
    let named = format!("redirected to http://{elsewhere}, which is not followed");
    assert!(error.ends_with(&named), "{error}");
    assert!(!error.contains("secret"), "{error}");
    assert_eq!(seen.load(Ordering::Relaxed), 0);
    let within = http.get_text("/within").await.unwrap();
    assert_eq!(within, format!("Bearer {TOKEN}"));
}

#[tokio::test]
async fn unusable_file_is_named_without_its_content() {
    install_provider();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    write(&directory, "empty", " \n");
    write(&directory, "binary", "to\u{7}ken");
    write(&directory, "text", "not a certificate");
    let pem = |content: &str| {
        format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n")
    };
    write(&directory, "base64", &pem("not base64!"));
    write(&directory, "der", &pem("AAAA"));
    let token = |name: &str| HttpAccess {
        token_file: Some(path(name)),
        ..HttpAccess::default()
    };
    let ca = |name: &str| HttpAccess {
        ca_file: Some(path(name)),
        ..HttpAccess::default()
    };
    let password = HttpAccess {
        basic_auth: Some(BasicAuth {
            username: "u".to_owned(),
            password_file: path("missing"),
        }),
        ..HttpAccess::default()
    };
    for (access, field, problem) in [
        (token("missing"), "tokenFile", "failed to read"),
        (token("empty"), "tokenFile", "is empty"),
        (token("binary"), "tokenFile", "contains characters"),
        (ca("missing"), "caFile", "failed to read"),
        (ca("text"), "caFile", "contains no PEM certificate"),
        (
            ca("base64"),
            "caFile",
            "base64 contains no valid CA certificate: ",
        ),
        (
            ca("der"),
            "caFile",
            "der contains no valid CA certificate: ",
        ),
        (password, "basicAuth.passwordFile", "failed to read"),
    ] {
        let checked = client("http://127.0.0.1:9", access).check_files().await;
        let error = checked.unwrap_err().to_string();
        let start = format!("alertmanager.http.{field}: ");
        assert!(
            error.starts_with(&start) && error.contains(problem),
            "{error}"
        );
        assert!(!error.contains('\u{7}'), "{error}");
    }
}

#[tokio::test]
async fn refused_credentials_are_named() {
    install_provider();
    let directory = tempfile::tempdir().unwrap();
    let token = write(&directory, "token", TOKEN);
    let refuse = Router::new().fallback(async || (StatusCode::UNAUTHORIZED, TOKEN));
    let url = format!("http://{}", serve(refuse).await);
    let error = async |token_file: Option<&Path>| {
        let access = HttpAccess {
            token_file: token_file.map(Path::to_owned),
            ..HttpAccess::default()
        };
        let error = client(&url, access).get_text("/").await.unwrap_err();
        error.to_string()
    };
    assert_eq!(
        error(Some(&token)).await,
        "alertmanager.http.tokenFile: not accepted: 401 Unauthorized"
    );
    assert_eq!(
        error(None).await,
        "authentication is required; set alertmanager.http.tokenFile or alertmanager.http.basicAuth: 401 Unauthorized"
    );
}

#[tokio::test]
async fn endless_body_is_refused() {
    install_provider();
    let endless = Router::new().fallback(async || "x".repeat(MAX_BODY + 1));
    let url = format!("http://{}", serve(endless).await);
    let error = client(&url, HttpAccess::default()).get_text("/").await;
    assert!(matches!(error.unwrap_err(), HttpError::TooLarge { .. }));
}

/// After 301, 302 and 303, a client repeats a POST as a GET without the body (RFC 9110, section 15.4).
#[tokio::test]
async fn post_follows_only_redirects_that_keep_it() {
    install_provider();
    let to = |status: StatusCode| async move || (status, [("location", "/query")]);
    let router = Router::new()
        .route(
            "/query",
            post(async |form: String| format!("{form:?}")).get(async || "null"),
        )
        .route("/301", post(to(StatusCode::MOVED_PERMANENTLY)))
        .route("/302", post(to(StatusCode::FOUND)))
        .route("/303", post(to(StatusCode::SEE_OTHER)))
        .route("/307", post(to(StatusCode::TEMPORARY_REDIRECT)))
        .route("/308", post(to(StatusCode::PERMANENT_REDIRECT)));
    let http = client(
        &format!("http://{}", serve(router).await),
        HttpAccess::default(),
    );
    let posted = async |path: &str| http.post_form::<Value>(path, &[("query", "up")]).await;
    for path in ["/307", "/308"] {
        assert_eq!(posted(path).await.unwrap(), "query=up");
    }
    for path in ["/301", "/302", "/303"] {
        let error = posted(path).await.unwrap_err().to_string();
        assert!(error.contains("which a POST does not follow"), "{error}");
    }
}

/// Attack: a server whose answer fills conditions and logs. Defence: an error contains at most a line of it.
#[tokio::test]
async fn errors_name_the_server_and_are_short() {
    install_provider();
    let huge = "x\n".repeat(1 << 20);
    let answer = |status: StatusCode, body: Value| async move || (status, body.to_string());
    let wrong = StatusCode::BAD_REQUEST;
    let router = Router::new()
        .route("/text", get(answer(StatusCode::OK, json!(huge.clone()))))
        .route(
            "/parse",
            get(answer(wrong, json!({"error": "1:4: parse error"}))),
        )
        .route("/alertmanager", get(answer(wrong, json!("bad matcher"))))
        .route("/huge", get(answer(wrong, json!({"error": huge.clone()}))));
    let address = serve(router).await;
    let http = client(&format!("http://{address}/"), HttpAccess::default());
    let error = async |path: &str| {
        let error = http.get_json::<Vec<String>>(path).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("http://{address} ")),
            "{text:.500}"
        );
        assert!(text.chars().count() < 500, "{text:.500}");
        assert!(!text.contains('\n'), "{text:.500}");
        text
    };
    let text = error("/text").await;
    assert!(
        text.contains("unexpected JSON: Data error at line 1, column "),
        "{text}"
    );
    assert!(
        error("/parse")
            .await
            .ends_with("400 Bad Request: 1:4: parse error")
    );
    assert!(
        error("/alertmanager")
            .await
            .ends_with("400 Bad Request: bad matcher")
    );
    error("/huge").await;
    error("/missing").await;
    let nobody = client("http://127.0.0.1:1/prefix", HttpAccess::default());
    let text = nobody.get_text("/secret").await.unwrap_err().to_string();
    assert!(text.starts_with("http://127.0.0.1:1: "), "{text}");
    assert!(!text.contains("secret"), "{text}");
}
