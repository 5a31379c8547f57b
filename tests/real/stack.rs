//! The real stack: a control plane, VolSync's controller, the CSI sidecars and the program. Only the driver is simulated.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, ResourceExt};
use locksmith::demo::world::lease_names;
use serde_json::json;
use tokio::task::JoinSet;

use crate::ceph::Ceph;
use crate::daemon::Daemon;
use crate::layout::{self, Layout, Pace};
use crate::leases;
use crate::node::{Movers, Node};
use crate::objects::create;
use crate::operator;
use crate::render;
use crate::testbed::controlplane::flags;
use crate::testbed::crds::published;
use crate::testbed::process::{Guard, Process};
use crate::testbed::{Event, Identity, Options, Testbed};

/// StorageClass with immediate binding.
pub const STORAGE_CLASS: &str = locksmith::demo::world::IMMEDIATE_CLASS;
/// VolumeSnapshotClass, with deletion policy `Delete`.
pub const SNAPSHOT_CLASS: &str = locksmith::demo::world::SNAPSHOT_CLASS;

/// VolSync's user.
pub const VOLSYNC: &str = "volsync";

/// Time that VolSync's movers copy.
const MOVER: Duration = Duration::from_secs(1);

/// The running stack. Fields are dropped in order, so the node ends first.
pub struct Stack {
    pub node: Node,
    actors: JoinSet<()>,
    _volsync: (Process, Guard),
    pub ceph: Ceph,
    pub testbed: Testbed,
    pub layout: Layout,
    /// The program's identity.
    pub daemon: Identity,
}

impl Stack {
    /// Starts everything; returns when both leases of the driver are held. The movers of `endless` jobs run forever.
    pub async fn start(layout: Layout, pace: Pace, endless: BTreeSet<String>) -> Self {
        let mut crds = published(&built().join("crds/volsync"));
        crds.extend(own_crds());
        if layout.operator {
            crds.push(operator::driver_crd());
        }
        let options = Options {
            crds,
            ..Options::default()
        };
        let testbed = Box::pin(Testbed::start(options)).await;
        let daemon = installed(&testbed).await;
        let ceph = Ceph::new();
        let masters = Some("system:masters");
        let sidecars = testbed.user("csi-sidecars", masters).await;
        let movers = Movers {
            lasts: MOVER,
            endless,
        };
        let node = Node::start(&testbed, &sidecars, ceph.state(), movers).await;
        let volsync = testbed.user(VOLSYNC, masters).await;
        let volsync = start_volsync(&volsync);
        let mut stack = Self {
            node,
            actors: JoinSet::new(),
            _volsync: volsync,
            ceph,
            testbed,
            layout,
            daemon,
        };
        stack.install(pace).await;
        stack
    }

