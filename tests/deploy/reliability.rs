//! `deploy/docs/reliability.md`: promises and the tests that check them, generated from the tests.
//!
//! First come the tables of [`promises`](crate::promises): if one of them names a test that does not exist, the build
//! fails. Then each of [`AREAS`] lists every test of its files and directories, by the first sentence of its doc comment or
//! else by its name, with its number of cases. A test whose doc comment begins with `Attack: ` is listed among the attacks,
//! whichever file it is in.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::path;
use crate::promises::{ATTACKS, INVARIANTS, Promise};

const PAGE: &str = "deploy/docs/reliability.md";

/// A group of tests, by files and directories.
struct Area {
    title: &'static str,
    about: &'static str,
    from: &'static [&'static str],
}

const AREAS: [Area; 6] = [
    Area {
        title: "Fuzz targets",
        about: "Guided by coverage: `tests/fuzz/run` runs each for the given time and prints the number of executions. \
                A case here is a file of the corpus, which `cargo test` replays.",
        from: &["tests/fuzz/main.rs"],
    },
    Area {
        title: "Attacks",
        about: "Each with its defence; the [threat model](threat-model.md) describes them.",
        from: &["tests/apiserver/attacks/tenant.rs"],
    },
    Area {
        title: "Failures during a run",
        about: "On a real API server.",
        from: &[
            "tests/apiserver/faults/chaos.rs",
            "tests/apiserver/faults/chaos",
            "tests/apiserver/control_plane/restarts.rs",
            "tests/apiserver/faults/faulty_api_server.rs",
            "tests/apiserver/runs/races.rs",
            "tests/apiserver/holds/unreadable_runs.rs",
        ],
    },
    Area {
        title: "Real stack",
        about: "The playbook's jam on real parts: VolSync's controller, external-provisioner and csi-snapshotter with leader \
                election, the snapshot controller and the control plane. Only the CSI driver is simulated, with ceph-csi's locks.",
        from: &["tests/real"],
    },
    Area {
        title: "Soak",
        about: "Random jams, faults and kills, and an audit at the end. With `--attack`, a tenant who tries every attack.",
        from: &[
            "tests/apiserver/soak.rs",
            "tests/apiserver/soak",
            "tests/soak",
        ],
    },
    Area {
        title: "Kills and replicas",
        about: "The program is killed at any point, and another replica takes over.",
        from: &[
            "tests/apiserver/leader/crashes.rs",
            "tests/apiserver/support/crash_points.rs",
            "tests/apiserver/leader/replicas.rs",
        ],
    },
];

/// One test.
struct Test {
    name: String,
    says: String,
    cases: usize,
    attack: bool,
}

/// Every file below `path`, which may be a file itself or not exist.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        let entries = path.read_dir().unwrap().map(|entry| entry.unwrap().path());
        let mut below: Vec<_> = entries.flat_map(|entry| files(&entry)).collect();
        below.sort();
        return below;
    }
    let is_rust = path.extension().is_some_and(|it| it == "rs");
    if is_rust && path.exists() {
        vec![path.to_owned()]
    } else {
        Vec::new()
    }
}

/// The tests of a source file, in order.
fn tests(source: &str) -> Vec<Test> {
    let function = Regex::new(r"^\s*(?:pub )?(?:async )?fn (\w+)").unwrap();
    let (mut tests, mut doc, mut attributes) = (Vec::new(), Vec::new(), Vec::new());
    let mut open_attribute = false;
    for line in source.lines() {
        let bare = line.trim();
        if open_attribute {
            open_attribute = !bare.ends_with(")]");
        } else if let Some(text) = bare.strip_prefix("/// ") {
            doc.push(text.to_owned());
        } else if bare.starts_with("#[") {
            attributes.push(bare.to_owned());
            // After the attribute of a parameter, the parameter is on the same line.
            open_attribute = bare.matches('[').count() > bare.matches(']').count();
        } else if let Some(found) = function.captures(line) {
            let is_test = |it: &String| {
                it.starts_with("#[test]") || it.starts_with("#[tokio::test") || it == "#[rstest]"
            };
            if attributes.iter().any(is_test) {
                let cases = attributes
                    .iter()
                    .filter(|it| it.starts_with("#[case"))
                    .count();
                tests.push(test(&found[1], &doc.join(" "), cases.max(1)));
            }
            (doc, attributes) = (Vec::new(), Vec::new());
        } else if !bare.starts_with("//") {
            (doc, attributes) = (Vec::new(), Vec::new());
        }
    }
    tests
}

fn test(name: &str, doc: &str, cases: usize) -> Test {
    let attack = doc.starts_with("Attack: ");
    let says = match doc {
        "" => name.replace('_', " "),
        // Both of its sentences.
        doc if attack => doc.to_owned(),
        doc => doc
            .split_inclusive(". ")
            .next()
            .unwrap_or(doc)
            .trim()
            .to_owned(),
    };
    Test {
        name: name.to_owned(),
        says: says.trim_end_matches('.').replace('|', "\\|"),
        cases,
        attack,
    }
}

