//! Helm and kustomize install the same, in every mode.

use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::{Value, json};

use crate::path;
use crate::render::{
    NAMESPACE, gives_rights, helm, kustomize, objects, refused, without_helm_labels,
};

type Objects = BTreeMap<String, Value>;

/// By kind, namespace and name.
fn by_key(objects: Vec<Value>) -> Objects {
    let key = |object: &Value| {
        let part = |pointer| object.pointer(pointer).and_then(Value::as_str);
        let parts = ["/kind", "/metadata/namespace", "/metadata/name"];
        parts.map(|at| part(at).unwrap_or("-")).join("/")
    };
    objects.into_iter().map(|it| (key(&it), it)).collect()
}

/// Kustomize's objects, without the hash in the name of the configuration.
fn unhashed(yaml: &str) -> Objects {
    let name = regex::Regex::new(r"^locksmith-config-[a-z0-9]{10}$").unwrap();
    let hashed: Vec<_> = objects(yaml)
        .iter()
        .filter(|object| object["kind"] == "ConfigMap")
        .filter_map(|map| map["metadata"]["name"].as_str().map(str::to_owned))
        .filter(|map| name.is_match(map))
        .collect();
    let [hashed] = &hashed[..] else {
        panic!("not one configuration: {hashed:?}")
    };
    by_key(objects(&yaml.replace(hashed, "locksmith-config")))
}

/// Helm's objects, without fields that only Helm has or needs.
fn plain(yaml: &str) -> Objects {
    let mut all = objects(yaml);
    all.retain(|object| {
        object
            .pointer("/metadata/annotations/helm.sh~1hook")
            .is_none()
    });
    for object in &mut all {
        without_helm_labels(object);
        if object["kind"] == "Deployment" {
            let template = object["spec"]["template"]["metadata"].as_object_mut();
            let annotations = template.unwrap().remove("annotations").unwrap();
            assert!(annotations["checksum/config"].is_string());
        }
    }
    by_key(all)
}

/// Objects only in kustomize: Helm has flags for them.
fn apart(objects: &mut Objects) -> [Value; 3] {
    [
        objects.remove(&format!("Namespace/-/{NAMESPACE}")).unwrap(),
        objects
            .remove("CustomResourceDefinition/-/remediations.locksmith.dev")
            .unwrap(),
        objects
            .remove("CustomResourceDefinition/-/snapshotholds.locksmith.dev")
            .unwrap(),
    ]
}

#[rstest]
#[case("observe", 12)]
#[case("plan", 16)]
#[case("act", 24)]
#[ignore = "needs helm and kubectl: ./tests/run"]
fn helm_and_kustomize_install_the_same(#[case] mode: &str, #[case] count: usize) {
    let mut kustomized = unhashed(&kustomize(&format!("deploy/overlays/{mode}")));
    let [namespace, ..] = apart(&mut kustomized);
    assert_eq!(
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        json!("restricted")
    );
    let charted = plain(&helm(&[&format!("mode={mode}")]));
    assert_eq!(kustomized, charted);
    assert_eq!(charted.len(), count, "{:#?}", charted.keys());
    let config =
        &charted[&format!("ConfigMap/{NAMESPACE}/locksmith-config")]["data"]["locksmith.yaml"];
    let config = locksmith::config::parse(config.as_str().unwrap()).unwrap();
    assert_eq!(config.mode.as_str(), mode);
}

