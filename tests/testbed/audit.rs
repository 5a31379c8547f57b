//! The API server's audit log in, who asked for what out.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// How long an event may take to appear: the server writes it after it has answered.
const DEADLINE: Duration = Duration::from_secs(10);
/// The log is a file: nothing tells when it grows.
const POLL: Duration = Duration::from_millis(20);

/// One request, as the API server saw it.
#[derive(Clone, Debug)]
pub struct Event {
    /// `ResponseStarted` for watches, `ResponseComplete`, or `Panic`.
    pub stage: String,
    /// `create`, `patch`, `delete`, `list`...
    pub verb: String,
    /// User name: the certificate's common name or `system:serviceaccount:<namespace>:<name>`.
    pub user: String,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Group of the resource; empty for that of the core, and for what is none.
    pub group: String,
    /// Plural of the resource; empty for what is none.
    pub resource: String,
    /// `status`, `log`...; empty for the object itself.
    pub subresource: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// The URL's path and query.
    pub uri: String,
    /// What was sent, of writes.
    pub request_body: Option<Value>,
    /// HTTP status.
    pub code: u16,
}

impl Event {
    /// Whether it asked for a change.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// Reads one testbed's audit log.
pub struct Audit {
    log: PathBuf,
}

impl Audit {
    pub(super) fn new(log: PathBuf) -> Self {
        Self { log }
    }

    /// Everything written so far. The event of a request just answered may not be there yet.
    pub fn events(&self) -> Vec<Event> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        // A last line without its end is still being written.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete
            .lines()
            .map(|line| parse(line).unwrap_or_else(|error| panic!("{error} in {line}")))
            .collect()
    }

    /// The first event that `wanted` accepts, once it is there.
    pub async fn expect(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let found = tokio::time::timeout(DEADLINE, async {
            loop {
                if let Some(event) = self.events().into_iter().find(&wanted) {
                    return event;
                }
                tokio::time::sleep(POLL).await;
            }
        });
        found
            .await
            .unwrap_or_else(|_| panic!("no such event in {}: {what}", self.log.display()))
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
        code: raw.response_status.code,
    })
}

/// `audit.k8s.io/v1` Event, as far as read.
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
    response_status: RawStatus,
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
