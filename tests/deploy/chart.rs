//! The chart's values: documented, described by a schema, and rejected where the program would reject them.
//!
//! 1. The README lists every value with its default.
//! 2. The schema of `config` is that of the program, and the chart rejects each error of a configuration.
//! 3. Labels, pod settings, exposure and monitoring are rendered into the right objects.

use std::fmt::Write as _;

use regex::Regex;
use rstest::rstest;
use serde_json::{Value, json};

use crate::path;
use crate::render::{NAMESPACE, helm, notes, objects, with_values};

fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_default()
}

/// Compares a generated file, or writes it with `UPDATE_DOCS`.
fn holds(file: &str, wanted: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path(file), wanted).unwrap();
    }
    assert!(
        read(file) == wanted,
        "{file} is out of date: UPDATE_DOCS=1 cargo test --test deploy"
    );
}

const README: &str = "\
# locksmith

Shows what a jammed CSI driver holds up in a cluster that backs up with VolSync, and repairs it when an alert fires.
Out of the box it changes nothing.

    helm install locksmith deploy/chart -n volsync-locksmith --create-namespace --set image.repository=REPOSITORY

[Install](../docs/install.md) describes the modes, Alertmanager, authentication and the uninstall,
[Configure](../docs/configure.md) the configuration.

## Values

| value | default | description |
|---|---|---|
";

/// Path and description of each documented value.
fn documented(values: &str) -> Vec<(String, String)> {
    let key = Regex::new(r"^( *)([A-Za-z]+):").unwrap();
    let (mut documented, mut parents, mut text) = (Vec::new(), Vec::<String>::new(), None);
    for line in values.lines() {
        let comment = line.trim_start().strip_prefix("# ");
        match (comment, &mut text) {
            (Some(comment), _) if comment.starts_with("-- ") => {
                text = Some(comment[3..].to_owned());
            }
            (Some(comment), Some(text)) => write!(text, " {comment}").unwrap(),
            (Some(_), None) => {}
            (None, _) => {
                let Some(found) = key.captures(line) else {
                    continue;
                };
                parents.truncate(found[1].len() / 2);
                parents.push(found[2].to_owned());
                documented.extend(text.take().map(|text| (parents.join("."), text)));
            }
        }
    }
    documented
}

/// The value at a path such as `image.tag`.
fn at<'v>(values: &'v Value, path: &str) -> &'v Value {
    values
        .pointer(&format!("/{}", path.replace('.', "/")))
        .unwrap()
}

#[test]
fn readme_lists_every_value() {
    let text = read("deploy/chart/values.yaml");
    let values: Value = serde_saphyr::from_str(&text).unwrap();
    let mut page = README.to_owned();
    let documented = documented(&text);
    for (path, description) in &documented {
        let default = at(&values, path);
        writeln!(page, "| `{path}` | `{default}` | {description} |").unwrap();
    }
    holds("deploy/chart/README.md", &page);

    // A value that is no group of documented values is documented itself.
    let known = |path: &str| documented.iter().any(|(known, _)| known == path);
    let mut groups = vec![(String::new(), &values)];
    while let Some((above, group)) = groups.pop() {
        for (name, value) in group.as_object().unwrap() {
            let path = format!("{above}{name}");
            if !known(&path) {
                assert!(
                    value.is_object(),
                    "{path} has no comment that begins with --"
                );
                groups.push((format!("{path}."), value));
            }
        }
    }
}

#[test]
fn schema_of_values_contains_that_of_the_configuration() {
    let file = "deploy/chart/values.schema.json";
    let mut schema: Value = serde_json::from_str(&read(file)).unwrap();
    let mut config = locksmith::config::schema();
    let mut definitions = config["$defs"].take();
    for annotation in ["$schema", "$defs", "title"] {
        config.as_object_mut().unwrap().remove(annotation);
    }
    // The chart sets these, and values that depend on them.
    config["properties"]["mode"] = json!(false);
    config["properties"]["server"] = json!(false);
    config["properties"]["provisionerNamespaces"] = json!(false);
    definitions["Remediation"]["properties"]["namespace"] = json!(false);
    definitions["name"] = schema["$defs"]["name"].take();
    schema["properties"]["config"] = config;
    schema["$defs"] = definitions;
    holds(
        file,
        &(serde_json::to_string_pretty(&schema).unwrap() + "\n"),
    );

    let known = schema["properties"].as_object().unwrap();
    let values: Value = serde_saphyr::from_str(&read("deploy/chart/values.yaml")).unwrap();
    for value in values.as_object().unwrap().keys() {
        assert!(known.contains_key(value), "{value} is not in {file}");
    }
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.validate(&values).unwrap();
}

