//! How other tools start the program: the krew manifest, compared with the workflow that makes a release, and the k9s plugins, whose
//! commands must exist.

use std::collections::BTreeSet;
use std::process::Command;

use clap::Parser;
use locksmith::cli::Cli;
use regex::Regex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::path;

const MANIFEST: &str = "deploy/krew/locksmith.yaml";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn texts(value: &Value) -> BTreeSet<String> {
    let values = value.as_array().into_iter().flatten();
    values.map(|it| it.as_str().unwrap().to_owned()).collect()
}

fn platforms(manifest: &Value) -> &[Value] {
    manifest["spec"]["platforms"].as_array().unwrap()
}

/// The version changes with each release; `UPDATE_DOCS=1` writes it.
#[test]
fn krew_manifest_names_the_archives_of_a_release() {
    let mut text = read(MANIFEST);
    let version = Regex::new(r"(?m)^  version: v(\S+)$").unwrap();
    let written = version.captures(&text).unwrap()[1].to_owned();
    // The other test reads the file at the same time.
    if written != VERSION && std::env::var_os("UPDATE_DOCS").is_some() {
        text = text.replace(&written, VERSION);
        std::fs::write(path(MANIFEST), &text).unwrap();
    }
    let manifest = yaml(&text);
    assert_eq!(manifest["kind"], "Plugin");
    assert_eq!(manifest["metadata"]["name"], "locksmith");
    assert_eq!(manifest["spec"]["version"], format!("v{VERSION}"));

    let workflow = read(".github/workflows/release.yml");
    let release = yaml(&workflow);
    let built = &release["jobs"]["build"]["strategy"]["matrix"]["include"];
    let built = built.as_array().unwrap().iter();
    let built: Vec<_> = built.map(|it| it["arch"].as_str().unwrap()).collect();
    assert!(workflow.contains(r#"--file "dist/locksmith-$VERSION-linux-$ARCH.tar.gz""#));
    assert!(workflow.contains("--directory image locksmith LICENSE\n"));
    assert!(workflow.contains(".ci/krew-manifest dist >krew.yaml"));
    assert_eq!(platforms(&manifest).len(), built.len());
    for (platform, arch) in platforms(&manifest).iter().zip(built) {
        let selected = &platform["selector"]["matchLabels"];
        assert_eq!(selected["os"], "linux");
        assert_eq!(selected["arch"], arch);
        assert_eq!(platform["bin"], "locksmith");
        let archive = format!("locksmith-{VERSION}-linux-{arch}.tar.gz");
        let uri = format!("{REPOSITORY}/releases/download/v{VERSION}/{archive}");
        assert_eq!(platform["uri"], uri);
    }
}

#[test]
fn krew_manifest_gets_the_checksums_of_the_archives() {
    let directory = tempfile::tempdir().unwrap();
    let print = || {
        let script = Command::new(path(".ci/krew-manifest"))
            .arg(directory.path())
            .output();
        script.unwrap()
    };
    assert!(!print().status.success(), "no archive is there");

    let manifest = yaml(&read(MANIFEST));
    for (platform, content) in platforms(&manifest).iter().zip(["one", "other"]) {
        let name = platform["uri"].as_str().unwrap().rsplit('/').next();
        std::fs::write(directory.path().join(name.unwrap()), content).unwrap();
    }
    let printed = print();
    assert!(printed.status.success(), "{printed:?}");
    let mut filled = yaml(&String::from_utf8(printed.stdout).unwrap());
    for (platform, content) in ["one", "other"].into_iter().enumerate() {
        let sum = &mut filled["spec"]["platforms"][platform]["sha256"];
        let digest = Sha256::digest(content);
        let expected: Vec<_> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sum.take(), expected.concat());
    }
    // Nothing else changed.
    let mut bare = manifest;
    for platform in bare["spec"]["platforms"].as_array_mut().unwrap() {
        platform["sha256"] = Value::Null;
    }
    assert_eq!(filled, bare);
}

/// The resources whose plugins the page describes, as k9s names them.
const SCOPES: [&str; 4] = [
    "remediations",
    "persistentvolumeclaims",
    "volumesnapshots",
    "replicationsources",
];

#[test]
fn k9s_plugins_run_commands_that_exist_and_only_read() {
    let file = yaml(&read("deploy/k9s/plugins.yaml"));
    let plugins = file["plugins"].as_object().unwrap();
    let mut keys = BTreeSet::new();
    let shell = Regex::new(r"^CLICOLOR_FORCE=1 (locksmith .+) 2>&1 \| less -R$").unwrap();
    let mut verbs = BTreeSet::new();
    for (name, plugin) in plugins {
        assert!(plugin["description"].is_string(), "{name}");
        assert_eq!(plugin["command"], "sh", "{name}");
        assert_eq!(plugin["background"], false, "{name}");
        for scope in texts(&plugin["scopes"]) {
            assert!(SCOPES.contains(&&*scope), "{name}: {scope}");
            let key = plugin["shortCut"].as_str().unwrap().to_owned();
            assert!(keys.insert((scope, key)), "{name}: a key with two meanings");
        }
        let command = plugin["args"][1].as_str().unwrap();
        let command = &shell.captures(command).expect(name)[1];
        let filled = ["NAMESPACE", "NAME", "CONTEXT"]
            .iter()
            .fold(command.replace('"', ""), |line, variable| {
                line.replace(&format!("${variable}"), "it")
            });
        let words: Vec<&str> = filled.split_whitespace().collect();
        assert!(!filled.contains('$'), "{name}: {filled}");
        let parsed = Cli::try_parse_from(&words);
        assert!(parsed.is_ok(), "{name}: {}", parsed.unwrap_err());
        verbs.insert(words[1].to_owned());
    }
    assert_eq!(
        verbs,
        ["describe", "explain", "plan"].map(str::to_owned).into()
    );
    assert_eq!(keys.len(), 2 * SCOPES.len(), "two keys on each resource");
}
