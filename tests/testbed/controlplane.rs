//! Command lines of the servers.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::pki::{Ca, Credential, Pair, kubeconfig};

/// The controllers that the tests need; each additional one makes the start slower.
const CONTROLLERS: &str = "clusterrole-aggregation-controller,daemonset-controller,deployment-controller,\
    disruption-controller,garbage-collector-controller,job-controller,namespace-controller,\
    persistentvolume-binder-controller,persistentvolume-protection-controller,\
    persistentvolumeclaim-protection-controller,replicaset-controller,serviceaccount-controller,\
    statefulset-controller";

/// Recorded parts of each request. For snapshots, responses are recorded, too, since they show what was deleted. Lists have
/// no useful body; reads by the control plane and the API server's requests to itself are left out, as there are too many.
const AUDIT_POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:apiserver"]
- level: None
  nonResourceURLs: ["/api", "/api/*", "/apis", "/apis/*", "/openapi/*", "/readyz*", "/livez*", "/healthz*", "/version"]
- level: None
  users: ["system:kube-controller-manager", "system:snapshot-controller"]
  verbs: [get, list, watch]
- level: Metadata
  verbs: [get, list, watch]
- level: Metadata
  resources: [{group: "", resources: [secrets, serviceaccounts/token]}]
- level: RequestResponse
  resources: [{group: snapshot.storage.k8s.io, resources: [volumesnapshots, volumesnapshots/status]}]
- level: Request
"#;

/// Identities and files of the servers.
pub struct ControlPlane {
    directory: PathBuf,
    ca: Ca,
    etcd_port: u16,
    port: u16,
    serving: Pair,
    kubelet_client: Pair,
    token_key: PathBuf,
    token_check: PathBuf,
    controllers: PathBuf,
    snapshots: PathBuf,
}

impl ControlPlane {
    /// Writes keys, certificates and configuration to `directory`, and picks ports.
    pub fn new(directory: &Path) -> Self {
        let ca = Ca::new(directory);
        let port = free_port();
        let masters = Some("system:masters");
        let user = |file, name| {
            let pair = ca.client(file, name, masters);
            kubeconfig(&ca, file, port, &Credential::Certificate(pair))
        };
        let controllers = user("controllers", "system:kube-controller-manager");
        let snapshots = user("snapshots", "system:snapshot-controller");
        let (token_key, token_check) = ca.token_keys("tokens");
        std::fs::write(directory.join("audit-policy.yaml"), AUDIT_POLICY)
            .expect("failed to write the audit policy");
        Self {
            directory: directory.to_owned(),
            etcd_port: free_port(),
            port,
            serving: ca.server("apiserver"),
            kubelet_client: ca.client("kubelet-client", "kube-apiserver-kubelet-client", masters),
            token_key,
            token_check,
            controllers,
            snapshots,
            ca,
        }
    }

    /// A kubeconfig for another user, with `credential`.
    pub fn user(&self, file: &str, credential: &Credential) -> PathBuf {
        kubeconfig(&self.ca, file, self.port, credential)
    }

    /// Signs a client certificate.
    pub fn client_certificate(&self, file: &str, user: &str, group: Option<&str>) -> Credential {
        Credential::Certificate(self.ca.client(file, user, group))
    }

    /// File of the API server's audit log.
    pub fn audit_log(&self) -> PathBuf {
        self.directory.join("audit.log")
    }

