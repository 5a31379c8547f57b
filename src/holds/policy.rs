//! The ValidatingAdmissionPolicy that enforces holds: the released objects, the comparison with the served ones, and its
//! proof. Pure.
//!
//! The proof is two dry-run creates in our own namespace: a VolumeSnapshot owned by a held uid must be refused by our
//! policy, and one owned by [`NOBODY`](super::NOBODY) must be accepted. The refusal alone could come from another policy;
//! the acceptance alone could mean that nothing is held.

use std::sync::{Arc, LazyLock};

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use serde_json::{Value, json};

use crate::api::hold::{POLICY_NAME, POLICY_VERSION_ANNOTATION};
use crate::api::{SharedStr, Uid};
use crate::model::records::{HoldBinding, HoldPolicy};
use crate::model::{Kind, Model, WatchState};

/// The policy and its binding, as in `deploy/`.
pub const MANIFEST: &str = include_str!("../../deploy/hold-policy.yaml");

/// Namespace in the manifest.
const SHIPPED_NAMESPACE: &str = "volsync-locksmith";

/// The command that installs the policy for SnapshotHolds of `namespace`.
pub fn install(namespace: &str) -> String {
    format!("locksmith crd -n {namespace} | kubectl apply --server-side -f -")
}

/// The released policy and binding, parsed once. A test parses them, too, so that the fallback is never used.
struct Shipped {
    policy: Value,
    binding: Value,
    version: String,
}

static SHIPPED: LazyLock<Shipped> = LazyLock::new(|| {
    let document = |kind: &str| {
        let wanted = format!("\nkind: {kind}\n");
        let text = MANIFEST
            .split("\n---\n")
            .find(|text| text.contains(&wanted));
        text.and_then(|text| serde_saphyr::from_str::<Value>(text).ok())
            .unwrap_or_default()
    };
    let policy = document("ValidatingAdmissionPolicy");
    let version = policy.pointer("/metadata/annotations");
    let version = version.and_then(|all| all.get(POLICY_VERSION_ANNOTATION));
    Shipped {
        version: version
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        policy,
        binding: document("ValidatingAdmissionPolicyBinding"),
    }
});

/// The manifest for SnapshotHolds of `namespace`.
pub fn manifest(namespace: &str) -> String {
    let line = |namespace: &str| format!("    namespace: {namespace}\n");
    MANIFEST.replace(&line(SHIPPED_NAMESPACE), &line(namespace))
}

/// The policy and its binding, for SnapshotHolds of `namespace`.
pub fn objects(
    namespace: &str,
) -> serde_json::Result<(ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding)> {
    let mut binding = SHIPPED.binding.clone();
    binding["spec"]["paramRef"]["namespace"] = json!(namespace);
    Ok((
        serde_json::from_value(SHIPPED.policy.clone())?,
        serde_json::from_value(binding)?,
    ))
}

/// The record of a served policy.
pub fn policy_record(object: &ValidatingAdmissionPolicy) -> Option<HoldPolicy> {
    let served = json!(object);
    Some(HoldPolicy {
        name: object.metadata.name.as_deref()?.into(),
        difference: difference(&served, &SHIPPED.policy),
    })
}

/// The record of a served binding. Its namespace differs per installation, and is no difference.
pub fn binding_record(object: &ValidatingAdmissionPolicyBinding) -> Option<HoldBinding> {
    let mut served = json!(object);
    let namespace = served
        .pointer_mut("/spec/paramRef/namespace")
        .map(Value::take);
    let namespace = SharedStr::from(
        namespace
            .as_ref()
            .and_then(Value::as_str)
            .unwrap_or_default(),
    );
    let mut shipped = SHIPPED.binding.clone();
    if let Some(namespace) = shipped.pointer_mut("/spec/paramRef/namespace") {
        namespace.take();
    }
    Some(HoldBinding {
        name: object.metadata.name.as_deref()?.into(),
        namespace,
        difference: difference(&served, &shipped),
    })
}

/// Difference of `served` from `shipped`: its version, otherwise the first differing field of its spec.
fn difference(served: &Value, shipped: &Value) -> Option<Arc<str>> {
    let annotations = served.pointer("/metadata/annotations");
    let version = annotations.and_then(|all| all.get(POLICY_VERSION_ANNOTATION));
    let version = version.and_then(Value::as_str).unwrap_or("none");
    if version != SHIPPED.version {
        let ours = &SHIPPED.version;
        return Some(format!("is version {version}, but this build needs {ours}").into());
    }
    let field = first_difference("spec", &pruned(&served["spec"]), &pruned(&shipped["spec"]))?;
    Some(format!("was edited: {field} differs from the shipped one").into())
}

