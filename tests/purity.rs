//! Modules are layers: each imports only from lower ones. Pure layers are marked, and only `cluster` writes to a cluster.
//!
//! The tests parse the source. An import is found in every notation: over several lines, in braces, renamed, or as a path
//! in an expression. Comments and strings are ignored.

#![allow(
    clippy::unwrap_used,
    reason = "a source that cannot be read fails the test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// A module or file, and whether it is pure: functions of plain values, with an explicit `now`.
struct Layer {
    path: &'static str,
    pure: bool,
}

const fn pure(path: &'static str) -> Layer {
    Layer { path, pure: true }
}

const fn shell(path: &'static str) -> Layer {
    Layer { path, pure: false }
}

/// In order, lowest first. A file belongs to the longest matching path, and imports from its own layer and lower ones.
const LAYERS: [Layer; 28] = [
    pure("api"),
    pure("text"),
    pure("csi"),
    // Reads its own file.
    shell("config"),
    pure("model"),
    pure("holds"),
    pure("findings"),
    pure("plan"),
    pure("run_context"),
    pure("gates"),
    pure("steps"),
    pure("run_progress"),
    pure("state/view"),
    pure("state/history"),
    shell("tasks"),
    shell("http_client"),
    shell("metrics"),
    shell("state"),
    shell("watch"),
    shell("cluster"),
    shell("alerts"),
    shell("controller"),
    shell("server"),
    shell("app"),
    shell("demo"),
    shell("cli"),
    shell("lib"),
    shell("main"),
];

/// Separate crates, which cannot import the daemon.
const MEMBERS: [&str; 3] = ["api/", "demo/apiserver/", "demo/world/"];

/// Used only by tests: they build views, and the findings of a constructed model.
const FIXTURES: [&str; 2] = ["fixture.rs", "model/fixture/"];

/// A test of the detectors' cost, which needs a clock and a small stack.
const MEASURES: &str = "findings/tests/hostile.rs";

/// Paths that pure modules must not use, with everything below them.
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

/// Words that mean a clock or a runtime anywhere, and crates that must not be imported as a whole.
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

/// Calls, types and requests that write to a cluster. Strings have no `create`, `delete` or `patch`.
const WRITES: [&str; 5] = [
    r"\b(PostParams|PatchParams|DeleteParams|EvictParams)\b",
    r"(\.|\bApi ?:: ?)(create|delete|patch)\(",
    r"(\.|\bApi ?:: ?)(create_subresource|delete_collection|evict|restart|cordon|uncordon)(?:::<[^>]*>)?\(",
    r"(\.|\bApi ?:: ?)(patch|replace)_\w+\(|\bApi ?:: ?replace\(|\.replace\([^()]*, ?&[^()]*, ?&",
    r"\b(Request ?:: ?(post|put|patch|delete)|Method ?:: ?(POST|PUT|PATCH|DELETE))\b",
];

/// Other names for the crate's root, which would hide an import.
const ALIASES: &str = r"\buse crate as\b|\bcrate ?:: ?\{[^;]*\bself as\b|\bextern crate self\b";

#[test]
fn modules_import_only_lower_layers() {
    let mut wrong = Vec::new();
    for (name, code) in code_of_all() {
        if FIXTURES
            .iter()
            .chain(&MEMBERS)
            .any(|of| name.starts_with(of))
        {
            continue;
        }
        let Some(own) = layer_of(&name) else {
            wrong.push(format!("{name}: belongs to no layer"));
            continue;
        };
        wrong.extend(imports_above(&name, &code, own));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The imports of a file from higher layers.
fn imports_above(name: &str, code: &str, own: usize) -> Vec<String> {
    static ALIASED: LazyLock<Regex> = LazyLock::new(|| regex(ALIASES));
    let aliases = ALIASED.find_iter(code);
    let mut wrong: Vec<_> = aliases
        .map(|found| format!("{name}: {} hides imports", found.as_str()))
        .collect();
    for path in paths(code) {
        let (path, absolute) = match path.strip_prefix("crate::") {
            Some(path) => (path, true),
            None => match from_root(name, &path) {
                Some(path) => (path, false),
                None => continue,
            },
        };
        match layer_of(&path.replace("::", "/")) {
            Some(imported) if imported <= own => {}
            None if !absolute || path == "fixture" || path.starts_with("fixture::") => {}
            Some(_) => wrong.push(format!("{name}: imports {path}, which is above it")),
            None => wrong.push(format!("{name}: imports {path}, which is in no layer")),
        }
    }
    wrong
}

/// A path that leads to the crate's root by `super`, from there on. Within a module of the file it needs one more.
fn from_root<'p>(name: &str, path: &'p str) -> Option<&'p str> {
    let file = name.trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = file.split('/').count();
    let mut rest = path;
    let mut supers = 0;
    while let Some(after) = rest.strip_prefix("super::") {
        (rest, supers) = (after, supers + 1);
    }
    (supers == depth || supers == depth + 1).then_some(rest)
}

