//! Leader election by a Lease: one of several replicas acts. See [`decide`] for the rules.
//!
//! No published crate meets all three requirements: writes guarded by resourceVersion, calls with timeouts, and terms that
//! expire by themselves.

mod decide;

pub use decide::{Decision, Seen, Term, confirms, decide, observe};

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::posting;
use crate::cluster::{self, FIELD_MANAGER, WriteError};
use crate::tasks::heartbeat::Heartbeat;

/// Name of the Lease.
pub const LEASE_NAME: &str = "locksmith";

/// Timeout of one request, shorter than the remaining term after a late renewal.
const CALL: Duration = Duration::from_secs(3);

/// Holder of a released Lease.
const NOBODY: &str = "";

/// Longer than the duration of any command.
const A_COMMAND: Duration = Duration::from_secs(24 * 3600);

/// Whether this process leads, and until when. Cheap to clone.
#[derive(Clone)]
pub struct Leadership {
    term: watch::Receiver<Option<Term>>,
    /// The Lease and this process's identity; `None` if there are no other candidates.
    lease: Option<(Api<Lease>, String)>,
}

impl Leadership {
    /// The term, if it is valid by this process's clock.
    pub fn term(&self) -> Option<Term> {
        self.term.borrow().filter(|term| term.holds(Instant::now()))
    }

    /// The term, if the Lease confirms it. Must be called before each write: the clock of a paused virtual machine stops,
    /// so that after the pause an expired term seems valid.
    pub async fn confirm(&self) -> Result<Term, WriteError> {
        let term = self.term().ok_or(WriteError::NotLeader)?;
        let Some((api, me)) = &self.lease else {
            return Ok(term);
        };
        let name = || format!("Lease {LEASE_NAME}");
        let lease = cluster::bounded("get", name, api.get_opt(LEASE_NAME)).await?;
        let shown = lease.as_ref().map(read);
        let confirmed = shown.is_some_and(|shown| confirms(&shown, me, term));
        confirmed.then_some(term).ok_or(WriteError::NotLeader)
    }

    /// Leadership for the life of the process, for a command that a person runs.
    pub fn of_a_person() -> Self {
        let always = Term {
            number: 0,
            valid_until: Instant::now() + A_COMMAND,
        };
        let (_, term) = watch::channel(Some(always));
        Self { term, lease: None }
    }

    /// Waits until the term begins, is renewed, or ends.
    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.term.changed().await
    }

    /// Waits until this process leads.
    pub async fn begun(&mut self) -> Option<Term> {
        let lead = self
            .term
            .wait_for(|term| term.is_some_and(|term| term.holds(Instant::now())));
        lead.await.ok().and_then(|term| *term)
    }
}

/// Campaigns for leadership until `stop`, then releases a held Lease.
pub fn stand(
    client: Client,
    namespace: &str,
    identity: String,
    heartbeat: Heartbeat,
    stop: CancellationToken,
) -> (Leadership, impl Future<Output = ()> + use<>) {
    let (publish, term) = watch::channel(None);
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let leadership = Leadership {
        term,
        lease: Some((api.clone(), identity.clone())),
    };
    let candidate = Candidate {
        api,
        me: identity,
        publish,
        heartbeat,
    };
    (leadership, candidate.run(stop))
}

/// Waits until there is no leader: the Lease does not exist, is released, or has expired. Only reads.
pub async fn vacant(client: Client, namespace: &str) -> Result<(), kube::Error> {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let mut seen = None;
    loop {
        let Some(lease) = api.get_opt(LEASE_NAME).await? else {
            return Ok(());
        };
        let now_seen = observe(seen.take(), read(&lease));
        let Decision::Wait(until) = decide(Some(&now_seen), NOBODY, Instant::now()) else {
            return Ok(());
        };
        seen = Some(now_seen);
        tokio::time::sleep_until(until.into()).await;
    }
}

struct Candidate {
    api: Api<Lease>,
    me: String,
    publish: watch::Sender<Option<Term>>,
    heartbeat: Heartbeat,
}