/// Removes values that the API server fills in: empty objects, lists and strings, and null.
fn pruned(value: &Value) -> Value {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.clone(), pruned(value)));
            Value::Object(fields.filter(|(_, value)| !empty(value)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(pruned).collect()),
        Value::String(text) if text.is_empty() => Value::Null,
        other => other.clone(),
    }
}

fn first_difference(path: &str, served: &Value, shipped: &Value) -> Option<String> {
    if served == shipped {
        return None;
    }
    if let (Value::Object(a), Value::Object(b)) = (served, shipped) {
        let names = a.keys().chain(b.keys());
        let differs = names
            .filter(|name| a.get(*name) != b.get(*name))
            .min()
            .map(|name| {
                let inner = format!("{path}.{name}");
                first_difference(&inner, &served[name], &shipped[name]).unwrap_or(inner)
            });
        return differs;
    }
    Some(path.to_owned())
}

/// Why no hold in `namespace` would be enforced, or `None`.
pub fn not_in_force(model: &Model, namespace: &str) -> Option<String> {
    if let Some(why) = not_as_shipped(model) {
        return Some(why);
    }
    let binding = model
        .hold_bindings
        .get_cluster(&SharedStr::from(POLICY_NAME))?;
    (*binding.namespace != *namespace).then(|| {
        let theirs = &binding.namespace;
        format!("the binding reads SnapshotHolds of namespace {theirs}, but those of this run are in {namespace}")
    })
}

/// Why no hold at all would be enforced: the policy or its binding is missing, outdated or edited, or cannot be read.
pub fn not_as_shipped(model: &Model) -> Option<String> {
    for (kind, what) in [
        (Kind::HoldPolicy, "ValidatingAdmissionPolicy"),
        (Kind::HoldBinding, "ValidatingAdmissionPolicyBinding"),
        (Kind::SnapshotHolds, "SnapshotHold"),
    ] {
        match model.freshness.of(kind) {
            WatchState::Synced => {}
            WatchState::NotServed => {
                return Some(format!("the API server does not serve {what}"));
            }
            WatchState::Never => return Some(format!("{what} not listed yet")),
            WatchState::Failing(why) | WatchState::Refused(why) => {
                return Some(format!("{what} cannot be read ({why})"));
            }
        }
    }
    let name = SharedStr::from(POLICY_NAME);
    let Some(policy) = model.hold_policies.get_cluster(&name) else {
        return Some(format!("there is no ValidatingAdmissionPolicy {name}"));
    };
    if let Some(difference) = &policy.difference {
        return Some(format!("ValidatingAdmissionPolicy {name} {difference}"));
    }
    let Some(binding) = model.hold_bindings.get_cluster(&name) else {
        return Some(format!(
            "there is no ValidatingAdmissionPolicyBinding {name}"
        ));
    };
    let difference = binding.difference.as_ref()?;
    Some(format!(
        "ValidatingAdmissionPolicyBinding {name} {difference}"
    ))
}

/// The dry-run creates that prove a hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe {
    /// Namespace of the hold.
    pub namespace: SharedStr,
    /// A held source, if there is any.
    pub source: Option<Uid>,
    /// A held VolumeSnapshotClass, if there is any.
    pub class: Option<SharedStr>,
}

/// The API server's answer to one dry-run create.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DryRunResult {
    /// It would be created.
    Accepted,
    /// It is refused, with this message.
    Refused(String),
}

/// The answers to a [`Probe`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// For a VolumeSnapshot of each held source or class of the probe.
    pub held: Vec<DryRunResult>,
    /// For a VolumeSnapshot that is not held.
    pub free: DryRunResult,
}

impl Proof {
    /// Why this does not prove that the hold is in force, or `None`.
    pub fn refuted(&self) -> Option<String> {
        for answer in &self.held {
            match answer {
                DryRunResult::Accepted => {
                    return Some("a trial snapshot of a held source was accepted".to_owned());
                }
                DryRunResult::Refused(message) if !is_ours(message) => {
                    return Some(format!(
                        "the trial snapshot was refused by something else: {message}"
                    ));
                }
                DryRunResult::Refused(_) => {}
            }
        }
        match &self.free {
            DryRunResult::Accepted => None,
            DryRunResult::Refused(message) => Some(format!(
                "a trial snapshot that is not held was refused, too: {message}"
            )),
        }
    }
}

