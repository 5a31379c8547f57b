//! A person at the command line: which run they mean, and who the API server says they are.

use anyhow::{Context as _, bail};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::api::remediation::Remediation;
use crate::cluster::{ErrorKind, remediations, reviews};

/// Every Remediation, in `namespace` or all, newest first.
pub async fn runs(client: &Client, namespace: Option<&str>) -> anyhow::Result<Vec<Remediation>> {
    let api: Api<Remediation> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let listed = api.list(&ListParams::default()).await;
    let mut runs = match listed {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            bail!("there are no Remediations here: install their CRD, locksmith crd")
        }
        listed => listed.context("failed to list Remediations")?.items,
    };
    runs.sort_by_key(|run| {
        std::cmp::Reverse(run.metadata.creation_timestamp.as_ref().map(|at| at.0))
    });
    Ok(runs)
}

/// The one Remediation called `name`, or whose name alone begins so.
pub async fn run_named(
    client: &Client,
    namespace: Option<&str>,
    name: &str,
) -> anyhow::Result<Remediation> {
    named(runs(client, namespace).await?, name)
}

fn named(runs: Vec<Remediation>, name: &str) -> anyhow::Result<Remediation> {
    let (mut exact, mut begun): (Vec<_>, Vec<_>) = runs
        .into_iter()
        .filter(|run| run.name_any().starts_with(name))
        .partition(|run| run.name_any() == name);
    let found = if exact.is_empty() {
        &mut begun
    } else {
        &mut exact
    };
    match (found.pop(), found.as_slice()) {
        (Some(run), []) => Ok(run),
        (Some(run), [other, ..]) if run.name_any() == other.name_any() => {
            bail!("several namespaces have a Remediation {name}: say which with -n")
        }
        (Some(run), others) => {
            let all = others.iter().chain([&run]).map(ResourceExt::name_any);
            let all = all.collect::<Vec<_>>().join(", ");
            bail!("several Remediations begin with {name}: say which of {all}")
        }
        (None, _) => bail!("there is no Remediation {name}; locksmith runs lists them"),
    }
}

/// Longest name of a person, in characters; as in the CRDs.
const LONGEST: usize = 256;

/// The user's name, as the API server knows it; of a very long one the beginning.
pub async fn name(client: &Client) -> Option<String> {
    let name = reviews::own_name(client).await?;
    Some(name.chars().take(LONGEST).collect())
}

/// Merges `patch` into `run`.
pub async fn change(client: &Client, run: &Remediation, patch: Value) -> anyhow::Result<()> {
    match remediations::change(client, run, patch).await {
        Err(error) if error.kind() == ErrorKind::Conflict => {
            let name = run.name_any();
            bail!("Remediation {name} is another one by now: look again, then decide again")
        }
        other => Ok(other?),
    }
}

/// Ends `run`.
pub async fn abort(client: &Client, run: &Remediation) -> anyhow::Result<()> {
    change(client, run, json!({ "spec": { "abort": true } })).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::run;
    use rstest::rstest;

    #[rstest]
    #[case("night", "night")]
    #[case("night-o", "night-of-all")]
    #[case(
        "nig",
        "several Remediations begin with nig: say which of night, night-of-all"
    )]
    #[case("day", "there is no Remediation day; locksmith runs lists them")]
    fn the_start_of_a_name_is_enough(#[case] name: &str, #[case] found: &str) {
        let runs = ["night", "night-of-all"].map(run).to_vec();
        let found_name = named(runs, name).map(|run| run.name_any());
        assert_eq!(found_name.unwrap_or_else(|why| why.to_string()), found);
    }

    #[test]
    fn one_name_in_two_namespaces_is_asked_about() {
        let mut elsewhere = run("night");
        elsewhere.metadata.namespace = Some("lab".to_owned());
        let said = named(vec![run("night"), elsewhere], "night").unwrap_err();
        assert!(said.to_string().contains("say which with -n"), "{said}");
    }
}
