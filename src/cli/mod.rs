//! The command line: arguments in, an exit code out. One file per subcommand.

mod alert_route;
mod args;
mod check;
mod check_config;
mod cluster;
mod completion;
mod crd;
mod daemon;
mod decide;
#[cfg(feature = "demo")]
mod demo;
mod describe;
mod evidence;
mod exit_codes;
mod explain;
mod hold;
mod holds;
mod log;
mod manual;
mod output;
mod plan;
mod plan_summary;
mod playbooks;
mod progress;
mod release;
mod remediations;
mod render_plan;
mod reset;
mod run;
mod runs;
mod serve;
mod status;
mod table;
mod test_alert;
mod version;
mod watching;

pub use cluster::{ClusterArgs, ClusterError};
pub use completion::complete;

use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

use crate::text::Denial;
use log::LogFormat;

/// Exit code of a command that failed; 1 means that something is stuck.
pub const FAILED: u8 = 2;

/// Find volumes and snapshots stuck behind a jammed CSI driver, and run the repair.
#[derive(Debug, Parser)]
#[command(
    name = "locksmith",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Log requests and decisions to stderr; -vv also logs those of libraries
    #[arg(short, long = "verbose", global = true, action = ArgAction::Count)]
    verbosity: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "demo")]
    Demo(demo::Args),
    Serve(serve::Args),
    Check(check::Args),
    TestAlert(test_alert::Args),
    Status(status::Args),
    Explain(explain::Args),
    Plan(plan::Args),
    Run(run::Args),
    Runs(runs::Args),
    Describe(describe::Args),
    Playbooks(playbooks::Args),
    Evidence(evidence::Args),
    /// Approve the plan of a run that waits for approval
    Approve(decide::Args),
    /// Reject the plan of a run, which ends the run before it starts
    Reject(decide::Args),
    /// Abort a run and release its holds
    Abort(decide::Args),
    Hold(hold::Args),
    Holds(holds::Args),
    Release(release::Args),
    Reset(reset::Args),
    CheckConfig(check_config::Args),
    Crd(crd::Args),
    Version(version::Args),
    Completion(completion::Args),
    Man(manual::ManArgs),
}

/// Runs the command and returns its exit code.
pub async fn run(cli: Cli) -> ExitCode {
    let verbosity = cli.verbosity;
    if !matches!(cli.command, Command::Serve(_)) {
        log::start(LogFormat::Pretty, "off", verbosity);
    }
    let done = match cli.command {
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(args).await,
        Command::Serve(args) => serve::run(args, verbosity).await,
        Command::Check(args) => Box::pin(check::run(args)).await,
        Command::TestAlert(args) => test_alert::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Plan(args) => plan::run(args).await,
        Command::Run(args) => run::run(args).await,
        Command::Describe(args) => describe::run(args).await,
        Command::Evidence(args) => evidence::run(args).await,
        Command::Runs(args) => runs::run(args).await,
        Command::Playbooks(args) => playbooks::run(args).await,
        Command::Version(args) => version::run(args).await,
        Command::Approve(args) => decide::approve(args).await,
        Command::Reject(args) => decide::reject(args).await,
        Command::Abort(args) => decide::abort(args).await,
        Command::Hold(args) => hold::run(args).await,
        Command::Holds(args) => holds::run(args).await,
        Command::Release(args) => release::run(args).await,
        Command::Reset(args) => reset::run(args).await,
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Crd(args) => crd::run(&args),
        Command::Completion(args) => completion::run(&args),
        Command::Man(args) => manual::man(&args),
    };
    done.unwrap_or_else(|error| {
        if error.is::<output::PipeClosed>() {
            return ExitCode::SUCCESS;
        }
        let text = crate::text::error_chain(&*error);
        let advice = if is_missing_right_to_read(&error) {
            format!(". {}", cluster::GRANTED_BY)
        } else {
            String::new()
        };
        anstream::eprintln!("error: {text}{advice}");
        ExitCode::from(FAILED)
    })
}

/// Whether the API server refused to list or watch something.
fn is_missing_right_to_read(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let Some(kube::Error::Api(status)) = cause.downcast_ref() else {
            return false;
        };
        let denial = Denial::parse(&status.message);
        denial.is_some_and(|denial| matches!(denial.verb, "get" | "list" | "watch"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn clap_accepts_the_argument_definitions() {
        Cli::command().debug_assert();
    }
}
