//! A world's configuration in, the workloads that a Rook operator deploys for it out.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetSpec, Deployment, DeploymentSpec, DeploymentStrategy,
};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::config::{Layout, WorldConfig};
use super::names::{
    DRIVER_CONTAINER, PROVISIONER_CONTAINER, SNAPSHOTTER_CONTAINER, provisioner_deployment,
};

/// Rook runs two, one of them standing by.
const REPLICAS: i32 = 2;

/// The provisioner: one leader of each Lease, wherever it is, and the rest standing by.
pub(super) fn provisioner(config: &WorldConfig) -> Deployment {
    let name = provisioner_deployment(config);
    let labels = app(&name);
    Deployment {
        metadata: metadata(config, &name),
        spec: Some(DeploymentSpec {
            replicas: Some(REPLICAS),
            selector: LabelSelector {
                match_labels: Some(labels.clone()),
                match_expressions: None,
            },
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                rolling_update: None,
            }),
            template: template(labels, controller_containers(config)),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

/// The part of the driver that mounts, on every Node; restarting it does nothing for the provisioner's locks.
pub(super) fn node_plugin(config: &WorldConfig) -> DaemonSet {
    let name = match config.layout {
        Layout::Classic => DRIVER_CONTAINER.to_owned(),
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
        Layout::Classic => "log-collector",
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
    use crate::demo::world::Timings;

    fn containers(config: &WorldConfig) -> Vec<String> {
        let pod = provisioner(config).spec.unwrap().template.spec.unwrap();
        pod.containers
            .into_iter()
            .map(|container| container.name)
            .collect()
    }

    #[test]
    fn a_provisioner_has_a_snapshotter_unless_configured_without() {
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
    fn the_nodes_part_is_no_provisioner() {
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