/// Every test below `src` and `tests`, with the file it is in.
fn all() -> Vec<(String, Test)> {
    let root = path("");
    let files = ["src", "tests"].map(|below| files(&path(below)));
    let mut all = Vec::new();
    for file in files.into_iter().flatten() {
        let name = file
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        if name.starts_with("tests/deploy/reliability") {
            continue;
        }
        let source = std::fs::read_to_string(&file).unwrap();
        all.extend(tests(&source).into_iter().map(|test| (name.clone(), test)));
    }
    all
}

impl Area {
    fn has(&self, file: &str, test: &Test) -> bool {
        let named = self.from.iter().any(|from| {
            let below = file.strip_prefix(from);
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        named || (test.attack && self.title == "Attacks")
    }
}

/// Number of cases of a test; for a fuzz target, the number of files in its corpus.
fn cases(file: &str, test: &Test) -> usize {
    let corpus = path("tests/fuzz/corpus").join(&test.name);
    if file == "tests/fuzz/main.rs" && corpus.is_dir() {
        return corpus.read_dir().unwrap().count();
    }
    test.cases
}

/// A row for each promise, with its number and every test that checks it.
fn promised(promises: &[Promise], all: &[(String, Test)]) -> String {
    let mut rows = String::new();
    for (number, promise) in (1..).zip(promises) {
        let tests = promise.tests.iter().map(|name| {
            let found = all.iter().find(|(_, test)| test.name == *name);
            let (file, _) = found
                .unwrap_or_else(|| panic!("{:?} names {name}, which is no test", promise.about));
            format!("`{name}` ({file})")
        });
        let tests: Vec<_> = tests.collect();
        let about = promise.about;
        writeln!(rows, "| {number} | {about} | {} |", tests.join("<br>")).unwrap();
    }
    rows
}

fn page() -> String {
    let all = all();
    let mut page = String::from(
        "# Reliability\n\nGenerated from the tests: `UPDATE_DOCS=1 cargo test --test deploy reliability`.\n",
    );
    for (title, column, promises) in [
        ("Invariants", "never broken", &INVARIANTS[..]),
        ("Reproduced attacks and faults", "found once", &ATTACKS[..]),
    ] {
        let rows = promised(promises, &all);
        write!(
            page,
            "\n## {title}\n\n|  | {column} | held by |\n|--:|---|---|\n{rows}"
        )
        .unwrap();
    }
    page.push_str("\n## Tests by kind\n\n| kind | tests | cases |\n|---|--:|--:|\n");
    let mut tables = String::new();
    for area in &AREAS {
        let found: Vec<_> = all
            .iter()
            .filter(|(file, test)| area.has(file, test))
            .collect();
        let count: usize = found.iter().map(|(file, test)| cases(file, test)).sum();
        let anchor = area.title.to_lowercase().replace(' ', "-");
        writeln!(
            page,
            "| [{}](#{anchor}) | {} | {count} |",
            area.title,
            found.len()
        )
        .unwrap();
        writeln!(tables, "\n## {}\n\n{}\n", area.title, area.about).unwrap();
        if found.is_empty() {
            tables.push_str("None yet.\n");
            continue;
        }
        tables.push_str("| test | cases | where |\n|---|--:|---|\n");
        for (file, test) in found {
            writeln!(
                tables,
                "| {} | {} | `{file}` |",
                test.says,
                cases(file, test)
            )
            .unwrap();
        }
    }
    page + &tables
}

#[test]
fn reliability_page_matches_the_tests() {
    let wanted = page();
    let file = path(PAGE);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == wanted,
        "{PAGE} is out of date: UPDATE_DOCS=1 cargo test --test deploy reliability"
    );
}

#[test]
fn tests_are_found_with_cases_and_description() {
    let source = "
        /// No test.
        fn helper() {}

        /// One thing holds. And more is said.
        #[rstest]
        #[case::a(1)]
        // Why the next one is there.
        #[case::b(
            2,
        )]
        #[tokio::test]
        async fn of_cases(#[case] it: u8) {}

        #[test]
        fn named_only() {}

        /// Attack: this. Defence: that.
        #[test]
        fn attacked() {}
    ";
    let found: Vec<_> = tests(source)
        .into_iter()
        .map(|test| (test.says, test.cases, test.attack))
        .collect();
    let expected = [
        ("One thing holds", 2, false),
        ("named only", 1, false),
        ("Attack: this. Defence: that", 1, true),
    ];
    assert_eq!(
        found,
        expected.map(|(says, cases, attack)| (says.to_owned(), cases, attack))
    );
}

/// The threat model names only existing tests, and every attack that is tested.
#[test]
fn threat_model_names_every_attack_and_only_tests() {
    let model = std::fs::read_to_string(path("deploy/docs/threat-model.md")).unwrap();
    let all = all();
    let named = Regex::new(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+){3,})`").unwrap();
    let mut count = 0;
    for found in named.captures_iter(&model) {
        count += 1;
        assert!(
            all.iter().any(|(_, test)| test.name == found[1]),
            "{}",
            &found[1]
        );
    }
    assert!(count > 20, "{count}");
    for (file, test) in all.iter().filter(|(_, test)| test.attack) {
        assert!(
            model.contains(&format!("`{}`", test.name)),
            "{file}: {}",
            test.name
        );
    }
}