/// Whether our policy refused it: the API server puts its name into the message.
fn is_ours(message: &str) -> bool {
    message.contains(&format!("ValidatingAdmissionPolicy '{POLICY_NAME}'"))
        && message.contains("denied request")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn policy() -> Value {
        SHIPPED.policy.clone()
    }

    fn served(change: impl FnOnce(&mut Value)) -> Option<Arc<str>> {
        let mut policy = policy();
        // Defaults of the API server.
        policy["spec"]["matchConstraints"]["namespaceSelector"] = json!({});
        policy["spec"]["matchConstraints"]["objectSelector"] = json!({});
        policy["metadata"]["generation"] = json!(1);
        change(&mut policy);
        policy_record(&serde_json::from_value(policy).unwrap())
            .unwrap()
            .difference
    }

    #[test]
    fn shipped_policy_has_no_difference_from_itself() {
        assert_eq!(policy()["kind"], "ValidatingAdmissionPolicy");
        assert_eq!(served(|_| {}), None);
        let record = binding_record(&objects("elsewhere").unwrap().1).unwrap();
        assert_eq!((&*record.namespace, record.difference), ("elsewhere", None));
    }

    #[rstest]
    #[case::older(|p: &mut Value| p["metadata"]["annotations"][POLICY_VERSION_ANNOTATION] = json!("0"), "version 0")]
    #[case::unversioned(|p: &mut Value| p["metadata"]["annotations"] = json!({}), "version none")]
    #[case::matches_nothing(
        |p: &mut Value| p["spec"]["matchConstraints"]["resourceRules"][0]["resources"] = json!(["pods"]),
        "spec.matchConstraints.resourceRules"
    )]
    #[case::selects_namespaces(
        |p: &mut Value| p["spec"]["matchConstraints"]["namespaceSelector"] = json!({"matchLabels": {"a": "b"}}),
        "spec.matchConstraints.namespaceSelector"
    )]
    #[case::fails_closed(|p: &mut Value| p["spec"]["failurePolicy"] = json!("Fail"), "spec.failurePolicy")]
    #[case::always_true(
        |p: &mut Value| p["spec"]["validations"][0]["expression"] = json!("true"),
        "spec.validations"
    )]
    fn edited_policy_is_named_by_field(#[case] change: fn(&mut Value), #[case] expected: &str) {
        let difference = served(change).expect("a difference");
        assert!(difference.contains(expected), "{difference}");
    }

    #[test]
    fn binding_that_only_warns_is_a_difference() {
        let mut binding = SHIPPED.binding.clone();
        binding["spec"]["validationActions"] = json!(["Warn"]);
        let record = binding_record(&serde_json::from_value(binding).unwrap()).unwrap();
        assert!(
            record
                .difference
                .unwrap()
                .contains("spec.validationActions")
        );
    }

    #[test]
    fn manifest_names_the_namespace_once() {
        let text = manifest("elsewhere");
        assert_eq!(text.matches("elsewhere").count(), 1);
        assert!(!text.contains("namespace: volsync-locksmith"));
    }

    const OURS: &str = "volumesnapshots.snapshot.storage.k8s.io \"x\" is forbidden: ValidatingAdmissionPolicy \
                        'locksmith-snapshot-hold' with binding 'locksmith-snapshot-hold' denied request: held by …";

    #[rstest]
    #[case::proven(DryRunResult::Refused(OURS.into()), DryRunResult::Accepted, None)]
    #[case::not_held(
        DryRunResult::Accepted,
        DryRunResult::Accepted,
        Some("of a held source was accepted")
    )]
    #[case::another(DryRunResult::Refused("quota".into()), DryRunResult::Accepted, Some("by something else: quota"))]
    #[case::all_refused(DryRunResult::Refused(OURS.into()), DryRunResult::Refused("no".into()), Some("refused, too"))]
    fn proof_requires_refusal_and_acceptance(
        #[case] held: DryRunResult,
        #[case] free: DryRunResult,
        #[case] refuted: Option<&str>,
    ) {
        let proof = Proof {
            held: vec![held],
            free,
        };
        match (proof.refuted(), refuted) {
            (None, None) => {}
            (Some(why), Some(expected)) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}
