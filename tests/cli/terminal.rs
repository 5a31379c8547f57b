//! A terminal of a given width, with a program in it.

use std::fs::File;
use std::io::Read as _;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Time limit for an expected text, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program whose stdout is a terminal.
pub struct Terminal {
    pub child: Child,
    output: Receiver<String>,
    /// Everything printed so far; each line feed follows a carriage return.
    pub shown: String,
}

impl Terminal {
    /// Starts `command` in a terminal with so many columns.
    pub fn open(command: &mut Command, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let terminal = openpt(flags).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let size = Winsize {
            ws_col: columns,
            ws_row: 50,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).unwrap();
        let child = command
            .stdout(ioctl_tiocgptpeer(&terminal, flags).unwrap())
            .spawn()
            .unwrap();
        // Only the program holds the other end now, so that reading ends with it.
        command.stdout(std::process::Stdio::null());
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut terminal = File::from(terminal);
            let mut buffer = [0; 4096];
            // Fails once the program has ended.
            while let Ok(length) = terminal.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if length == 0 || send.send(text).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            output,
            shown: String::new(),
        }
    }

    /// Reads until `part` has been printed.
    pub fn until(&mut self, part: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.shown.contains(part) {
            let left = deadline.saturating_duration_since(Instant::now());
            let more = self.output.recv_timeout(left);
            self.shown += &more.unwrap_or_else(|_| panic!("no {part:?} in {:?}", self.shown));
        }
    }

    /// Reads until the program ends; returns its exit code and everything it printed.
    pub fn end(mut self) -> (Option<i32>, String) {
        self.shown.extend(self.output.iter());
        (
            self.child.wait().unwrap().code(),
            std::mem::take(&mut self.shown),
        )
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
