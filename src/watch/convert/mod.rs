//! Converts objects of the API server to records. Pure; objects that cannot be understood are left out.

mod custom;
mod hold;
mod snapshots;
mod storage;
mod workload;

pub use custom::{ceph_cluster, destination, run, source};
pub use hold::hold;
pub use snapshots::{content, snapshot, snapshot_class};
pub use storage::{Failure, claim, failure, storage_class, volume};
pub use workload::{daemon_set, deployment, lease, namespace, node, pod, stateful_set};

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::api::OPT_OUT_LABEL;
use crate::api::{SharedStr, Uid};
use crate::model::records::Meta;

/// Longest message kept as evidence.
const MAX_MESSAGE: usize = 512;

/// The beginning of a message of any length.
pub fn cut(message: &str) -> Arc<str> {
    let end = message
        .char_indices()
        .map(|(at, _)| at)
        .take_while(|at| *at <= MAX_MESSAGE)
        .last();
    match end {
        Some(end) if message.len() > MAX_MESSAGE => format!("{}…", &message[..end]).into(),
        _ => message.into(),
    }
}

fn meta(from: &ObjectMeta) -> Option<Meta> {
    Some(Meta {
        namespace: shared(from.namespace.as_deref().unwrap_or_default()),
        name: shared(from.name.as_deref()?),
        uid: Uid::from(from.uid.as_deref()?),
        created: from.creation_timestamp.as_ref()?.0.into(),
        deleting: from.deletion_timestamp.as_ref().map(|time| time.0.into()),
        opted_out: has(from.labels.as_ref(), OPT_OUT_LABEL),
    })
}

/// Longest text kept of a field, in bytes. Names have at most 253, volume handles some hundred. Where the API server checks
/// no name, as in `spec.sourcePVC`, a tenant may write a megabyte; a longer text is the name of no object.
const MAX_TEXT: usize = 1024;

fn shared(text: &str) -> SharedStr {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    SharedStr::from(&text[..end])
}

fn some_shared(text: Option<&String>) -> Option<SharedStr> {
    text.filter(|text| !text.is_empty())
        .map(|text| shared(text))
}

fn has(map: Option<&BTreeMap<String, String>>, key: &str) -> bool {
    map.is_some_and(|map| map.contains_key(key))
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a String> {
    meta.annotations.as_ref()?.get(key)
}

fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .as_ref()?
        .iter()
        .find(|owner| owner.controller == Some(true))
}

