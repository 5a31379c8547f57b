//! The workloads that a Rook operator deploys for a world's configuration.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetSpec, Deployment, DeploymentSpec, DeploymentStrategy, StatefulSet,
    StatefulSetSpec,
};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::config::{Layout, WorldConfig};
use super::names::{
    DRIVER_CONTAINER, PROVISIONER_CONTAINER, SNAPSHOTTER_CONTAINER, provisioner_deployment,
};

/// Rook runs two replicas, one of them on standby. In the host network, as with csi-driver-nfs, there is one: two on one
/// node would hold their Leases under the same identity.
fn replicas(config: &WorldConfig) -> i32 {
    if config.layout == Layout::HostNetwork {
        1
    } else {
        2
    }
}

/// The provisioner: the replicas share two Leases, each with one leader.
pub(super) fn provisioner(config: &WorldConfig) -> Deployment {
    let name = provisioner_deployment(config);
    let labels = app(&name);
    Deployment {
        metadata: metadata(config, &name),
        spec: Some(DeploymentSpec {
            replicas: Some(replicas(config)),
            selector: LabelSelector {
                match_labels: Some(labels.clone()),
                match_expressions: None,
            },
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                rolling_update: None,
            }),
            template: provisioner_template(config, labels),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

/// The same as a StatefulSet.
pub(super) fn provisioner_set(config: &WorldConfig) -> StatefulSet {
    let name = provisioner_deployment(config);
    let labels = app(&name);
    StatefulSet {
        metadata: metadata(config, &name),
        spec: Some(StatefulSetSpec {
            replicas: Some(replicas(config)),
            selector: LabelSelector {
                match_labels: Some(labels.clone()),
                match_expressions: None,
            },
            pod_management_policy: Some("Parallel".to_owned()),
            template: provisioner_template(config, labels),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn provisioner_template(config: &WorldConfig, labels: BTreeMap<String, String>) -> PodTemplateSpec {
    let mut template = template(labels, controller_containers(config));
    if let Some(spec) = &mut template.spec {
        spec.host_network = (config.layout == Layout::HostNetwork).then_some(true);
        let driver = spec
            .containers
            .iter_mut()
            .find(|container| container.name == DRIVER_CONTAINER);
        if let Some(driver) = driver {
            driver.args = Some(vec![format!("--drivername={}", config.driver)]);
        }
    }
    template
}

/// The node part of the driver, which mounts volumes; restarting it does not affect the provisioner's locks.
pub(super) fn node_plugin(config: &WorldConfig) -> DaemonSet {
    let name = match config.layout {
        Layout::Classic | Layout::HostNetwork | Layout::StatefulSet => DRIVER_CONTAINER.to_owned(),
        Layout::OperatorManaged => format!("{}-nodeplugin", config.driver),
    };
    let labels = app(&name);
    DaemonSet {
        metadata: metadata(config, &name),
        spec: Some(DaemonSetSpec {
            selector: LabelSelector {
                match_labels: Some(labels.clone()),
                match_expressions: None,
            },
            template: template(
                labels,
                vec!["driver-registrar", DRIVER_CONTAINER, "liveness-prometheus"],
            ),
            ..DaemonSetSpec::default()
        }),
        status: None,
    }
}

fn controller_containers(config: &WorldConfig) -> Vec<&'static str> {
    let mut containers = vec![PROVISIONER_CONTAINER, "csi-resizer", "csi-attacher"];
    containers.extend(config.snapshotter.then_some(SNAPSHOTTER_CONTAINER));
    containers.extend([
        "csi-omap-generator",
        "csi-addons",
        DRIVER_CONTAINER,
        "liveness-prometheus",
    ]);
    containers.push(match config.layout {
        Layout::Classic | Layout::HostNetwork | Layout::StatefulSet => "log-collector",
        Layout::OperatorManaged => "log-rotator",
    });
    containers
}

fn metadata(config: &WorldConfig, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(config.namespace.clone()),
        labels: Some(app(name)),
        ..ObjectMeta::default()
    }
}

fn template(labels: BTreeMap<String, String>, containers: Vec<&str>) -> PodTemplateSpec {
    let everywhere = Toleration {
        operator: Some("Exists".to_owned()),
        ..Toleration::default()
    };
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: containers.into_iter().map(container).collect(),
            tolerations: Some(vec![everywhere]),
            ..PodSpec::default()
        }),
    }
}

fn container(name: &str) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(format!("{name}:demo")),
        ..Container::default()
    }
}

fn app(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), name.to_owned())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timings;

    fn containers(config: &WorldConfig) -> Vec<String> {
        let pod = provisioner(config).spec.unwrap().template.spec.unwrap();
        pod.containers
            .into_iter()
            .map(|container| container.name)
            .collect()
    }

    #[test]
    fn provisioner_has_a_snapshotter_by_default() {
        let mut config = WorldConfig::new(Timings::fast());
        assert!(
            containers(&config)
                .iter()
                .any(|name| name == SNAPSHOTTER_CONTAINER)
        );
        config.snapshotter = false;
        assert!(
            !containers(&config)
                .iter()
                .any(|name| name == SNAPSHOTTER_CONTAINER)
        );
    }

    #[test]
    fn node_plugin_is_no_provisioner() {
        let plugin = node_plugin(&WorldConfig::new(Timings::fast()));
        assert_eq!(plugin.metadata.name.as_deref(), Some("csi-rbdplugin"));
        let pod = plugin.spec.unwrap().template.spec.unwrap();
        assert!(
            pod.containers
                .iter()
                .all(|container| container.name != PROVISIONER_CONTAINER)
        );
    }
}
