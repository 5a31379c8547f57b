//! `demo --scenario by-hand`, played from another terminal: every command in the README, in order.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};

use super::{PROXIES, readme, shown_or_written};

/// Time limit for an effect of the demo.
const PATIENCE: Duration = Duration::from_secs(120);

/// The demo in one terminal, and the variables it printed for another. Dropping it ends it.
struct Terminal {
    demo: Child,
    lines: Receiver<String>,
    told: String,
    exports: HashMap<String, String>,
}

impl Terminal {
    fn open() -> Self {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_locksmith"))
            .args(["demo", "--scenario", "by-hand"])
            .envs(PROXIES)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(demo.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines
                .take_while(|line| send.send(line.clone()).is_ok())
                .count()
        });
        Self {
            demo,
            lines,
            told: String::new(),
            exports: HashMap::new(),
        }
    }

    /// Reads until a line contains `part`.
    fn until(&mut self, part: &str) {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {part} in:\n{}", self.told));
            self.told.extend([&*line, "\n"]);
            if let Some((name, value)) = line
                .split_once("export ")
                .and_then(|(_, export)| export.split_once('='))
            {
                self.exports.insert(name.to_owned(), value.to_owned());
            }
            if line.contains(part) {
                return;
            }
        }
    }

    /// Output and exit code of a command. There is no terminal, so the answer is sent in advance.
    fn say(&self, command: &str) -> (i32, String) {
        let mut words = command.split_whitespace();
        assert_eq!(words.next(), Some("locksmith"));
        let asks =
            ["run", "approve"].iter().any(|it| command.contains(it)) && !command.contains("runs");
        let output = Command::new(env!("CARGO_BIN_EXE_locksmith"))
            .args(words)
            .args(asks.then_some("--yes"))
            .envs(PROXIES)
            .envs(&self.exports)
            .output()
            .unwrap();
        let (out, err) = (output.stdout, output.stderr);
        let said = String::from_utf8([out, err].concat()).unwrap();
        (output.status.code().unwrap(), said)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.demo.kill();
        let _ = self.demo.wait();
    }
}

/// The commands of the README, without their descriptions.
fn commands() -> Vec<String> {
    let block = Regex::new(r"(?s)<!-- by hand -->\n(.*?)<!-- /by hand -->").unwrap();
    let readme = readme();
    let block = block.captures(&readme).unwrap()[1].to_owned();
    let lines = block
        .lines()
        .map(|line| line.split('#').next().unwrap().trim());
    lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn readme_commands_heal_the_jam() {
    let mut terminal = Terminal::open();
    // The demo can be inspected before anything is stuck.
    terminal.until(" serves http://");
    assert!(!terminal.told.contains("jam"), "{}", terminal.told);
    terminal.until("your turn");
    for wanted in ["/metrics", "KUBECONFIG=", "LOCKSMITH_CONFIG="] {
        assert!(terminal.told.contains(wanted), "{}", terminal.told);
    }
    let mut done = Vec::new();
    for command in commands() {
        if command.contains("approve") {
            terminal.until(" is not approved; opens after: locksmith approve");
        }
        let verb = command.split_whitespace().nth(1).unwrap();
        let (wanted, part) = match verb {
            "status" => (1, "Stuck: 4 claims, 5 snapshots, 3 sources, 9 locks; "),
            "plan" => (0, "the API server refuses snapshots and clones of"),
            "run" => (0, "repaired and verified"),
            "explain" => (1, "└─ lock pvc-"),
            "runs" => (0, "Succeeded"),
            "describe" => (0, "verifyProvisioning, attempt 1: Succeeded"),
            "approve" => (0, "approved plan"),
            "release" => (0, "released "),
            other => panic!("{other}?"),
        };
        let looks = ["status", "explain", "plan"].contains(&verb);
        let deadline = Instant::now() + PATIENCE;
        let said = loop {
            let (code, said) = terminal.say(&command);
            if code == wanted && said.contains(part) {
                break said;
            }
            // A command that only reads shows more and more, until everything has been stuck for long enough.
            let again = looks && Instant::now() < deadline;
            assert!(
                again,
                "{command}: {code}, not {wanted}, or no {part}:\n{said}"
            );
        };
        if verb == "status" {
            shown_or_written("status", &said, masked);
        }
        if verb == "approve" {
            terminal.until("sources deleted, 0 skipped");
        }
        done.push(verb.to_owned());
    }
    let all = [
        "status", "explain", "plan", "run", "runs", "describe", "approve", "release",
    ];
    assert_eq!(done, all);

    // Nothing of it remains.
    let directory = std::path::Path::new(&terminal.exports["KUBECONFIG"])
        .parent()
        .unwrap();
    kill_process(Pid::from_child(&terminal.demo), Signal::TERM).unwrap();
    assert!(terminal.demo.wait().unwrap().success());
    assert!(!directory.exists(), "{}", directory.display());
}

/// Ages, uids, counts and the order of rows differ between runs, and so do the widths of columns.
fn masked(table: &str) -> String {
    // Some are split into two lines.
    let uid = Regex::new("(?m)(vs-prime-|^ *)[0-9a-f]+-[0-9a-f-]+ *").unwrap();
    let age = Regex::new(r"\b([0-9]+[smhd])+\b").unwrap();
    let blanks = Regex::new(" +").unwrap();
    let looked_at = Regex::new("Checked: .*").unwrap();
    let masked = uid.replace_all(table, "uid");
    let masked = looked_at.replace_all(&masked, "Checked: counts");
    let masked = age.replace_all(&masked, "age");
    let masked = blanks.replace_all(&masked, " ");
    let mut lines: Vec<_> = masked.lines().map(str::trim).collect();
    lines.sort_unstable();
    lines.join("\n")
}
