//! Follows the logs of every replica of every watched driver's provisioner; each line is read once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncBufRead, AsyncBufReadExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client};
use tokio::task::{AbortHandle, JoinSet};

use super::convert::cut;
use super::{Changes, Patterns};
use crate::api::{SharedStr, Uid};
use crate::config::Config;
use crate::metrics::SelfMetrics;
use crate::model::{Change, Model, Refusal, Witness};
use crate::state::Store;
use crate::tasks::reap;
use crate::text::error_chain;

/// Pause before a log is reopened after it ended or could not be opened.
const REOPEN: Duration = Duration::from_secs(2);

/// A log without a new line for this long is reopened: the connection may be dead.
const IDLE: Duration = Duration::from_secs(120);

/// Longest line kept, in bytes; the rest is dropped. A container may write without line breaks.
const MAX_LINE: usize = 64 * 1024;

/// One container whose log is followed for one driver.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Tail {
    driver: SharedStr,
    namespace: SharedStr,
    pod: SharedStr,
    uid: Uid,
    container: SharedStr,
}

/// Follows the logs of all replicas until the model's task ends.
pub async fn follow_provisioners(
    client: Client,
    config: Arc<Config>,
    patterns: Arc<Patterns>,
    store: Store,
    own: SelfMetrics,
    changes: Changes,
) {
    let mut views = store.views();
    let mut tasks = JoinSet::new();
    let mut followed: HashMap<Tail, AbortHandle> = HashMap::new();
    while views.changed().await.is_ok() {
        let tails = store.read(|model| tails(model, &config));
        for (tail, task) in followed.extract_if(|tail, _| !tails.contains(tail)) {
            task.abort();
            let ended = Change::LogRead(tail.uid, tail.driver, None);
            let _ = changes.send(ended).await;
        }
        for tail in tails {
            followed.entry(tail.clone()).or_insert_with(|| {
                tasks.spawn(follow(
                    client.clone(),
                    tail,
                    patterns.clone(),
                    own.clone(),
                    changes.clone(),
                ))
            });
        }
        reap(&mut tasks);
    }
}

/// The containers to follow.
fn tails(model: &Model, config: &Config) -> Vec<Tail> {
    let mut tails = Vec::new();
    for name in model.watched_drivers() {
        let Some(driver) = config.drivers.find(name) else {
            continue;
        };
        // A driver without a known log is watched by Events and statuses.
        let Some(container) = driver.log_container(name) else {
            continue;
        };
        let Some(provisioner) = model.provisioner(name) else {
            continue;
        };
        tails.extend(
            model
                .replicas(&provisioner)
                .filter(|replica| replica.pod.running)
                .map(|replica| Tail {
                    driver: name.clone(),
                    namespace: replica.pod.meta.namespace.clone(),
                    pod: replica.pod.meta.name.clone(),
                    uid: replica.pod.meta.uid.clone(),
                    container: container.clone(),
                }),
        );
    }
    tails
}

async fn follow(
    client: Client,
    tail: Tail,
    patterns: Arc<Patterns>,
    own: SelfMetrics,
    changes: Changes,
) {
    let api: Api<Pod> = Api::namespaced(client, &tail.namespace);
    let mut read_to: Option<Timestamp> = None;
    let mut known = None;
    while !changes.is_closed() {
        let opened = open(&api, &tail, read_to).await;
        let reading = opened
            .as_ref()
            .map(drop)
            .map_err(|error| cut(&error_chain(error)));
        let is_news = known.as_ref() != Some(&reading);
        if is_news {
            known = Some(reading.clone());
            let change = Change::LogRead(tail.uid.clone(), tail.driver.clone(), Some(reading));
            if changes.send(change).await.is_err() {
                return;
            }
        }
        match opened {
            Ok(lines) => {
                let read = read(lines, &tail, &patterns, &own, &changes, &mut read_to).await;
                if let Err(error) = read {
                    tracing::debug!(pod = %tail.pod, container = %tail.container, %error, "log ended");
                }
            }
            Err(error) if is_news => {
                tracing::warn!(pod = %tail.pod, container = %tail.container, %error, "failed to open the log");
            }
            Err(_) => {}
        }
        tokio::time::sleep(REOPEN).await;
    }
}

