//! The supply chain: promises in SECURITY.md about how the program is built.

use regex::Regex;

use crate::path;

fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn unsafe_code_is_forbidden_and_nothing_runs_at_build() {
    let manifest: Vec<_> = read("Cargo.toml").lines().map(str::to_owned).collect();
    assert!(manifest.contains(&r#"unsafe_code = "forbid""#.to_owned()));
    for member in [".", "src/api", "src/demo/apiserver", "src/demo/world"] {
        assert!(!path(member).join("build.rs").exists());
        let lints = read(&format!("{member}/Cargo.toml"));
        assert!(lints.contains("[lints]\nworkspace = true"), "{member}");
    }
}

/// The image contains no cluster: it is built without the embedded API server and its world.
#[test]
fn image_is_built_without_the_demo() {
    let tree = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--no-default-features",
            "-e",
            "normal",
        ])
        .current_dir(path("."))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("locksmith-api"), "{tree}");
    assert!(
        !tree.contains("locksmith-demo") && !tree.contains("cel v"),
        "{tree}"
    );
}

#[test]
fn no_advisory_is_ignored() {
    let deny = read(".ci/deny.toml");
    let (_, advisories) = deny.split_once("[advisories]").unwrap();
    let (advisories, _) = advisories.split_once("\n[").unwrap();
    assert!(!advisories.contains("ignore"), "{advisories}");
}

/// The packages of this repository.
const OURS: [&str; 4] = [
    "volsync-locksmith",
    "locksmith-api",
    "locksmith-demo-apiserver",
    "locksmith-demo-world",
];

/// Each dependency is a version of the public registry, pinned by its checksum.
#[test]
fn every_dependency_is_pinned_by_its_checksum() {
    let lock = read("Cargo.lock");
    let package = Regex::new(
        r#"(?m)^name = "(.+)"\nversion = ".+"\n(source = ".+"\nchecksum = "[0-9a-f]{64}")?"#,
    )
    .unwrap();
    let mut count = 0;
    for found in package.captures_iter(&lock) {
        count += 1;
        assert!(
            found.get(2).is_some() || OURS.contains(&&found[1]),
            "{}",
            &found[1]
        );
    }
    assert!(count > 100, "{count}");
    assert!(!lock.contains("source = \"git+"));
}

#[test]
fn image_build_is_the_reproducible_build() {
    for file in ["deploy/Dockerfile", ".ci/reproducible"] {
        let text = read(file);
        for part in [
            "--profile dist --locked --no-default-features",
            "--remap-path-prefix",
            "-ffile-prefix-map",
            "SOURCE_DATE_EPOCH",
            "LOCKSMITH_REVISION",
        ] {
            assert!(text.contains(part), "{file} lacks {part}");
        }
    }
}

/// CI lints with the compiler that builds the image, which is not older than the minimum supported version.
#[test]
fn one_rust_version_is_used_everywhere() {
    let version = |file: &str, pattern: &str| -> Vec<u32> {
        let text = read(file);
        let found = Regex::new(pattern).unwrap().captures(&text);
        let found = found.unwrap_or_else(|| panic!("{file} lacks {pattern}"));
        found[1].split('.').map(|it| it.parse().unwrap()).collect()
    };
    let toolchain = version("rust-toolchain.toml", r#"channel = "([\d.]+)""#);
    let oldest = version("Cargo.toml", r#"rust-version = "([\d.]+)""#);
    assert!(oldest <= toolchain);
    for file in ["deploy/Dockerfile", ".github/workflows/ci.yml"] {
        let built_with = version(file, r"\brust:([\d.]+)-");
        assert_eq!(built_with, toolchain[..built_with.len()], "{file}");
        assert!(built_with.len() >= 2, "{file} floats with new releases");
    }
}

#[test]
fn chart_and_program_have_one_version() {
    let program = env!("CARGO_PKG_VERSION");
    let chart = read("deploy/chart/Chart.yaml");
    for line in ["version", "appVersion"].map(|name| format!("{name}: {program}")) {
        assert!(chart.lines().any(|found| found == line), "no line {line:?}");
    }
}

/// A moved tag of an action must not change what a release runs.
#[test]
fn workflows_pin_actions_and_default_to_read_access() {
    let pinned = Regex::new(r"^[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$").unwrap();
    let uses = Regex::new(r"(?m)\buses: (.+)$").unwrap();
    let mut count = 0;
    for entry in path(".github/workflows").read_dir().unwrap() {
        let file = entry.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        for found in uses.captures_iter(&text) {
            count += 1;
            let local = found[1].starts_with("./");
            assert!(local || pinned.is_match(&found[1]), "{}", &found[1]);
        }
        let (jobs, _) = text.split_once("\njobs:").unwrap();
        let limited = ["\npermissions: {}\n", "\npermissions:\n  contents: read\n"];
        assert!(
            limited.iter().any(|it| jobs.contains(it)),
            "{} does not limit its token",
            file.display()
        );
    }
    assert!(count > 10, "{count}");
}
