//! `locksmith man`: the manual page, which a package installs beside the binary.

use std::io::Write as _;
use std::process::ExitCode;

use clap::CommandFactory as _;

use super::output::print;
use super::{Cli, exit_codes};

/// Print the manual page of all commands
#[derive(Debug, clap::Args)]
pub struct ManArgs {}

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
