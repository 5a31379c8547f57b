//! `locksmith check-config FILE`: checks a file as `serve` would, and lists every error in it.

use std::path::PathBuf;
use std::process::ExitCode;

use super::FAILED;
use super::output::print_line;
use crate::config;

/// Check a configuration file, or print its JSON Schema
///
/// Prints each error with the path of its field, such as `steps.resumeSources.batch: must be at least 1`. Exits with 0 if the
/// file is valid, with or without warnings, and 2 if it is not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file, in YAML
    #[arg(required_unless_present = "schema")]
    file: Option<PathBuf>,
    /// Print the JSON Schema of the configuration, for editors
    #[arg(long, conflicts_with = "file")]
    schema: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(path) = &args.file else {
        print_line(format_args!("{:#}", config::schema()))?;
        return Ok(ExitCode::SUCCESS);
    };
    let file = path.display();
    match config::load(path) {
        Ok(config) => {
            let mode = config.mode.as_str();
            for warning in config::warnings(&config) {
                anstream::eprintln!("{file}: warning: {warning}");
            }
            print_line(format_args!("{file}: valid, mode {mode}"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) => {
            for fault in faults.to_string().lines() {
                anstream::eprintln!("{file}: {fault}");
            }
            Ok(ExitCode::from(FAILED))
        }
    }
}
