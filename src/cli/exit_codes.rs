//! Exit codes of every command, as a table for the manual page and `deploy/docs/cli.md`. Pure.

/// Commands, and the meaning of 0, 1 and 2; `-` if a code is not used.
const CODES: &[(&str, &str, &str, &str)] = &[
    (
        "check",
        "all checks passed",
        "there are warnings",
        "a check failed",
    ),
    (
        "test-alert",
        "the webhook received the alert",
        "only a poll of Alertmanager read it",
        "it did not arrive",
    ),
    (
        "status",
        "nothing is stuck",
        "something is stuck",
        "nothing stuck was found, but not everything could be read",
    ),
    (
        "explain",
        "the object is not stuck",
        "the object is stuck",
        "the object does not exist, or not everything could be read",
    ),
    (
        "plan",
        "the run would start, or nothing is stuck",
        "a gate is closed",
        "there is no plan, or nothing stuck was found, but not everything could be read",
    ),
    (
        "run",
        "the run succeeded, or nothing is stuck",
        "the run repaired nothing, failed, expired, was aborted or only planned, or was not followed to its end",
        "the run was not created, or was deleted",
    ),
    ("runs, describe, evidence", "printed", "-", "no such run"),
    (
        "playbooks",
        "printed",
        "-",
        "the configuration is not valid, or cannot be read",
    ),
    (
        "version",
        "printed",
        "-",
        "the version of the daemon cannot be read",
    ),
    (
        "approve, reject",
        "decided",
        "-",
        "not decided: no such run, or it does not wait for a decision",
    ),
    (
        "abort",
        "the run is being aborted",
        "-",
        "no such run, or it has finished",
    ),
    (
        "hold",
        "held and verified",
        "-",
        "not held: no such source, no policy, or not in force",
    ),
    (
        "holds",
        "printed, and the API server enforces them",
        "-",
        "it does not, or they cannot be read",
    ),
    (
        "release",
        "everything named is released, or nothing is held",
        "-",
        "something could not be released, or a name is not held",
    ),
    ("reset", "reset, or no run has finished", "-", "not reset"),
    ("check-config", "the file is valid", "-", "it is not"),
    ("crd, completion, man", "printed", "-", "-"),
    #[cfg(feature = "demo")]
    (
        "demo",
        "stopped by a signal, or the scenario ended as expected",
        "-",
        "failed, or the scenario did not",
    ),
    ("serve", "stopped by a signal", "-", "failed"),
];

/// A note on every command.
const ALL: &str =
    "Exit code 2 also means the command failed (no cluster, forbidden, bad argument); see stderr.";

/// The table as a section of the manual page.
pub fn roff() -> String {
    let codes = CODES.iter().map(|(commands, zero, one, two)| {
        format!(".TP\n{commands}\n0: {zero}; 1: {one}; 2: {two}\n")
    });
    let codes: String = codes.collect();
    // roff reads an unescaped dash as a hyphen.
    format!(".SH \"EXIT STATUS\"\n{ALL}\n{codes}").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[cfg(feature = "demo")]
    fn markdown() -> String {
        let rows = CODES.iter().map(|(commands, zero, one, two)| {
            let commands = commands.replace(", ", "`, `");
            format!("| `{commands}` | {zero} | {one} | {two} |\n")
        });
        let rows: String = rows.collect();
        format!("| command | 0 | 1 | 2 |\n|---|---|---|---|\n{rows}\n{ALL}\n")
    }

    #[test]
    fn table_lists_exactly_the_commands() {
        let listed = CODES.iter().flat_map(|codes| codes.0.split(", "));
        let mut listed: Vec<_> = listed.map(str::to_owned).collect();
        let command = super::super::Cli::command();
        let known = command.get_subcommands().map(|it| it.get_name().to_owned());
        let mut known: Vec<_> = known.collect();
        listed.sort();
        known.sort();
        assert_eq!(listed, known);
    }

    /// The docs describe the default build.
    #[cfg(feature = "demo")]
    #[test]
    fn docs_contain_the_exit_codes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/docs/cli.md");
        let docs = std::fs::read_to_string(path).unwrap();
        let (before, rest) = docs.split_once("<!-- exit codes -->\n").unwrap();
        let (_, after) = rest.split_once("<!-- /exit codes -->").unwrap();
        let wanted = format!(
            "{before}<!-- exit codes -->\n{}<!-- /exit codes -->{after}",
            markdown()
        );
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &wanted).unwrap();
        }
        let docs = std::fs::read_to_string(path).unwrap();
        assert_eq!(docs, wanted, "UPDATE_DOCS=1 cargo test exit_codes");
    }
}
