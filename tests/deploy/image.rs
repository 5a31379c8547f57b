//! The Dockerfile, checked without a container engine: it copies everything the build needs, and the image is small, static
//! and runs as an unprivileged user.

use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::path;

/// The instructions, each with its lines joined.
fn instructions() -> Vec<(String, String)> {
    let file = std::fs::read_to_string(path("deploy/Dockerfile")).unwrap();
    let lines = file.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let instruction = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        Some((name.to_owned(), rest.trim().to_owned()))
    };
    joined.lines().filter_map(instruction).collect()
}

fn of<'i>(instructions: &'i [(String, String)], name: &str) -> Vec<&'i str> {
    let of_it = instructions.iter().filter(|(found, _)| found == name);
    of_it.map(|(_, rest)| &**rest).collect()
}

/// Paths that are copied from the build context.
fn copied(instructions: &[(String, String)]) -> Vec<String> {
    let copies = of(instructions, "COPY").into_iter();
    let from_context = copies.filter(|rest| !rest.starts_with("--from"));
    from_context
        .flat_map(|rest| rest.rsplit_once(' ').unwrap().0.split(' '))
        .map(str::to_owned)
        .collect()
}

#[test]
fn image_build_copies_exactly_the_needed_files() {
    let copied = copied(&instructions());
    let ignored = std::fs::read_to_string(path("deploy/Dockerfile.dockerignore")).unwrap();
    let (all, kept): (Vec<_>, Vec<_>) = ignored.lines().partition(|line| *line == "*");
    assert_eq!(all.len(), 1);
    let kept: Vec<_> = kept
        .iter()
        .map(|line| line.strip_prefix('!').unwrap())
        .collect();
    assert_eq!(copied, kept);

    let context = tempfile::tempdir().unwrap();
    for name in &copied {
        let to = context.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let copy = Command::new("cp").arg("-r").args([path(name), to]).status();
        assert!(copy.unwrap().success(), "{name}");
    }
    // The manifest is complete without the rest of the repository, and so are the sources of the program.
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--no-deps"])
        .args(["--format-version", "1"])
        .current_dir(context.path())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{metadata:?}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let mut targets = packages.flat_map(|package| package["targets"].as_array().unwrap());
    let bin = targets.find(|target| target["kind"][0] == "bin");
    assert_eq!(bin.unwrap()["name"], "locksmith");
    assert!(!copied.contains(&"build.rs".to_owned()) && !path("build.rs").exists());
    let included = included(&path("src"));
    assert!(!included.is_empty());
    for file in included {
        let name = file
            .strip_prefix(path(".").canonicalize().unwrap())
            .unwrap();
        assert!(
            context.path().join(name).exists(),
            "not copied: {}",
            name.display()
        );
    }
}

/// Files that the program includes, without tests.
fn included(directory: &Path) -> Vec<PathBuf> {
    let include = Regex::new(r#"include_(?:str|bytes)!\("([^"]+)"\)"#).unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().path();
        if file.is_dir() {
            found.extend(included(&file));
        } else if file.extension().is_some_and(|it| it == "rs")
            && !file.iter().any(|it| it == "tests")
        {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let names = include.captures_iter(code).map(|it| it[1].to_owned());
            found.extend(names.map(|name| directory.join(name).canonicalize().unwrap()));
        }
    }
    found
}

#[test]
fn image_has_only_the_binary_and_a_user() {
    let all = instructions();
    let [build, image] = &of(&all, "FROM")[..] else {
        panic!("not two stages: {all:?}")
    };
    // Rust links musl statically; there is no library to load.
    assert!(build.contains("alpine") && build.ends_with(" AS build"));
    assert_eq!(*image, "scratch");
    let run = of(&all, "RUN").join(" ");
    assert!(run.contains("cargo build --profile dist --locked"));
    // One cache per platform: the builds of a multi-platform image run concurrently.
    assert_eq!(
        of(&all, "ARG"),
        ["TARGETARCH", "SOURCE_DATE_EPOCH=0", "LOCKSMITH_REVISION"]
    );
    assert!(run.contains("id=target-${TARGETARCH}"));

    let [user] = of(&all, "USER")[..] else {
        panic!("not one user")
    };
    let helpers = std::fs::read_to_string(path("deploy/chart/templates/_helpers.tpl")).unwrap();
    let ids = Regex::new(r"runAs(?:User|Group): (\d+)").unwrap();
    let ids: Vec<_> = ids
        .captures_iter(&helpers)
        .map(|id| id[1].to_owned())
        .collect();
    assert_eq!(user, ids.join(":"));
    assert_ne!(ids[0], "0");

    let [entry] = of(&all, "ENTRYPOINT")[..] else {
        panic!("not one entry")
    };
    let entry: Vec<String> = serde_json::from_str(entry).unwrap();
    let copies = of(&all, "COPY");
    let binary = copies.iter().find(|rest| rest.ends_with(&entry[0]));
    assert!(binary.is_some_and(|rest| rest.starts_with("--from=build ")));
    let listens = locksmith::config::Config::default().server.listen.port();
    assert_eq!(of(&all, "EXPOSE"), [listens.to_string()]);
}
