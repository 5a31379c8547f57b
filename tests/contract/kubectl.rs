//! The real `kubectl`, as a person uses it, with either server.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

/// Longer than any command takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Command, input, expected success, and expected output.
struct Step {
    typed: &'static str,
    stdin: &'static str,
    succeeds: bool,
    says: &'static [&'static str],
}

const fn step(typed: &'static str, says: &'static [&'static str]) -> Step {
    Step {
        typed,
        stdin: "",
        succeeds: true,
        says,
    }
}

impl Step {
    const fn given(mut self, stdin: &'static str) -> Self {
        self.stdin = stdin;
        self
    }

    const fn failing(mut self) -> Self {
        self.succeeds = false;
        self
    }
}

const WIDGET: &str = "
apiVersion: contract.locksmith.dev/v1
kind: Widget
metadata: {name: one}
spec: {color: red, tags: [a]}
";

const GREEN: &str = "
apiVersion: contract.locksmith.dev/v1
kind: Widget
metadata: {name: one}
spec: {color: green, parts: [{name: a}, {name: b}]}
";

const BLUE: &str = "
apiVersion: contract.locksmith.dev/v1
kind: Widget
metadata: {name: one}
spec: {color: blue}
";

const MISTAKEN: &str = "
apiVersion: contract.locksmith.dev/v1
kind: Widget
metadata: {name: two}
spec: {color: red, suspend: true}
";

const WORKLOAD: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: 'registry.example/web:1', env: [{name: A, value: '1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: lone}
spec:
  nodeName: nowhere
  containers: [{name: main, image: 'registry.example/main:1'}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: none
  resources: {requests: {storage: 1Gi}}
";

const CHANGED_WORKLOAD: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: 'registry.example/web:2', env: [{name: B, value: '2'}]}
";

/// In order: each step depends on the previous ones.
const STEPS: &[Step] = &[
    step("version", &["Server Version: v1."]),
    step(
        "api-resources",
        &[
            "widgets ",
            "wd",
            "contract.locksmith.dev/v1",
            "deployments ",
            "persistentvolumeclaims ",
        ],
    ),
    step("apply -f -", &["widget.contract.locksmith.dev/one created"]).given(WIDGET),
    step(
        "apply -f -",
        &["widget.contract.locksmith.dev/one unchanged"],
    )
    .given(WIDGET),
    step(
        "get wd",
        &["NAME   COLOR   SIZE   READY   SINCE", "one    red     3"],
    ),
    step("get widgets -o wide", &["NOTE"]),
    step(
        "get widget one -o yaml",
        &["color: red", "generation: 1", "size: 3", "kind: Widget"],
    ),
    step("get wd one -o jsonpath={.spec.tags[0]}", &["a"]),
    step(
        "describe widget one",
        &[
            "Name:         one",
            "Color:  red",
            "Kind:         Widget",
            "Events:",
        ],
    ),
    step(
        "apply -f -",
        &["widget.contract.locksmith.dev/one configured"],
    )
    .given(GREEN),
    step(
        "apply -f -",
        &[r#"strict decoding error: unknown field "spec.suspend""#],
    )
    .given(MISTAKEN)
    .failing(),
    step("apply --validate=false -f -", &["two created"]).given(MISTAKEN),
    step("apply --server-side -f -", &["serverside-applied"]).given(GREEN),
    step(
        "apply --server-side --field-manager=other -f -",
        &[r#"conflict with "kubectl": .spec.color"#],
    )
    .given(BLUE)
    .failing(),
    step(
        "apply --server-side --field-manager=other --force-conflicts -f -",
        &["serverside-applied"],
    )
    .given(BLUE),
    step(
        "patch wd one --type=merge -p {\"spec\":{\"suspend\":true}}",
        &[r#"Warning: unknown field "spec.suspend""#, "(no change)"],
    ),
    step(
        "patch wd one --type=merge -p {\"spec\":{\"color\":\"pink\"}}",
        &[r#"supported values: "red", "green", "blue""#],
    )
    .failing(),
    step(
        "patch wd one --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/size\",\"value\":4}]",
        &["patched"],
    ),
    step("label wd one in=use", &["labeled"]),
    step(
        "get wd -l in=use -o name",
        &["widget.contract.locksmith.dev/one"],
    ),
    step(
        "get wd --field-selector spec.color=blue -o name",
        &["widget.contract.locksmith.dev/one"],
    ),
    step("explain widget.spec.color", &["FIELD: color"]),
    step("diff -f -", &["-  color: blue", "+  color: green"])
        .given(GREEN)
        .failing(),
    step(
        "delete wd one two",
        &[r#"widget.contract.locksmith.dev "one" deleted"#],
    ),
    step("get wd", &["No resources found"]),
    step(
        "get wd one",
        &[r#"Error from server (NotFound): widgets.contract.locksmith.dev "one" not found"#],
    )
    .failing(),
    step(
        "apply -f -",
        &[
            "deployment.apps/web created",
            "pod/lone created",
            "persistentvolumeclaim/data created",
        ],
    )
    .given(WORKLOAD),
    step("apply -f -", &["deployment.apps/web configured"]).given(CHANGED_WORKLOAD),
    step(
        "get deploy web -o jsonpath={..env[*].name}:{..image}",
        &["B:registry.example/web:2"],
    ),
    step(
        "get all,pvc",
        &[
            "pod/lone",
            "deployment.apps/web",
            "persistentvolumeclaim/data",
        ],
    ),
    step(
        "get pods",
        &[
            "NAME   READY   STATUS    RESTARTS   AGE",
            "lone   0/1     Pending   0",
        ],
    ),
    step(
        "get pvc -o wide",
        &["STORAGECLASS", "data   Pending", "none", "Filesystem"],
    ),
    step(
        "describe pod lone",
        &["Node:", "nowhere", "registry.example/main:1", "Status:"],
    ),
    step(
        "describe pvc data",
        &["StorageClass:  none", "Status:        Pending", "Used By:"],
    ),
    step(
        "describe deploy web",
        &[
            "Replicas:",
            "0 desired",
            "StrategyType:           RollingUpdate",
        ],
    ),
    step(
        "rollout restart deploy web",
        &["deployment.apps/web restarted"],
    ),
    step(
        "set image deploy/web web=registry.example/web:3",
        &["image updated"],
    ),
    step("scale deploy web --replicas=0", &["scaled"]),
    step("annotate pod lone a=b", &["annotated"]),
    step("logs absent", &[r#"pods "absent" not found"#]).failing(),
    step(
        "logs lone -c other",
        &["container other is not valid for pod lone"],
    )
    .failing(),
    step("get events", &[]),
    step(
        "delete pod lone --grace-period=0 --force",
        &[r#"pod "lone""#],
    ),
    step(
        "delete deploy,pvc --all",
        &[
            r#"deployment.apps "web""#,
            r#"persistentvolumeclaim "data""#,
        ],
    ),
    step(
        "get things",
        &[r#"the server doesn't have a resource type "things""#],
    )
    .failing(),
];

/// Whether there is a `kubectl`; prints a notice if not.
pub fn is_there() -> bool {
    let found = std::process::Command::new("kubectl")
        .arg("help")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    if !found {
        eprintln!("kubectl is not on PATH: left out");
    }
    found
}

/// Runs all steps in a namespace, and then a watch.
pub async fn drive(kubeconfig: &Path, namespace: &str) {
    let home = tempfile::tempdir().unwrap();
    for step in STEPS {
        let mut command = kubectl(home.path(), kubeconfig, namespace, step.typed);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command need not read its input.
        drop(stdin.write_all(step.stdin.as_bytes()).await);
        drop(stdin);
        let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
        let output = output
            .unwrap_or_else(|_| panic!("kubectl {} takes too long", step.typed))
            .unwrap();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text += &String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.success(),
            step.succeeds,
            "kubectl {}\n{text}",
            step.typed
        );
        for says in step.says {
            assert!(
                text.contains(says),
                "kubectl {}\nexpected {says:?} in\n{text}",
                step.typed
            );
        }
    }
    watch(home.path(), kubeconfig, namespace).await;
    println!("contract: {} kubectl commands", STEPS.len());
}

fn kubectl(home: &Path, kubeconfig: &Path, namespace: &str, typed: &str) -> Command {
    let mut command = Command::new("kubectl");
    command
        .args(["--namespace", namespace])
        .args(typed.split(' '))
        .env("HOME", home)
        .env("KUBECONFIG", kubeconfig)
        .env("KUBE_EDITOR", "false")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// `kubectl get --watch` prints a row for each object, and one for every change.
async fn watch(home: &Path, kubeconfig: &Path, namespace: &str) {
    let run = async |typed: &str| {
        let output = kubectl(home, kubeconfig, namespace, typed)
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {typed}\n{said}");
    };
    run("create -f tests/contract/widget.json").await;
    let mut watching = kubectl(home, kubeconfig, namespace, "get wd --watch --no-headers")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await;
        line.expect("no row comes")
            .unwrap()
            .expect("the watch ended")
    };
    assert!(next().await.starts_with("watched   red"));
    run("patch wd watched --type=merge -p {\"spec\":{\"color\":\"blue\"}}").await;
    assert!(next().await.starts_with("watched   blue"));
    run("delete wd watched").await;
    assert!(next().await.starts_with("watched   blue"));
}
