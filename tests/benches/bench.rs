//! Costs of the program, with comparisons. Nothing is asserted: a figure is from one run on one machine.
//!
//! `./tests/bench` runs all of them, and `./tests/bench NAME` one; `deploy/docs/performance.md` describes each.

// A helper fails like a test: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]
// Figures are for people, and smaller than the precision of an f64.
#![allow(clippy::cast_precision_loss)]
// The future of a bench lives once, and its parameter types do not matter to a reader.
#![allow(clippy::large_futures, clippy::default_trait_access)]

// Tests use the remaining parts.
#[allow(dead_code)]
#[path = "../apiserver/support/daemon.rs"]
mod daemon;
#[allow(dead_code)]
#[path = "../testbed/mod.rs"]
mod testbed;

mod by_hand;
mod cluster;
mod exporters;
mod figures;
mod growth;
mod latency;
mod logs;
mod memory;
mod playbook;
mod server;
mod start;
mod suspend;

use std::process::ExitCode;

use figures::Row;

type Bench = fn() -> Vec<Row>;

/// Every bench, in the order of the table.
const BENCHES: [(&str, Bench); 8] = [
    ("suspend", || block_on(suspend::bench())),
    ("playbook", || block_on(playbook::bench())),
    ("growth", growth::bench),
    ("memory", memory::bench),
    ("logs", logs::bench),
    ("latency", || block_on(latency::bench())),
    ("exporters", || block_on(exporters::bench())),
    ("start", || block_on(start::bench())),
];

fn main() -> ExitCode {
    // cargo adds `--bench`.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // A cluster in its own process, so that it does not use another's memory.
        [growth::ONE, claims, shape] => growth::one(claims, shape),
        [memory::ONE] => memory::one(),
        [] => run(&BENCHES),
        [name] => match BENCHES.iter().find(|(known, _)| *known == name) {
            Some(bench) => run(&[*bench]),
            None => return refuse(&format!("there is no bench called {name:?}")),
        },
        _ => return refuse("one bench at a time, or all"),
    }
    ExitCode::SUCCESS
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("bench: {why}: {}", BENCHES.map(|(name, _)| name).join(", "));
    ExitCode::from(2)
}

fn run(benches: &[(&str, Bench)]) {
    // The testbed and the program under test both need a provider before their first connection.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut rows = Vec::new();
    for (name, bench) in benches {
        println!("\n=== {name}");
        rows.extend(bench());
    }
    figures::table(&rows);
}

fn block_on<T>(bench: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(bench)
}
