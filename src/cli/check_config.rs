//! `locksmith check-config FILE`: says whether `serve` would take the file, and if not, everything against it.

use std::path::PathBuf;
use std::process::ExitCode;

use super::FAILED;
use crate::config;

/// Check a configuration file, or print its JSON Schema
///
/// Prints each fault with its path, such as `steps.resumeSources.batch: must be at least 1`. Exits with 0 when the file is
/// good, and with 2 when it is not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The YAML file
    #[arg(required_unless_present = "schema")]
    file: Option<PathBuf>,
    /// Print the JSON Schema of the configuration instead, for editors
    #[arg(long, conflicts_with = "file")]
    schema: bool,
}

pub fn run(args: &Args) -> ExitCode {
    let Some(path) = &args.file else {
        anstream::println!("{:#}", config::schema());
        return ExitCode::SUCCESS;
    };
    let file = path.display();
    match config::load(path) {
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
