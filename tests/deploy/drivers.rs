//! The recipes of `deploy/docs/drivers.md`, compared with the program:
//!
//! 1. each row of the table has a section;
//! 2. a section's messages are recognised as locks if its row says so, and none of them otherwise;
//! 3. a section's block is a valid configuration that names the drivers of that section alone;
//! 4. a driver whose locks are found has a container whose log is read.

use std::collections::BTreeSet;

use locksmith::config::{Config, parse};
use locksmith::csi::LockPatterns;
use regex::Regex;

use crate::path;

/// A row of the first table and the section that it links to.
struct Recipe {
    title: String,
    finds_locks: bool,
    section: String,
}

impl Recipe {
    /// The lines of indented blocks that begin with `start`, up to the end of the block.
    fn block(&self, start: &str) -> String {
        let blocks = self.section.split("\n\n");
        let indented = blocks.filter(|block| block.lines().all(|line| line.starts_with("    ")));
        let found = indented.filter(|block| block.trim_start().starts_with(start));
        let found: Vec<_> = found.collect();
        let [block] = found[..] else {
            panic!("{}: {} blocks begin with {start}", self.title, found.len());
        };
        let lines: Vec<_> = block.lines().map(|line| &line[4..]).collect();
        lines.join("\n")
    }

    fn config(&self) -> Config {
        parse(&self.block("provisionerNamespaces:"))
            .unwrap_or_else(|error| panic!("{}: {error}", self.title))
    }

    /// Driver names as the cluster has them: Rook's pattern stands for any prefix.
    fn drivers(&self) -> Vec<String> {
        let drivers = self.config().drivers.0;
        let names = drivers
            .iter()
            .map(|driver| driver.name.replace('*', "rook-ceph"));
        names.collect()
    }
}

fn recipes() -> Vec<Recipe> {
    let page = std::fs::read_to_string(path("deploy/docs/drivers.md")).unwrap();
    let sections: Vec<(&str, &str)> = page
        .split("\n## ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
        .collect();
    let rows = page.lines().filter(|line| line.starts_with("| ["));
    let recipes = rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let (title, _) = cells[1][1..].split_once(']').unwrap();
        let section = sections.iter().find(|(heading, _)| *heading == title);
        let (_, section) = section.unwrap_or_else(|| panic!("no section {title}"));
        Recipe {
            title: title.to_owned(),
            finds_locks: match cells[2] {
                "yes" => true,
                "no" => false,
                other => panic!("{title}: {other}"),
            },
            section: (*section).to_owned(),
        }
    });
    recipes.collect()
}

#[test]
fn recipes_quote_messages_as_the_program_reads_them() {
    let patterns = LockPatterns::new(&[]).unwrap();
    let recipes = recipes();
    assert!(recipes.len() > 10, "{}", recipes.len());
    for recipe in recipes {
        for message in recipe.block("rpc error:").lines() {
            let is_lock = patterns.find(message).is_some();
            assert_eq!(is_lock, recipe.finds_locks, "{}: {message}", recipe.title);
        }
    }
}

#[test]
fn recipes_are_valid_configurations() {
    let mut named = BTreeSet::new();
    for recipe in recipes() {
        let config = recipe.config();
        assert!(!config.drivers.0.is_empty(), "{}", recipe.title);
        for name in recipe.drivers() {
            assert!(named.insert(name.clone()), "{name} is named twice");
            let entry = config.drivers.find(&name).unwrap();
            let container = entry.log_container(&name);
            assert!(
                container.is_some() || !recipe.finds_locks,
                "{name}: no log is read"
            );
            if let Some(container) = container {
                let documented = format!("`{container}`");
                assert!(recipe.section.contains(&documented), "{name}: {container}");
            }
        }
    }
}

#[test]
fn recipes_name_their_sources() {
    let tag = Regex::new(r"\b(v|lvm-localpv-)\d+\.\d+\.\d+ `").unwrap();
    for recipe in recipes() {
        let sources = recipe.section.split_once("\nSources: ");
        let (_, sources) = sources.unwrap_or_else(|| panic!("{}: no sources", recipe.title));
        assert!(tag.is_match(sources), "{}: no tag", recipe.title);
    }
}