impl Candidate {
    async fn run(self, stop: CancellationToken) {
        let mut seen: Option<Seen> = None;
        loop {
            self.heartbeat.beat();
            let pause = match self.once(&mut seen).await {
                Ok(pause) => pause,
                Err(error) => {
                    // The term expires by itself, as the write may have succeeded although its response was lost.
                    tracing::warn!(%error, "lease not renewed");
                    decide::RETRY
                }
            };
            if self
                .publish
                .borrow()
                .is_some_and(|term| !term.holds(Instant::now()))
            {
                tracing::warn!("leadership lost");
                self.publish.send_replace(None);
            }
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                () = stop.cancelled() => break,
            }
        }
        if self.publish.send_replace(None).is_some()
            && let Err(error) = self.release(seen).await
        {
            tracing::warn!(%error, "lease not released; it expires by itself");
        }
    }

    /// At most one read and one write; returns the pause until the next attempt.
    async fn once(&self, seen: &mut Option<Seen>) -> Result<Duration, LeaseError> {
        let lease = bounded(self.api.get_opt(LEASE_NAME)).await?;
        *seen = lease
            .as_ref()
            .map(|lease| observe(seen.take(), read(lease)));
        let asked = Instant::now();
        let decision = decide(seen.as_ref(), &self.me, asked);
        let written = match (&decision, lease) {
            (Decision::Wait(until), _) => {
                self.publish.send_replace(None);
                return Ok(until.saturating_duration_since(asked));
            }
            (Decision::Create, _) | (_, None) => {
                let lease = self.lease(None, 0);
                bounded(self.api.create(&posting(FIELD_MANAGER), &lease)).await?
            }
            (Decision::Renew | Decision::Take, Some(lease)) => {
                let known = lease
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.lease_transitions)
                    .unwrap_or(0);
                let transitions = if decision == Decision::Take {
                    known + 1
                } else {
                    known
                };
                let lease = self.lease(Some(&lease), transitions);
                bounded(
                    self.api
                        .replace(LEASE_NAME, &posting(FIELD_MANAGER), &lease),
                )
                .await?
            }
        };
        let now_seen = read(&written);
        if decision != Decision::Renew {
            tracing::info!(identity = self.me, term = now_seen.transitions, "leading");
        }
        self.publish
            .send_replace(Some(Term::from(asked, now_seen.transitions)));
        *seen = Some(now_seen);
        Ok(decide::RETRY)
    }

    /// The Lease of this process, with the resourceVersion of `from`, so that no other holder is overwritten.
    fn lease(&self, from: Option<&Lease>, transitions: i32) -> Lease {
        let now = MicroTime(Timestamp::now());
        let before = from.and_then(|lease| lease.spec.as_ref());
        let acquired = before
            .filter(|spec| spec.holder_identity.as_deref() == Some(&*self.me))
            .and_then(|spec| spec.acquire_time.clone());
        Lease {
            metadata: ObjectMeta {
                name: Some(LEASE_NAME.to_owned()),
                resource_version: from.and_then(ResourceExt::resource_version),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.me.clone()),
                lease_duration_seconds: i32::try_from(decide::LEASE.as_secs()).ok(),
                lease_transitions: Some(transitions),
                acquire_time: acquired.or_else(|| Some(now.clone())),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Releases the Lease, so that the next replica does not have to wait.
    async fn release(&self, seen: Option<Seen>) -> Result<(), LeaseError> {
        let Some(lease) = bounded(self.api.get_opt(LEASE_NAME)).await? else {
            return Ok(());
        };
        if seen.is_none() || read(&lease).holder != self.me {
            return Ok(());
        }
        let transitions = read(&lease).transitions;
        let mut lease = self.lease(Some(&lease), transitions);
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
        }
        bounded(
            self.api
                .replace(LEASE_NAME, &posting(FIELD_MANAGER), &lease),
        )
        .await?;
        tracing::info!("lease released");
        Ok(())
    }
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("no answer within {}", humantime::format_duration(CALL))]
    NoAnswer,
}

async fn bounded<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, LeaseError> {
    tokio::time::timeout(CALL, call)
        .await
        .map_err(|_| LeaseError::NoAnswer)?
        .map_err(LeaseError::from)
}

fn read(lease: &Lease) -> Seen {
    let spec = lease.spec.as_ref();
    Seen {
        holder: spec
            .and_then(|spec| spec.holder_identity.clone())
            .unwrap_or_default(),
        version: lease.resource_version().unwrap_or_default(),
        transitions: spec.and_then(|spec| spec.lease_transitions).unwrap_or(0),
        since: Instant::now(),
    }
}

/// Adds up to a fifth, so that candidates do not act in step.
fn jittered(pause: Duration) -> Duration {
    let nanos = Timestamp::now().subsec_nanosecond().unsigned_abs();
    pause + pause.mul_f64(0.2 * f64::from(nanos % 1000) / 1000.0)
}
