//! One contract, two servers: every case runs on the server in this crate, and on a real kube-apiserver. If they differ,
//! the real one is right.

// A helper fails like a test: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]
// Most variables here are a path or a patch.
#![allow(clippy::similar_names)]

mod cases;
mod embedded;
mod ground;
mod holds;
mod kubectl;
// Other test binaries use the remaining parts.
#[allow(dead_code, unused_imports)]
#[path = "../testbed/mod.rs"]
mod testbed;
mod widgets;

use std::time::Duration;

use futures::StreamExt as _;
use kube::Client;
use locksmith::demo::apiserver::{ApiServer, Options};

use ground::Ground;

/// Number of concurrent cases: a real server shares two cores with its controllers.
const CONCURRENCY: usize = 4;
/// A case that takes longer waits in vain.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_server_keeps_the_contract() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    widgets::install(&server.client()).await;
    holds::install_kinds(&server.client()).await;
    holds::install_policy(&server.client()).await;
    run("the embedded API server", server.client()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_works_with_the_embedded_server() {
    if !kubectl::is_there() {
        return;
    }
    let server = ApiServer::start(Options::default()).await.unwrap();
    widgets::install(&server.client()).await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
    kubectl::drive(&kubeconfig, "default").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn real_server_keeps_the_contract() {
    let testbed = testbed::Testbed::start(testbed::Options {
        crds: [widgets::definitions(), holds::definitions()].concat(),
        ..Default::default()
    })
    .await;
    holds::install_policy(&testbed.client()).await;
    run("a real kube-apiserver", testbed.client()).await;
    // The expected output of `kubectl` is compared with the real server, too.
    if kubectl::is_there() {
        kubectl::drive(testbed.kubeconfig(), "default").await;
    }
}

/// Runs every case in a namespace of its own, and reports all failures.
async fn run(server: &str, client: Client) {
    let only = std::env::var("CONTRACT_CASE").unwrap_or_default();
    let cases: Vec<_> = cases::ALL
        .iter()
        .filter(|c| c.name.contains(&only))
        .collect();
    let outcomes = futures::stream::iter(&cases)
        .map(|case| {
            let client = client.clone();
            async move {
                let outcome = async {
                    let ground = Ground::new(client).await?;
                    (case.run)(ground).await
                };
                match tokio::time::timeout(DEADLINE, outcome).await {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(format!("{}: {error:#}", case.name)),
                    Err(_) => Some(format!("{}: not done after {DEADLINE:?}", case.name)),
                }
            }
        })
        .buffer_unordered(CONCURRENCY)
        .collect::<Vec<_>>()
        .await;
    let failed: Vec<_> = outcomes.into_iter().flatten().collect();
    let (count, passed) = (cases.len(), cases.len() - failed.len());
    testbed::figure(&format!(
        "shared contract: {passed} of {count} cases pass on {server}"
    ));
    assert!(!cases.is_empty(), "no case is called like {only:?}");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
