//! Runs a container of a pod as a process.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use locksmith::demo::world::PodRef;
use rustix::process::Signal;
use tokio::sync::mpsc::UnboundedSender;

use super::{Shared, lock};
use crate::testbed::process::Process;

/// Prefix of images that are binaries of the testbed.
const IMAGES: &str = "testbed/";

/// Name of a container's process, which also names the file of its output.
const PROCESS: &str = "process";

/// Maximum length of a host name that a kubelet gives a pod.
const MAX_HOSTNAME: usize = 63;

/// The way to give a process its own host name on this machine.
pub(super) struct Hostnames(Vec<&'static str>);

impl Hostnames {
    /// A UTS namespace requires CAP_SYS_ADMIN in its user namespace.
    pub(super) fn detect() -> Self {
        let ways = [vec!["--uts"], vec!["--user", "--map-root-user", "--uts"]];
        let works = |flags: &Vec<&str>| {
            let mut unshare = Command::new("unshare");
            unshare.args(flags).args(["hostname", "pod"]);
            unshare.stdout(Stdio::null()).stderr(Stdio::null());
            unshare.status().is_ok_and(|status| status.success())
        };
        let found = ways.into_iter().find(works);
        Self(found.expect(
            "the sidecars need host names of their own: run as root, or allow user namespaces",
        ))
    }

    /// The arguments of `unshare` that run `command` under `hostname`.
    fn wrap(&self, hostname: &str, command: impl IntoIterator<Item = String>) -> Vec<String> {
        let set = r#"hostname "$1" && shift && exec "$@""#;
        let shell = ["sh", "-c", set, "container", hostname];
        let wrapper = self.0.iter().copied().chain(shell).map(str::to_owned);
        wrapper.chain(command).collect()
    }
}

/// A running container.
pub(super) struct Running {
    /// Position among the pod's containers.
    pub(super) index: usize,
    process: Process,
}

impl Running {
    /// Starts container `index`; `None` if its image is no binary. Its end is sent to `ends`.
    pub(super) fn start(
        shared: &Shared,
        pod: &Pod,
        node: &str,
        index: usize,
        ends: &UnboundedSender<usize>,
    ) -> Option<Self> {
        let container = &pod.spec.as_ref()?.containers[index];
        let binary = container.image.as_ref()?.strip_prefix(IMAGES)?;
        let directory = home(shared, pod);
        std::fs::create_dir_all(&directory).unwrap();
        let binary = shared.binaries.join(binary).to_str()?.to_owned();
        let arguments = arguments(shared, container, &directory);
        let args = shared
            .hostnames
            .wrap(&hostname(pod, node), [binary].into_iter().chain(arguments));
        let mut guard = lock(&shared.guard);
        let guard = guard.as_mut()?;
        let mut file = log_file(&directory, &container.name);
        let output = directory.join(&container.name);
        let pipe = pipe(&output);
        let (logs, pod, name, ends) = (
            shared.logs.clone(),
            PodRef::of(pod),
            container.name.clone(),
            ends.clone(),
        );
        // Reads are blocking: each container has a thread, which ends with the process.
        std::thread::spawn(move || {
            let pipe = File::open(pipe).unwrap();
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let _ = writeln!(file, "{line}");
                logs.append(&pod, &name, line);
            }
            let _ = ends.send(index);
        });
        // Blocks until the thread reads.
        let process = Process::spawn(guard, &output, PROCESS, Path::new("unshare"), &args);
        Some(Self { index, process })
    }

    /// Sends SIGTERM, as a kubelet does at the start of the grace period.
    pub(super) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Kills it if it is still running, and waits for it.
    pub(super) fn kill(self, shared: &Shared) {
        if let Some(guard) = lock(&shared.guard).as_mut() {
            self.process.kill(guard);
        }
    }
}

/// The file with everything that a container wrote, for debugging.
fn log_file(directory: &Path, container: &str) -> File {
    let log = directory.join(format!("{container}.log"));
    File::options().create(true).append(true).open(log).unwrap()
}

/// The pipe that a process of the testbed uses as its log in `directory`.
fn pipe(directory: &Path) -> PathBuf {
    std::fs::create_dir_all(directory).unwrap();
    let pipe = directory.join(format!("{PROCESS}.log"));
    // It exists already when a container is restarted.
    if !pipe.exists() {
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
    }
    pipe
}

/// The pod's directory; the path is short, since it contains a socket.
fn home(shared: &Shared, pod: &Pod) -> PathBuf {
    let uid = pod.uid().unwrap_or_default();
    shared.directory.join(&uid[..8.min(uid.len())])
}

/// The container's arguments, with `/csi` replaced by the pod's directory, and the rest by [`Shared::mounts`].
fn arguments(shared: &Shared, container: &Container, home: &Path) -> Vec<String> {
    let own = ("/csi", home.to_owned());
    let mounts: Vec<_> = shared.mounts.iter().chain([&own]).collect();
    let resolve = |argument: &String| {
        mounts.iter().fold(argument.clone(), |text, (mount, path)| {
            match text.split_once(&format!("={mount}")) {
                Some((flag, rest)) => format!("{flag}={}{rest}", path.display()),
                None => text.replace(
                    &format!("unix://{mount}"),
                    &format!("unix://{}", path.display()),
                ),
            }
        })
    };
    container.args.iter().flatten().map(resolve).collect()
}

/// The host name from a kubelet: the node's in the host network, otherwise the pod's, shortened to the limit.
fn hostname(pod: &Pod, node: &str) -> String {
    let spec = pod.spec.as_ref();
    if spec.and_then(|spec| spec.host_network) == Some(true) {
        return node.to_owned();
    }
    let mut name = pod.name_any();
    name.truncate(MAX_HOSTNAME);
    name.trim_end_matches(['-', '.']).to_owned()
}

#[test]
fn hostname_is_the_pods_or_the_nodes() {
    let pod = |name: &str, network: bool| -> Pod {
        let spec = serde_json::json!({"containers": [], "hostNetwork": network});
        serde_json::from_value(serde_json::json!({"metadata": {"name": name}, "spec": spec}))
            .unwrap()
    };
    let long = format!("{}.abc", "a".repeat(62));
    assert_eq!(
        hostname(&pod("csi-6c5d-abcde", false), "k8s-0"),
        "csi-6c5d-abcde"
    );
    assert_eq!(hostname(&pod(&long, false), "k8s-0"), "a".repeat(62));
    assert_eq!(hostname(&pod("csi-6c5d-abcde", true), "k8s-0"), "k8s-0");
}