    async fn install(&mut self, pace: Pace) {
        let client = self.client();
        self.classes(self.layout, STORAGE_CLASS, SNAPSHOT_CLASS)
            .await;
        let mut workload = layout::workload(self.layout, pace);
        if self.layout.operator {
            let driver = create(&client, operator::driver()).await;
            workload["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "csi.ceph.io/v1",
                "kind": "Driver",
                "name": driver.name_any(),
                "uid": driver.uid(),
                "controller": true,
                "blockOwnerDeletion": true,
            }]);
            self.actors
                .spawn(operator::keep(client.clone(), workload.clone()));
        }
        if self.layout.stray_leases {
            for lease in leases::stray() {
                create(&client, lease).await;
            }
        }
        create(&client, workload).await;
        self.leases_held(self.layout).await;
    }

    /// Creates a StorageClass and a VolumeSnapshotClass of the driver.
    async fn classes(&self, layout: Layout, storage: &str, snapshot: &str) {
        let storage = json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": storage},
            "provisioner": layout.driver,
        });
        let snapshot = json!({
            "apiVersion": "snapshot.storage.k8s.io/v1",
            "kind": "VolumeSnapshotClass",
            "metadata": {"name": snapshot},
            "driver": layout.driver,
            "deletionPolicy": "Delete",
        });
        for class in [storage, snapshot] {
            create(&self.client(), class).await;
        }
    }

    /// Adds another driver with one replica, and with classes of its name; returns when both of its leases are held.
    pub async fn add_driver(&self, layout: Layout, pace: Pace) {
        self.classes(layout, layout.driver, layout.driver).await;
        let mut workload = layout::workload(layout, pace);
        workload["spec"]["replicas"] = json!(1);
        create(&self.client(), workload).await;
        self.leases_held(layout).await;
    }

    async fn leases_held(&self, layout: Layout) {
        let leases: Api<Lease> = Api::namespaced(self.client(), layout::NAMESPACE);
        let (provisioner, snapshotter) = lease_names(layout.driver);
        for name in [provisioner, snapshotter] {
            let held = |lease: Option<&Lease>| {
                let spec = lease.and_then(|lease| lease.spec.as_ref());
                spec.is_some_and(|spec| spec.holder_identity.is_some())
            };
            self.testbed.until(leases.clone(), &name, held).await;
        }
    }

    /// A client of the cluster's administrator.
    pub fn client(&self) -> Client {
        self.testbed.client()
    }

    /// Every request so far.
    pub async fn audited(&self) -> Vec<Event> {
        // The log is delayed: once it contains this request, it contains all earlier ones.
        let marker = format!("marker-{}", jiff::Timestamp::now().as_nanosecond());
        let namespaces: Api<Namespace> = Api::all(self.client());
        assert_eq!(namespaces.get_opt(&marker).await.unwrap(), None);
        let seen = |event: &Event| event.name == marker;
        self.testbed.audit().until("the marker", seen).await
    }

    /// The program with this configuration, once it listens.
    pub async fn locksmith(&self, config: &str) -> Daemon {
        Daemon::start(self.daemon.kubeconfig(), config).await
    }
}

/// The program's own CRDs, as printed by it.
fn own_crds() -> Vec<CustomResourceDefinition> {
    let printed = Command::new(env!("CARGO_BIN_EXE_locksmith"))
        .arg("crd")
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let mut objects = render::objects(&printed);
    objects.retain(|object| object["kind"] == "CustomResourceDefinition");
    objects
        .into_iter()
        .map(|object| serde_json::from_value(object).unwrap())
        .collect()
}

/// Installs the shipped manifests for mode `act`, except for the Deployment and node-specific objects; returns the account.
async fn installed(testbed: &Testbed) -> Identity {
    for namespace in [render::NAMESPACE, layout::NAMESPACE] {
        create(
            &testbed.client(),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        )
        .await;
    }
    let mut objects = render::objects(&render::kustomize("deploy/overlays/act"));
    objects.retain(|object| {
        let kind = object["kind"].as_str().unwrap_or_default();
        render::gives_rights(object) || kind.starts_with("ValidatingAdmissionPolicy")
    });
    render::apply(testbed.kubeconfig(), &objects);
    testbed
        .service_account(render::NAMESPACE, "locksmith")
        .await
}

/// Directory of the binaries from tests/testbed/build.
pub fn built() -> PathBuf {
    let volsync = render::tool("volsync");
    let built = volsync.ancestors().nth(2);
    built.expect("a binary is in bin/").to_owned()
}

/// As deployed, except for the ports, which are not needed. It ends with its guard.
fn start_volsync(user: &Identity) -> (Process, Guard) {
    let args = flags([
        ("kubeconfig", user.kubeconfig().display().to_string()),
        ("metrics-bind-address", "0".to_owned()),
        ("health-probe-bind-address", "0".to_owned()),
        ("leader-elect", "false".to_owned()),
    ]);
    let directory = tempfile::Builder::new()
        .prefix("volsync-")
        .tempdir()
        .unwrap()
        .keep();
    let mut guard = Guard::new(&directory);
    let process = Process::spawn(
        &mut guard,
        &directory,
        "volsync",
        &render::tool("volsync"),
        &args,
    );
    (process, guard)
}
