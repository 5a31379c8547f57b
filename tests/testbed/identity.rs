//! Users of the API server, each with a kubeconfig and clients.

use std::path::{Path, PathBuf};

use axum::http::header::{HeaderValue, USER_AGENT};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::controlplane::ControlPlane;
use super::pki::Credential;

/// A user of a testbed.
pub struct Identity {
    kubeconfig: PathBuf,
    config: Config,
}

impl Identity {
    async fn new(kubeconfig: PathBuf) -> Self {
        let file = Kubeconfig::read_from(&kubeconfig).expect("the kubeconfig was just written");
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(file, &options)
            .await
            .expect("the kubeconfig is valid");
        // A test must see each response, without retries.
        config.default_retry = false;
        // Distinguishes a test's own requests from those of the program under test.
        config
            .headers
            .push((USER_AGENT, HeaderValue::from_static("locksmith-testbed")));
        Self { kubeconfig, config }
    }

    /// For programs that read a file, such as kubectl.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A new client; its connections belong to the current runtime.
    pub fn client(&self) -> Client {
        Client::try_from(self.config.clone()).expect("the certificates were just made")
    }
}

/// A user with a client certificate.
pub async fn certified(
    plane: &ControlPlane,
    file: &str,
    user: &str,
    group: Option<&str>,
) -> Identity {
    let credential = plane.client_certificate(file, user, group);
    Identity::new(plane.user(file, &credential)).await
}

/// The administrator at the API server on that port.
pub async fn admin_at(plane: &ControlPlane, port: u16) -> Identity {
    Identity::new(plane.admin_at(port)).await
}

/// A user with a token in a file.
pub async fn by_token_file(plane: &ControlPlane, name: &str, file: &Path) -> Identity {
    let credential = Credential::TokenFile(file.to_owned());
    Identity::new(plane.user(&format!("file-{name}"), &credential)).await
}

/// A service account with a token issued by the API server.
pub async fn service_account(
    plane: &ControlPlane,
    admin: Client,
    namespace: &str,
    name: &str,
) -> Identity {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin, namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec::default(),
        ..TokenRequest::default()
    };
    let issued = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .unwrap_or_else(|error| panic!("failed to get a token for {namespace}/{name}: {error}"));
    let token = issued.status.expect("an issued token has a status").token;
    Identity::new(plane.user(
        &format!("account-{namespace}-{name}"),
        &Credential::Token(token),
    ))
    .await
}
