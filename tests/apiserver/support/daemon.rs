//! The program as a separate process beside the control plane.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, Lines};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Time limit for a daemon to start, end or show something, on a loaded machine with two cores.
const DEADLINE: Duration = Duration::from_secs(300);

/// Interval between two reads of /metrics, as scrapes do not notify of changes.
pub const POLL: Duration = Duration::from_millis(200);

/// A running `locksmith serve`; dropping it kills it.
pub struct Daemon {
    child: Child,
    pid: Pid,
    address: String,
    log: Arc<Mutex<Vec<String>>>,
    lines: watch::Receiver<usize>,
    _config: tempfile::TempDir,
}

impl Daemon {
    /// Starts one with this configuration, and waits until it listens.
    pub async fn start(kubeconfig: &Path, config: &str) -> Self {
        Self::replica("locksmith-0", kubeconfig, config).await
    }

    /// The same with the given identity. With the identity of a dead one, it continues with its Lease.
    pub async fn replica(identity: &str, kubeconfig: &Path, config: &str) -> Self {
        Self::launch(identity, kubeconfig, config, &[]).await
    }

    /// The same with additional environment variables.
    pub async fn launch(
        identity: &str,
        kubeconfig: &Path,
        config: &str,
        variables: &[(&str, &OsStr)],
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("locksmith.yaml");
        std::fs::write(&file, config).unwrap();
        // tests/soak measures the release build, which takes a tenth of the time of this one.
        let program = std::env::var_os("LOCKSMITH_PROGRAM");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_locksmith").into());
        let mut child = Command::new(program)
            .args(["serve", "--log-format", "json", "--listen", "127.0.0.1:0"])
            .args(["--identity", identity])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg("--config")
            .arg(&file)
            .env("RUST_LOG", "info,locksmith=debug")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (count, lines) = watch::channel(0);
        let output = BufReader::new(child.stderr.take().unwrap());
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if std::env::var_os("LOCKSMITH_KEEP").is_some() {
                    eprintln!("{line}");
                }
                kept.lock().unwrap().push(line);
                count.send_modify(|count| *count += 1);
            }
        });
        let pid = Pid::from_child(&child);
        let mut daemon = Self {
            child,
            pid,
            address: String::new(),
            log,
            lines,
            _config: directory,
        };
        daemon.address = daemon
            .logged("listening", |line| {
                Some(line.pointer("/address")?.as_str()?.to_owned())
            })
            .await;
        daemon
    }

    /// Waits for a log line with this `message`, and returns what `find` finds in it.
    pub async fn logged<T>(&mut self, message: &str, find: impl Fn(&Value) -> Option<T>) -> T {
        let log = self.log.clone();
        let found = || {
            log.lock().unwrap().iter().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line.pointer("/message")?.as_str()? == message).then(|| find(&line))?
            })
        };
        let waiting = async {
            loop {
                if let Some(found) = found() {
                    return Some(found);
                }
                self.lines.changed().await.ok()?;
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(Some(found)) => found,
            _ => panic!("the daemon never logged {message:?}:\n{}", self.log_text()),
        }
    }

    /// Everything it has logged.
    pub fn log_text(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// URL of one of its pages.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Address it listens on.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process is still running.
    pub fn is_running(&self) -> bool {
        // An ended process is a zombie until it is waited for.
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        status.is_ok_and(|status| !status.contains("State:\tZ"))
    }

    /// Its memory in KiB, as Linux reports it: `VmRSS` is the current size, `VmHWM` the peak.
    pub fn resident(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Status and body of one of its pages.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let url = self.url(path);
        tokio::task::spawn_blocking(move || {
            let agent = agent();
            let mut answer = agent.get(&url).call().unwrap();
            (
                answer.status().as_u16(),
                answer.body_mut().read_to_string().unwrap(),
            )
        })
        .await
        .unwrap()
    }

    /// Every sample of /metrics: name with labels, and value.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        let (code, body) = self.get("/metrics").await;
        assert_eq!(code, 200, "{body}");
        body.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect()
    }

    /// Waits until `wanted` accepts its metrics; it takes a view at least once a second.
    pub async fn until(&self, what: &str, wanted: impl Fn(&BTreeMap<String, f64>) -> bool) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let samples = self.metrics().await;
            if wanted(&samples) {
                return;
            }
            let stuck: Vec<_> = samples
                .iter()
                .filter(|(name, _)| name.starts_with("locksmith_stuck_operations{"))
                .collect();
            assert!(
                tokio::time::Instant::now() < deadline,
                "waited in vain for {what}: {stuck:#?}\n{}",
                self.log_text()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends the notification that Alertmanager sends when one alert fires.
    pub async fn fire(&self, alertname: &str, labels: &[(&str, &str)]) -> (u16, Value) {
        self.post(&notification(alertname, labels)).await
    }

    /// Sends a body to /webhook.
    pub async fn post(&self, body: &Value) -> (u16, Value) {
        self.try_post(None, body).await.unwrap()
    }

    /// Sends a body to /webhook with this bearer token.
    pub async fn post_as(&self, token: Option<&str>, body: &Value) -> (u16, Value) {
        self.try_post(token, body).await.unwrap()
    }

    /// Sends a body to /webhook of a daemon that may be dying.
    pub async fn try_post(
        &self,
        token: Option<&str>,
        body: &Value,
    ) -> Result<(u16, Value), ureq::Error> {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let (url, body) = (self.url("/webhook"), body.to_string());
        tokio::task::spawn_blocking(move || {
            let agent = agent();
            let mut request = agent.post(&url).header("content-type", "application/json");
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let mut answer = request.send(body)?;
            let text = answer.body_mut().read_to_string()?;
            let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
            Ok((answer.status().as_u16(), body))
        })
        .await
        .unwrap()
    }

    /// Sends a body to /webhook until it is accepted, as Alertmanager does: only a response shows when it can be.
    pub async fn notify(&self, body: &Value) {
        let taken = async {
            while !matches!(self.try_post(None, body).await, Ok((202, _))) {
                tokio::time::sleep(POLL).await;
            }
        };
        let taken = tokio::time::timeout(DEADLINE, taken).await;
        taken.unwrap_or_else(|_| panic!("the alert was never taken:\n{}", self.log_text()));
    }

    /// Follows its page.
    pub async fn follow(&self) -> Follower {
        let mut connection = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        connection.write_all(request.as_bytes()).await.unwrap();
        Follower(tokio::io::BufReader::new(connection).lines())
    }

    /// Returns a function that sends signals to it, for as long as this is not dropped.
    pub fn signals(&self) -> impl Fn(Signal) + Send + Sync + use<> {
        let pid = self.pid;
        // An ended process is a zombie until it is waited for, so its id is not reused.
        move |signal| kill_process(pid, signal).unwrap()
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        let mut lines = self.lines.clone();
        while lines.changed().await.is_ok() {}
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it like `kill`, and returns its exit status.
    pub async fn terminate(mut self) -> std::process::ExitStatus {
        self.signals()(Signal::TERM);
        self.ended().await;
        self.child.wait().unwrap()
    }
}

/// The events of a page.
pub struct Follower(Lines<tokio::io::BufReader<TcpStream>>);

impl Follower {
    /// Waits for the next event: the first comes immediately, the others with new views, at least a second apart.
    pub async fn next(&mut self) {
        let event = async {
            while let Some(line) = self.0.next_line().await.unwrap() {
                if line == "event: view" {
                    return;
                }
            }
            panic!("the daemon says no more");
        };
        tokio::time::timeout(DEADLINE, event).await.unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The notification that Alertmanager sends when one alert fires.
pub fn notification(alertname: &str, labels: &[(&str, &str)]) -> Value {
    let mut all = serde_json::Map::from_iter([("alertname".to_owned(), json!(alertname))]);
    all.extend(
        labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value))),
    );
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{alertname=\"{alertname}\"}}"),
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "locksmith",
        "groupLabels": {"alertname": alertname},
        "commonLabels": all,
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "alerts": [{
            "status": "firing",
            "labels": all,
            "annotations": {},
            "startsAt": "2026-11-01T02:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example",
            "fingerprint": format!("{alertname:x<16}").to_lowercase(),
        }],
    })
}

/// An HTTP client that treats every status as a response.
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(DEADLINE))
        .build()
        .into()
}
