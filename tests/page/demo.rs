//! `locksmith demo`, which stays up.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// What the daemon does, it does within this.
const PATIENCE: Duration = Duration::from_secs(90);

/// Between two attempts.
const POLL: Duration = Duration::from_millis(200);

/// A demo; it ends when dropped.
pub struct Demo {
    child: Child,
    url: String,
}

impl Demo {
    /// Starts a scenario, and returns once the daemon serves.
    pub fn begin(scenario: &str) -> Self {
        Self::listening(scenario, "127.0.0.1:0")
    }

    /// The same, on that address.
    pub fn listening(scenario: &str, address: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_locksmith"))
            .args(["demo", "--speed", "0.5", "--scenario", scenario])
            .args(["--listen", address])
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

    /// Its address and port.
    pub fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    /// Stops it where it is; its connections stay.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on from there.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Lets an alert fire of which nothing comes before a person approves.
    pub fn ask_a_person(&self) {
        let labels = json!({
            "alertname": "LocksmithSourceOrphaned",
            "driver": "rook-ceph.rbd.csi.ceph.com",
        });
        let alert = json!({
            "status": "firing",
            "labels": labels,
            "annotations": {},
            "startsAt": "2026-01-01T00:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example",
            "fingerprint": "d3a5f0c1b2e49687",
        });
        let notification = json!({
            "version": "4",
            "groupKey": "{}:{}",
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "locksmith",
            "groupLabels": labels,
            "commonLabels": labels,
            "commonAnnotations": {},
            "externalURL": "http://alertmanager.example",
            "alerts": [alert],
        });
        let deadline = Instant::now() + PATIENCE;
        // Until the daemon leads, it takes none.
        while let Err(error) = ureq::post(format!("{}/webhook", self.url))
            .content_type("application/json")
            .send(notification.to_string())
        {
            assert!(Instant::now() < deadline, "{error}");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
