//! Output of commands for a jammed cluster: to a pipe, with colours, and without.

use std::process::{Command, Output};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::PostParams;
use locksmith::api::remediation::{
    Phase, Remediation, RemediationSpec, RemediationStatus, Trigger,
};
use locksmith::demo::Cluster;
use locksmith::demo::apiserver::Options;
use locksmith::demo::scenario::{Outage, playbook_jam};
use locksmith::demo::world::{Timings, WorldConfig};
use serde_json::{Value, json};

use crate::terminal::Terminal;
use crate::text;

/// A message longer than a line.
const MESSAGE: &str = "gate cooldown: the last run ended at 14:02; opens at 14:32; gate blastRadius: 41 of 50 > 30%; \
    opens when fewer objects are affected; gate window: outside the windows; opens in 22:00-06:00";

pub struct Ground {
    pub cluster: Cluster,
    directory: tempfile::TempDir,
}

impl Ground {
    pub async fn new() -> Self {
        let config = WorldConfig::new(Timings::fast());
        let cluster = Cluster::start(Options::default(), config).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = cluster.server.kubeconfig();
        std::fs::write(directory.path().join("kubeconfig"), kubeconfig).unwrap();
        Self { cluster, directory }
    }

    /// The program with these arguments, for the cluster.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_locksmith"));
        command
            .args(args)
            .arg("--kubeconfig")
            .arg(self.directory.path().join("kubeconfig"))
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR_FORCE");
        command
    }

    /// Output and exit code of the program.
    async fn locksmith(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.command(args);
        command.envs(variables.iter().copied());
        let said = tokio::task::spawn_blocking(move || command.output().unwrap());
        said.await.unwrap()
    }

    /// Output of the program on a terminal with so many columns, without colours.
    async fn shown(&self, args: &[&str], columns: u16) -> String {
        let mut command = self.command(args);
        command.env("NO_COLOR", "1");
        let terminal = Terminal::open(&mut command, columns);
        let ended = tokio::task::spawn_blocking(move || terminal.end());
        let (code, text) = ended.await.unwrap();
        assert_eq!(code, Some(0), "{text}");
        text.replace("\r\n", "\n")
    }

    async fn printed(&self, args: &[&str]) -> String {
        let said = self.locksmith(args, &[]).await;
        assert_eq!(said.status.code(), Some(0), "{}", text(&said.stderr));
        text(&said.stdout)
    }

    /// Changes the phase of a run, as a daemon does.
    pub async fn phase(&self, name: &str, phase: Phase) {
        let runs: Api<Remediation> = Api::namespaced(self.cluster.server.client(), "default");
        let mut run = runs.get(name).await.unwrap();
        run.status.as_mut().unwrap().phase = phase;
        runs.replace_status(name, &PostParams::default(), &run)
            .await
            .unwrap();
    }

    /// A former run, as left by a daemon.
    pub async fn run(&self, name: &str) {
        let runs: Api<Remediation> = Api::namespaced(self.cluster.server.client(), "default");
        let spec = RemediationSpec {
            playbook: "csi-operation-locks".to_owned(),
            driver: "rook-ceph.rbd.csi.ceph.com".into(),
            trigger: Trigger::default(),
            approval: None,
            abort: false,
        };
        let run = Remediation::new(name, spec);
        let mut run = runs.create(&PostParams::default(), &run).await.unwrap();
        run.status = Some(RemediationStatus {
            phase: Phase::Pending,
            message: MESSAGE.to_owned(),
            ..RemediationStatus::default()
        });
        runs.replace_status(name, &PostParams::default(), &run)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_fit_the_terminal_or_one_line_each() {
    let ground = Ground::new().await;
    assert_eq!(ground.printed(&["runs"]).await, "no runs\n");
    let names = [
        "csi-operation-locks-7c1d",
        "csi-operation-locks-of-a-long-name-0a1b2c3d4e5f",
    ];
    for name in names {
        ground.run(name).await;
    }

    for columns in [60, 120] {
        let table = ground.shown(&["runs"], columns).await;
        let too_wide = |line: &&str| line.chars().count() > usize::from(columns);
        assert_eq!(table.lines().find(too_wide), None, "{table}");
        assert!(table.lines().count() > 1 + names.len(), "{table}");
        // The whole width is used.
        let widest = table.lines().map(|line| line.chars().count()).max();
        assert!(widest > Some(usize::from(columns) - 20), "{table}");
        let mut words = table.split_whitespace();
        assert!(words.any(|word| word == "Pending"), "{table}");
    }

    let piped = ground.printed(&["runs"]).await;
    let wide = ground.printed(&["runs", "-o", "wide"]).await;
    let beyond = ground.shown(&["runs", "-o", "wide"], 60).await;
    for lines in [piped, wide, beyond] {
        assert_eq!(lines.lines().count(), 1 + names.len(), "{lines}");
        for name in names {
            let line = lines.lines().find(|line| line.starts_with(name)).unwrap();
            assert!(line.ends_with(MESSAGE), "{line}");
        }
    }
    let rows = ground.printed(&["runs", "--no-headers"]).await;
    assert_eq!(rows.lines().count(), names.len(), "{rows}");

    let json = ground.printed(&["runs", "-o", "json"]).await;
    let list: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&list["apiVersion"], &list["kind"]),
        (&"v1".into(), &"List".into())
    );
    let items: Vec<Remediation> = serde_json::from_value(list["items"].clone()).unwrap();
    assert_eq!(items.len(), names.len());
    assert_eq!(items[0].status.as_ref().unwrap().message, MESSAGE);
    assert_eq!(list["items"][0]["kind"], "Remediation");
    let yaml = ground.printed(&["runs", "-o", "yaml"]).await;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), list);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_printed_by_name_and_by_template() {
    let ground = Ground::new().await;
    ground.run("night").await;
    ground.run("noon").await;
    let by_name = ground.printed(&["runs", "-o", "name"]).await;
    let mut names: Vec<_> = by_name.lines().collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "remediation.locksmith.dev/night",
            "remediation.locksmith.dev/noon"
        ]
    );
    // Other commands take such a name.
    let phase = [
        "describe",
        names[0],
        "-o",
        "jsonpath={.metadata.name}: {.status.phase}",
    ];
    assert_eq!(ground.printed(&phase).await, "night: Pending");
    let lines = "jsonpath={range .items[?(@.metadata.name=='noon')]}{.metadata.name}{'\\n'}{end}";
    assert_eq!(ground.printed(&["runs", "-o", lines]).await, "noon\n");

    for (args, shown) in [
        (["runs", "-n", "default", "-o", "name"].as_slice(), 2),
        (&["runs", "-n", "media", "-o", "name"], 0),
        (&["runs", "-n", "media", "-A", "-o", "name"], 2),
    ] {
        assert_eq!(
            ground.printed(args).await.lines().count(),
            shown,
            "{args:?}"
        );
    }

    let refused = ground
        .locksmith(&["runs", "-o", "jsonpath={.items[x]}"], &[])
        .await;
    assert_eq!(refused.status.code(), Some(2));
    let why = text(&refused.stderr);
    assert!(why.contains("[x] is not supported"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_runs_and_playbooks_are_completed() {
    let ground = Ground::new().await;
    ground.run("night").await;
    ground.run("noon").await;
    let kubeconfig = ground.directory.path().join("kubeconfig");
    let config = ground.directory.path().join("locksmith.yaml");
    std::fs::write(
        &config,
        "playbooks: {heal: {alerts: [], steps: [restartProvisioner]}}",
    )
    .unwrap();
    // As the script for bash calls it for the last word.
    let completed = async |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_locksmith"));
        command
            .arg("--")
            .args(words)
            .env("LOCKSMITH_COMPLETE", "bash")
            .env("_CLAP_IFS", "\n")
            .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
            .env("KUBECONFIG", "/nowhere/config");
        let said = tokio::task::spawn_blocking(move || command.output().unwrap());
        let said = said.await.unwrap();
        assert_eq!(text(&said.stderr), "");
        text(&said.stdout)
    };
    let kubeconfig = kubeconfig.to_str().unwrap();
    let config = config.to_str().unwrap();
    let night = completed(&["locksmith", "describe", "--kubeconfig", kubeconfig, "ni"]).await;
    assert_eq!(night.trim(), "night");
    let none = completed(&["locksmith", "describe", "ni"]).await;
    assert_eq!(none.trim(), "", "no cluster");
    let heal = completed(&["locksmith", "plan", "--config", config, "h"]).await;
    assert_eq!(heal.trim(), "heal");
    let default = completed(&["locksmith", "run", "csi"]).await;
    assert_eq!(default.trim(), "csi-operation-locks");
    let format = completed(&["locksmith", "describe", "-o", "j"]).await;
    assert!(format.contains("json"), "{format}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_logged_on_request() {
    let ground = Ground::new().await;
    let quiet = ground.locksmith(&["runs"], &[]).await;
    assert_eq!(text(&quiet.stderr), "");
    let verbose = ground.locksmith(&["runs", "-v"], &[]).await;
    let log = text(&verbose.stderr);
    let request = log
        .lines()
        .find(|line| line.contains("/apis/locksmith.dev/v1alpha1/remediations"));
    let request = request.unwrap_or_else(|| panic!("{log}"));
    assert!(
        request.contains("method=GET") && request.contains("status=200"),
        "{request}"
    );
    assert_eq!(text(&verbose.stdout), text(&quiet.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn playbooks_are_those_of_the_daemon() {
    let ground = Ground::new().await;
    let said = ground.locksmith(&["playbooks", "-o", "name"], &[]).await;
    assert_eq!(
        text(&said.stdout),
        "csi-operation-locks\nfailed-snapshots\norphaned-sources\n"
    );
    assert!(
        text(&said.stderr).contains("default playbooks"),
        "{}",
        text(&said.stderr)
    );

    let client = ground.cluster.server.client();
    let map = json!({
        "metadata": {"name": "locksmith-config-7h2k"},
        "data": {"locksmith.yaml": "playbooks: {heal: {alerts: [], steps: [restartProvisioner]}}\n\
            alertmanager: {url: 'http://127.0.0.1:9', http: {tokenFile: /etc/hostname}, require: ['tier=~\"a|b\"']}"},
    });
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let map = serde_json::from_value(map).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let labels = json!({"app": "locksmith"});
    let deployment = json!({
        "metadata": {"name": "locksmith"},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {
                "containers": [{"name": "locksmith", "image": "locksmith"}],
                "volumes": [{"name": "config", "configMap": {"name": "locksmith-config-7h2k"}}],
            },
        }},
    });
    let deployments: Api<Deployment> = Api::namespaced(client, "default");
    let deployment = serde_json::from_value(deployment).unwrap();
    deployments
        .create(&PostParams::default(), &deployment)
        .await
        .unwrap();
    let names = [
        "playbooks",
        "-n",
        "default",
        "-o",
        "jsonpath={.items[*]['name','mode']}",
    ];
    assert_eq!(ground.printed(&names).await, "heal observe");
    // Its Alertmanager is known, and so are the matchers.
    let tested = ground
        .locksmith(&["test-alert", "-n", "default"], &[])
        .await;
    assert_eq!(tested.status.code(), Some(2));
    let why = text(&tested.stderr);
    let require = "alertmanager.require: pass --label so that the alert satisfies tier=~\"a|b\"";
    assert!(why.contains(require), "{why}");
    assert!(why.contains("are files of the daemon's pod"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_are_listed_and_released_by_their_names() {
    let ground = Ground::new().await;
    let none = ground.locksmith(&["holds"], &[]).await;
    assert_eq!(
        (none.status.code(), text(&none.stdout)),
        (Some(0), "no holds\n".to_owned())
    );

    let namespaces: Api<Namespace> = Api::all(ground.cluster.server.client());
    let namespace = json!({"metadata": {"name": "locksmith"}});
    let namespace = serde_json::from_value(namespace).unwrap();
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let hold = "hold --class csi-ceph-blockpool --for 1h --name planned --reason disks";
    let hold: Vec<_> = hold.split(' ').collect();
    ground.printed(&hold).await;
    let listed = ground.printed(&["holds"]).await;
    let rows: Vec<_> = listed.lines().collect();
    assert!(
        rows.len() == 2 && rows[0].starts_with("NAMESPACE "),
        "{listed}"
    );
    for part in ["planned ", "class csi-ceph-blockpool", "in 59m", ": disks"] {
        assert!(rows[1].contains(part), "{part} in {listed}");
    }
    // It concerns the snapshots of every namespace.
    let row = ground
        .printed(&["holds", "--no-headers", "-n", "media"])
        .await;
    assert_eq!(row.lines().count(), 1, "{row}");
    let name = ground.printed(&["holds", "-o", "name"]).await;
    assert_eq!(name, "snapshothold.locksmith.dev/planned\n");
    let classes = "jsonpath={.items[*].spec.snapshotClasses[0]}";
    let classes = ground.printed(&["holds", "-o", classes]).await;
    assert_eq!(classes, "csi-ceph-blockpool");

    let released = ground.printed(&["release", name.trim(), "--yes"]).await;
    assert!(released.starts_with("released "), "{released}");
    let json: Value =
        serde_json::from_str(&ground.printed(&["holds", "-o", "json"]).await).unwrap();
    assert_eq!(json["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_of_the_daemon_is_read_from_its_metrics() {
    const METRICS: &str = "locksmith_build_info{version=\"0.0.7\"} 1\n";
    let ground = Ground::new().await;
    let ours = env!("CARGO_PKG_VERSION");
    let alone = ground.printed(&["version", "--client"]).await;
    assert_eq!(alone, format!("Client: {ours}\n"));

    let metrics = axum::routing::get(async || METRICS);
    let router = axum::Router::new().route("/metrics", metrics);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async { axum::serve(listener, router).await });
    let both = ground.printed(&["version", "--url", &url]).await;
    assert_eq!(both, format!("Client: {ours}\nDaemon: 0.0.7\n"));
    let field = "jsonpath={.daemonVersion.version}";
    let daemon = ground
        .printed(&["version", "--url", &url, "-o", field])
        .await;
    assert_eq!(daemon, "0.0.7");
    serving.abort();

    let lost = ground.locksmith(&["version"], &[]).await;
    assert_eq!(lost.status.code(), Some(2));
    assert_eq!(text(&lost.stdout), alone);
    let why = text(&lost.stderr);
    assert!(
        why.starts_with("error: the version of the daemon cannot be read: "),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn colours_are_for_terminals_or_on_request() {
    let ground = Ground::new().await;
    playbook_jam(&ground.cluster.world, Outage::Over)
        .await
        .unwrap();
    let config = ground.directory.path().join("locksmith.yaml");
    std::fs::write(&config, "detect: {orphanedAfter: 1ms}\n").unwrap();
    let config = config.to_str().unwrap();
    let coloured = async |variables: &[(&str, &str)]| {
        let args = ["status", "--config", config];
        let said = ground.locksmith(&args, variables).await;
        // Something is stuck.
        assert_eq!(said.status.code(), Some(1), "{}", text(&said.stderr));
        let said = text(&said.stdout);
        assert!(said.contains("readarr"), "{said}");
        said.contains('\u{1b}')
    };
    assert!(!coloured(&[]).await, "a pipe");
    assert!(coloured(&[("CLICOLOR_FORCE", "1")]).await);
    assert!(!coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).await);
}