/// Opens a log where reading stopped.
async fn open(
    api: &Api<Pod>,
    tail: &Tail,
    read_to: Option<Timestamp>,
) -> kube::Result<impl AsyncBufRead + Unpin + use<>> {
    // The API server rounds sinceTime to the second; repeated lines are dropped below.
    let since = read_to.and_then(|at| at.checked_sub(SignedDuration::from_secs(1)).ok());
    let params = LogParams {
        container: Some(tail.container.to_string()),
        follow: true,
        timestamps: true,
        since_time: since,
        ..LogParams::default()
    };
    api.log_stream(&tail.pod, &params).await
}

/// Reads an open log until it ends.
async fn read(
    mut log: impl AsyncBufRead + Unpin,
    tail: &Tail,
    patterns: &Patterns,
    own: &SelfMetrics,
    changes: &Changes,
    read_to: &mut Option<Timestamp>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    while let Some(line) = tokio::time::timeout(IDLE, next_line(&mut log)).await?? {
        let Some((at, text)) = stamped(&line) else {
            continue;
        };
        if read_to.is_some_and(|read_to| at <= read_to) {
            continue;
        }
        *read_to = Some(at);
        own.log_lines(1);
        let Some(key) = patterns.of(Some(&tail.driver)).find(text) else {
            continue;
        };
        let refusal = Refusal {
            driver: tail.driver.clone(),
            key,
            witness: Witness::Log(tail.uid.clone()),
            first: at,
            at,
            message: cut(text),
        };
        changes.send(Change::Refused(refusal)).await?;
    }
    Ok(())
}

/// The next line, cut at [`MAX_LINE`], or `None` at the end of the log. A timeout within a line loses that line.
async fn next_line(log: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let piece = log.fill_buf().await?;
        if piece.is_empty() {
            return Ok((!line.is_empty()).then(|| text(&line)));
        }
        let end = piece.iter().position(|byte| *byte == b'\n');
        let part = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
        let room = MAX_LINE.saturating_sub(line.len()).min(part.len());
        line.extend_from_slice(part.get(..room).unwrap_or_default());
        let read = end.map_or(piece.len(), |end| end + 1);
        log.consume_unpin(read);
        if end.is_some() {
            return Ok(Some(text(&line)));
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

/// Splits a line into the kubelet's timestamp and the rest.
pub fn stamped(line: &str) -> Option<(Timestamp, &str)> {
    let (stamp, text) = line.split_once(' ')?;
    Some((stamp.parse().ok()?, text))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use axum::http::{Request, Response};
    use futures::io::{BufReader, Cursor};
    use tokio::sync::mpsc;

    use super::*;
    use crate::model::fixture::{LEADER, World, at, lease};

    /// One controller for both of its drivers, as several vendors ship.
    #[tokio::test]
    async fn pod_of_two_drivers_is_followed_for_both() {
        let world = World::rook().with(lease("rook-ceph-cephfs-csi-ceph-com", LEADER, at(-300)));
        let (store, views) = Store::of(world.0);
        let (log, mut requests) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let _ = log.send(request.uri().to_string());
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
        });
        let (changes, _received) = mpsc::channel(64);
        tokio::spawn(follow_provisioners(
            Client::new(service, "default"),
            Arc::default(),
            Arc::new(Patterns::new(&Config::default()).unwrap()),
            store,
            SelfMetrics::default(),
            changes,
        ));
        views.send_modify(|_| {});
        let mut missing = vec!["container=csi-rbdplugin", "container=csi-cephfsplugin"];
        while !missing.is_empty() {
            let path = requests.recv().await.unwrap();
            missing.retain(|container| !(path.contains(LEADER) && path.contains(container)));
        }
    }

    async fn lines(log: &[u8], piece: usize) -> Vec<String> {
        let mut log = BufReader::with_capacity(piece, Cursor::new(log));
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut log).await.unwrap() {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn split_lines_are_joined() {
        for piece in [1, 2, 3, 100] {
            let found = lines(b"one\n\ntwo \xff\nthree", piece).await;
            assert_eq!(found, ["one", "", "two \u{fffd}", "three"]);
        }
    }

    #[tokio::test]
    async fn endless_line_is_cut_and_the_next_one_read() {
        let mut log = vec![b'x'; 5 * MAX_LINE];
        log.extend_from_slice(b"\nnext\n");
        let found = lines(&log, 8192).await;
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].len(), &*found[1]), (MAX_LINE, "next"));
    }
}