#[test]
fn pure_modules_are_pure() {
    let mut wrong = Vec::new();
    for (name, code) in code_of_all() {
        let is_pure = layer_of(&name).is_some_and(|at| LAYERS[at].pure);
        if is_pure && name != MEASURES {
            let found = offences(&code).into_iter();
            wrong.extend(found.map(|found| format!("{name}: {found}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The demo's actors are a cluster themselves, and tests send requests to the server.
#[test]
fn only_cluster_writes_to_a_cluster() {
    let all = code_of_all().into_iter();
    let others = all.filter(|(name, _)| {
        let of_others = ["cluster/", "demo/"].iter().any(|of| name.starts_with(of));
        !of_others && !name.contains("/tests")
    });
    let wrong: Vec<_> = others
        .flat_map(|(name, code)| {
            let found = writes(&code).into_iter();
            found.map(move |found| format!("{name}: {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The layer of a file or module, as an index of [`LAYERS`].
fn layer_of(path: &str) -> Option<usize> {
    let belongs = |layer: &Layer| {
        path.strip_prefix(layer.path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
    };
    let layers = LAYERS.iter().enumerate();
    let own = layers.filter(|(_, layer)| belongs(layer));
    own.max_by_key(|(_, layer)| layer.path.len())
        .map(|(at, _)| at)
}

/// Every file of the crate: its path below `src`, and its code.
fn code_of_all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root);
    assert!(files.len() > LAYERS.len(), "{files:?}");
    files
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(&root).unwrap().display().to_string();
            (name, code_of(&fs::read_to_string(&file).unwrap()))
        })
        .collect()
}

/// The calls in this code that write to a cluster.
fn writes(code: &str) -> Vec<String> {
    static WRITES_RE: LazyLock<Vec<Regex>> = LazyLock::new(|| WRITES.map(regex).into());
    let all = WRITES_RE.iter().flat_map(|pattern| pattern.find_iter(code));
    all.map(|found| found.as_str().to_owned()).collect()
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

/// The parts of this code that are forbidden in a pure module.
fn offences(code: &str) -> Vec<String> {
    static WRONG: LazyLock<Vec<(Regex, &str)>> =
        LazyLock::new(|| WORDS.map(|(word, why)| (regex(word), why)).into());
    let mut wrong = Vec::new();
    for path in paths(code) {
        let below = |forbidden: &str| {
            path.strip_prefix(forbidden)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        if FORBIDDEN.into_iter().any(below) {
            wrong.push(path);
        }
    }
    for (word, why) in &*WRONG {
        wrong.extend(
            word.find(code)
                .map(|found| format!("{}: {why}", found.as_str())),
        );
    }
    wrong
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// The source without comments and strings, with each run of blanks as one.
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

/// Every path in the code, with those in the braces of a `use` expanded.
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

/// Expands one tree of a `use`.
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
fn impure_code_is_caught() {
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
        "let text = \"// \"; let t = Timestamp::now();",
    ];
    for text in impure {
        assert!(!offences(&code_of(text)).is_empty(), "not caught: {text}");
    }
}

#[test]
fn pure_code_is_accepted() {
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
        assert_eq!(offences(&code_of(text)), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn imports_are_found_in_every_notation() {
    let texts = [
        "use crate::watch::Store;",
        "use crate::{model::Model, watch::Store};",
        "use crate::{\n    model::{Model, Table},\n    watch::{self, Store as S},\n};",
        "fn f() { crate::watch::look(); }",
    ];
    for text in texts {
        let watch = |path: &String| path.starts_with("crate::watch");
        assert!(paths(&code_of(text)).iter().any(watch), "{text}");
    }
    let layers = [
        "state/view.rs",
        "state/store.rs",
        "model/tests/x.rs",
        "state",
    ]
    .map(layer_of);
    assert!(layers[0] < layers[1] && layers[2] < layers[0] && layers[3] == layers[1]);
}

#[test]
fn writes_are_found_in_every_notation() {
    let writing = [
        "use kube::api::{ListParams, PostParams};",
        "api.create(&Default::default(), &run)",
        "api.delete(&name, &Default::default())",
        "api\n    .patch_status(name, &params, &patch)",
        "api.replace_status(&name, &params, &run)",
        "api.delete_collection(&params, &list)",
        "api.evict(&name, &EvictParams::default())",
        "api.delete(&run.name_any(), &Default::default())",
        "api.patch(&format!(\"x\"), &params, &patch)",
        "Api::delete(&api, &name, &params)",
        "api.patch_scale(name, &params, &patch)",
        "api.create_subresource::<Value, Value>(\"binding\", name, &params, body)",
        "client.request(Request::post(uri).body(body))",
    ];
    for text in writing {
        assert!(!writes(&code_of(text)).is_empty(), "not found: {text}");
    }
    let reading = [
        "text.replace(\"a\", &b)",
        "text.replace(own, charts)",
        "api.list(&ListParams::default())",
        "changes.send(change)",
        "post(webhook::post::<I>)",
    ];
    for text in reading {
        assert_eq!(writes(&code_of(text)), Vec::<String>::new(), "{text}");
    }
}
