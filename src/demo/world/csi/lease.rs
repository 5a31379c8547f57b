//! Leader election by a Lease, as both sidecars do it with client-go.
//!
//! Expiry is judged by the time at which this candidate saw the Lease change, never by the times in it. Nothing is released
//! on exit (`ReleaseLeaderElectionOnExit` is off by default), so a successor waits until the Lease expires.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use crate::actor::Actor;
use crate::timings::LeaseTimings;

/// A candidate for one Lease.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) actor: Actor,
    pub(super) namespace: String,
    pub(super) lease: String,
    /// See [`host_identity`] and [`made_up_identity`].
    pub(super) identity: String,
    pub(super) timings: LeaseTimings,
}

/// Kubernetes cuts a host name at this length.
const MAX_HOSTNAME: usize = 63;

/// The identity that csi-lib-utils derives from the host name (`leaderelection.sanitizeName`): the Node's for a Pod in the
/// host network, otherwise the Pod's.
pub(super) fn host_identity(pod: &Pod) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let host = if spec.host_network == Some(true) {
        spec.node_name.unwrap_or_default()
    } else {
        spec.hostname.unwrap_or_else(|| pod.name_any())
    };
    let cut: String = host.chars().take(MAX_HOSTNAME).collect();
    sanitized(cut.trim_end_matches(['-', '.']))
}

/// The random identity that external-provisioner 3.1.1 to 6.1.x creates for each process
/// (cmd/csi-provisioner/csi-provisioner.go).
pub fn made_up_identity(driver: &str) -> String {
    let started = Timestamp::now().as_millisecond();
    // The hasher is seeded at random.
    let number = RandomState::new().hash_one(started) % 10_000;
    format!("{started}-{number}-{}", sanitized(driver))
}

fn sanitized(name: &str) -> String {
    let mut name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    if name.ends_with('-') {
        name.push('X');
    }
    name
}

/// The Lease, and when it was last seen to change.
#[derive(Debug)]
struct Observed {
    version: Option<String>,
    at: Instant,
}

impl Candidate {
    /// Runs the future of `lead` whenever elected, and drops it when leadership is lost; never returns.
    pub(super) async fn lead<Fut: Future<Output = ()>>(&self, lead: impl Fn() -> Fut) {
        loop {
            self.acquire().await;
            tracing::info!(lease = self.lease, holder = self.identity, "leads");
            tokio::select! {
                () = self.hold() => tracing::info!(lease = self.lease, holder = self.identity, "lost the lease"),
                () = lead() => {}
            }
        }
    }

    /// Returns once elected.
    async fn acquire(&self) {
        let mut observed = Observed {
            version: None,
            at: Instant::now(),
        };
        while !self.try_acquire(&mut observed).await {
            tokio::time::sleep(self.timings.retry_period).await;
        }
    }

    /// Returns once the Lease could not be renewed within the renew deadline.
    async fn hold(&self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < self.timings.renew_deadline {
            tokio::time::sleep(self.timings.retry_period).await;
            let mut fresh = Observed {
                version: None,
                at: Instant::now(),
            };
            if self.try_acquire(&mut fresh).await {
                renewed = Instant::now();
            }
        }
    }

    /// One attempt with a timeout, so that a stalled API server cannot keep a leader in office.
    async fn try_acquire(&self, observed: &mut Observed) -> bool {
        match tokio::time::timeout(self.timings.renew_deadline, self.write(observed)).await {
            Ok(Ok(acquired)) => acquired,
            Ok(Err(error)) => {
                tracing::debug!(lease = self.lease, %error, "lease not written");
                false
            }
            Err(_) => false,
        }
    }

    async fn write(&self, observed: &mut Observed) -> Result<bool, kube::Error> {
        let leases: Api<Lease> = self.actor.within(&self.namespace);
        let Some(mut lease) = leases.get_opt(&self.lease).await? else {
            return Ok(self
                .actor
                .create(&leases, &self.claimed(None))
                .await?
                .is_some());
        };
        if observed.version != lease.metadata.resource_version {
            *observed = Observed {
                version: lease.metadata.resource_version.clone(),
                at: Instant::now(),
            };
        }
        let held = lease.spec.take().unwrap_or_default();
        let expired = observed.at.elapsed() >= self.timings.duration;
        if !may_take(held.holder_identity.as_deref(), &self.identity, expired) {
            return Ok(false);
        }
        lease.spec = self.claimed(Some(held)).spec;
        match self.actor.replace(&leases, &self.lease, &lease).await {
            Ok(_) => Ok(true),
            // Another candidate was faster.
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn claimed(&self, held: Option<LeaseSpec>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let held = held.unwrap_or_default();
        let mine = held.holder_identity.as_deref() == Some(&self.identity);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.lease.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: Some(whole_seconds(self.timings.duration)),
                acquire_time: if mine {
                    held.acquire_time
                } else {
                    Some(now.clone())
                },
                renew_time: Some(now),
                lease_transitions: Some(
                    held.lease_transitions.unwrap_or_default() + i32::from(!mine),
                ),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// Whether the Lease is free, held by this candidate, or expired.
fn may_take(holder: Option<&str>, me: &str, expired: bool) -> bool {
    match holder {
        None | Some("") => true,
        Some(holder) => holder == me || expired,
    }
}

/// The API accepts whole seconds, at least one.
fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1000))
        .unwrap_or(i32::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_own_or_expired_lease_is_taken() {
        for (holder, expired, taken) in [
            (None, false, true),
            (Some(""), false, true),
            (Some("me"), false, true),
            (Some("other"), false, false),
            (Some("other"), true, true),
        ] {
            assert_eq!(
                may_take(holder, "me", expired),
                taken,
                "{holder:?} expired={expired}"
            );
        }
    }

    fn pod(name: &str, spec: &serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": name}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn host_identity_is_the_sanitised_host_name() {
        let containers = serde_json::json!([]);
        let on_node = serde_json::json!(
            {"containers": containers, "hostNetwork": true, "nodeName": "node-1.example.com"}
        );
        let plain = serde_json::json!({"containers": containers});
        let long = "rook-ceph-external.cephfs.csi.ceph.com-ctrlplugin-6c5d7d9f8b-abcde";
        for (pod, identity) in [
            (pod("a.b-c", &plain), "a-b-c"),
            (
                pod(long, &plain),
                "rook-ceph-external-cephfs-csi-ceph-com-ctrlplugin-6c5d7d9f8b-ab",
            ),
            (pod("a", &on_node), "node-1-example-com"),
        ] {
            assert_eq!(host_identity(&pod), identity);
        }
    }

    #[test]
    fn lease_durations_are_whole_seconds() {
        let seconds = [1, 1000, 1001, 137_000].map(|ms| whole_seconds(Duration::from_millis(ms)));
        assert_eq!(seconds, [1, 1, 2, 137]);
    }
}
