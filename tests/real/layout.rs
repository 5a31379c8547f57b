//! Layouts of a CSI driver, and the workload of its provisioner in each.

use serde_json::{Value, json};

/// Namespace of the provisioner, as in a Rook cluster.
pub const NAMESPACE: &str = "rook-ceph";
/// The CSI driver.
pub const DRIVER: &str = "rook-ceph.rbd.csi.ceph.com";

/// A layout in use.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Title in the figures.
    pub title: &'static str,
    pub driver: &'static str,
    /// The external-provisioner: `csi-provisioner-v5` or `-v6`.
    pub provisioner: &'static str,
    pub kind: &'static str,
    pub name: &'static str,
    pub host_network: bool,
    /// Whether ceph-csi-operator owns the workload and reverts its template.
    pub operator: bool,
    /// Whether leases with the driver's names exist in other namespaces, too.
    pub stray_leases: bool,
}

impl Layout {
    /// Rook until 1.19, with external-provisioner until 6.1: the provisioner's lease is held under a random identity.
    pub const CLASSIC_V5: Self = Self {
        title: "classic Rook, provisioner v5",
        driver: DRIVER,
        provisioner: "csi-provisioner-v5",
        kind: "Deployment",
        name: "csi-rbdplugin-provisioner",
        host_network: false,
        operator: false,
        stray_leases: false,
    };

    /// The same with external-provisioner from 6.2: both leases are held under the host name, here the pod's name.
    pub const CLASSIC_V6: Self = Self {
        title: "classic Rook, provisioner v6",
        provisioner: "csi-provisioner-v6",
        ..Self::CLASSIC_V5
    };

    /// ceph-csi-operator: the pods' names contain dots, which are replaced in the holder's identity.
    pub const OPERATOR: Self = Self {
        title: "ceph-csi-operator",
        name: "rook-ceph.rbd.csi.ceph.com-ctrlplugin",
        operator: true,
        ..Self::CLASSIC_V6
    };

    /// In the host network: the holder is the node's name.
    pub const HOST_NETWORK: Self = Self {
        title: "host network",
        host_network: true,
        ..Self::CLASSIC_V6
    };

    /// A StatefulSet: the pods keep their names.
    pub const STATEFUL_SET: Self = Self {
        title: "StatefulSet",
        kind: "StatefulSet",
        ..Self::CLASSIC_V6
    };

    /// Classic with stale and forged leases in other namespaces.
    pub const STRAY_LEASES: Self = Self {
        title: "stale and forged leases",
        stray_leases: true,
        ..Self::CLASSIC_V5
    };
}

/// Timings of the sidecars.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// `--timeout` of a call.
    pub timeout: &'static str,
    /// `--leader-election-lease-duration`, `-renew-deadline` and `-retry-period`.
    pub lease: [&'static str; 3],
    /// `--retry-interval-start` and `-max`.
    pub retry: [&'static str; 2],
}

impl Pace {
    /// The same order of events as with Rook's, short enough for a test.
    pub const SHORT: Self = Self {
        timeout: "3s",
        lease: ["8s", "6s", "1s"],
        retry: ["500ms", "4s"],
    };

    /// Short calls, with the leases of Rook.
    pub const ROOK_LEASES: Self = Self {
        lease: Self::ROOK.lease,
        ..Self::SHORT
    };

    /// As Rook deploys csi-provisioner; csi-snapshotter's first retry is after 1 s there.
    pub const ROOK: Self = Self {
        timeout: "150s",
        lease: ["137s", "107s", "26s"],
        retry: ["500ms", "5m"],
    };
}

/// The provisioner's workload, with two replicas.
pub fn workload(layout: Layout, pace: Pace) -> Value {
    let labels = json!({"app": layout.name});
    let spec = json!({
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "hostNetwork": layout.host_network,
                "containers": containers(layout, pace),
            },
        },
    });
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": layout.kind,
        "metadata": {"name": layout.name, "namespace": NAMESPACE, "labels": labels},
        "spec": spec,
    });
    if layout.kind == "StatefulSet" {
        object["spec"]["serviceName"] = json!(layout.name);
        object["spec"]["podManagementPolicy"] = json!("Parallel");
    } else {
        object["spec"]["strategy"] = json!({"type": "Recreate"});
    }
    object
}

/// Containers of a real provisioner; the driver and the two sidecars run.
fn containers(layout: Layout, pace: Pace) -> Value {
    let mut provisioner = sidecar(pace);
    provisioner.push("--immediate-topology=false".to_owned());
    let driver = [
        format!("--driver-name={}", layout.driver),
        "--endpoint=unix:///csi/csi.sock".to_owned(),
        "--state=/cluster".to_owned(),
    ];
    let named = |name: &str| json!({"name": name, "image": "none"});
    json!([
        {"name": "csi-provisioner", "image": format!("testbed/{}", layout.provisioner), "args": provisioner},
        named("csi-resizer"),
        named("csi-attacher"),
        {"name": "csi-snapshotter", "image": "testbed/csi-snapshotter", "args": sidecar(pace)},
        named("csi-omap-generator"),
        named("csi-addons"),
        {"name": "csi-rbdplugin", "image": "testbed/csi-driver", "args": driver},
        named("liveness-prometheus"),
        named(if layout.operator { "log-rotator" } else { "log-collector" }),
    ])
}

fn sidecar(pace: Pace) -> Vec<String> {
    let [duration, deadline, period] = pace.lease;
    let [first, most] = pace.retry;
    [
        "--kubeconfig=/account/kubeconfig",
        "--csi-address=/csi/csi.sock",
        &format!("--timeout={}", pace.timeout),
        &format!("--retry-interval-start={first}"),
        &format!("--retry-interval-max={most}"),
        "--leader-election=true",
        &format!("--leader-election-namespace={NAMESPACE}"),
        &format!("--leader-election-lease-duration={duration}"),
        &format!("--leader-election-renew-deadline={deadline}"),
        &format!("--leader-election-retry-period={period}"),
        "--extra-create-metadata=true",
        // With the defaults, 5 and 10, a jam of this size would take minutes.
        "--kube-api-qps=100",
        "--kube-api-burst=200",
        "--v=2",
    ]
    .map(str::to_owned)
    .into()
}
