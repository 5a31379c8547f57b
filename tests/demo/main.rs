//! `locksmith demo`: every scenario ends as expected, and the README shows its output.

// A helper fails like a test: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

mod by_hand;

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use regex::Regex;
use rstest::rstest;

/// Proxies that do not exist: connections within the process need none.
const PROXIES: [(&str, &str); 2] = [
    ("HTTP_PROXY", "http://127.0.0.1:9"),
    ("HTTPS_PROXY", "http://127.0.0.1:9"),
];

/// Plays a scenario to its end; returns its output.
fn play(scenario: &str, speed: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_locksmith"))
        .args(["demo", "--exit", "--speed", speed, "--scenario", scenario])
        .env_remove("RUST_LOG")
        .envs(PROXIES)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}\n{errors}");
    assert_eq!(errors, "");
    text
}

#[rstest]
#[case("operator", "ctrlplugin new and Ready", "repaired and verified")]
#[case("orphans", "approves the plan of", "3 sources deleted, 0 skipped")]
#[case("approval", "approves the plan of", "4 claims Bound")]
#[case("sick-ceph", "all sources resumed", "breaker: the last 2 runs failed")]
fn scenario_ends_as_expected(
    #[case] scenario: &str,
    #[case] on_the_way: &str,
    #[case] at_last: &str,
) {
    let told = play(scenario, "2");
    let way = told.find(on_the_way).unwrap_or_else(|| panic!("{told}"));
    let end = told.rfind(at_last).unwrap_or_else(|| panic!("{told}"));
    assert!(way < end, "{told}");
}

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

fn readme() -> String {
    std::fs::read_to_string(README).unwrap()
}

/// Compares the output with that in the README, except for the parts that `masked` hides; updates the README if requested.
fn shown_or_written(block: &str, printed: &str, masked: impl Fn(&str) -> String) {
    /// Two tests may write.
    static WRITING: Mutex<()> = Mutex::new(());
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut readme = readme();
    let pattern = format!("(?s)<!-- {block} -->\n(.*)<!-- /{block} -->");
    let pattern = Regex::new(&pattern).unwrap();
    let shown = pattern.captures(&readme).unwrap().get(1).unwrap();
    let indented = printed.lines().map(|line| {
        let indent = if line.is_empty() { "" } else { "    " };
        format!("{indent}{line}\n")
    });
    let indented: String = indented.collect();
    let (was, is) = (masked(shown.as_str()), masked(&indented));
    if was != is && std::env::var_os("UPDATE_DOCS").is_some() {
        readme.replace_range(shown.range(), &indented);
        std::fs::write(README, readme).unwrap();
        return;
    }
    assert_eq!(
        was, is,
        "UPDATE_DOCS=1 cargo test --test demo writes it anew"
    );
}

#[test]
fn readme_shows_the_output_of_the_demo() {
    // How many snapshots recover before those that have not are deleted, depends on the machine's load.
    let varies = r"(?m)^ *[0-9]+\.[0-9]s|127\.0\.0\.1:[0-9]+|[^ =]*/locksmith-demo-[^/]+|until [^ ]+Z|[0-9] snapshots? deleted, [0-9] became";
    let varies = Regex::new(varies).unwrap();
    let masked = |text: &str| varies.replace_all(text, "*").into_owned();
    shown_or_written("demo", &play("jam", "1"), masked);
}
