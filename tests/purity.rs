//! The pure modules stay pure: no client, no runtime, no clock, no file, and nothing of the modules to their right.
//!
//! Reads their source. What a reader would call an import is one here, however it is written: over several lines, in
//! braces, renamed, or as a path in the middle of an expression. Comments and texts are not read.

#![allow(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// Plain functions of plain values, with an explicit `now`.
const PURE: [&str; 8] = [
    "model", "findings", "plan", "gates", "holds", "steps", "csi", "view.rs",
];

/// What of this crate they may use: each other, the types of the API, and the configuration.
const OURS: [&str; 10] = [
    "api", "config", "csi", "findings", "gates", "holds", "model", "plan", "steps", "view",
];

/// A test of how long the detectors take: it needs a clock, and a small stack of its own.
const MEASURES: &str = "findings/tests/hostile.rs";

/// Paths they may not name, nor anything below them.
const FORBIDDEN: [&str; 20] = [
    "tokio",
    "tokio_util",
    "futures",
    "reqwest",
    "axum",
    "hyper",
    "tower",
    "rand",
    "kube::Client",
    "kube::client",
    "kube::Api",
    "kube::api",
    "kube::Config",
    "kube::runtime",
    "std::fs",
    "std::io",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
];

/// Words that are a clock or a runtime wherever they stand, and crates that are not to be taken in whole.
const WORDS: [(&str, &str); 6] = [
    (r"\bInstant\b", "a clock: take `now` as an argument"),
    (r"\bSystemTime\b", "a clock: take `now` as an argument"),
    (r":: ?now\b", "a clock: take `now` as an argument"),
    (r"\basync\b", "async"),
    (r"\.\s*await\b", "await"),
    (
        r"\buse (kube|std|jiff)( as \w+)?;|\buse (kube|std)::\*",
        "a crate taken in whole hides what is used of it",
    ),
];

