//! Creates, patches and deletes SnapshotHolds, and proves them with dry-run creates.
//!
//! The daemon and the command line share this code; neither needs the other to release.

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};

use super::client::posting;
use super::writer::{merge, same};
use super::{ErrorKind, FIELD_MANAGER, Tried, WriteError, bounded};
use crate::api::hold::SnapshotHold;
use crate::api::snapshot::{VolumeSnapshot, VolumeSnapshotSource, VolumeSnapshotSpec};
use crate::api::volsync::{GROUP, ReplicationSource};
use crate::api::{ObjectKey, ObjectKind, Uid};
use crate::holds::policy::{DryRunResult, Probe, Proof};
use crate::holds::{self, HoldChange, NOBODY};

/// Page size of a list: each SnapshotHold may be a megabyte.
const PAGE: u32 = 20;

/// Time for a new hold to reach every API server; 30 to 80 ms were measured.
const SETTLES: Duration = Duration::from_secs(5);

/// Pause between two proofs.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Longest message of the API server that is kept, in characters.
const LONGEST: usize = 500;

/// Identity of a hold.
pub fn key(hold: &SnapshotHold) -> ObjectKey {
    ObjectKey {
        kind: ObjectKind::SnapshotHold,
        namespace: hold.namespace().unwrap_or_default().into(),
        name: hold.name_any().into(),
        uid: Uid::from(hold.uid().unwrap_or_default()),
    }
}

/// Creates a SnapshotHold in its namespace, and returns it as stored.
pub async fn create(
    client: &Client,
    manager: &str,
    hold: &SnapshotHold,
) -> Result<SnapshotHold, WriteError> {
    let namespace = hold.namespace().unwrap_or_default();
    let api: Api<SnapshotHold> = Api::namespaced(client.clone(), &namespace);
    let params = posting(manager);
    let call = api.create(&params, hold);
    let name = || format!("SnapshotHold {namespace}/{}", hold.name_any());
    bounded("create", name, call).await
}

