//! Shell completion, also of names in the cluster: runs, and the playbooks of the configuration.
//!
//! The script that `locksmith completion` prints calls this program for each word (clap_complete's dynamic engine), as those of
//! kubectl and Helm do. A generated script without calls knows no names, and would have to be extended for each shell.

use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory as _;
use clap_complete::CompleteEnv;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::Shells;
use kube::ResourceExt;

use super::output::print;
use super::{Cli, ClusterArgs, remediations};
use crate::config;

/// Environment variable in which the script passes the name of the shell.
const VARIABLE: &str = "LOCKSMITH_COMPLETE";

/// Time limit for reading names: nobody waits longer for a completion.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Print a shell completion script
///
/// For bash: `locksmith completion bash > /etc/bash_completion.d/locksmith`. The script calls locksmith, which reads the names
/// of runs from the cluster and those of playbooks from the configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shell to print the script for
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let shells = Shells::builtins();
    let mut script = Vec::new();
    if let Some(shell) = shells.completer(&args.shell) {
        shell.write_registration(VARIABLE, "locksmith", "locksmith", "locksmith", &mut script)?;
    }
    print(String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}

/// If the script calls, prints completions and exits. Must run before anything else: it changes the environment.
pub fn complete() {
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .complete();
}

/// Names of all runs, newest first, with their phases. None if the cluster does not answer.
pub fn runs() -> Vec<CompletionCandidate> {
    let cluster = ClusterArgs::from_line(&line());
    let read = async {
        let client = cluster.client(TIMEOUT).await.ok()?;
        remediations::runs(&client, None).await.ok()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return Vec::new();
    };
    let read = runtime.block_on(async { tokio::time::timeout(TIMEOUT, read).await });
    let runs = read.ok().flatten().unwrap_or_default().into_iter();
    runs.map(|run| {
        let phase = run.status.as_ref().map(|status| status.phase);
        CompletionCandidate::new(run.name_any())
            .help(Some(phase.unwrap_or_default().as_str().into()))
    })
    .collect()
}

/// Names of the playbooks in the file of `--config` or `$LOCKSMITH_CONFIG`, otherwise of the default ones.
pub fn playbooks() -> Vec<CompletionCandidate> {
    let file = option_of_line(&line(), "--config");
    let file = file.or_else(|| std::env::var("LOCKSMITH_CONFIG").ok());
    let config = file.map(|file| config::load(file.as_ref()));
    let config = config.transpose().ok().flatten();
    let playbooks = config.unwrap_or_default().playbooks.0;
    playbooks
        .into_keys()
        .map(CompletionCandidate::new)
        .collect()
}

/// The line to complete, as the script passes it.
fn line() -> Vec<String> {
    let words = std::env::args_os();
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// The value of a long option in the line to complete.
pub fn option_of_line(line: &[String], option: &str) -> Option<String> {
    let mut words = line.iter();
    while let Some(word) = words.next() {
        match word.strip_prefix(option) {
            Some("") => return words.next().cloned(),
            Some(rest) if rest.starts_with('=') => {
                return rest.strip_prefix('=').map(str::to_owned);
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("describe --context lab x", Some("lab"))]
    #[case("describe --context=lab x", Some("lab"))]
    #[case("describe --contexts lab", None)]
    #[case("describe --context", None)]
    fn option_is_read_from_an_incomplete_line(#[case] line: &str, #[case] value: Option<&str>) {
        let line: Vec<_> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(option_of_line(&line, "--context").as_deref(), value);
    }
}