#[test]
fn chart_uses_the_defaults_of_the_program() {
    holds(
        "deploy/chart/files/locksmith.yaml",
        &read("deploy/locksmith.yaml"),
    );
}

#[test]
fn chart_lists_every_crd_it_installs() {
    let chart: Value = serde_saphyr::from_str(&read("deploy/chart/Chart.yaml")).unwrap();
    let announced = chart["annotations"]["artifacthub.io/crds"].as_str();
    let announced: Vec<Value> = serde_saphyr::from_str(announced.unwrap()).unwrap();
    let files = path("deploy/chart/crds").read_dir().unwrap();
    let mut installed = 0;
    for file in files {
        for crd in objects(&std::fs::read_to_string(file.unwrap().path()).unwrap()) {
            installed += 1;
            let name = &crd["metadata"]["name"];
            let found = announced.iter().find(|it| &it["name"] == name);
            let found = found.unwrap_or_else(|| panic!("{name} is not in Chart.yaml"));
            assert_eq!(found["kind"], crd["spec"]["names"]["kind"]);
            assert_eq!(found["version"], crd["spec"]["versions"][0]["name"]);
        }
    }
    assert_eq!(installed, announced.len());
}

/// Each is rejected by `locksmith check-config`, and so by the chart, with the same field in the error.
#[rstest]
#[case::unknown_field("detect: {pendngAfter: 1m}", "pendngAfter")]
#[case::number_for_duration("detect: {pendingAfter: 10}", "pendingAfter")]
#[case::word_for_duration("detect: {pendingAfter: soon}", "pendingAfter")]
#[case::null_for_duration("detect: {pendingAfter: null}", "pendingAfter")]
#[case::share("gates: {maxDeletionsShare: 130%}", "maxDeletionsShare")]
#[case::driver_without_name("drivers: [{container: x}]", "name")]
#[case::driver_of_any_name("drivers: [{name: '*', container: x}]", "name")]
#[case::pattern_without_key(
    "drivers: [{name: x, container: x, lockPatterns: ['no group']}]",
    "lockPatterns"
)]
#[case::pattern_syntax(
    "drivers: [{name: x, container: x, lockPatterns: ['(?P<key>x']}]",
    "parsing regexp"
)]
#[case::matcher(
    "playbooks: {x: {alerts: [[a]], steps: [restartProvisioner]}}",
    "alerts"
)]
#[case::matcher_of_anything(
    "playbooks: {x: {alerts: [['a=~\".*\"']], steps: [restartProvisioner]}}",
    "playbooks.x.alerts[0]: matches an alert without any label"
)]
#[case::no_matcher(
    "playbooks: {x: {alerts: [[]], steps: [restartProvisioner]}}",
    "alerts"
)]
#[case::unknown_step("playbooks: {x: {alerts: [], steps: [restart]}}", "steps")]
#[case::no_step("playbooks: {x: {alerts: [], steps: []}}", "steps")]
#[case::no_alerts("playbooks: {x: {steps: [restartProvisioner]}}", "alerts")]
#[case::step_twice(
    "playbooks: {x: {alerts: [], steps: [restartProvisioner, restartProvisioner]}}",
    "steps"
)]
#[case::never_resumed(
    "playbooks: {x: {alerts: [], steps: [suspendSources]}}",
    "playbooks.x.steps: suspendSources must be followed by resumeSources"
)]
#[case::never_suspended(
    "playbooks: {x: {alerts: [], steps: [resumeSources]}}",
    "playbooks.x.steps: resumeSources must be preceded by suspendSources"
)]
#[case::resumed_too_early(
    "playbooks: {x: {alerts: [], steps: [suspendSources, resumeSources, restartProvisioner]}}",
    "playbooks.x.steps"
)]
#[case::verified_too_early(
    "playbooks: {x: {alerts: [], steps: [verifyProvisioning, restartProvisioner]}}",
    "playbooks.x.steps: verifyProvisioning must come after restartProvisioner"
)]
#[case::unasked_deletion(
    "playbooks: {x: {alerts: [], steps: [deleteOrphanedSources]}}",
    "playbooks.x.approval: must be true"
)]
#[case::no_attempt(
    "playbooks: {x: {alerts: [], steps: [restartProvisioner], attempts: 0}}",
    "attempts"
)]
#[case::nothing_may_be_deleted("gates: {maxDeletions: 0}", "gates.maxDeletions is 0")]
#[case::no_budget("gates: {budgets: {perCluster: 0}}", "perCluster")]
#[case::forgotten_runs(
    "remediation: {keepFor: 1h}",
    "remediation.keepFor: must not be shorter"
)]
#[case::no_runs_kept("remediation: {keep: 0}", "keep")]
#[case::window_time(
    "gates: {windows: [{from: '25:00', to: '06:00', timeZone: UTC}]}",
    "from"
)]
#[case::window_day(
    "gates: {windows: [{days: [sunday], from: '22:00', to: '06:00', timeZone: UTC}]}",
    "days"
)]
#[case::without_prometheus("gates: {promql: {ill: up}}", "gates.promql: requires prometheus.url")]
#[case::no_interval(
    "alertmanager: {interval: 0s}",
    "alertmanager.interval: must be longer than 0s"
)]
#[case::batch("steps: {resumeSources: {batch: 0}}", "batch")]
#[case::url_with_a_password("prometheus: {url: 'http://a:b@prometheus:9090'}", "url")]
#[case::url_without_scheme("alertmanager: {url: 'alertmanager:9093'}", "url")]
#[case::two_credentials(
    "prometheus: {http: {tokenFile: /t, basicAuth: {username: u, passwordFile: /p}}}",
    "prometheus.http.basicAuth: must be null if tokenFile is set"
)]
#[case::user_with_a_colon(
    "prometheus: {http: {basicAuth: {username: 'a:b', passwordFile: /p}}}",
    "username"
)]
#[case::header_of_its_own(
    "alertmanager: {http: {headers: {Authorization: Bearer x}}}",
    "alertmanager.http.headers.Authorization: is set by locksmith itself"
)]
#[ignore = "needs helm: ./tests/run"]
fn refused_configuration_does_not_install(#[case] config: &str, #[case] says: &str) {
    locksmith::config::parse(config).unwrap_err();
    let config: Value = serde_saphyr::from_str(config).unwrap();
    let error = with_values(&json!({ "config": config })).unwrap_err();
    assert!(error.contains(says), "{error}");
}

