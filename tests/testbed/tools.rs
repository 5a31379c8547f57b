//! kubectl and helm, as `tests/testbed/tools/build` makes them.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;

static TOOLS: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/tools/build");
    let built = Command::new(script).output().unwrap();
    let progress = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{progress}");
    let printed = String::from_utf8(built.stdout).unwrap();
    PathBuf::from(printed.lines().last().unwrap())
});

/// Runs one of them.
pub fn run(tool: &str, arguments: &[&str]) -> Output {
    Command::new(TOOLS.join(tool))
        .args(arguments)
        .output()
        .unwrap()
}

fn printed(tool: &str, arguments: &[&str]) -> String {
    let done = run(tool, arguments);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{tool} {arguments:?}: {said}");
    String::from_utf8(done.stdout).unwrap()
}

/// What helm prints.
#[allow(dead_code, reason = "not every crate that has this calls both")]
pub fn helm(arguments: &[&str]) -> String {
    printed("helm", arguments)
}

/// What kubectl prints.
pub fn kubectl(arguments: &[&str]) -> String {
    printed("kubectl", arguments)
}
