//! The files that a cluster's owner installs: the chart is the source; everything else is generated from it and from
//! alerts/ and dashboards/. These tests compare the files with their sources; `UPDATE_DOCS=1 cargo test --test deploy`
//! (with `-- --include-ignored`, which needs the tools of tests/testbed) regenerates them.

// A helper fails like a test: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

mod chart;
mod drivers;
mod generated;
mod image;
mod modes;
mod monitoring;
mod pages;
mod plugins;
mod promises;
mod reliability;
mod rights;
mod supply;
// The tests on an API server use the remaining parts.
#[allow(dead_code)]
mod render;

use std::path::PathBuf;

/// A file or directory of this repository.
fn path(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(below)
}