/// Bytes of a quantity such as `10Gi`; 0 if it cannot be parsed.
fn bytes(quantity: Option<&Quantity>) -> u64 {
    let Some(Quantity(text)) = quantity else {
        return 0;
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: f64 = match &text[digits.len()..] {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "Pi" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "Ei" => 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return text.parse::<f64>().map_or(0, whole),
    };
    digits
        .parse::<f64>()
        .map_or(0, |number| whole(number * factor))
}

/// A float as whole bytes, saturating at both ends.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(number: f64) -> u64 {
    number.ceil() as u64
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;
    use crate::model::records::{DataSource, GitOps};
    use crate::watch::Patterns;

    #[rstest]
    #[case("10Gi", 10 << 30)]
    #[case("1.5Gi", 3 << 29)]
    #[case("1500m", 2)]
    #[case("5G", 5_000_000_000)]
    #[case("1e9", 1_000_000_000)]
    #[case("12345", 12345)]
    #[case("much", 0)]
    #[case("-1", 0)]
    fn quantities_are_parsed(#[case] text: &str, #[case] expected: u64) {
        assert_eq!(bytes(Some(&Quantity(text.to_owned()))), expected);
    }

    #[test]
    fn holder_is_read() {
        let mut object = json!({
            "metadata": {
                "namespace": "volsync-locksmith", "name": "r", "uid": "u", "creationTimestamp": "2026-11-01T02:00:00Z",
                "ownerReferences": [{"apiVersion": "locksmith.dev/v1alpha1", "kind": "Remediation", "name": "r", "uid": "u-r"}],
            },
            "spec": {"until": "2026-11-01T04:00:00Z", "sources": {"u-1": "media/a", "u-2": "nowhere"}},
        });
        let read = |object: &Value| hold(&serde_json::from_value(object.clone()).unwrap()).unwrap();
        let of_run = read(&object);
        assert_eq!(of_run.run.as_ref().map(|run| &run.uid), Some(&"u-r".into()));
        assert_eq!(
            of_run.sources.into_iter().collect::<Vec<_>>(),
            [("u-1".into(), ("media".into(), "a".into()))]
        );
        object["metadata"]["ownerReferences"][0]["kind"] = json!("ConfigMap");
        assert_eq!(read(&object).run, None);
    }

    #[rstest]
    #[case::known(json!("5Gi"), Some(5 << 30))]
    #[case::zero(json!("0"), None)]
    #[case::nothing(json!(null), None)]
    fn restore_size_of_zero_is_unknown(#[case] size: Value, #[case] expected: Option<u64>) {
        let object = json!({
            "metadata": { "namespace": "media", "name": "a", "uid": "u", "creationTimestamp": "2026-11-01T02:00:00Z" },
            "spec": { "source": {} },
            "status": { "restoreSize": size },
        });
        let patterns = Patterns::new(&Config::default()).unwrap();
        let read = snapshot(&serde_json::from_value(object).unwrap(), &patterns).unwrap();
        assert_eq!(read.restore_size.map(NonZeroU64::get), expected);
    }

    /// Case 24: the API server honours the annotation, with priority over the field.
    #[rstest]
    #[case::by_field(json!({}), json!("ceph-block"), Some("ceph-block"))]
    #[case::by_annotation(json!({"volume.beta.kubernetes.io/storage-class": "ceph-block"}), json!(null), Some("ceph-block"))]
    #[case::by_both(json!({"volume.beta.kubernetes.io/storage-class": "ceph-block"}), json!("other"), Some("ceph-block"))]
    #[case::by_neither(json!({}), json!(null), None)]
    fn class_of_a_claim_is_read(
        #[case] annotations: Value,
        #[case] field: Value,
        #[case] class: Option<&str>,
    ) {
        let object = json!({
            "metadata": {
                "namespace": "media", "name": "a", "uid": "u", "creationTimestamp": "2026-11-01T02:00:00Z",
                "annotations": annotations,
            },
            "spec": { "storageClassName": field },
        });
        let claim = storage::claim(&serde_json::from_value(object).unwrap()).unwrap();
        assert_eq!(claim.class.as_deref(), class);
    }

    /// Case 11: a snapshot of another namespace differs from one of the same name in the claim's own.
    #[rstest]
    #[case::own_namespace(json!("media"), DataSource::Snapshot("s".into()))]
    #[case::of_none(json!(null), DataSource::Snapshot("s".into()))]
    #[case::of_another(
        json!("staging"),
        DataSource::ForeignSnapshot { namespace: "staging".into(), name: "s".into() }
    )]
    fn namespace_of_a_data_source_is_read(#[case] namespace: Value, #[case] expected: DataSource) {
        let reference = json!({
            "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s", "namespace": namespace,
        });
        let object = json!({
            "metadata": {
                "namespace": "media", "name": "a", "uid": "u", "creationTimestamp": "2026-11-01T02:00:00Z",
            },
            "spec": { "dataSourceRef": reference },
        });
        let claim = storage::claim(&serde_json::from_value(object).unwrap()).unwrap();
        assert_eq!(claim.data_source, Some(expected));
    }

    /// A source that a GitOps tool would re-create is never deleted. Argo CD 2 marks its objects with a label that Helm
    /// sets, too.
    #[rstest]
    #[case("kustomize.toolkit.fluxcd.io/name", Some(GitOps::Flux))]
    #[case("argocd.argoproj.io/instance", Some(GitOps::Argo))]
    #[case("app.kubernetes.io/instance", Some(GitOps::InstanceLabel))]
    #[case("app.kubernetes.io/name", None)]
    fn tool_that_owns_a_source_is_read_from_its_labels(
        #[case] label: &str,
        #[case] tool: Option<GitOps>,
    ) {
        let object = json!({
            "metadata": {
                "namespace": "media", "name": "a", "uid": "u", "creationTimestamp": "2026-11-01T02:00:00Z",
                "labels": { label: "x" },
            },
            "spec": {},
        });
        let source = custom::source(&serde_json::from_value(object).unwrap()).unwrap();
        assert_eq!(source.gitops, tool);
    }

    /// Attack: names of a megabyte, in fields that the API server does not check, to fill the memory. Defence: a kilobyte
    /// of each is kept.
    #[test]
    fn long_names_are_cut_at_a_kilobyte() {
        let long = "ä".repeat(1 << 20);
        let object = json!({
            "metadata": {"namespace": "media", "name": "a", "uid": "u", "creationTimestamp": "2026-11-01T00:00:00Z"},
            "spec": {"sourcePVC": format!("x{long}")},
        });
        let read = custom::source(&serde_json::from_value(object).unwrap()).unwrap();
        assert_eq!(read.claim.unwrap().len(), MAX_TEXT - 1);
    }

    #[test]
    fn text_is_cut_between_characters() {
        let cut = cut(&"ä".repeat(1000));
        assert!(cut.len() <= MAX_MESSAGE + 4 && cut.ends_with('…'));
        assert_eq!(&*super::cut("short"), "short");
    }
}
