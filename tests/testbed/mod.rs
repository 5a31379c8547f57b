//! A real control plane for tests: etcd, kube-apiserver, kube-controller-manager and the snapshot controller.
//!
//! Nothing runs containers: pods stay as they were created unless a test acts as the kubelet. Everything listens on
//! 127.0.0.1, is in a temporary directory and ends with the test process, however that ends. Tests that do not stop servers
//! get a control plane from the [`pool`], whose store has the same objects as a new one's. With `LOCKSMITH_KEEP` set the
//! directory, which contains all logs, is kept and its path printed.

mod audit;
pub mod controlplane;
pub mod crds;
mod figures;
mod identity;
mod pki;
mod pool;
pub mod process;
mod store;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::Request;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client, ResourceExt};
use rustix::process::Signal;
use tokio::sync::OnceCell;

pub use audit::{Audit, Event};
#[allow(unused_imports, reason = "told by tests alone")]
pub use figures::figure;
pub use identity::Identity;
#[allow(
    unused_imports,
    reason = "only tests on the API server share control planes"
)]
pub use pool::PooledTestbed;
#[allow(unused_imports, reason = "benches store objects directly")]
pub use store::Store;

use controlplane::ControlPlane;
use process::{Guard, Process};

/// A start takes 3 s on an idle machine; this is the limit on a loaded one with two cores.
const START_DEADLINE: Duration = Duration::from_secs(300);
/// Time limit for an effect of a controller.
const EFFECT_DEADLINE: Duration = Duration::from_secs(300);
/// Interval of polling a server that is starting.
const POLL: Duration = Duration::from_millis(50);

/// Options of a testbed.
pub struct Options {
    /// Whether kube-controller-manager and the snapshot controller run.
    pub controllers: bool,
    /// Additional definitions to serve, which may replace those of the snapshots and of VolSync.
    pub crds: Vec<CustomResourceDefinition>,
    /// API groups whose definitions are left out.
    pub without: Vec<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controllers: true,
            crds: Vec::new(),
            without: Vec::new(),
        }
    }
}

/// A running control plane.
pub struct Testbed {
    directory: PathBuf,
    binaries: PathBuf,
    plane: ControlPlane,
    admin: Identity,
    audit: Audit,
    /// Whether a server was stopped, added or given further definitions: no other test can use it then.
    altered: AtomicBool,
    servers: Mutex<Servers>,
}

/// In the order of their start. Fields are dropped in order, so the guard comes last.
struct Servers {
    running: Vec<Process>,
    guard: Guard,
}

