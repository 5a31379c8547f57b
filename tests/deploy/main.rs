//! What a cluster's owner installs: the chart is the source, and all else is made from it and from alerts/ and
//! dashboards/. These tests hold the files against their sources; `UPDATE_DOCS=1 cargo test --test deploy` (with
//! `-- --include-ignored`, which needs the tools of tests/testbed) writes them anew.

// A helper fails as a test does: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

mod chart;
mod generated;
mod image;
mod modes;
mod monitoring;
mod pages;
mod promises;
mod reliability;
mod rights;
mod supply;
// The tests on an API server use the rest of it.
#[allow(dead_code)]
mod render;

use std::path::PathBuf;

/// A file or directory of this repository.
fn path(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(below)
}