#[test]
fn the_pure_modules_are_pure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for module in PURE {
        let files = sources(&root.join(module));
        assert!(!files.is_empty(), "{module} is not there: mend the list");
        for file in files {
            let name = file.strip_prefix(&root).unwrap();
            if name == Path::new(MEASURES) {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let name = name.display();
            wrong.extend(
                offences(&text)
                    .into_iter()
                    .map(|what| format!("{name}: {what}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The Rust files at or below `path`.
fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .flat_map(|entry| sources(&entry.unwrap().path()))
        .collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    files
}

/// What in this source a pure module may not have.
fn offences(text: &str) -> Vec<String> {
    static WRONG: LazyLock<Vec<(Regex, &str)>> =
        LazyLock::new(|| WORDS.map(|(word, why)| (regex(word), why)).into());
    let code = code_of(text);
    let mut wrong = Vec::new();
    for path in paths(&code) {
        let below = |forbidden: &str| {
            path.strip_prefix(forbidden)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let ours = path
            .strip_prefix("crate::")
            .and_then(|path| path.split("::").next());
        if FORBIDDEN.into_iter().any(below) {
            wrong.push(path);
        } else if ours.is_some_and(|module| !OURS.contains(&module)) {
            wrong.push(format!("{path}: is not to the left of it"));
        }
    }
    for (word, why) in &*WRONG {
        wrong.extend(
            word.find(&code)
                .map(|found| format!("{}: {why}", found.as_str())),
        );
    }
    wrong
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// The source without comments and texts, each run of blanks one blank.
fn code_of(text: &str) -> String {
    static OTHER: LazyLock<Regex> = LazyLock::new(|| {
        let comments = r"//[^\n]*|(?s:/\*.*?\*/)";
        let raw = r##"b?r#"(?s:.*?)"#|b?r"[^"]*""##;
        let plain = r#"b?"(?:[^"\\]|\\(?s:.))*"|'(?:[^'\\]|\\.)'"#;
        regex(&[comments, raw, plain].join("|"))
    });
    static BLANKS: LazyLock<Regex> = LazyLock::new(|| regex(r"\s+"));
    let code = OTHER.replace_all(text, "\"\"");
    BLANKS.replace_all(&code, " ").into_owned()
}

/// Every path the code names, those in the braces of a `use` written out.
fn paths(code: &str) -> Vec<String> {
    static USE: LazyLock<Regex> = LazyLock::new(|| regex(r"\buse ([^;]+);"));
    static PLAIN: LazyLock<Regex> = LazyLock::new(|| regex(r"\b\w+(?: ?:: ?\w+)+"));
    let mut paths = Vec::new();
    for found in USE.captures_iter(code) {
        spread("", &found[1], &mut paths);
    }
    paths.extend(
        PLAIN
            .find_iter(code)
            .map(|found| found.as_str().replace(' ', "")),
    );
    paths
}

/// Writes one tree of a `use` out.
fn spread(prefix: &str, tree: &str, into: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).replace(' ', "");
        if !path.is_empty() {
            into.push(
                format!("{prefix}{path}")
                    .trim_end_matches("::self")
                    .to_owned(),
            );
        }
        return;
    };
    let prefix = format!("{prefix}{}", head.replace(' ', ""));
    let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut from) = (0_usize, 0);
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                spread(&prefix, &inner[from..at], into);
                from = at + 1;
            }
            _ => {}
        }
    }
    spread(&prefix, &inner[from..], into);
}

#[test]
fn each_way_to_be_impure_is_caught() {
    let impure = [
        "use tokio::sync::watch;",
        "use tokio;",
        "fn f() { tokio::spawn(x); }",
        "use kube::Client;",
        "use kube::{Resource, Client};",
        "use kube::{\n    Resource,\n    api::{Api, ListParams},\n};",
        "use kube::runtime::watcher;",
        "use kube::Client as Nobody;",
        "use kube as k;",
        "use kube::*;",
        "fn f(client: kube::Client) {}",
        "use std::time::Instant;",
        "use std::time::{Duration, SystemTime};",
        "use std::{collections::HashMap, time::Instant};",
        "use std::time; fn f() { time::Instant::now(); }",
        "fn f() -> Timestamp { Timestamp::now() }",
        "fn f() { jiff::Timestamp :: now(); }",
        "fn f() { let clock = jiff::Zoned::now; }",
        "use jiff::Timestamp as T; fn f() { T::now(); }",
        "async fn f() {}",
        "fn f() { let x = async { 1 }; }",
        "fn f() { g()\n        .await; }",
        "fn f() { std::fs::read(x); }",
        "use std::{env, fmt};",
        "use crate::kube_io::Writer;",
        "use crate::{model::Model, watch::Store};",
        "fn f() { crate::metrics::tell(); }",
        "let text = \"// \"; let t = Timestamp::now();",
    ];
    for text in impure {
        assert!(!offences(text).is_empty(), "not caught: {text}");
    }
}

#[test]
fn what_only_looks_impure_is_let_through() {
    let pure = [
        "// use tokio::sync::watch; Timestamp::now()",
        "/* async\n fn */ fn f() {}",
        "/// Says `Timestamp::now()`.\nfn f() {}",
        "fn f() -> &'static str { \"Timestamp::now() .await \\\" async\" }",
        "fn f() -> &'static str { r#\"use \"tokio\"; Instant\"# }",
        "fn f(now: Timestamp) { g(now) } enum Due { Now } fn h() -> Due { Due::Now }",
        "use std::time::Duration;",
        "use kube::{Resource, ResourceExt};",
        "use crate::model::{Model, Sym}; use super::{Gate, gate::Instance};",
        "fn f<'a>(x: &'a str, c: char) -> bool { c == '\"' || x == \"async\" }",
    ];
    for text in pure {
        assert_eq!(offences(text), Vec::<String>::new(), "{text}");
    }
}
