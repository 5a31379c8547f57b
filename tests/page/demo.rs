//! `locksmith demo`, which stays up.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A demo; it ends when dropped.
pub struct Demo {
    child: Child,
    url: String,
}

impl Demo {
    /// Starts a scenario, and returns once the daemon serves.
    pub fn begin(scenario: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_locksmith"))
            .args(["demo", "--speed", "0.5", "--scenario", scenario])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.find(|line| line.as_ref().unwrap().contains(" serves "));
        let line = line.expect("it serves").unwrap();
        let at = line.find("http://").unwrap();
        let url = line[at..].split(',').next().unwrap().to_owned();
        // It goes on telling, and would wait if nobody listened.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    /// Its status page.
    pub fn url(&self) -> String {
        format!("{}/", self.url)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
