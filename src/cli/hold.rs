//! `locksmith hold`: a planned hold, for a migration or a storage upgrade.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::output::print_line;
use super::{ClusterArgs, FAILED, remediations};
use crate::api::Uid;
use crate::api::hold::{POLICY_NAME, SnapshotHold, SnapshotHoldSpec};
use crate::api::volsync::ReplicationSource;
use crate::cluster::{self, CALL_TIMEOUT, FIELD_MANAGER_CLI};
use crate::holds::policy::{Probe, binding_record, install, policy_record};
use crate::holds::{self, place};
use crate::text::humanize::{count, steers};

/// Longest reason, in bytes; as in the CRD.
const MAX_REASON: usize = 200;

/// Hold sources for planned maintenance
///
/// The API server refuses new snapshots and clones of the sources until the hold expires or is released. Running movers
/// finish. ReplicationSources are not changed. Runs neither count nor release the hold: release it with
/// `locksmith release NAME`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespace of the sources
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Sources to hold: NAME with -n, or NAMESPACE/NAME
    #[arg(value_name = "SOURCE", conflicts_with = "all")]
    sources: Vec<String>,
    /// Hold every source, in one namespace with -n or in all
    #[arg(long)]
    all: bool,
    /// Hold every snapshot of this VolumeSnapshotClass, whichever tool takes it; may be repeated
    #[arg(long = "class", value_name = "NAME")]
    classes: Vec<String>,
    /// Duration of the hold, such as 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Reason, shown wherever the hold is listed
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Name of the SnapshotHold [default: planned- with a random suffix]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Accepted for scripts that pass it to commands which prompt; this one does not
    #[arg(short, long = "yes")]
    _yes: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let until = checked(&args, Timestamp::now())?;
    let client = args.cluster.client(CALL_TIMEOUT).await?;
    let namespace = namespace_of_holds(&client).await?;
    let sources = sources(&client, &args).await?;
    if sources.is_empty() && args.classes.is_empty() {
        bail!("no ReplicationSource found to hold");
    }
    let mut hold = SnapshotHold::new(
        args.name.as_deref().unwrap_or_default(),
        SnapshotHoldSpec {
            remediation: None,
            until,
            reason: args.reason.clone(),
            held_by: remediations::name(&client).await,
            sources,
            snapshot_classes: args.classes.clone(),
        },
    );
    if args.name.is_none() {
        hold.metadata.name = None;
        hold.metadata.generate_name = Some("planned-".to_owned());
    }
    hold.metadata.namespace = Some(namespace.clone());
    let created = cluster::hold::create(&client, FIELD_MANAGER_CLI, &hold).await?;
    let name = created.name_any();
    let probe = Probe {
        namespace: namespace.as_str().into(),
        source: created.spec.sources.keys().next().cloned(),
        class: args.classes.first().map(|class| class.as_str().into()),
    };
    let refuted = cluster::hold::refuted(&client, &probe).await;
    if let Some(why) = refuted.unwrap_or_else(|error| Some(error.to_string())) {
        let key = cluster::hold::key(&created);
        match cluster::hold::delete(&client, &key, async || Ok(())).await {
            Ok(_) => anstream::eprintln!("error: the hold is not in force and was removed: {why}"),
            Err(error) => anstream::eprintln!(
                "error: the hold is not in force: {why}\n{error}; remove it with: locksmith release {name}"
            ),
        }
        return Ok(ExitCode::from(FAILED));
    }
    let mut what = count(created.spec.sources.len(), "source");
    if !args.classes.is_empty() {
        what = format!("{what} and class {}", args.classes.join(", "));
    }
    print_line(format_args!(
        "{what} held until {until:.0}; release with: locksmith release {name}"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Checks the arguments and returns the deadline of the hold.
fn checked(args: &Args, now: Timestamp) -> anyhow::Result<Timestamp> {
    if args.sources.is_empty() && !args.all && args.classes.is_empty() {
        bail!("name sources to hold, or pass --all or --class");
    }
    let reason = args.reason.as_deref().unwrap_or_default();
    if reason.len() > MAX_REASON || reason.contains(steers) {
        bail!("--reason: must be one line of at most {MAX_REASON} bytes");
    }
    if args.duration.is_zero() {
        bail!("--for: must be longer than 0s");
    }
    let duration = SignedDuration::try_from(args.duration).context("--for: is too long")?;
    Ok(holds::deadline(now, duration))
}

/// The namespace whose SnapshotHolds the API server enforces.
pub async fn namespace_of_holds(client: &Client) -> anyhow::Result<String> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let policy = policies.get_opt(POLICY_NAME).await;
    let policy = policy.context("failed to read the ValidatingAdmissionPolicy")?;
    let policy = policy.as_ref().and_then(policy_record);
    let binding = bindings.get_opt(POLICY_NAME).await;
    let binding = binding.context("failed to read the ValidatingAdmissionPolicyBinding")?;
    let binding = binding.as_ref().and_then(binding_record);
    let (Some(policy), Some(binding)) = (policy, binding) else {
        bail!(
            "the policy that enforces holds is not installed; run locksmith crd -n NAMESPACE | kubectl apply --server-side -f -"
        );
    };
    if let Some(difference) = policy.difference.or(binding.difference) {
        bail!(
            "the policy that enforces holds {difference}: {}",
            install(&binding.namespace)
        );
    }
    Ok(binding.namespace.to_string())
}

/// The selected sources, by uid.
async fn sources(client: &Client, args: &Args) -> anyhow::Result<BTreeMap<Uid, String>> {
    let mut found = BTreeMap::new();
    if args.all {
        let api: Api<ReplicationSource> = match &args.namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let listed = api.list_metadata(&ListParams::default()).await;
        let listed = listed.context("failed to list ReplicationSources")?;
        for source in listed.items {
            let place = place(&source.namespace().unwrap_or_default(), &source.name_any());
            found.insert(Uid::from(source.uid().unwrap_or_default()), place);
        }
    }
    for name in &args.sources {
        let (namespace, name) = match (name.split_once('/'), &args.namespace) {
            (Some(place), _) => place,
            (None, Some(namespace)) => (namespace.as_str(), name.as_str()),
            (None, None) => bail!("{name}: no namespace; pass -n, or NAMESPACE/NAME"),
        };
        let api: Api<ReplicationSource> = Api::namespaced(client.clone(), namespace);
        let source = api.get_metadata_opt(name).await;
        let source = source.with_context(|| format!("failed to read {namespace}/{name}"))?;
        let Some(uid) = source.and_then(|source| source.uid()) else {
            bail!("there is no ReplicationSource {namespace}/{name}");
        };
        found.insert(Uid::from(uid), place(namespace, name));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use rstest::rstest;

    use super::*;
    use crate::model::fixture::at;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[rstest]
    #[case::nothing("hold --for 2h", "name sources")]
    #[case::no_time("hold --all --yes --for 0s", "longer than 0s")]
    #[case::two_lines("hold --all --for 2h --reason a\nb", "one line")]
    fn invalid_arguments_are_refused(#[case] line: &str, #[case] expected: &str) {
        let line = Line::try_parse_from(line.split(' ')).unwrap();
        let error = checked(&line.args, at(0)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn deadline_is_counted_from_now() {
        let line = Line::try_parse_from(["hold", "--all", "--for", "2h"]).unwrap();
        assert_eq!(checked(&line.args, at(0)).unwrap(), at(120));
    }
}
