//! `deploy/docs/reliability.md`: what is tried on the program, generated from the tests themselves.
//!
//! How a test gets in: [`AREAS`] names files and folders, and every test in them is listed, by the first sentence of its doc
//! comment or else by its name, with its number of cases. A file or folder that is not there is passed over, so that a test
//! only has to be put into one that is named here. Wherever it stands, a test whose doc comment begins with `Attack: ` is
//! listed among the attacks.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::path;

const PAGE: &str = "deploy/docs/reliability.md";

/// What is tried, and the files and folders whose tests try it.
struct Area {
    title: &'static str,
    about: &'static str,
    from: &'static [&'static str],
}

const AREAS: [Area; 8] = [
    Area {
        title: "Fuzz targets",
        about: "Guided by coverage: `tests/fuzz/run` runs each for as long as it is told and says how often it was executed. \
                A case here is a file of the corpus, which `cargo test` replays.",
        from: &["tests/fuzz/main.rs"],
    },
    Area {
        title: "Hostile clients",
        about: "Against the server, most of them against the program as a process.",
        from: &[
            "tests/apiserver/hostile.rs",
            "tests/apiserver/flood.rs",
            "src/server/connection.rs",
            "src/server/tests.rs",
            "src/server/tests",
        ],
    },
    Area {
        title: "Attacks",
        about: "Each with its defence; the [threat model](threat-model.md) says what they are about.",
        from: &["tests/apiserver/attacker.rs"],
    },
    Area {
        title: "Bad days",
        about: "On a real API server.",
        from: &[
            "tests/apiserver/bad_days.rs",
            "tests/apiserver/bad_days",
            "tests/apiserver/faults.rs",
            "tests/apiserver/faulty.rs",
            "tests/apiserver/races.rs",
            "tests/apiserver/unseen.rs",
        ],
    },
    Area {
        title: "Real stack",
        about: "The playbook's jam on real parts: VolSync's controller, external-provisioner and csi-snapshotter with leader \
                election, the snapshot controller and the control plane. The CSI driver alone is simulated, with ceph-csi's locks.",
        from: &["tests/real"],
    },
    Area {
        title: "Soak",
        about: "Random jams, faults and kills, and an auditor at the end.",
        from: &[
            "tests/apiserver/soak.rs",
            "tests/apiserver/soak",
            "tests/soak",
        ],
    },
    Area {
        title: "Kills and replicas",
        about: "The program is killed at any point, and others take over.",
        from: &[
            "tests/apiserver/kill.rs",
            "tests/apiserver/lives.rs",
            "tests/apiserver/replicas.rs",
        ],
    },
    Area {
        title: "Invariants and properties",
        about: "What never happens, whatever the order of events; properties are tried with random inputs.",
        from: &[
            "src/steps/tests",
            "src/holds/release/tests.rs",
            "src/plan/tests/lint.rs",
            "tests/purity.rs",
            "tests/apiserver/observe.rs",
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

/// Every file below `path`, which may be one itself or not be there.
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

/// The tests of a source file, in their order.
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
            // Of a parameter, what follows stands on the same line.
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
        } else {
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

/// How many cases a test has: those of a fuzz target are the files of its corpus.
fn cases(file: &str, test: &Test) -> usize {
    let corpus = path("tests/fuzz/corpus").join(&test.name);
    if file == "tests/fuzz/main.rs" && corpus.is_dir() {
        return corpus.read_dir().unwrap().count();
    }
    test.cases
}

fn page() -> String {
    let all = all();
    let mut page = String::from(
        "# Reliability\n\nGenerated from the tests: `UPDATE_DOCS=1 cargo test --test deploy reliability`.\n\n\
         | what is tried | tests | cases |\n|---|--:|--:|\n",
    );
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
fn the_reliability_page_tells_of_the_tests_there_are() {
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
fn tests_are_found_with_their_cases_and_what_they_say() {
    let source = "
        /// Something that is no test.
        fn helper() {}

        /// One thing holds. And more is said.
        #[rstest]
        #[case::a(1)]
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

/// What the threat model relies on is a test that is there, and every attack that is tried is in it.
#[test]
fn the_threat_model_names_every_attack_and_no_test_that_is_not_there() {
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