    /// URL of the store.
    pub fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_port)
    }

    /// The store, without waiting for the disk.
    pub fn etcd(&self) -> Vec<String> {
        let url = self.etcd_url();
        flags([
            ("data-dir", self.path("etcd")),
            ("listen-client-urls", url.clone()),
            ("advertise-client-urls", url),
            // A single member has no peers; any port will do.
            ("listen-peer-urls", "http://127.0.0.1:0".into()),
            ("unsafe-no-fsync", "true".into()),
            ("log-level", "warn".into()),
        ])
    }

    /// The API server: RBAC, audit, and unverified kubelets.
    pub fn apiserver(&self) -> Vec<String> {
        flags([
            ("etcd-servers", self.etcd_url()),
            ("bind-address", "127.0.0.1".into()),
            ("advertise-address", "127.0.0.1".into()),
            // A loopback address cannot be an endpoint of the kubernetes Service.
            ("endpoint-reconciler-type", "none".into()),
            ("secure-port", self.port.to_string()),
            ("tls-cert-file", text(&self.serving.certificate)),
            ("tls-private-key-file", text(&self.serving.key)),
            ("client-ca-file", text(&self.ca.certificate())),
            ("authorization-mode", "RBAC".into()),
            // Pods must not require an existing service account; tokens are issued nevertheless.
            ("disable-admission-plugins", "ServiceAccount".into()),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc".into(),
            ),
            ("service-account-key-file", text(&self.token_check)),
            ("service-account-signing-key-file", text(&self.token_key)),
            ("service-cluster-ip-range", "10.0.0.0/24".into()),
            ("allow-privileged", "true".into()),
            // No certificate authority: a kubelet may have a self-signed certificate.
            (
                "kubelet-client-certificate",
                text(&self.kubelet_client.certificate),
            ),
            ("kubelet-client-key", text(&self.kubelet_client.key)),
            ("kubelet-preferred-address-types", "InternalIP".into()),
            ("audit-policy-file", self.path("audit-policy.yaml")),
            ("audit-log-path", text(&self.audit_log())),
            // In megabytes; rotation would remove the log while it is read.
            ("audit-log-maxsize", "100000".into()),
            ("profiling", "false".into()),
        ])
    }

    /// Another API server on the same store: its port and command line.
    pub fn second_apiserver(&self) -> (u16, Vec<String>) {
        let port = free_port();
        let mut flags = self.apiserver();
        flags.retain(|flag| !flag.starts_with("--secure-port=") && !flag.starts_with("--audit-"));
        flags.push(format!("--secure-port={port}"));
        (port, flags)
    }

    /// A kubeconfig of the administrator at the API server on that port.
    pub fn admin_at(&self, port: u16) -> PathBuf {
        let pair = self
            .ca
            .client("admin-second", "admin", Some("system:masters"));
        kubeconfig(
            &self.ca,
            "admin-second",
            port,
            &Credential::Certificate(pair),
        )
    }

    /// The controllers, without leader election.
    pub fn controller_manager(&self) -> Vec<String> {
        flags([
            ("kubeconfig", text(&self.controllers)),
            ("leader-elect", "false".into()),
            ("controllers", CONTROLLERS.replace(' ', "")),
            ("secure-port", "0".into()),
            ("pvclaimbinder-sync-period", "1s".into()),
            ("namespace-sync-period", "5s".into()),
            ("kube-api-qps", "200".into()),
            ("kube-api-burst", "400".into()),
        ])
    }

    /// The snapshot controller, with retries short enough for a test.
    pub fn snapshot_controller(&self) -> Vec<String> {
        flags([
            ("kubeconfig", text(&self.snapshots)),
            ("leader-election", "false".into()),
            ("resync-period", "10s".into()),
            ("retry-interval-start", "200ms".into()),
            ("retry-interval-max", "2s".into()),
            ("kube-api-qps", "200".into()),
            ("kube-api-burst", "400".into()),
            ("v", "3".into()),
        ])
    }

    fn path(&self, file: &str) -> String {
        text(&self.directory.join(file))
    }
}

pub fn flags<const N: usize>(flags: [(&str, String); N]) -> Vec<String> {
    flags
        .into_iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect()
}

fn text(path: &Path) -> String {
    path.to_str()
        .expect("the temporary directory's name is UTF-8")
        .to_owned()
}

/// A free port, below those that the kernel uses for outgoing connections, so that it is still free after a server's
/// restart.
pub fn free_port() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    (0..1000_u16)
        .map(|try_| {
            20_000 + u16::try_from(RandomState::new().hash_one(try_) % 12_000).expect("below 12000")
        })
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("no free port between 20000 and 32000")
}