impl Testbed {
    /// A shared control plane for all tests of this binary that do not stop it; each uses a namespace of its own.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Testbed> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::start(Options::default())).await
    }

    /// Starts a testbed; returns when it serves every kind and its controllers work.
    pub async fn start(options: Options) -> Self {
        let built = build();
        let directory = tempfile::Builder::new()
            .prefix("locksmith-testbed-")
            .tempdir()
            .expect("failed to make a temporary directory")
            .keep();
        if keeping() {
            eprintln!("testbed: keeping {}", directory.display());
        }
        // From now on the guard removes the directory.
        let guard = Guard::new(&directory);
        let plane = ControlPlane::new(&directory);
        let admin = identity::certified(&plane, "admin", "admin", Some("system:masters")).await;
        let testbed = Self {
            binaries: built.join("bin"),
            audit: Audit::new(plane.audit_log()),
            plane,
            admin,
            altered: AtomicBool::new(false),
            servers: Mutex::new(Servers {
                running: Vec::new(),
                guard,
            }),
            directory,
        };
        testbed.spawn("etcd", &testbed.plane.etcd());
        testbed.start_apiserver().await;
        let mut crds = crds::published(&built.join("crds/snapshots"));
        crds.extend(crds::volsync());
        crds.retain(|crd| {
            options
                .crds
                .iter()
                .all(|own| own.name_any() != crd.name_any())
        });
        crds.retain(|crd| !options.without.contains(&&*crd.spec.group));
        crds.extend(options.crds);
        // Before the controllers: the garbage collector notices a new kind only every 30 s.
        let client = testbed.client();
        let installed = Box::pin(crds::install(&client, crds));
        testbed
            .within(START_DEADLINE, "the CRDs to be served", installed)
            .await
            .expect("failed to install the CRDs");
        if options.controllers {
            testbed.spawn(
                "kube-controller-manager",
                &testbed.plane.controller_manager(),
            );
            testbed.spawn("snapshot-controller", &testbed.plane.snapshot_controller());
            // The first thing that the controllers do in an empty cluster.
            let accounts: Api<ServiceAccount> = Api::namespaced(testbed.client(), "default");
            testbed
                .until(accounts, "default", |account: Option<&ServiceAccount>| {
                    account.is_some()
                })
                .await;
        }
        testbed
    }

    /// A client of the cluster's administrator, for the current runtime.
    pub fn client(&self) -> Client {
        self.admin.client()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        self.admin.kubeconfig()
    }

    /// Creates a namespace whose name starts with `prefix`, for one test on a shared control plane.
    pub async fn namespace(&self, prefix: &str) -> String {
        let metadata = ObjectMeta {
            generate_name: Some(format!("{prefix}-")),
            ..ObjectMeta::default()
        };
        let namespace = Namespace {
            metadata,
            ..Namespace::default()
        };
        let created = Api::all(self.client())
            .create(&PostParams::default(), &namespace)
            .await;
        created.expect("failed to create a namespace").name_any()
    }

    /// The store of this control plane.
    pub fn store(&self) -> Store {
        Store::new(self.plane.etcd_url())
    }

    /// Path of a program built by tests/testbed/build.
    #[allow(dead_code, reason = "called by benches alone")]
    pub fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// The requests that the API server received.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Another user, without rights except for those of `group`.
    pub async fn user(&self, name: &str, group: Option<&str>) -> Identity {
        identity::certified(&self.plane, &format!("user-{name}"), name, group).await
    }

    /// A user with its token in `file`, which is reloaded periodically.
    pub async fn by_token_file(&self, name: &str, file: &Path) -> Identity {
        identity::by_token_file(&self.plane, name, file).await
    }

    /// A service account with a token like a pod's; the account must exist.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Identity {
        identity::service_account(&self.plane, self.client(), namespace, name).await
    }

    /// Kills the API server like a crash.
    pub fn stop_apiserver(&self) {
        self.kill("kube-apiserver");
    }

    /// Starts the API server again, on the same port and data, and waits until it is ready.
    pub async fn start_apiserver(&self) {
        self.spawn("kube-apiserver", &self.plane.apiserver());
        self.readiness(true).await;
    }

    /// Starts another API server on the same store; returns its administrator once it is ready.
    pub async fn second_apiserver(&self) -> Identity {
        self.altered.store(true, Ordering::Relaxed);
        let (port, args) = self.plane.second_apiserver();
        {
            let servers = &mut *self.servers();
            let binary = self.binaries.join("kube-apiserver");
            let process = Process::spawn(
                &mut servers.guard,
                &self.directory,
                "second-apiserver",
                &binary,
                &args,
            );
            servers.running.push(process);
        }
        let admin = identity::admin_at(&self.plane, port).await;
        self.ready(&admin.client(), true).await;
        admin
    }

    /// Kills etcd like a crash, and waits until the API server has noticed: it stays up and fails.
    pub async fn stop_etcd(&self) {
        self.kill("etcd");
        self.readiness(false).await;
    }

    /// Starts etcd again, on the same port and data, and waits until the API server is ready.
    pub async fn start_etcd(&self) {
        self.spawn("etcd", &self.plane.etcd());
        self.readiness(true).await;
    }

    /// Stops etcd like a hanging disk: it does not respond, but does not end either.
    pub fn freeze_etcd(&self) {
        self.signal("etcd", Signal::STOP);
    }

    /// Lets etcd continue, and waits until the API server is ready.
    pub async fn thaw_etcd(&self) {
        self.signal("etcd", Signal::CONT);
        self.readiness(true).await;
    }

    /// Kills the snapshot controller like a crash.
    pub fn stop_snapshot_controller(&self) {
        self.kill("snapshot-controller");
    }

    /// Starts the snapshot controller again.
    pub fn start_snapshot_controller(&self) {
        self.spawn("snapshot-controller", &self.plane.snapshot_controller());
    }

    /// Creates definitions in the running cluster, and waits until they are served.
    pub async fn install(&self, crds: Vec<CustomResourceDefinition>) {
        self.altered.store(true, Ordering::Relaxed);
        Box::pin(crds::install(&self.client(), crds))
            .await
            .expect("failed to install the CRDs");
    }

    /// The object `name` once `condition` accepts it; on a timeout, fails with the server that has ended.
    pub async fn until<K>(&self, api: Api<K>, name: &str, condition: impl Condition<K>) -> Option<K>
    where
        K: Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + kube::Resource + 'static,
    {
        let what = format!("{name} to be as expected");
        let reached = self
            .within(
                EFFECT_DEADLINE,
                &what,
                await_condition(api, name, condition),
            )
            .await;
        reached.unwrap_or_else(|error| panic!("failed to watch {name}: {error}"))
    }

    /// Waits until the API server reports that it is ready, including its store, or that it is not.
    async fn readiness(&self, wanted: bool) {
        self.ready(&self.client(), wanted).await;
    }

    async fn ready(&self, client: &Client, wanted: bool) {
        let get = || {
            Request::get("/readyz")
                .body(Vec::new())
                .expect("a valid path")
        };
        self.within(
            START_DEADLINE,
            "the API server's readiness to change",
            async {
                while client.request_text(get()).await.is_ok() != wanted {
                    tokio::time::sleep(POLL).await;
                }
            },
        )
        .await;
    }

    /// The result of `future`; fails with the servers' logs on a timeout, or if one of them ends.
    async fn within<T>(
        &self,
        deadline: Duration,
        what: &str,
        future: impl Future<Output = T>,
    ) -> T {
        let ended = async {
            loop {
                if let Some(reason) = self.servers().running.iter_mut().find_map(Process::exited) {
                    return reason;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::select! {
            value = future => value,
            reason = ended => panic!("waiting for {what}: {reason}\n{}", self.logs()),
            () = tokio::time::sleep(deadline) => panic!("waited {deadline:?} for {what}\n{}", self.logs()),
        }
    }

    fn logs(&self) -> String {
        self.servers()
            .running
            .iter()
            .map(Process::log_tail)
            .collect()
    }

    fn spawn(&self, name: &'static str, args: &[String]) {
        let servers = &mut *self.servers();
        let binary = self.binaries.join(name);
        servers.running.push(Process::spawn(
            &mut servers.guard,
            &self.directory,
            name,
            &binary,
            args,
        ));
    }

    fn kill(&self, name: &str) {
        self.altered.store(true, Ordering::Relaxed);
        let servers = &mut *self.servers();
        let position = servers
            .running
            .iter()
            .position(|process| process.name() == name);
        let process = servers
            .running
            .remove(position.unwrap_or_else(|| panic!("{name} does not run")));
        process.kill(&mut servers.guard);
    }

    fn signal(&self, name: &str, signal: Signal) {
        self.altered.store(true, Ordering::Relaxed);
        let servers = self.servers();
        let process = servers.running.iter().find(|one| one.name() == name);
        process
            .unwrap_or_else(|| panic!("{name} does not run"))
            .signal(signal);
    }

    fn servers(&self) -> std::sync::MutexGuard<'_, Servers> {
        // A panic in another test leaves the list valid.
        self.servers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        while let Some(process) = self.running.pop() {
            process.kill(&mut self.guard);
        }
    }
}

fn keeping() -> bool {
    std::env::var_os("LOCKSMITH_KEEP").is_some_and(|value| !value.is_empty())
}

/// Directory of the servers, which are built the first time; that takes some minutes.
fn build() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testbed/build");
    let output = Command::new(script)
        .stderr(Stdio::inherit())
        .output()
        .expect("failed to run tests/testbed/build");
    assert!(
        output.status.success(),
        "tests/testbed/build failed: {}",
        output.status
    );
    let text = String::from_utf8(output.stdout).expect("a path in UTF-8");
    PathBuf::from(
        text.lines()
            .last()
            .expect("tests/testbed/build prints a directory"),
    )
}
