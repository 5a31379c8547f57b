//! `locksmith demo`: every scenario comes to its end, and the README shows what it prints.

// A helper fails as a test does: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::process::Command;

use regex::Regex;
use rstest::rstest;

/// Plays a scenario to its end; what it printed.
fn play(scenario: &str, speed: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_locksmith"))
        .args(["demo", "--exit", "--speed", speed, "--scenario", scenario])
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}\n{errors}");
    assert_eq!(errors, "");
    text
}

#[rstest]
#[case("operator", "ctrlplugin new and Ready", "healed and verified")]
#[case("orphans", "approves of the plan", "3 sources deleted, 0 left alone")]
#[case("approval", "approves of the plan", "4 claims Bound")]
#[case("sick-ceph", "all sources resumed", "breaker: the last 2 runs failed")]
fn a_scenario_comes_to_its_end(
    #[case] scenario: &str,
    #[case] on_the_way: &str,
    #[case] at_last: &str,
) {
    let told = play(scenario, "2");
    let way = told.find(on_the_way).unwrap_or_else(|| panic!("{told}"));
    let end = told.rfind(at_last).unwrap_or_else(|| panic!("{told}"));
    assert!(way < end, "{told}");
}

/// What differs from one time to the next, as it was the last time the README was written.
fn masked(text: &str) -> String {
    let varies = Regex::new(r"(?m)^ *[0-9]+\.[0-9]s|127\.0\.0\.1:[0-9]+").unwrap();
    varies.replace_all(text, "*").into_owned()
}

#[test]
fn the_readme_shows_what_the_demo_prints() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(file).unwrap();
    let block = Regex::new(r"(?s)<!-- demo -->\n(.*)<!-- /demo -->").unwrap();
    let shown = block.captures(&readme).unwrap().get(1).unwrap();
    let played = play("jam", "1");
    let played: Vec<_> = played.lines().map(|line| format!("    {line}\n")).collect();
    let played = played.concat();
    if masked(shown.as_str()) == masked(&played) {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let mut readme = readme.clone();
        readme.replace_range(shown.range(), &played);
        std::fs::write(file, readme).unwrap();
        return;
    }
    assert_eq!(
        masked(shown.as_str()),
        masked(&played),
        "UPDATE_DOCS=1 cargo test --test demo writes it anew"
    );
}