#[rstest]
#[case::playbooks(
    "playbooks: {x: {alerts: [['alertname=\"X\"', 'team=~\"a|b\"']], steps: [restartProvisioner, verifyProvisioning], approval: true}}"
)]
#[case::durations(
    "detect: {pendingAfter: 1h 30m, lockedAfter: 20min}\nremediation: {keepFor: 1 year}"
)]
#[case::windows(
    "gates: {windows: [{days: [sat, sun], from: '22:00', to: '06:00', timeZone: Europe/Berlin}]}"
)]
#[case::expressions(
    "gates: {promql: {ill: 'up == 0'}}\nprometheus: {url: 'http://prometheus:9090'}"
)]
#[case::drivers(
    "drivers: [{name: '*.nfs.csi.k8s.io', container: nfs, lockPatterns: ['locked: (?P<key>\\w+)']}]"
)]
#[ignore = "needs helm: ./tests/run"]
fn valid_configuration_is_installed_unchanged(#[case] config: &str) {
    let wanted = locksmith::config::parse(config).unwrap();
    let given: Value = serde_saphyr::from_str(config).unwrap();
    let objects = with_values(&json!({ "config": given })).unwrap();
    let map = objects.iter().find(|it| it["kind"] == "ConfigMap");
    let text = map.unwrap()["data"]["locksmith.yaml"].as_str().unwrap();
    assert!(locksmith::config::parse(text).unwrap() == wanted, "{text}");
}

