//! The released ValidatingAdmissionPolicy, as the server evaluates it: params, deadline, dry run.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Outcome;
use crate::ground::{Answer, Ground, at, claim, same, says};
use crate::holds::NAMESPACE;

const SNAPSHOTS: &str = "snapshot.storage.k8s.io/v1";

/// A uid that no other case uses.
fn uid(g: &Ground, last: u32) -> String {
    let hash = g.namespace.bytes().fold(0_u64, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    format!("{last:08x}-0000-4000-8000-{:012x}", hash & 0xffff_ffff_ffff)
}

fn path() -> String {
    format!("/apis/locksmith.dev/v1alpha1/namespaces/{NAMESPACE}/snapshotholds")
}

/// Creates a hold with the case's own name, once the kind is served.
async fn hold(g: &Ground, spec: Value) -> anyhow::Result<()> {
    let body = json!({
        "apiVersion": "locksmith.dev/v1alpha1",
        "kind": "SnapshotHold",
        "metadata": {"name": g.namespace},
        "spec": spec,
    });
    g.post(&path(), body).await?.is(201).map(drop)
}

fn in_an_hour() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second() + 3600).unwrap_or_default()
}

/// An object owned by a ReplicationSource with this uid.
fn owned(mut object: Value, uid: &str) -> Value {
    object["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource", "name": "a", "uid": uid,
    }]);
    object
}

fn snapshot(class: Option<&str>) -> Value {
    json!({
        "apiVersion": SNAPSHOTS,
        "kind": "VolumeSnapshot",
        "metadata": {"generateName": "s-"},
        "spec": {"source": {"persistentVolumeClaimName": "a"}, "volumeSnapshotClassName": class},
    })
}

/// Tries to create it with dry run.
async fn dry_run(g: &Ground, plural: &str, object: &Value) -> anyhow::Result<Answer> {
    let path = match plural {
        "persistentvolumeclaims" => g.core(plural),
        plural => g.of(SNAPSHOTS, plural),
    };
    g.post(&format!("{path}?dryRun=All"), object.clone()).await
}

