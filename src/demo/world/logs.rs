//! Logs of containers, with the latest lines and a way to follow.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::watch;

/// Number of lines kept per container.
const KEPT: usize = 10_000;

/// The logs of all containers of the world. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Logs(Arc<Mutex<HashMap<Container, Ring>>>);

/// The Pod a container belongs to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PodRef {
    /// Namespace of the Pod.
    pub namespace: String,
    /// Name of the Pod.
    pub name: String,
    /// Distinguishes the Pod from a later one with the same name.
    pub uid: String,
}

impl PodRef {
    /// Reference to `pod`.
    pub fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
        }
    }
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Container {
    namespace: String,
    pod: String,
    name: String,
}

#[derive(Debug)]
struct Ring {
    uid: String,
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    /// Number of the first kept line, counted from the container's start.
    first: usize,
    ended: bool,
}

impl State {
    fn end(&self) -> usize {
        self.first + self.lines.len()
    }

    fn push(&mut self, line: Line) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
            self.first += 1;
        }
        self.lines.push_back(line);
    }
}

/// One line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Time at which it was written.
    pub at: Timestamp,
    /// Text without the line break.
    pub text: String,
}

impl Logs {
    /// A container has started: its log can be written and read.
    pub fn begin(&self, pod: &PodRef, container: &str) {
        let key = Container {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            name: container.to_owned(),
        };
        let mut rings = self.rings();
        if rings.get(&key).is_none_or(|ring| ring.uid != pod.uid) {
            rings.insert(
                key,
                Ring {
                    uid: pod.uid.clone(),
                    state: watch::Sender::default(),
                },
            );
        }
    }

    /// Appends a line. It is dropped if the container has not started, or has ended.
    pub fn append(&self, pod: &PodRef, container: &str, text: impl Into<String>) {
        let line = Line {
            at: Timestamp::now(),
            text: text.into(),
        };
        let key = Container {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            name: container.to_owned(),
        };
        if let Some(ring) = self.rings().get(&key).filter(|ring| ring.uid == pod.uid) {
            ring.state.send_modify(|state| state.push(line));
        }
    }

    /// The Pod's containers have ended; readers end with the last line.
    pub fn end(&self, pod: &PodRef) {
        self.rings().retain(|_, ring| {
            let stays = ring.uid != pod.uid;
            if !stays {
                ring.state.send_modify(|state| state.ended = true);
            }
            stays
        });
    }

    /// Reads the log of a running container from its first kept line; `None` if there is no such container.
    pub fn read(&self, namespace: &str, pod: &str, container: &str) -> Option<Reader> {
        let key = Container {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            name: container.to_owned(),
        };
        self.rings().get(&key).map(|ring| Reader {
            state: ring.state.subscribe(),
            next: 0,
        })
    }

    fn rings(&self) -> MutexGuard<'_, HashMap<Container, Ring>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A position in a container's log.
#[derive(Debug)]
pub struct Reader {
    state: watch::Receiver<State>,
    next: usize,
}

impl Reader {
    /// The lines after this position that are already written.
    pub fn written(&mut self) -> Vec<Line> {
        let state = self.state.borrow();
        let skip = self.next.saturating_sub(state.first);
        self.next = state.end();
        state.lines.iter().skip(skip).cloned().collect()
    }

    /// The next lines, at least one; `None` once the container has ended and everything is read.
    pub async fn more(&mut self) -> Option<Vec<Line>> {
        let next = self.next;
        // The sender outlives its ring only if it has ended, so a closed channel has no further lines either.
        let _ = self
            .state
            .wait_for(|state| state.ended || state.end() > next)
            .await;
        let lines = self.written();
        (!lines.is_empty()).then_some(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> PodRef {
        PodRef {
            namespace: "rook-ceph".into(),
            name: "csi".into(),
            uid: uid.into(),
        }
    }

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn log_keeps_the_last_lines() {
        let logs = Logs::default();
        logs.begin(&pod("a"), "c");
        for n in 0..KEPT + 2 {
            logs.append(&pod("a"), "c", n.to_string());
        }
        let lines = texts(logs.read("rook-ceph", "csi", "c").unwrap().written());
        assert_eq!(lines.len(), KEPT);
        assert_eq!(lines[0], "2");
    }

    #[test]
    fn only_running_containers_have_logs() {
        let logs = Logs::default();
        logs.append(&pod("a"), "c", "too early");
        assert!(logs.read("rook-ceph", "csi", "c").is_none());
        logs.begin(&pod("a"), "c");
        logs.append(&pod("b"), "c", "another pod of this name");
        assert_eq!(logs.read("rook-ceph", "csi", "c").unwrap().written(), []);
        logs.end(&pod("a"));
        assert!(logs.read("rook-ceph", "csi", "c").is_none());
    }

    #[tokio::test]
    async fn reader_follows_until_the_pod_ends() {
        let logs = Logs::default();
        logs.begin(&pod("a"), "c");
        logs.append(&pod("a"), "c", "one");
        let mut reader = logs.read("rook-ceph", "csi", "c").unwrap();
        assert_eq!(texts(reader.written()), ["one"]);

        let follow = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(lines) = reader.more().await {
                seen.extend(texts(lines));
            }
            seen
        });
        logs.append(&pod("a"), "c", "two");
        logs.append(&pod("a"), "c", "three");
        logs.end(&pod("a"));
        assert_eq!(follow.await.unwrap(), ["two", "three"]);
    }

    #[test]
    fn late_reader_continues_at_the_first_kept_line() {
        let logs = Logs::default();
        logs.begin(&pod("a"), "c");
        let mut reader = logs.read("rook-ceph", "csi", "c").unwrap();
        for n in 0..KEPT + 5 {
            logs.append(&pod("a"), "c", n.to_string());
        }
        assert_eq!(reader.written().first().unwrap().text, "5");
        assert_eq!(reader.written(), []);
    }
}
