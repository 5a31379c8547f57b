//! `--watch`: on a terminal, without colours, and in a pipe.
//!
//! Asserted: each change is shown, also one in the first second; a terminal is redrawn; with `NO_COLOR` and in a pipe there is no
//! escape code; a reader that goes away ends the command quietly.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use locksmith::api::remediation::Phase;

use crate::cluster::Ground;
use crate::terminal::Terminal;

const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Runs a blocking function beside the embedded cluster.
async fn beside<T: Send + 'static>(blocking: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(blocking).await.unwrap()
}

/// The terminal, once it has shown `text`.
async fn shows(mut terminal: Terminal, text: &'static str) -> Terminal {
    beside(move || {
        terminal.until(text);
        terminal
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_of_a_run_in_the_first_second_is_shown() {
    let ground = Ground::new().await;
    ground.run("night").await;
    let terminal = Terminal::open(&mut ground.command(&["runs", "-w"]), 100);
    let terminal = shows(terminal, "Pending").await;
    // The watch itself begins later.
    ground.phase("night", Phase::Succeeded).await;
    let shown = shows(terminal, "Succeeded").await.shown.clone();
    assert_eq!(shown.matches(CLEAR).count(), 2, "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_list_leaves_the_terminal_as_it_is() {
    let ground = Ground::new().await;
    ground.run("night").await;
    let terminal = Terminal::open(&mut ground.command(&["runs"]), 100);
    let (code, shown) = beside(move || terminal.end()).await;
    assert_eq!(code, Some(0), "{shown:?}");
    assert!(
        shown.contains("Pending") && !shown.contains(CLEAR),
        "{shown:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_is_redrawn_on_a_terminal() {
    let ground = Ground::new().await;
    let terminal = Terminal::open(&mut ground.command(&["status", "-w"]), 100);
    let terminal = shows(terminal, "Checked: ").await;
    ground.run("night").await;
    let shown = shows(terminal, "night").await.shown.clone();
    assert!(
        shown.starts_with(CLEAR) && shown.matches(CLEAR).count() > 1,
        "{shown:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_without_colours_has_no_escape_codes() {
    let ground = Ground::new().await;
    ground.run("night").await;
    let mut command = ground.command(&["runs", "-w"]);
    let terminal = Terminal::open(command.env("NO_COLOR", "1"), 100);
    let terminal = shows(terminal, "Pending").await;
    ground.phase("night", Phase::Succeeded).await;
    let shown = shows(terminal, "Succeeded").await.shown.clone();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    assert_eq!(shown.matches("NAME").count(), 2, "{shown:?}");
}

/// The program with its stdout in a pipe.
fn piped(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_watch_is_printed_to_stderr() {
    let ground = Ground::new().await;
    ground.run("night").await;
    let (mut child, mut output) = piped(&mut ground.command(&["runs", "-w"]));
    let (child, stderr) = beside(move || {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let stderr = child.stderr.take().unwrap();
        (child, BufReader::new(stderr))
    })
    .await;
    drop(ground.cluster);
    let why = beside(move || {
        let (mut child, mut stderr) = (child, stderr);
        let mut why = String::new();
        stderr.read_line(&mut why).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        why
    })
    .await;
    assert!(
        why.starts_with("failed to list the runs, retrying: "),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_that_goes_away_ends_the_watch_quietly() {
    let ground = Ground::new().await;
    ground.run("night").await;
    let (mut child, mut output) = piped(&mut ground.command(&["runs", "-w"]));
    let (mut child, lines) = beside(move || {
        let mut lines = [String::new(), String::new()];
        for line in &mut lines {
            output.read_line(line).unwrap();
        }
        // As `head` does.
        drop(output);
        (
            child.stderr.take().map(|stderr| (child, stderr)).unwrap(),
            lines,
        )
    })
    .await;
    assert!(
        lines[0].starts_with("NAME") && lines[1].contains("Pending"),
        "{lines:?}"
    );
    assert!(!lines.concat().contains('\u{1b}'), "{lines:?}");
    ground.phase("night", Phase::Succeeded).await;
    let (code, errors) = beside(move || {
        let mut errors = String::new();
        child.1.read_to_string(&mut errors).unwrap();
        (child.0.wait().unwrap().code(), errors)
    })
    .await;
    assert_eq!((code, &*errors), (Some(0), ""));
}
