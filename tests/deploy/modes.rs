//! Helm and kustomize install the same, in every mode.

use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::{Value, json};

use crate::render::{NAMESPACE, helm, kustomize, objects};

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

/// Kustomize's objects, with the name of the configuration as it was before its hash was added.
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

/// Helm's objects, without what only it has or needs.
fn plain(yaml: &str) -> Objects {
    let mut all = objects(yaml);
    all.retain(|object| {
        object
            .pointer("/metadata/annotations/helm.sh~1hook")
            .is_none()
    });
    for object in &mut all {
        if object["kind"] == "Deployment" {
            let template = object["spec"]["template"]["metadata"].as_object_mut();
            let annotations = template.unwrap().remove("annotations").unwrap();
            assert!(annotations["checksum/config"].is_string());
        }
    }
    by_key(all)
}

/// What kustomize brings beside the chart: Helm has flags for both.
fn apart(objects: &mut Objects) -> [Value; 2] {
    [
        objects.remove(&format!("Namespace/-/{NAMESPACE}")).unwrap(),
        objects
            .remove("CustomResourceDefinition/-/remediations.locksmith.dev")
            .unwrap(),
    ]
}

#[rstest]
#[case("observe", 10)]
#[case("plan", 14)]
#[case("act", 18)]
#[ignore = "needs helm and kubectl: ./tests/run"]
fn helm_and_kustomize_install_the_same(#[case] mode: &str, #[case] count: usize) {
    let mut kustomized = unhashed(&kustomize(&format!("deploy/overlays/{mode}")));
    let [namespace, _] = apart(&mut kustomized);
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
fn unless_told_otherwise_it_observes() {
    assert_eq!(kustomize("deploy"), kustomize("deploy/overlays/observe"));
    assert_eq!(objects(&helm(&[])), objects(&helm(&["mode=observe"])));
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn every_value_ends_in_a_configuration_that_is_good() {
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
