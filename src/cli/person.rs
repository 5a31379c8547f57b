//! A person at the command line: which run they mean, and who the API server says they are.

use anyhow::{Context as _, bail};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, SelfSubjectReviewStatus};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::api::remediation::Remediation;
use crate::kube_io::FIELD_MANAGER;

/// Every Remediation, in `namespace` or all, newest first.
pub async fn runs(client: &Client, namespace: Option<&str>) -> anyhow::Result<Vec<Remediation>> {
    let api: Api<Remediation> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let listed = api.list(&ListParams::default()).await;
    let mut runs = listed
        .context("failed to list Remediations: is the CRD installed (locksmith crd)?")?
        .items;
    runs.sort_by_key(|run| {
        std::cmp::Reverse(run.metadata.creation_timestamp.as_ref().map(|at| at.0))
    });
    Ok(runs)
}

/// The one Remediation called `name`.
pub async fn run_named(
    client: &Client,
    namespace: Option<&str>,
    name: &str,
) -> anyhow::Result<Remediation> {
    let mut found = runs(client, namespace).await?;
    found.retain(|run| run.name_any() == name);
    match (found.pop(), found.is_empty()) {
        (Some(run), true) => Ok(run),
        (Some(_), false) => {
            bail!("several namespaces have a Remediation {name}: say which with -n")
        }
        (None, _) => bail!("there is no Remediation {name}; locksmith runs lists them"),
    }
}

/// The user's name, as the API server knows it.
pub async fn name(client: &Client) -> Option<String> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let answer = api
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .ok()?;
    let SelfSubjectReviewStatus { user_info } = answer.status?;
    user_info?.username
}

/// Merges `patch` into `run`, if it is still as it was read.
pub async fn change(client: &Client, run: &Remediation, mut patch: Value) -> anyhow::Result<()> {
    let namespace = run.namespace().unwrap_or_default();
    let api: Api<Remediation> = Api::namespaced(client.clone(), &namespace);
    patch["metadata"]["resourceVersion"] = Value::from(run.resource_version());
    let params = PatchParams {
        field_manager: Some(format!("{FIELD_MANAGER}-cli")),
        ..PatchParams::default()
    };
    let name = run.name_any();
    let changed = api.patch(&name, &params, &Patch::Merge(patch)).await;
    match changed {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            bail!("Remediation {name} has changed meanwhile: look again, then decide again")
        }
        other => other
            .map(drop)
            .with_context(|| format!("failed to change Remediation {name}")),
    }
}
