//! `locksmith check-config FILE`: says whether `serve` would take the file, and if not, everything against it.

use std::path::PathBuf;
use std::process::ExitCode;

use super::FAILED;
use crate::config;

/// Check a configuration file
///
/// Prints each fault with its path, such as `steps.resumeSources.batch: must be at least 1`. Exits with 0 when the file is
/// good, and with 2 when it is not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The YAML file
    file: PathBuf,
}

pub fn run(args: &Args) -> ExitCode {
    let file = args.file.display();
    match config::load(&args.file) {
        Ok(config) => {
            let mode = config.mode.as_str();
            anstream::println!("{file}: good, mode {mode}");
            ExitCode::SUCCESS
        }
        Err(faults) => {
            for fault in faults.to_string().lines() {
                anstream::eprintln!("{file}: {fault}");
            }
            ExitCode::from(FAILED)
        }
    }
}