/// The response, once it has this code: a server notices holds and bindings with a delay.
async fn answered(g: &Ground, plural: &str, object: &Value, code: u16) -> anyhow::Result<Answer> {
    let mut last = dry_run(g, plural, object).await?;
    for _ in 0..200 {
        if last.code == code {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        last = dry_run(g, plural, object).await?;
    }
    Ok(last)
}

pub async fn a_snapshot_of_a_held_source_is_refused(g: Ground) -> Outcome {
    let (held, other, until) = (uid(&g, 1), uid(&g, 2), in_an_hour());
    let spec = json!({"remediation": "r", "until": until, "sources": {&held: "media/a"}});
    hold(&g, spec).await?;
    let refused = owned(snapshot(None), &held);
    let status = answered(&g, "volumesnapshots", &refused, 403).await?;
    let status = status.refused(403, "Forbidden")?;
    let why = format!(
        "ValidatingAdmissionPolicy 'locksmith-snapshot-hold' with binding \
         'locksmith-snapshot-hold' denied request: held by volsync-locksmith for run r until {until}"
    );
    says(&status, &format!("is forbidden: {why}"))?;
    let cause = at(&status, "/details/causes/0/message");
    anyhow::ensure!(cause.as_str().is_some_and(|cause| cause.starts_with(&why)));
    let passes = owned(snapshot(None), &other);
    dry_run(&g, "volumesnapshots", &passes).await?.is(201)?;
    dry_run(&g, "volumesnapshots", &snapshot(None))
        .await?
        .is(201)?;
    let made = g.get(&g.of(SNAPSHOTS, "volumesnapshots")).await?.is(200)?;
    same("stored", at(&made, "/items"), json!([]))
}

pub async fn a_clone_is_refused_and_a_restore_passes(g: Ground) -> Outcome {
    let held = uid(&g, 1);
    hold(
        &g,
        json!({"until": in_an_hour(), "sources": {&held: "media/a"}}),
    )
    .await?;
    let from = |source: Value| {
        let mut claim = owned(claim("c"), &held);
        claim["spec"]["dataSource"] = source;
        claim
    };
    let clone = from(json!({"kind": "PersistentVolumeClaim", "name": "a"}));
    let status = answered(&g, "persistentvolumeclaims", &clone, 403).await?;
    says(
        &status.refused(403, "Forbidden")?,
        "held by volsync-locksmith for SnapshotHold",
    )?;
    let restore =
        json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    for claim in [from(restore), owned(claim("c"), &held)] {
        dry_run(&g, "persistentvolumeclaims", &claim)
            .await?
            .is(201)?;
    }
    Ok(())
}

pub async fn a_hold_ends_at_its_deadline(g: Ground) -> Outcome {
    let held = uid(&g, 1);
    // Longer than the server takes to enforce it, shorter than `answered` waits for its end.
    let until = Timestamp::now() + SignedDuration::from_secs(8);
    let spec = json!({"heldBy": "ada", "until": until, "sources": {&held: "media/a"}});
    hold(&g, spec).await?;
    let snapshot = owned(snapshot(None), &held);
    let status = answered(&g, "volumesnapshots", &snapshot, 403).await?;
    says(&status.is(403)?, "held by volsync-locksmith for ada until")?;
    answered(&g, "volumesnapshots", &snapshot, 201)
        .await?
        .is(201)?;
    anyhow::ensure!(Timestamp::now() >= until - SignedDuration::from_secs(1));
    // The object still exists.
    g.get(&format!("{}/{}", path(), g.namespace))
        .await?
        .is(200)
        .map(drop)
}

pub async fn a_patch_releases_one_source_and_a_deletion_all(g: Ground) -> Outcome {
    let (one, two) = (uid(&g, 1), uid(&g, 2));
    let spec = json!({"until": in_an_hour(), "sources": {&one: "media/a", &two: "media/b"}});
    hold(&g, spec).await?;
    let [first, second] = [&one, &two].map(|uid| owned(snapshot(None), uid));
    answered(&g, "volumesnapshots", &first, 403)
        .await?
        .is(403)?;
    let path = format!("{}/{}", path(), g.namespace);
    g.merge(&path, json!({"spec": {"sources": {&one: null}}}))
        .await?
        .is(200)?;
    answered(&g, "volumesnapshots", &first, 201)
        .await?
        .is(201)?;
    dry_run(&g, "volumesnapshots", &second).await?.is(403)?;
    g.delete(&path, json!({})).await?.is(200)?;
    answered(&g, "volumesnapshots", &second, 201)
        .await?
        .is(201)
        .map(drop)
}

pub async fn a_held_class_is_refused_whoever_owns_the_snapshot(g: Ground) -> Outcome {
    let class = g.namespace.clone();
    hold(
        &g,
        json!({"until": in_an_hour(), "snapshotClasses": [class]}),
    )
    .await?;
    let refused = snapshot(Some(&class));
    answered(&g, "volumesnapshots", &refused, 403)
        .await?
        .is(403)?;
    let mut opted_out = refused.clone();
    opted_out["metadata"]["labels"] = json!({"locksmith.dev/opt-out": ""});
    let mut of_a_restore = owned(refused.clone(), &uid(&g, 1));
    of_a_restore["metadata"]["ownerReferences"][0]["kind"] = json!("ReplicationDestination");
    for passes in [
        snapshot(Some("another")),
        snapshot(None),
        opted_out,
        of_a_restore,
    ] {
        dry_run(&g, "volumesnapshots", &passes).await?.is(201)?;
    }
    let label = json!({"metadata": {"labels": {"locksmith.dev/opt-out": ""}}});
    let namespace = format!("/api/v1/namespaces/{}", g.namespace);
    g.merge(&namespace, label).await?.is(200)?;
    answered(&g, "volumesnapshots", &refused, 201)
        .await?
        .is(201)
        .map(drop)
}

/// A finalizer may block the deletion for any time.
pub async fn a_hold_that_is_being_deleted_holds_nothing(g: Ground) -> Outcome {
    let held = uid(&g, 1);
    let spec = json!({"until": in_an_hour(), "sources": {&held: "media/a"}});
    hold(&g, spec).await?;
    let object = owned(snapshot(None), &held);
    answered(&g, "volumesnapshots", &object, 403)
        .await?
        .is(403)?;
    let itself = format!("{}/{}", path(), g.namespace);
    let finalizer = json!({"metadata": {"finalizers": ["example.com/kept"]}});
    g.merge(&itself, finalizer).await?.is(200)?;
    g.delete(&itself, json!({})).await?.is(200)?;
    answered(&g, "volumesnapshots", &object, 201)
        .await?
        .is(201)?;
    let none = json!({"metadata": {"finalizers": null}});
    g.merge(&itself, none).await?.is(200).map(drop)
}

/// Only those in the namespace of the binding are params.
pub async fn a_hold_elsewhere_holds_nothing(g: Ground) -> Outcome {
    let (held, other) = (uid(&g, 1), uid(&g, 2));
    let elsewhere = json!({
        "apiVersion": "locksmith.dev/v1alpha1",
        "kind": "SnapshotHold",
        "metadata": {"name": "elsewhere"},
        "spec": {"until": in_an_hour(), "sources": {&other: "media/b"}},
    });
    let there = g.of("locksmith.dev/v1alpha1", "snapshotholds");
    g.post(&there, elsewhere).await?.is(201)?;
    // By the time this one is enforced, the other would be, too.
    hold(
        &g,
        json!({"until": in_an_hour(), "sources": {&held: "media/a"}}),
    )
    .await?;
    let refused = owned(snapshot(None), &held);
    answered(&g, "volumesnapshots", &refused, 403)
        .await?
        .is(403)?;
    let passes = owned(snapshot(None), &other);
    dry_run(&g, "volumesnapshots", &passes)
        .await?
        .is(201)
        .map(drop)
}

pub async fn a_hold_needs_its_deadline(g: Ground) -> Outcome {
    let refused = hold(&g, json!({"sources": {}})).await;
    anyhow::ensure!(refused.is_err_and(|error| error.to_string().contains("spec.until")));
    Ok(())
}
