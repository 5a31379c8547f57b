//! Finds the run that a command names, and the user name the API server knows.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use futures::{Stream, StreamExt};
use kube::api::ListParams;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::api::ObjectKind;
use crate::api::remediation::Remediation;
use crate::cluster::{ErrorKind, remediations, reviews};
use crate::text::humanize;

/// Every Remediation in `namespace`, or in all namespaces, newest first.
pub async fn runs(client: &Client, namespace: Option<&str>) -> anyhow::Result<Vec<Remediation>> {
    let api: Api<Remediation> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let listed = api.list(&ListParams::default()).await;
    let mut runs = match listed {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            bail!(
                "the Remediation CRD is not installed; run locksmith crd -n NAMESPACE | kubectl apply --server-side -f -"
            )
        }
        listed => listed.context("failed to list Remediations")?.items,
    };
    sort(&mut runs);
    Ok(runs)
}

/// Sorts by creation, newest first.
fn sort(runs: &mut [Remediation]) {
    runs.sort_by_key(|run| {
        std::cmp::Reverse(run.metadata.creation_timestamp.as_ref().map(|at| at.0))
    });
}

/// Every Remediation in `namespace`, or in all namespaces, newest first: once they are listed, and again after each change.
/// Errors are retried; the first one of an outage is yielded.
pub fn lists(
    client: &Client,
    namespace: Option<&str>,
) -> impl Stream<Item = Result<Vec<Remediation>, watcher::Error>> + use<> {
    let api: Api<Remediation> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let events = watcher(api, watcher::Config::default()).default_backoff();
    let mut known = BTreeMap::new();
    let (mut complete, mut failing) = (false, false);
    events.filter_map(move |event| {
        let key = |run: &Remediation| (run.namespace(), run.name_any());
        // A retry begins with `Init`, whether it succeeds or not.
        let failed_before = failing;
        if !matches!(event, Ok(Event::Init)) {
            failing = event.is_err();
        }
        match event {
            Ok(Event::Init) => {
                known.clear();
                complete = false;
            }
            Ok(Event::InitApply(run) | Event::Apply(run)) => drop(known.insert(key(&run), run)),
            Ok(Event::Delete(run)) => drop(known.remove(&key(&run))),
            Ok(Event::InitDone) => complete = true,
            Err(error) => {
                let first = (!failed_before).then_some(Err(error));
                return std::future::ready(first);
            }
        }
        let list = complete.then(|| {
            let mut runs: Vec<_> = known.values().cloned().collect();
            sort(&mut runs);
            Ok(runs)
        });
        std::future::ready(list)
    })
}

/// The Remediation called `name`, also as `runs -o name` prints it, or the only one whose name starts with it.
pub async fn run_named(
    client: &Client,
    namespace: Option<&str>,
    name: &str,
) -> anyhow::Result<Remediation> {
    let resource = humanize::resource(ObjectKind::Remediation);
    let bare = name.strip_prefix(resource);
    let name = bare.and_then(|bare| bare.strip_prefix('/')).unwrap_or(name);
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
            bail!("several namespaces have a Remediation {name}; choose one with -n")
        }
        (Some(run), others) => {
            let all = others.iter().chain([&run]).map(ResourceExt::name_any);
            let all = all.collect::<Vec<_>>().join(", ");
            bail!("several Remediations begin with {name}; choose one of {all}")
        }
        (None, _) => bail!("there is no Remediation {name}; list all with locksmith runs"),
    }
}

/// Longest user name, in characters; the limit of the CRDs.
const LONGEST: usize = 256;

/// The user name as the API server knows it, cut to the limit.
pub async fn name(client: &Client) -> Option<String> {
    let name = reviews::own_name(client).await?;
    Some(name.chars().take(LONGEST).collect())
}

/// Merges `patch` into `run`.
pub async fn change(client: &Client, run: &Remediation, patch: Value) -> anyhow::Result<()> {
    match remediations::change(client, run, patch).await {
        Err(error) if error.kind() == ErrorKind::Conflict => {
            let name = run.name_any();
            bail!(
                "Remediation {name} was replaced; check it with locksmith describe {name}, then try again"
            )
        }
        other => Ok(other?),
    }
}

/// Aborts `run`.
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
        "several Remediations begin with nig; choose one of night, night-of-all"
    )]
    #[case("day", "there is no Remediation day; list all with locksmith runs")]
    fn unique_prefix_selects_a_run(#[case] name: &str, #[case] found: &str) {
        let runs = ["night", "night-of-all"].map(run).to_vec();
        let found_name = named(runs, name).map(|run| run.name_any());
        assert_eq!(found_name.unwrap_or_else(|why| why.to_string()), found);
    }

    #[test]
    fn ambiguous_name_requires_a_namespace() {
        let mut elsewhere = run("night");
        elsewhere.metadata.namespace = Some("lab".to_owned());
        let said = named(vec![run("night"), elsewhere], "night").unwrap_err();
        assert!(said.to_string().contains("choose one with -n"), "{said}");
    }
}
