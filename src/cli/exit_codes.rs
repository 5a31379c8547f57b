//! What each command ends with: one table, for the manual page and for `deploy/docs/cli.md`. Pure.

/// Commands, and what 0, 1 and 2 mean of them; `-` where a code is not used.
const CODES: [(&str, &str, &str, &str); 13] = [
    (
        "status",
        "nothing is stuck",
        "something is stuck",
        "nothing stuck was seen, but not everything",
    ),
    (
        "explain",
        "it is not stuck",
        "it is stuck",
        "there is no such object, or not everything could be looked at",
    ),
    (
        "plan",
        "it would go ahead, or nothing is stuck",
        "a gate is closed",
        "there is no plan, or nothing stuck was seen, but not everything",
    ),
    (
        "run",
        "it succeeded, or nothing is stuck",
        "it repaired nothing, failed, expired, was aborted or only planned, or is not watched to its end",
        "it was not asked for, or was deleted",
    ),
    ("runs, describe, evidence", "told", "-", "no such run"),
    (
        "approve, reject",
        "decided",
        "-",
        "not decided: no such run, or none that waits for it",
    ),
    ("abort", "it ends", "-", "no such run, or it is over"),
    (
        "hold",
        "held, and proven",
        "-",
        "not held: no such source, no policy, or not in force",
    ),
    (
        "release",
        "all of it is released, or nothing is held",
        "-",
        "something is not released, or nothing is held of a name",
    ),
    ("reset", "failures so far count no more", "-", "they do"),
    ("check-config", "the file is good", "-", "it is not"),
    ("crd, completion, man", "printed", "-", "-"),
    (
        "demo, serve",
        "ended as it was told to, or as the story should",
        "-",
        "ended otherwise",
    ),
];

/// What is true of all.
const ALL: &str = "2 is also what any command ends with that could not do it: no cluster, no right, a wrong argument. Why, it says \
                   on stderr.";

/// As a section of the manual page.
pub fn roff() -> String {
    let codes = CODES.iter().map(|(commands, zero, one, two)| {
        format!(".TP\n{commands}\n0: {zero}; 1: {one}; 2: {two}\n")
    });
    let codes: String = codes.collect();
    // A dash of its own is an option's to roff.
    format!(".SH \"EXIT STATUS\"\n{ALL}\n{codes}").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn markdown() -> String {
        let rows = CODES.iter().map(|(commands, zero, one, two)| {
            let commands = commands.replace(", ", "`, `");
            format!("| `{commands}` | {zero} | {one} | {two} |\n")
        });
        let rows: String = rows.collect();
        format!("| command | 0 | 1 | 2 |\n|---|---|---|---|\n{rows}\n{ALL}\n")
    }

    #[test]
    fn every_command_is_in_the_table_and_nothing_else() {
        let listed = CODES.iter().flat_map(|codes| codes.0.split(", "));
        let mut listed: Vec<_> = listed.map(str::to_owned).collect();
        let command = super::super::Cli::command();
        let known = command.get_subcommands().map(|it| it.get_name().to_owned());
        let mut known: Vec<_> = known.collect();
        listed.sort();
        known.sort();
        assert_eq!(listed, known);
    }

    #[test]
    fn the_docs_have_the_table() {
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
