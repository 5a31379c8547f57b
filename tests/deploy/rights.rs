//! Compares the rights that the program lists with those that the shipped roles grant.

use std::collections::BTreeSet;

use locksmith::api::StepName;
use locksmith::cluster::rights::{self, Right};
use locksmith::config::Config;
use rstest::rstest;
use serde_json::{Value, json};

use crate::path;
use crate::render::{NAMESPACE, objects, with_values};

/// Namespace, group, resource, name and verb.
type Key = [String; 5];

/// The rights that roles among `objects` grant to the daemon's account.
fn granted(objects: &[Value]) -> BTreeSet<Key> {
    let mut granted = BTreeSet::new();
    let hook = |object: &Value| {
        object
            .pointer("/metadata/annotations/helm.sh~1hook")
            .is_some()
    };
    let roles = objects.iter().filter(|object| !hook(object));
    for role in roles.filter(|object| object["rules"].is_array()) {
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default();
        for rule in role["rules"].as_array().unwrap() {
            let texts = |field: &str| -> Vec<String> {
                let values = rule[field].as_array().into_iter().flatten();
                values.map(|it| it.as_str().unwrap().to_owned()).collect()
            };
            let mut names = texts("resourceNames");
            if names.is_empty() {
                names.push(String::new());
            }
            for group in texts("apiGroups") {
                for resource in texts("resources") {
                    for name in &names {
                        granted.extend(texts("verbs").into_iter().map(|verb| {
                            let namespace = namespace.to_owned();
                            [
                                namespace,
                                group.clone(),
                                resource.clone(),
                                name.clone(),
                                verb,
                            ]
                        }));
                    }
                }
            }
        }
    }
    granted
}

/// The rights that the program lists for `config`.
fn listed(config: &Config) -> BTreeSet<Key> {
    let key = |right: Right| {
        let Right {
            purpose: _,
            namespace,
            group,
            resource,
            name,
            verb,
        } = right;
        [&namespace, group, resource, name, verb].map(str::to_owned)
    };
    rights::needed(config, NAMESPACE)
        .into_iter()
        .map(key)
        .collect()
}

#[rstest]
#[case::observe("observe", &[])]
#[case::plan("plan", &["deploy/overlays/plan/rbac.yaml"])]
#[case::act("act", &["deploy/overlays/act/rbac.yaml"])]
fn manifests_grant_exactly_the_listed_rights(#[case] mode: &str, #[case] files: &[&str]) {
    let files = [&["deploy/base/locksmith.yaml"], files].concat();
    let read = |file: &str| objects(&std::fs::read_to_string(path(file)).unwrap());
    let objects: Vec<_> = files.into_iter().flat_map(read).collect();
    let config = locksmith::config::parse(&format!("mode: {mode}")).unwrap();
    assert_eq!(granted(&objects), listed(&config));
}

#[rstest]
#[ignore = "needs helm: ./tests/run"]
fn chart_grants_exactly_the_listed_rights_of_a_step(
    #[values(
        StepName::SuspendSources,
        StepName::RestartProvisioner,
        StepName::DeleteFailedSnapshots,
        StepName::VerifyProvisioning,
        StepName::ResumeSources,
        StepName::DeleteOrphanedSources
    )]
    step: StepName,
    #[values(false, true)] nudge: bool,
) {
    // A playbook with a hold must release it, and a release requires a hold.
    let steps = match step {
        StepName::SuspendSources | StepName::ResumeSources => {
            json!([StepName::SuspendSources, StepName::ResumeSources])
        }
        step => json!([step]),
    };
    // In a namespace that is not searched.
    let provisioner =
        json!({"namespace": "nfs", "kind": "Deployment", "name": "csi-nfs-controller"});
    let config = json!({
        "playbooks": {"own": {"alerts": [["alertname=\"X\""]], "steps": steps, "approval": true}},
        "steps": {"resumeSources": {"nudge": nudge}},
        "drivers": [{"name": "nfs.csi.k8s.io", "container": "nfs", "provisioner": provisioner}],
    });
    let namespaces = json!(["csi", "kube-system"]);
    let values = json!({"mode": "act", "config": config, "provisionerNamespaces": namespaces});
    let mut config = config;
    config["mode"] = json!("act");
    config["provisionerNamespaces"] = namespaces;
    let config = locksmith::config::parse(&config.to_string()).unwrap();
    assert_eq!(granted(&with_values(&values).unwrap()), listed(&config));
}
