//! Compares the schemas that the API server serves for our own kinds with those of this program. With an older definition,
//! a field is dropped silently or the object is refused, and a run would act on less than it recorded.
//!
//! They are read from `/openapi/v3`, which every authenticated account may read (ClusterRole `system:discovery`); reading
//! CustomResourceDefinitions would require an additional right.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::http::Request;
use jiff::Timestamp;
use kube::{Client, CustomResourceExt};
use serde_json::{Value, json};

use super::Changes;
use crate::api::hold::SnapshotHold;
use crate::api::remediation::{GROUP, Remediation};
use crate::config::{Config, Mode};
use crate::holds::policy;
use crate::metrics::SelfMetrics;
use crate::model::{Change, Kind, WatchState};
use crate::text::error_chain;

/// Time between two comparisons.
const INTERVAL: Duration = Duration::from_secs(30);

/// Time between two comparisons while they differ or cannot be read.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Time for which complete schemas stay trusted while they cannot be read, so that a failed request does not delay a run.
const TRUSTED_FOR: Duration = Duration::from_secs(120);

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Compares them until the model's task ends, unless in mode observe, in which nothing is written.
pub async fn compare(client: Client, config: Arc<Config>, changes: Changes, own: SelfMetrics) {
    let namespace = config.remediation.namespace.as_deref().unwrap_or_default();
    let mut known = WatchState::Never;
    let mut complete: Option<Instant> = None;
    loop {
        let reading = match config.mode {
            Mode::Observe => WatchState::NotServed,
            Mode::Plan | Mode::Act => match state(&client, namespace).await {
                Ok(state) => state,
                Err(_) if complete.is_some_and(|at| at.elapsed() < TRUSTED_FOR) => {
                    own.watch_failed(Kind::Definitions);
                    tokio::time::sleep(RETRY_INTERVAL).await;
                    continue;
                }
                Err(why) => {
                    own.watch_failed(Kind::Definitions);
                    WatchState::Failing(why)
                }
            },
        };
        let pause = match &reading {
            WatchState::Failing(why) => {
                if known != reading {
                    tracing::warn!(reason = why, "the CRDs are outdated; no run begins");
                }
                RETRY_INTERVAL
            }
            _ => INTERVAL,
        };
        complete = (reading == WatchState::Synced).then(Instant::now);
        known = reading.clone();
        let change = Change::Read(Kind::Definitions, reading, Timestamp::now());
        if changes.send(change).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// State of the served schemas: not served, complete, or incomplete, with the command that installs them for
/// `namespace`. An error if they cannot be read.
pub async fn state(client: &Client, namespace: &str) -> Result<WatchState, String> {
    match read(client).await {
        Ok(None) => Ok(WatchState::NotServed),
        Ok(Some(document)) => Ok(outdated(&document).map_or(WatchState::Synced, |lacks| {
            let fix = policy::install(namespace);
            WatchState::Failing(format!("{lacks}: run {fix}"))
        })),
        Err(why) => Err(format!("the schemas of {GROUP} cannot be read: {why}")),
    }
}

/// The OpenAPI document of our API group, or `None` if the group is not served.
async fn read(client: &Client) -> Result<Option<Value>, String> {
    let group = format!("/apis/{GROUP}/v1alpha1");
    if let Some(document) = get(client, &format!("/openapi/v3{group}")).await? {
        return Ok(Some(document));
    }
    // The document is published shortly after its group is served.
    match get(client, &group).await? {
        None => Ok(None),
        Some(_) => Err("they are not published".to_owned()),
    }
}

/// The JSON document at `path`; `None` for a 404.
async fn get(client: &Client, path: &str) -> Result<Option<Value>, String> {
    let request = Request::get(path).body(Vec::new());
    let request = request.map_err(|error| error.to_string())?;
    match tokio::time::timeout(TIMEOUT, client.request(request)).await {
        Ok(Ok(document)) => Ok(Some(document)),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
        Ok(Err(error)) => Err(error_chain(&error)),
        Err(_) => Err("no answer".to_owned()),
    }
}

/// The kinds and schemas of this program.
static OURS: LazyLock<[(String, Value); 2]> = LazyLock::new(|| {
    [Remediation::crd(), SnapshotHold::crd()].map(|definition| {
        let spec = json!(definition.spec);
        let schema = spec.pointer("/versions/0/schema/openAPIV3Schema");
        (
            definition.spec.names.kind,
            schema.cloned().unwrap_or_default(),
        )
    })
});

/// The first part of this program's schemas that the served ones lack, as a clause; `None` if they are complete.
fn outdated(document: &Value) -> Option<String> {
    let schemas = document.pointer("/components/schemas");
    let schemas = schemas.and_then(Value::as_object);
    OURS.iter().find_map(|(kind, ours)| {
        let is_of_kind = |served: &&Value| {
            let kinds = served["x-kubernetes-group-version-kind"].as_array();
            let mut kinds = kinds.into_iter().flatten();
            kinds.any(|it| it["group"] == GROUP && it["kind"] == **kind)
        };
        let served = schemas.and_then(|all| all.values().find(is_of_kind));
        let Some(served) = served else {
            return Some(format!("the cluster has no CRD of {kind}"));
        };
        let lacks = ["spec", "status"].into_iter().find_map(|part| {
            let path = format!("/properties/{part}");
            let ours = ours.pointer(&path)?;
            match served.pointer(&path) {
                None => Some(part.to_owned()),
                Some(served) => first_missing(ours, served, part),
            }
        })?;
        Some(format!(
            "the cluster's CRD of {kind} is older than this program and lacks {lacks}"
        ))
    })
}

/// The first field or value of `ours` that is missing in `served`: `status.steps[].actedAt`, or `status.phase=Expired`.
fn first_missing(ours: &Value, served: &Value, path: &str) -> Option<String> {
    let keeps_any = served["x-kubernetes-preserve-unknown-fields"] == true;
    let fields = ours["properties"].as_object().into_iter().flatten();
    let mut missing = fields.filter_map(|(name, ours)| {
        let path = format!("{path}.{name}");
        match &served["properties"][name] {
            Value::Null => (!keeps_any).then_some(path),
            served => first_missing(ours, served, &path),
        }
    });
    if let Some(missing) = missing.next() {
        return Some(missing);
    }
    for (of, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
        match (&ours[of], &served[of]) {
            (Value::Null, _) => {}
            (_, Value::Null) => return (!keeps_any).then(|| path.to_owned()),
            (ours, served) => {
                let path = format!("{path}{suffix}");
                if let Some(missing) = first_missing(ours, served, &path) {
                    return Some(missing);
                }
            }
        }
    }
    let (ours, served) = (ours["enum"].as_array()?, served["enum"].as_array()?);
    let value = ours.iter().find(|value| !served.contains(value))?;
    Some(format!("{path}={}", value.as_str().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// The document as the API server publishes it: our own schemas, modified by `change`.
    fn served(change: impl FnOnce(&mut Value)) -> Value {
        let schemas = OURS.iter().map(|(kind, schema)| {
            let mut schema = schema.clone();
            let of = json!([{"group": GROUP, "version": "v1alpha1", "kind": kind}]);
            schema["x-kubernetes-group-version-kind"] = of;
            (kind.clone(), schema)
        });
        let mut document = json!({"components": {"schemas": Value::Object(schemas.collect())}});
        change(&mut document["components"]["schemas"]);
        document
    }

    fn remove(schemas: &mut Value, path: &str, name: &str) {
        let fields = schemas.pointer_mut(path).unwrap().as_object_mut().unwrap();
        fields.remove(name).unwrap();
    }

    const STATUS: &str = "/Remediation/properties/status";
    const STEP: &str = "/Remediation/properties/status/properties/steps/items/properties";
    const HOLD: &str = "/SnapshotHold/properties/spec/properties";

    #[test]
    fn own_schemas_lack_nothing() {
        assert_eq!(outdated(&served(|_| {})), None);
    }

    #[rstest]
    #[case::field(|it: &mut Value| remove(it, STEP, "actedAt"), "CRD of Remediation is older than this program and lacks status.steps[].actedAt")]
    #[case::field_of_a_hold(|it: &mut Value| remove(it, HOLD, "heldBy"), "CRD of SnapshotHold is older than this program and lacks spec.heldBy")]
    #[case::status(|it: &mut Value| remove(it, "/Remediation/properties", "status"), "lacks status")]
    #[case::open_map(|it: &mut Value| remove(it, "/SnapshotHold/properties/spec/properties/sources", "additionalProperties"), "lacks spec.sources")]
    #[case::value(|it: &mut Value| { let all = it.pointer_mut(&format!("{STATUS}/properties/phase/enum")).unwrap(); all.as_array_mut().unwrap().retain(|it| it != "Expired"); }, "lacks status.phase=Expired")]
    #[case::kind(|it: &mut Value| remove(it, "", "SnapshotHold"), "the cluster has no CRD of SnapshotHold")]
    #[case::nothing_published(|it: &mut Value| *it = Value::Null, "the cluster has no CRD of Remediation")]
    fn older_schema_is_reported_by_its_missing_field(
        #[case] change: fn(&mut Value),
        #[case] expected: &str,
    ) {
        let lacks = outdated(&served(change)).expect("something is missing");
        assert!(lacks.ends_with(expected), "{lacks}");
    }

    #[test]
    fn open_schema_lacks_only_its_own_missing_values() {
        let keeps = |schemas: &mut Value| {
            remove(schemas, &format!("{STATUS}/properties"), "evidence");
            schemas.pointer_mut(STATUS).unwrap()["x-kubernetes-preserve-unknown-fields"] =
                true.into();
        };
        assert_eq!(outdated(&served(keeps)), None);
        let prunes = |schemas: &mut Value| {
            keeps(schemas);
            remove(schemas, STEP, "skipped");
        };
        let lacks = outdated(&served(prunes)).unwrap();
        assert!(lacks.ends_with("lacks status.steps[].skipped"), "{lacks}");
    }

    #[test]
    fn newer_schema_lacks_nothing() {
        let newer = served(|schemas| {
            schemas.pointer_mut(STEP).unwrap()["later"] = json!({"type": "string"});
        });
        assert_eq!(outdated(&newer), None);
    }
}