#[rstest]
#[case::user_without_password(json!({"username": "u"}), json!({}), "username: must be set together with passwordSecret")]
#[case::password_without_user(json!({"passwordSecret": "p"}), json!({}), "username: must be set together with passwordSecret")]
#[case::two_credentials(
    json!({"username": "u", "passwordSecret": "p", "tokenSecret": "t"}), json!({}),
    "username: must be empty if a token is set"
)]
#[case::two_tokens(
    json!({"tokenSecret": "t", "tokenAudience": "a"}), json!({}),
    "tokenAudience: must be empty if tokenSecret is set"
)]
#[case::token_file(
    json!({"tokenAudience": "a"}), json!({"tokenFile": "/t"}),
    "tokenAudience: must be empty if config.alertmanager.http.tokenFile is set"
)]
#[case::basic_auth(
    json!({"username": "u", "passwordSecret": "p"}), json!({"basicAuth": {"username": "v", "passwordFile": "/p"}}),
    "username: must be empty if config.alertmanager.http.basicAuth is set"
)]
#[case::two_cas(json!({"caSecret": "a", "caConfigMap": "b"}), json!({}), "caConfigMap: must be empty if caSecret is set")]
#[case::ca_file(
    json!({"caConfigMap": "a"}), json!({"caFile": "/c"}),
    "caConfigMap: must be empty if config.alertmanager.http.caFile is set"
)]
#[ignore = "needs helm: ./tests/run"]
fn contradicting_client_does_not_install(
    #[case] client: Value,
    #[case] http: Value,
    #[case] says: &str,
) {
    let config = json!({"alertmanager": {"url": "https://a", "http": http}});
    let values = json!({"clients": {"alertmanager": client}, "config": config});
    let error = with_values(&values).unwrap_err();
    let says = format!("clients.alertmanager.{says}");
    assert!(error.contains(&says), "{error}");
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn client_without_url_does_not_install() {
    let values = json!({"clients": {"prometheus": {"tokenAudience": "a"}}});
    let error = with_values(&values).unwrap_err();
    let says = "clients.prometheus: has no effect without config.prometheus.url";
    assert!(error.contains(says), "{error}");
}

/// The chart repeats the list of the program.
#[test]
fn chart_refuses_the_reserved_headers_of_the_program() {
    let validate = read("deploy/chart/templates/_validate.tpl");
    let names: Vec<_> = locksmith::config::RESERVED_HEADERS
        .iter()
        .map(|name| format!("{name:?}"))
        .collect();
    let list = format!("(list {})", names.join(" "));
    assert!(validate.contains(&list), "{list}");
}

/// The configuration names files that the daemon and `helm test` mount.
#[test]
#[ignore = "needs helm: ./tests/run"]
fn files_of_the_clients_are_mounted_and_configured() {
    let values = json!({
        "config": {
            "prometheus": {"url": "https://p", "http": {"headers": {"X-Scope-OrgID": "home"}}},
            "alertmanager": {"url": "https://a"},
        },
        "clients": {
            "prometheus": {"tokenSecret": "p-token", "caConfigMap": "p-ca"},
            "alertmanager": {"username": "u", "passwordSecret": "a-password", "caSecret": "a-ca"},
        },
    });
    let objects = with_values(&values).unwrap();
    let map = objects
        .iter()
        .find(|it| it["metadata"]["name"] == "locksmith-config");
    let text = map.unwrap()["data"]["locksmith.yaml"].as_str().unwrap();
    let config = locksmith::config::parse(text).unwrap();
    let (prometheus, alertmanager) = (config.prometheus.http, config.alertmanager.http);
    assert_eq!(prometheus.headers["X-Scope-OrgID"], "home");
    let basic = alertmanager.basic_auth.unwrap();
    assert_eq!(basic.username, "u");
    let named = [
        (prometheus.token_file.unwrap(), "secret", "p-token", "token"),
        (prometheus.ca_file.unwrap(), "configMap", "p-ca", "ca.crt"),
        (basic.password_file, "secret", "a-password", "password"),
        (alertmanager.ca_file.unwrap(), "secret", "a-ca", "ca.crt"),
    ];
    let is_check = |it: &&Value| it["metadata"]["name"] == "locksmith-check" && it["kind"] == "Job";
    for pod in [
        of(&objects, "Deployment"),
        objects.iter().find(is_check).unwrap(),
    ] {
        let pod = &pod["spec"]["template"]["spec"];
        let named_clients = |it: &&Value| it["name"] == "clients";
        let list = |list: &Value| list.as_array().unwrap().clone();
        let mounts = list(&pod["containers"][0]["volumeMounts"]);
        let mount = mounts.iter().find(named_clients).unwrap();
        let mounted = mount["mountPath"].as_str().unwrap();
        let volumes = list(&pod["volumes"]);
        let volume = volumes.iter().find(named_clients).unwrap();
        let sources = list(&volume["projected"]["sources"]);
        assert_eq!(sources.len(), named.len());
        for (path, kind, object, key) in &named {
            let below = path.strip_prefix(mounted).unwrap().to_str().unwrap();
            let item = json!([{"key": key, "path": below}]);
            let source = json!({*kind: {"name": object, "items": item}});
            assert!(sources.contains(&source), "{source}: {sources:?}");
        }
    }
}

/// The token for another server is none for the API server.
#[test]
#[ignore = "needs helm: ./tests/run"]
fn token_of_a_client_has_its_own_audience() {
    let values = json!({
        "config": {"alertmanager": {"url": "https://a"}},
        "clients": {"alertmanager": {"tokenAudience": "alert: manager"}},
    });
    let objects = with_values(&values).unwrap();
    let pod = &of(&objects, "Deployment")["spec"]["template"]["spec"];
    let volumes = pod["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|it| it["name"] == "clients").unwrap();
    let token = json!({
        "audience": "alert: manager", "expirationSeconds": 3600, "path": "alertmanager/token",
    });
    let sources = json!([{"serviceAccountToken": token}]);
    assert_eq!(volume["projected"]["sources"], sources);
    let map = objects
        .iter()
        .find(|it| it["metadata"]["name"] == "locksmith-config");
    let text = map.unwrap()["data"]["locksmith.yaml"].as_str().unwrap();
    let config = locksmith::config::parse(text).unwrap();
    let token = config.alertmanager.http.token_file.unwrap();
    assert!(token.ends_with("clients/alertmanager/token"), "{token:?}");
}

fn of<'o>(objects: &'o [Value], kind: &str) -> &'o Value {
    let found = objects.iter().find(|it| it["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn every_object_carries_the_recommended_labels() {
    let values = json!({
        "mode": "act",
        "commonLabels": {"team": "storage"},
        "monitoring": {"enabled": true, "dashboards": {"grafanaOperator": {"enabled": true}}},
        "auth": {"kubernetes": true, "metrics": true},
        "ingress": {"enabled": true, "hosts": ["locksmith.example.com"]},
        "httpRoute": {"enabled": true, "parentRefs": [{"name": "gateway"}]},
    });
    let objects = with_values(&values).unwrap();
    assert!(objects.len() > 20, "{}", objects.len());
    for object in &objects {
        let labels = &object["metadata"]["labels"];
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        assert_eq!(labels["app.kubernetes.io/name"], "locksmith", "{name}");
        assert_eq!(labels["app.kubernetes.io/instance"], "locksmith", "{name}");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{name}");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(labels["app.kubernetes.io/version"], version, "{name}");
        assert_eq!(labels["team"], "storage", "{name}");
    }
    // The selector of a Deployment is immutable.
    let selector = json!({"app.kubernetes.io/name": "locksmith"});
    let deployment = of(&objects, "Deployment");
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], selector);
    assert_eq!(of(&objects, "Service")["spec"]["selector"], selector);
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn pods_have_the_settings_of_the_values() {
    let spread =
        json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]);
    let affinity = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}});
    let values = json!({
        "image": {"repository": "r/locksmith", "tag": "1", "digest": "sha256:abc"},
        "podLabels": {"tier": "backup"},
        "podAnnotations": {"note": "x"},
        "extraArgs": ["--log-format=pretty"],
        "extraEnv": [{"name": "RUST_LOG", "value": "debug"}],
        "affinity": affinity,
        "topologySpreadConstraints": spread,
        "serviceAccount": {"create": false, "name": "mine"},
    });
    let objects = with_values(&values).unwrap();
    let template = &of(&objects, "Deployment")["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["tier"], "backup");
    assert_eq!(template["metadata"]["annotations"]["note"], "x");
    let pod = &template["spec"];
    assert_eq!(pod["affinity"], affinity);
    assert_eq!(pod["topologySpreadConstraints"], spread);
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "r/locksmith:1@sha256:abc");
    let args = container["args"].as_array().unwrap();
    assert_eq!(args.last().unwrap(), "--log-format=pretty");
    let env = container["env"].as_array().unwrap();
    assert_eq!(env.last().unwrap()["name"], "RUST_LOG");

    assert_eq!(pod["serviceAccountName"], "mine");
    let created = |object: &&Value| {
        let hook = object.pointer("/metadata/annotations/helm.sh~1hook");
        object["kind"] == "ServiceAccount" && hook.is_none()
    };
    assert_eq!(objects.iter().find(created), None);
    let hook = "locksmith-release";
    let subjects = objects.iter().filter_map(|it| it["subjects"].as_array());
    for subject in subjects.flatten().filter(|it| it["name"] != hook) {
        assert_eq!(subject["name"], "mine");
    }
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn ingress_and_route_lead_to_the_service() {
    let values = json!({
        "service": {"type": "NodePort", "port": 80, "annotations": {"a": "b"}},
        "ingress": {
            "enabled": true,
            "className": "nginx",
            "hosts": ["locksmith.example.com"],
            "tls": [{"hosts": ["locksmith.example.com"], "secretName": "tls"}],
        },
        "httpRoute": {
            "enabled": true,
            "parentRefs": [{"name": "gateway", "namespace": "network"}],
            "hostnames": ["locksmith.example.com"],
        },
    });
    let objects = with_values(&values).unwrap();
    let service = of(&objects, "Service");
    assert_eq!(service["metadata"]["annotations"]["a"], "b");
    assert_eq!(service["spec"]["type"], "NodePort");
    let port = &service["spec"]["ports"][0];
    assert_eq!(port["port"], 80);

    let ingress = &of(&objects, "Ingress")["spec"];
    assert_eq!(ingress["ingressClassName"], "nginx");
    assert_eq!(ingress["tls"][0]["secretName"], "tls");
    let backend = &ingress["rules"][0]["http"]["paths"][0]["backend"]["service"];
    assert_eq!(backend["name"], service["metadata"]["name"]);
    assert_eq!(backend["port"]["name"], port["name"]);

    let route = &of(&objects, "HTTPRoute")["spec"];
    assert_eq!(route["parentRefs"][0]["namespace"], "network");
    let backend = &route["rules"][0]["backendRefs"][0];
    assert_eq!(backend["name"], service["metadata"]["name"]);
    assert_eq!(backend["port"], port["port"]);
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn each_part_of_the_monitoring_can_be_disabled() {
    let parts = [
        ("serviceMonitor", "ServiceMonitor"),
        ("rules", "PrometheusRule"),
        ("dashboards", "ConfigMap"),
    ];
    let kinds = |values: &Value| -> Vec<String> {
        let mut objects = with_values(values).unwrap();
        let config = |object: &Value| object["metadata"]["name"] == "locksmith-config";
        objects.retain(|object| !config(object));
        let kinds = objects
            .iter()
            .map(|it| it["kind"].as_str().unwrap().to_owned());
        kinds.collect()
    };
    for (part, kind) in parts {
        let found = kinds(&json!({"monitoring": {"enabled": true, part: {"enabled": false}}}));
        for (other, other_kind) in parts {
            let there = found.iter().any(|it| it == other_kind);
            assert_eq!(there, other != part, "{kind} off: {other_kind}");
        }
    }
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn scrape_settings_reach_the_service_monitor() {
    let relabel = json!([{"action": "labeldrop", "regex": "pod"}]);
    let values = json!({"monitoring": {"enabled": true, "serviceMonitor": {
        "interval": "15s", "scrapeTimeout": "5s", "relabelings": relabel, "metricRelabelings": relabel,
    }}});
    let objects = with_values(&values).unwrap();
    let endpoint = &of(&objects, "ServiceMonitor")["spec"]["endpoints"][0];
    assert_eq!(endpoint["interval"], "15s");
    assert_eq!(endpoint["scrapeTimeout"], "5s");
    assert_eq!(endpoint["relabelings"], relabel);
    assert_eq!(endpoint["metricRelabelings"], relabel);
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn grafana_operator_gets_every_dashboard() {
    let values = json!({"monitoring": {"enabled": true, "dashboards": {
        "enabled": false,
        "grafanaOperator": {"enabled": true, "instanceSelector": {"grafana": "home"}, "folder": "Backup"},
    }}});
    let objects = with_values(&values).unwrap();
    let map = objects
        .iter()
        .find(|it| it["metadata"]["name"] == "locksmith-dashboards")
        .unwrap();
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], Value::Null);
    let files = map["data"].as_object().unwrap();
    let dashboards: Vec<_> = objects
        .iter()
        .filter(|it| it["kind"] == "GrafanaDashboard")
        .map(|it| &it["spec"])
        .collect();
    assert_eq!(dashboards.len(), files.len());
    for dashboard in dashboards {
        assert_eq!(
            dashboard["instanceSelector"]["matchLabels"]["grafana"],
            "home"
        );
        assert_eq!(dashboard["folder"], "Backup");
        assert_eq!(dashboard["configMapRef"]["name"], map["metadata"]["name"]);
        assert!(files.contains_key(dashboard["configMapRef"]["key"].as_str().unwrap()));
    }
}

#[rstest]
#[case::observe(&[], &["mode observe", "helm test locksmith -n volsync-locksmith", "port-forward service/locksmith 9797", "no alert is installed"])]
#[case::act(
    &["mode=act"],
    &["locksmith.dev/stop=true", "locksmith.volsync-locksmith.svc:9797/webhook", "may post alerts: set auth"]
)]
#[case::exposed(
    &["ingress.enabled=true", "ingress.hosts={l.example.com}"],
    &["http://l.example.com/", "without authentication"]
)]
#[ignore = "needs helm: ./tests/run"]
fn notes_name_the_next_command(#[case] values: &[&str], #[case] says: &[&str]) {
    let notes = notes(values);
    for text in says {
        assert!(notes.contains(text), "{notes}");
    }
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn helm_test_runs_as_the_daemon_and_is_no_endpoint() {
    let values =
        json!({"tlsSecret": "tls", "service": {"port": 80}, "serviceAccount": {"name": "mine"}});
    let objects = with_values(&values).unwrap();
    let is_test = |object: &&Value| {
        object.pointer("/metadata/annotations/helm.sh~1hook") == Some(&json!("test"))
    };
    let hooks: Vec<_> = objects.iter().filter(is_test).collect();
    let job = hooks.iter().find(|it| it["kind"] == "Job").unwrap();
    let pod = &job["spec"]["template"];
    assert_eq!(pod["spec"]["serviceAccountName"], "mine");
    let mounted = &of(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], mounted["image"]);
    assert_eq!(container["volumeMounts"][0], mounted["volumeMounts"][0]);
    let args = container["args"].as_array().unwrap();
    assert!(
        args.contains(&json!("--url=https://locksmith.volsync-locksmith.svc:80")),
        "{args:?}"
    );
    let label = &pod["metadata"]["labels"]["app.kubernetes.io/name"];
    let selector = &of(&objects, "Service")["spec"]["selector"]["app.kubernetes.io/name"];
    assert_ne!(label, selector);
    // The daemon admits it, and it may reach the daemon.
    let admits = |policy: &&&Value| {
        policy.pointer("/spec/ingress/0/from/0/podSelector/matchLabels/app.kubernetes.io~1name")
            == Some(label)
    };
    let admitting = hooks.iter().find(admits).unwrap();
    assert_eq!(
        &admitting["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"],
        selector
    );
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn chart_uses_the_image_of_its_release() {
    let printed = helm(&[]);
    let image = format!("image: volsync-locksmith:{}", env!("CARGO_PKG_VERSION"));
    assert!(printed.contains(&image));
    let deployment = objects(&printed);
    assert_eq!(
        of(&deployment, "Deployment")["metadata"]["namespace"],
        NAMESPACE
    );
}