/// Creates the hold of a run. An existing one with that name is not changed; the watch shows its owner.
pub(super) async fn create_for_run(
    client: &Client,
    hold: &SnapshotHold,
) -> Result<Tried, WriteError> {
    match create(client, FIELD_MANAGER, hold).await {
        Ok(_) => Ok(Tried::Written),
        Err(error) if error.kind() == ErrorKind::Conflict => {
            Ok(Tried::Skipped("exists already".to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// Applies `change` to `object`, on exactly the version that is read first.
pub async fn patch(
    client: &Client,
    object: &ObjectKey,
    change: &HoldChange,
    may: impl AsyncFnOnce() -> Result<(), WriteError>,
) -> Result<Tried, WriteError> {
    let patch = async |api: Api<SnapshotHold>, live: SnapshotHold| {
        let version = live.metadata.resource_version.as_deref();
        merge(&api, "patch", object, &holds::patch(version, change)).await
    };
    if_same(client, object, may, patch).await
}

/// Deletes `object`, which releases everything that it still holds.
pub async fn delete(
    client: &Client,
    object: &ObjectKey,
    may: impl AsyncFnOnce() -> Result<(), WriteError>,
) -> Result<Tried, WriteError> {
    let delete = async |api: Api<SnapshotHold>, live: SnapshotHold| {
        // With the uid as the only precondition: whatever its version, it is deleted.
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: live.metadata.uid,
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let call = api.delete(&object.name, &params);
        bounded("delete", || object.to_string(), call).await?;
        Ok(Tried::Written)
    };
    if_same(client, object, may, delete).await
}

/// Reads `object`, and performs `write` on the result, if it still is the same object and `may` permits a write.
async fn if_same(
    client: &Client,
    object: &ObjectKey,
    may: impl AsyncFnOnce() -> Result<(), WriteError>,
    write: impl AsyncFnOnce(Api<SnapshotHold>, SnapshotHold) -> Result<Tried, WriteError>,
) -> Result<Tried, WriteError> {
    let api: Api<SnapshotHold> = Api::namespaced(client.clone(), &object.namespace);
    match same(&api, object).await? {
        Ok(live) => {
            may().await?;
            write(api, live).await
        }
        Err(left) => Ok(left),
    }
}

/// Every SnapshotHold in `namespace`, or in all namespaces; none if the kind is not served.
pub async fn list(
    client: &Client,
    namespace: Option<&str>,
) -> Result<Vec<SnapshotHold>, WriteError> {
    let api: Api<SnapshotHold> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut all = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = bounded("list", || "SnapshotHolds".to_owned(), api.list(&params)).await;
        let page = match page {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(all),
            other => other?,
        };
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

/// Tests the held objects of `probe`, and one that is not held, with dry-run creates.
pub async fn prove(client: &Client, probe: &Probe) -> Result<Proof, WriteError> {
    let nobody = Uid::from(NOBODY);
    let mut held = Vec::new();
    if let Some(source) = &probe.source {
        held.push(attempt(client, probe, source, None).await?);
    }
    if let Some(class) = &probe.class {
        held.push(attempt(client, probe, &nobody, Some(class)).await?);
    }
    let free = attempt(client, probe, &nobody, None).await?;
    Ok(Proof { held, free })
}

/// Tries `probe` until it proves the hold, for a few seconds: a new hold takes milliseconds to reach every API server. Returns why
/// it is not in force, or `None`; an error if it could not be tried.
pub async fn refuted(client: &Client, probe: &Probe) -> Result<Option<String>, WriteError> {
    let begun = Instant::now();
    loop {
        let refuted = prove(client, probe).await.map(|proof| proof.refuted());
        if matches!(refuted, Ok(None)) || begun.elapsed() >= SETTLES {
            return refuted;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// One dry-run create of a VolumeSnapshot that `owner` controls, as VolSync would create it.
async fn attempt(
    client: &Client,
    probe: &Probe,
    owner: &Uid,
    class: Option<&str>,
) -> Result<DryRunResult, WriteError> {
    let api: Api<VolumeSnapshot> = Api::namespaced(client.clone(), &probe.namespace);
    let mut snapshot = VolumeSnapshot::new(
        "",
        VolumeSnapshotSpec {
            source: VolumeSnapshotSource {
                persistent_volume_claim_name: Some("locksmith-probe".to_owned()),
                volume_snapshot_content_name: None,
            },
            volume_snapshot_class_name: class.map(ToOwned::to_owned),
        },
    );
    snapshot.metadata.name = None;
    snapshot.metadata.generate_name = Some("locksmith-probe-".to_owned());
    let kind = <ReplicationSource as kube::Resource>::kind(&());
    snapshot.metadata.owner_references = Some(vec![
        k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
            api_version: format!("{GROUP}/v1alpha1"),
            kind: kind.into_owned(),
            name: "locksmith-probe".to_owned(),
            uid: owner.to_string(),
            ..Default::default()
        },
    ]);
    let params = PostParams {
        dry_run: true,
        ..posting(FIELD_MANAGER)
    };
    let name = || {
        let kind = ObjectKind::VolumeSnapshot.as_str();
        format!("a dry-run {kind} in {}", probe.namespace)
    };
    match bounded("create", name, api.create(&params, &snapshot)).await {
        Ok(_) => Ok(DryRunResult::Accepted),
        // A missing right also gives a 403. Its message does not name the policy, so the proof fails with it.
        Err(WriteError::Api { error, .. }) if refusal(&error).is_some() => {
            Ok(DryRunResult::Refused(refusal(&error).unwrap_or_default()))
        }
        Err(error) => Err(error),
    }
}

/// The message of a 403 or 422, shortened.
fn refusal(error: &kube::Error) -> Option<String> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let text = &status.message;
    let end = text
        .char_indices()
        .nth(LONGEST)
        .map_or(text.len(), |(at, _)| at);
    matches!(status.code, 403 | 422).then(|| text[..end].to_owned())
}
