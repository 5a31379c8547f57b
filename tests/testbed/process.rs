//! Starts a server, and ends it whatever happens to the test process.
//!
//! A guard, a small shell in its own process group, keeps the pids of all servers. When its standard input closes, because
//! the test dropped it or the test process is gone, it kills them and removes the directory. So neither a panic, nor
//! Ctrl-C, nor kill -9 leaves a server behind.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Number of log lines shown when a server fails.
const LOG_TAIL_LINES: usize = 40;

/// Servers may still write to the directory while it is removed, so the removal is repeated.
const GUARD: &str = r#"
trap '' INT HUP TERM
pids=
while read -r verb pid; do
    case $verb in
    add) pids="$pids $pid" ;;
    forget) kept=; for p in $pids; do [ "$p" = "$pid" ] || kept="$kept $p"; done; pids=$kept ;;
    esac
done
for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
[ -z "$LOCKSMITH_KEEP" ] || exit 0
for _ in 1 2 3 4 5; do rm -rf "$1" 2>/dev/null && exit 0; sleep 0.2; done
"#;

/// Ends servers and removes their directory when dropped, or when this process ends.
pub struct Guard {
    shell: Child,
    /// `None` once dropped; closing it is the signal.
    input: Option<ChildStdin>,
}

impl Guard {
    /// Guards `directory` from now on.
    pub fn new(directory: &Path) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("failed to start sh");
        let input = shell.stdin.take();
        Self { shell, input }
    }

    fn tell(&mut self, verb: &str, pid: u32) {
        if let Some(input) = &mut self.input {
            writeln!(input, "{verb} {pid}").expect("the guard of the test servers is gone");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.shell.wait();
    }
}

/// One running server.
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `binary`; its output is appended to `<name>.log` in `directory`.
    pub fn spawn(
        guard: &mut Guard,
        directory: &Path,
        name: &'static str,
        binary: &Path,
        args: &[String],
    ) -> Self {
        let log = directory.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("failed to open a server's log");
        // The shell becomes the server only after the guard knows its pid, so that the test cannot die in between and leave
        // it behind.
        let mut child = Command::new("sh")
            .args(["-c", r#"read -r _ && exec "$@" </dev/null"#, name])
            .arg(binary)
            .args(args)
            .current_dir(directory)
            // The servers live for a minute and have enough memory; garbage collection would take a fifth of their time.
            .env("GOGC", "400")
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("failed to share a server's log"))
            .stderr(output)
            .process_group(0)
            .spawn()
            .expect("failed to start sh");
        guard.tell("add", child.id());
        let mut input = child.stdin.take().expect("stdin is piped");
        input.write_all(b"go\n").expect("failed to start a server");
        Self { name, child, log }
    }

    /// The server's name, as given to `spawn`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How it ended, or `None` while it runs.
    pub fn exited(&mut self) -> Option<String> {
        let status = self
            .child
            .try_wait()
            .expect("failed to ask after a server")?;
        Some(format!("{} ended with {status}", self.name))
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        format!(
            "--- end of {} ---\n{}\n",
            self.log.display(),
            tail.join("\n")
        )
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the server is there");
    }

    /// Kills it like a crash, and waits for its end.
    pub fn kill(mut self, guard: &mut Guard) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        guard.tell("forget", self.child.id());
    }
}
