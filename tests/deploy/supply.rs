//! The supply chain: what SECURITY.md promises of how the program is made.

use regex::Regex;

use crate::path;

fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn unsafe_code_is_forbidden_and_nothing_runs_at_build() {
    let manifest: Vec<_> = read("Cargo.toml").lines().map(str::to_owned).collect();
    assert!(manifest.contains(&r#"unsafe_code = "forbid""#.to_owned()));
    assert!(!path("build.rs").exists());
}

#[test]
fn no_advisory_is_ignored() {
    let deny = read(".ci/deny.toml");
    let (_, advisories) = deny.split_once("[advisories]").unwrap();
    let (advisories, _) = advisories.split_once("\n[").unwrap();
    assert!(!advisories.contains("ignore"), "{advisories}");
}

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
            found.get(2).is_some() || &found[1] == "volsync-locksmith",
            "{}",
            &found[1]
        );
    }
    assert!(count > 100, "{count}");
    assert!(!lock.contains("source = \"git+"));
}

#[test]
fn the_image_is_built_as_the_reproducible_build_is() {
    for file in ["deploy/Dockerfile", ".ci/reproducible"] {
        let text = read(file);
        for part in [
            "--release --locked",
            "--remap-path-prefix",
            "-ffile-prefix-map",
            "SOURCE_DATE_EPOCH",
        ] {
            assert!(text.contains(part), "{file} lacks {part}");
        }
    }
}
