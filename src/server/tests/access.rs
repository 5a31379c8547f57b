//! Requests that the tokens of a file authorize.

use kube::{Client, Config};

use super::*;
use crate::config::Auth;
use crate::server::AuthError;
use crate::server::api::description;

/// A client whose requests are never answered.
fn nobody() -> Client {
    // Installed once per process; another test may have done so.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::try_from(Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap()
}

struct Guarded {
    directory: tempfile::TempDir,
    receiver: Receiver,
    face: Face,
}

impl Guarded {
    async fn by(tokens: &str, metrics: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, tokens).unwrap();
        let auth = Auth {
            token_file: Some(file),
            metrics,
            ..Auth::default()
        };
        let guard = Authenticator::new(&auth, &nobody()).await.unwrap();
        let receiver = Receiver::default();
        let face = face_of(fixture::jammed(), receiver.clone(), WEBHOOK_WITHIN, guard);
        Self {
            directory,
            receiver,
            face,
        }
    }

    fn tokens(&self, tokens: &str) {
        std::fs::write(self.directory.path().join("token"), tokens).unwrap();
    }

    async fn ask(&self, method: &str, path: &str, authorization: Option<&str>) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::CONTENT_TYPE, "application/json");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Body::from(notification())).unwrap();
        self.face.router.clone().oneshot(request).await.unwrap()
    }

    async fn post(&self, authorization: Option<&str>) -> u16 {
        let response = self.ask("POST", "/webhook", authorization).await;
        response.status().as_u16()
    }
}

#[tokio::test]
async fn refusal_matches_the_api_description() {
    let guarded = Guarded::by("secret", true).await;
    let description = description::<Receiver>();
    let problem = "/components/responses/Problem/content/application~1json/schema";
    let schema = description.pointer(problem).unwrap();
    let validator = jsonschema::draft202012::new(schema).unwrap();
    for (path, methods) in description["paths"].as_object().unwrap() {
        let answer = guarded.ask("GET", path, None).await;
        let status = answer.status();
        assert_eq!(status, 401, "{path}");
        assert!(methods["get"]["responses"].get(status.as_str()).is_some());
        let body = json(answer).await;
        assert!(validator.is_valid(&body), "{path}: {body}");
    }
}

#[rstest]
#[case(None, 401)]
#[case(Some("Bearer wrong"), 401)]
#[case(Some("Bearer secre"), 401)]
#[case(Some("Bearer "), 401)]
#[case(Some("Basic secret"), 401)]
#[case(Some("secret"), 401)]
#[case(Some("Bearer secret"), 202)]
#[case(Some("bearer other"), 202)]
#[tokio::test]
async fn only_tokens_in_the_file_are_accepted(
    #[case] authorization: Option<&str>,
    #[case] status: u16,
) {
    let guarded = Guarded::by("secret\n\n  other \n", false).await;
    assert_eq!(guarded.post(authorization).await, status);
    let taken = guarded.receiver.taken.lock().unwrap().len();
    assert_eq!(taken, usize::from(status == 202));
    let metrics = text(guarded.face.get("/metrics").await).await;
    let counted = format!("\nlocksmith_webhook_requests_total{{code=\"{status}\"}} 1\n");
    assert!(metrics.contains(&counted), "{metrics}");
}

#[tokio::test]
async fn refusal_has_www_authenticate() {
    let guarded = Guarded::by("secret", false).await;
    let refused = guarded.ask("POST", "/webhook", None).await;
    assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], "Bearer");
    assert!(!text(refused).await.contains("secret"));
}

#[tokio::test]
async fn changed_tokens_apply_from_the_next_request() {
    let guarded = Guarded::by("first", false).await;
    assert_eq!(guarded.post(Some("Bearer first")).await, 202);
    guarded.tokens("second");
    assert_eq!(guarded.post(Some("Bearer second")).await, 202);
    assert_eq!(guarded.post(Some("Bearer first")).await, 401);
}

#[tokio::test]
async fn empty_token_file_rejects_every_request() {
    let guarded = Guarded::by("secret", false).await;
    guarded.tokens("\n");
    assert_eq!(guarded.post(Some("Bearer secret")).await, 503);
    assert_eq!(guarded.post(Some("Bearer ")).await, 401);
    std::fs::remove_file(guarded.directory.path().join("token")).unwrap();
    assert_eq!(guarded.post(Some("Bearer secret")).await, 503);
}

#[rstest]
#[case("/metrics", 401)]
#[case("/api/v1/status", 401)]
#[case("/healthz", 200)]
#[case("/readyz", 200)]
#[tokio::test]
async fn get_requests_need_a_token_if_configured_probes_never(
    #[case] path: &str,
    #[case] status: u16,
) {
    let guarded = Guarded::by("secret", true).await;
    assert_eq!(guarded.face.get(path).await.status(), status);
    let known = guarded.ask("GET", path, Some("Bearer secret")).await;
    assert_eq!(known.status(), 200);
    let open = Guarded::by("secret", false).await;
    assert_eq!(open.face.get(path).await.status(), 200);
}

#[tokio::test]
async fn unreachable_api_server_rejects_every_request() {
    let auth = Auth {
        kubernetes: true,
        ..Auth::default()
    };
    let guard = Authenticator::new(&auth, &nobody()).await.unwrap();
    let receiver = Receiver::default();
    let face = face_of(fixture::jammed(), receiver.clone(), WEBHOOK_WITHIN, guard);
    assert_eq!(face.post(notification()).await.status(), 401);
    let request = Request::post("/webhook").header(header::AUTHORIZATION, "Bearer x");
    let request = request.body(Body::from(notification())).unwrap();
    let response = face.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(receiver.taken.lock().unwrap().is_empty());
}

#[tokio::test]
async fn empty_token_file_is_named_at_startup() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let auth = Auth {
        token_file: Some(file.clone()),
        ..Auth::default()
    };
    let missing = Authenticator::new(&auth, &nobody()).await.err().unwrap();
    assert!(matches!(missing, AuthError::Read { .. }), "{missing}");
    std::fs::write(&file, " \n").unwrap();
    let empty = Authenticator::new(&auth, &nobody()).await.err().unwrap();
    assert_eq!(
        empty.to_string(),
        format!(
            "server.auth.tokenFile: {} contains no token",
            file.display()
        )
    );
}

/// Attack: a token guessed byte by byte from the time of a refusal. Defence: digests of one length are compared, all of
/// them and each as a whole; no comparison ends early.
#[test]
fn tokens_are_compared_in_constant_time() {
    let source = include_str!("../auth.rs");
    let (_, body) = source.split_once("fn contain(").unwrap();
    let (body, _) = body.split_once("\n    }\n").unwrap();
    assert!(
        body.contains(".ct_eq(&asked)") && body.contains(".fold(Choice::from(0)"),
        "{body}"
    );
    for early in [
        "==",
        "!=",
        ".any(",
        ".find(",
        ".contains(",
        ".position(",
        "return",
        "if ",
    ] {
        assert!(!body.contains(early), "{early} in {body}");
    }
    let (_, after) = source.split_once("struct Tokens(").unwrap();
    assert!(after.starts_with("Vec<[u8; 32]>"));
}