#[test]
#[ignore = "needs kubectl: ./tests/run"]
fn default_mode_is_observe() {
    assert_eq!(kustomize("deploy"), kustomize("deploy/overlays/observe"));
    assert_eq!(objects(&helm(&[])), objects(&helm(&["mode=observe"])));
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn every_value_gives_a_valid_configuration() {
    let values = [
        "mode=act",
        "tlsSecret=certificate",
        "auth.tokenSecret=tokens",
        "auth.metrics=true",
        "config.alertmanager.url=http://alertmanager:9093",
    ];
    let objects = by_key(objects(&helm(&values)));
    let config =
        &objects[&format!("ConfigMap/{NAMESPACE}/locksmith-config")]["data"]["locksmith.yaml"];
    let config = locksmith::config::parse(config.as_str().unwrap()).unwrap();
    let deployment = &objects[&format!("Deployment/{NAMESPACE}/locksmith")];
    let pod = &deployment["spec"]["template"]["spec"];
    let mounted = |file: &std::path::Path| {
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        mounts
            .iter()
            .any(|mount| file.starts_with(mount["mountPath"].as_str().unwrap()))
    };
    let (tls, auth) = (config.server.tls, config.server.auth);
    for file in [tls.certificate, tls.key, auth.token_file] {
        assert!(mounted(&file.unwrap()));
    }
    assert!(auth.metrics);
    assert_eq!(
        pod["containers"][0]["livenessProbe"]["httpGet"]["scheme"],
        "HTTPS"
    );
    let url = config.alertmanager.url;
    assert_eq!(url.as_deref(), Some("http://alertmanager:9093"));
}

#[rstest]
// RBAC objects are in the release's namespace, where the Lease and the Remediations must be.
#[case::namespace("config.remediation.namespace=elsewhere")]
// Probes and Service use one port.
#[case::port("config.server.listen=0.0.0.0:9000")]
// Without reviews, the value would have no effect.
#[case::without_reviews("auth.metrics=true")]
#[case::rights("config.server.auth.kubernetes=true")]
#[case::mode("config.mode=act")]
#[ignore = "needs helm: ./tests/run"]
fn unusable_values_are_refused(#[case] value: &str) {
    let path = value.split_once('=').unwrap().0;
    let said = refused(&[value]);
    let part = path.split('.').next().unwrap();
    assert!(said.contains(part), "{said}");
}

/// Names of the roles with their write verbs.
fn writes(values: &[&str]) -> Vec<String> {
    let mut writes = Vec::new();
    for object in objects(&helm(values)) {
        let helms = object.pointer("/metadata/annotations/helm.sh~1hook");
        let rules = object["rules"].as_array().into_iter().flatten();
        for rule in rules.filter(|_| helms.is_none()) {
            let verbs = rule["verbs"].as_array().unwrap();
            for verb in verbs.iter().filter_map(Value::as_str) {
                if !["get", "list", "watch"].contains(&verb) {
                    let resource = rule["resources"][0].as_str().unwrap();
                    let name = object["metadata"]["name"].as_str().unwrap();
                    writes.push(format!("{name}: {verb} {resource}"));
                }
            }
        }
    }
    writes.sort();
    writes
}

/// The values of a playbook with these steps, as the only one.
fn playbook(name: &str, steps: &str) -> [String; 3] {
    let path = format!("config.playbooks.{name}");
    [
        format!("{path}.alerts[0][0]=alertname=X"),
        format!("{path}.steps={{{steps}}}"),
        // A step that deletes sources requires approval.
        format!("{path}.approval=true"),
    ]
}

#[rstest]
#[case::hold("suspendSources,resumeSources", &["locksmith-hold: create snapshotholds", "locksmith-hold: create volumesnapshots"])]
#[case::snapshots("deleteFailedSnapshots", &["locksmith-act: delete volumesnapshots"])]
#[case::verification("verifyProvisioning", &["locksmith-act: patch volumesnapshotcontents"])]
#[case::orphans("deleteOrphanedSources", &["locksmith-act: delete replicationsources"])]
#[case::restart("restartProvisioner", &["locksmith-restart: delete pods", "locksmith-restart: patch deployments", "locksmith-restart: patch leases"])]
#[ignore = "needs helm: ./tests/run"]
fn rights_of_act_follow_the_steps_of_the_playbooks(#[case] steps: &str, #[case] adds: &[&str]) {
    let planned = writes(&["mode=plan"]);
    let [alerts, steps, approval] = playbook("own", steps);
    let mut acting = writes(&["mode=act", &alerts, &steps, &approval]);
    acting.retain(|write| !planned.contains(write));
    assert_eq!(acting, adds);
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn default_rights_of_act_match_the_default_playbooks() {
    let defaults = locksmith::config::Config::default().playbooks.0;
    let mut values = vec!["mode=act".to_owned()];
    for (name, one) in &defaults {
        let steps: Vec<_> = one.steps.iter().map(|step| step.as_str()).collect();
        values.extend(playbook(name, &steps.join(",")));
    }
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    assert_eq!(writes(&["mode=act"]), writes(&values));
}

/// Objects that grant rights in an overlay, by kind, namespace and name.
fn rights_of(mode: &str) -> Objects {
    let mut rights = objects(&kustomize(&format!("deploy/overlays/{mode}")));
    rights.retain(gives_rights);
    by_key(rights)
}

#[rstest]
#[case("plan")]
#[case("act")]
#[ignore = "needs kubectl: ./tests/run"]
fn documented_deletion_removes_every_right_to_write(#[case] mode: &str) {
    let page = std::fs::read_to_string(path("deploy/docs/install.md")).unwrap();
    let told = regex::Regex::new(r"kubectl delete --ignore-not-found -f (deploy/\S+)").unwrap();
    let file = told.captures(&page).expect("how to go back to observe")[1].to_owned();
    let deleted = by_key(objects(&std::fs::read_to_string(path(&file)).unwrap()));
    let mut left = rights_of(mode);
    left.retain(|key, _| !deleted.contains_key(key));
    assert_eq!(left, rights_of("observe"));
}
