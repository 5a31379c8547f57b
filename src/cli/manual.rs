//! `locksmith completion` and `locksmith man`: files that a package installs beside the binary.

use std::io::Write as _;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::output::print;
use super::{Cli, exit_codes};

/// Print a shell completion script
///
/// For bash: `locksmith completion bash > /etc/bash_completion.d/locksmith`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// Shell to print the script for
    #[arg(value_enum)]
    shell: Shell,
}

/// Print the manual page of all commands
#[derive(Debug, clap::Args)]
pub struct ManArgs {}

pub fn completion(args: &CompletionArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "locksmith", &mut script);
    print(String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}

pub fn man(ManArgs {}: &ManArgs) -> anyhow::Result<ExitCode> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        writeln!(page, ".SH \"LOCKSMITH {}\"", sub.get_name().to_uppercase())?;
        let man = clap_mangen::Man::new(sub.clone());
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    page.extend(exit_codes::roff().into_bytes());
    print(String::from_utf8(page)?)?;
    Ok(ExitCode::SUCCESS)
}
