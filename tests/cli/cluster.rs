//! Output of commands for a jammed cluster: to a pipe, with colours, and without.

use std::process::{Command, Output};

use kube::Api;
use kube::api::PostParams;
use locksmith::api::remediation::{
    Phase, Remediation, RemediationSpec, RemediationStatus, Trigger,
};
use locksmith::demo::Cluster;
use locksmith::demo::apiserver::Options;
use locksmith::demo::scenario::{Outage, playbook_jam};
use locksmith::demo::world::{Timings, WorldConfig};
use serde_json::Value;

use crate::terminal::Terminal;
use crate::text;

/// A message longer than a line.
const MESSAGE: &str = "gate cooldown: the last run ended at 14:02; opens at 14:32; gate blastRadius: 41 of 50 > 30%; \
    opens when fewer objects are affected; gate window: outside the windows; opens in 22:00-06:00";

struct Ground {
    cluster: Cluster,
    directory: tempfile::TempDir,
}

impl Ground {
    async fn new() -> Self {
        let config = WorldConfig::new(Timings::fast());
        let cluster = Cluster::start(Options::default(), config).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = cluster.server.kubeconfig();
        std::fs::write(directory.path().join("kubeconfig"), kubeconfig).unwrap();
        Self { cluster, directory }
    }

    /// The program with these arguments, for the cluster.
    fn command(&self, args: &[&str]) -> Command {
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

    /// A former run, as left by a daemon.
    async fn run(&self, name: &str) {
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
    assert_eq!(wide, ground.shown(&["runs", "-o", "wide"], 60).await);
    for lines in [piped, wide] {
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
    assert_eq!((&list["apiVersion"], &list["kind"]), (&"v1".into(), &"List".into()));
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
        ["remediation.locksmith.dev/night", "remediation.locksmith.dev/noon"]
    );
    // Other commands take such a name.
    let phase = ["describe", names[0], "-o", "jsonpath={.metadata.name}: {.status.phase}"];
    assert_eq!(ground.printed(&phase).await, "night: Pending");
    let lines = "jsonpath={range .items[?(@.metadata.name=='noon')]}{.metadata.name}{'\\n'}{end}";
    assert_eq!(ground.printed(&["runs", "-o", lines]).await, "noon\n");

    for (args, shown) in [
        (["runs", "-n", "default", "-o", "name"].as_slice(), 2),
        (&["runs", "-n", "media", "-o", "name"], 0),
        (&["runs", "-n", "media", "-A", "-o", "name"], 2),
    ] {
        assert_eq!(ground.printed(args).await.lines().count(), shown, "{args:?}");
    }

    let refused = ground.locksmith(&["runs", "-o", "jsonpath={.items[x]}"], &[]).await;
    assert_eq!(refused.status.code(), Some(2));
    let why = text(&refused.stderr);
    assert!(why.contains("[x] is not supported"), "{why}");
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
