//! Reads requests from the API server's audit log.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Time limit for an event, on a loaded machine with two cores.
const DEADLINE: Duration = Duration::from_secs(300);
/// Interval of checking the file's length.
const POLL: Duration = Duration::from_millis(20);

/// One request in the audit log.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// `ResponseStarted` for watches, `ResponseComplete`, or `Panic`.
    pub stage: String,
    /// `create`, `patch`, `delete`, `list`...
    pub verb: String,
    /// User name: the certificate's common name or `system:serviceaccount:<namespace>:<name>`.
    pub user: String,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// API group of the resource; empty for the core group and for non-resource requests.
    pub group: String,
    /// Plural of the resource; empty for non-resource requests.
    pub resource: String,
    /// `status`, `log`...; empty for the object itself.
    pub subresource: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// The URL's path and query.
    pub uri: String,
    /// Body of a write.
    pub request_body: Option<Value>,
    /// Response body of a write to snapshots.
    pub response_body: Option<Value>,
    /// Time at which the server received the request.
    pub received: Timestamp,
    /// HTTP status.
    pub code: u16,
    /// Time at which it responded or, for a watch, started to respond.
    #[allow(dead_code, reason = "read by benches alone")]
    pub answered: Timestamp,
}

impl Event {
    /// Whether it requests a change.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// Reads the audit log of a testbed, each line once.
pub struct Audit {
    log: PathBuf,
    known: Mutex<Known>,
}

/// The part that has been read.
#[derive(Default)]
struct Known {
    /// Offset in the file at which the events of this test begin.
    begin: u64,
    /// Number of bytes read of the file.
    bytes: u64,
    events: Vec<Event>,
}

impl Audit {
    pub(super) fn new(log: PathBuf) -> Self {
        Self {
            log,
            known: Mutex::default(),
        }
    }

    /// Drops all events so far, which belong to an earlier test.
    pub(super) fn forget(&self) {
        let mut known = self.up_to_date();
        known.begin = known.bytes;
        known.events.clear();
    }

    /// All events so far. The event of the latest request may be missing.
    pub fn events(&self) -> Vec<Event> {
        self.up_to_date().events.clone()
    }

    /// All events so far, once `wanted` accepts one of them.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        self.expect(what, wanted).await;
        self.events()
    }

    /// The first event that `wanted` accepts, once it exists.
    pub async fn expect(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let found = tokio::time::timeout(DEADLINE, async {
            let mut seen = 0;
            loop {
                {
                    let known = self.up_to_date();
                    if let Some(event) = known.events[seen..].iter().find(|event| wanted(event)) {
                        return event.clone();
                    }
                    seen = known.events.len();
                }
                tokio::time::sleep(POLL).await;
            }
        });
        found
            .await
            .unwrap_or_else(|_| panic!("no such event in {}: {what}", self.log.display()))
    }

    /// Reads the log event by event, without keeping them, so that its length does not matter.
    pub fn each(&self, mut read: impl FnMut(Event)) {
        let Ok(mut file) = File::open(&self.log) else {
            return;
        };
        file.seek(SeekFrom::Start(self.up_to_date().begin)).unwrap();
        let mut lines = BufReader::new(file);
        let mut line = String::new();
        // A last line without a line break is still being written.
        while lines
            .read_line(&mut line)
            .is_ok_and(|_| line.ends_with('\n'))
        {
            read(parse(&line).unwrap_or_else(|error| panic!("{error} in {line}")));
            line.clear();
        }
    }

    fn up_to_date(&self) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap();
        known.read_on(&self.log);
        known
    }
}

impl Known {
    /// Reads what was added to the file.
    fn read_on(&mut self, log: &Path) {
        // The server creates the file with its first request.
        let Ok(mut file) = File::open(log) else {
            return;
        };
        if file.metadata().unwrap().len() == self.bytes {
            return;
        }
        file.seek(SeekFrom::Start(self.bytes)).unwrap();
        let mut added = Vec::new();
        file.read_to_end(&mut added).unwrap();
        // A last line without a line break is still being written.
        let complete = added
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let lines = std::str::from_utf8(&added[..complete]).unwrap().lines();
        self.events.extend(
            lines.map(|line| parse(line).unwrap_or_else(|error| panic!("{error} in {line}"))),
        );
        self.bytes += complete as u64;
    }
}

fn parse(line: &str) -> serde_json::Result<Event> {
    let raw: Raw = serde_json::from_str(line)?;
    Ok(Event {
        stage: raw.stage,
        verb: raw.verb,
        user: raw.user.username,
        user_agent: raw.user_agent,
        group: raw.object_ref.api_group,
        resource: raw.object_ref.resource,
        subresource: raw.object_ref.subresource,
        namespace: raw.object_ref.namespace,
        name: raw.object_ref.name,
        uri: raw.request_uri,
        request_body: raw.request_object,
        response_body: raw.response_object,
        received: raw.request_received_timestamp,
        code: raw.response_status.code,
        answered: raw.stage_timestamp,
    })
}

/// `audit.k8s.io/v1` Event, with only the fields that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: RawUser,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: RawObject,
    #[serde(default)]
    request_object: Option<Value>,
    #[serde(default)]
    response_object: Option<Value>,
    #[serde(default)]
    response_status: RawStatus,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct RawUser {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawObject {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    code: u16,
}
