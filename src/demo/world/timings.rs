//! Durations of all operations: as in a Rook cluster, or scaled down so that a test sees the same order of events.

use std::time::Duration;

/// All durations of a world.
#[derive(Clone, Debug)]
pub struct Timings {
    /// Leader election of both sidecars.
    pub lease: LeaseTimings,
    /// A sidecar's `--timeout` of one gRPC call.
    pub grpc_timeout: Duration,
    /// Volume operation of a healthy backend.
    pub volume_operation: Duration,
    /// Snapshot operation of a healthy backend.
    pub snapshot_operation: Duration,
    /// external-provisioner's `--retry-interval-start` and `-max`.
    pub provision_retry: Retry,
    /// external-snapshotter's `--retry-interval-start` and `-max`.
    pub snapshot_retry: Retry,
    /// external-snapshotter's `--resync-period`.
    pub snapshot_resync: Duration,
    /// From the binding of a Pod until its containers are ready.
    pub container_start: Duration,
    /// From the deletion of a Pod until its containers have terminated.
    pub container_stop: Duration,
    /// Interval of a kubelet's reports about its Node.
    pub node_heartbeat: Duration,
    /// Interval at which VolSync checks a sync in progress.
    pub volsync_requeue: Duration,
    /// VolSync's retries after an error.
    pub volsync_retry: Retry,
    /// Time that VolSync's mover takes to copy the data.
    pub mover: Duration,
    /// Retries of all other actors.
    pub retry: Retry,
}

/// Leader election, with client-go's names.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTimings {
    /// Time without a renewal after which a lease may be taken.
    pub duration: Duration,
    /// Time without a successful renewal after which a leader gives up.
    pub renew_deadline: Duration,
    /// Pause between two attempts.
    pub retry_period: Duration,
}

/// Exponential backoff with doubling.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Delay after the first failure.
    pub first: Duration,
    /// Longest delay.
    pub most: Duration,
}

impl Retry {
    /// Delay after `failures` consecutive failures, at least one.
    pub fn after(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.most)
    }
}

impl Timings {
    /// The defaults of Rook and VolSync.
    pub fn real() -> Self {
        Self {
            lease: LeaseTimings {
                duration: Duration::from_secs(137),
                renew_deadline: Duration::from_secs(107),
                retry_period: Duration::from_secs(26),
            },
            grpc_timeout: Duration::from_secs(150),
            volume_operation: Duration::from_secs(1),
            snapshot_operation: Duration::from_secs(2),
            provision_retry: Retry {
                first: Duration::from_millis(500),
                most: Duration::from_secs(300),
            },
            snapshot_retry: Retry {
                first: Duration::from_secs(1),
                most: Duration::from_secs(300),
            },
            snapshot_resync: Duration::from_secs(900),
            container_start: Duration::from_secs(2),
            container_stop: Duration::from_secs(2),
            node_heartbeat: Duration::from_secs(10),
            volsync_requeue: Duration::from_secs(60),
            // The rate limiter of controller-runtime.
            volsync_retry: Retry {
                first: Duration::from_millis(5),
                most: Duration::from_secs(1000),
            },
            mover: Duration::from_secs(20),
            retry: Retry {
                first: Duration::from_millis(100),
                most: Duration::from_secs(30),
            },
        }
    }

    /// All durations multiplied by `factor`, so that the order of events is the same.
    #[must_use]
    pub fn stretched(mut self, factor: f64) -> Self {
        let LeaseTimings {
            duration,
            renew_deadline,
            retry_period,
        } = &mut self.lease;
        let retries = [
            &mut self.provision_retry,
            &mut self.snapshot_retry,
            &mut self.volsync_retry,
            &mut self.retry,
        ];
        let spans = [
            duration,
            renew_deadline,
            retry_period,
            &mut self.grpc_timeout,
            &mut self.volume_operation,
            &mut self.snapshot_operation,
            &mut self.snapshot_resync,
            &mut self.container_start,
            &mut self.container_stop,
            &mut self.node_heartbeat,
            &mut self.volsync_requeue,
            &mut self.mover,
        ];
        let waits = retries
            .into_iter()
            .flat_map(|retry| [&mut retry.first, &mut retry.most]);
        for span in spans.into_iter().chain(waits) {
            *span = span.mul_f64(factor);
        }
        self
    }

    /// The relevant proportions, but short enough to wait for in a test.
    ///
    /// The lease is the longest: on a loaded machine a renewal may be a second late.
    pub fn fast() -> Self {
        let ms = Duration::from_millis;
        Self {
            lease: LeaseTimings {
                duration: ms(3000),
                renew_deadline: ms(2500),
                retry_period: ms(500),
            },
            grpc_timeout: ms(400),
            volume_operation: ms(10),
            snapshot_operation: ms(20),
            provision_retry: Retry {
                first: ms(100),
                most: ms(800),
            },
            snapshot_retry: Retry {
                first: ms(100),
                most: ms(800),
            },
            snapshot_resync: ms(2000),
            container_start: ms(10),
            container_stop: ms(50),
            node_heartbeat: Duration::from_secs(5),
            volsync_requeue: ms(300),
            volsync_retry: Retry {
                first: ms(20),
                most: ms(500),
            },
            mover: ms(50),
            retry: Retry {
                first: ms(20),
                most: ms(500),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_doubles_up_to_its_limit() {
        let retry = Retry {
            first: Duration::from_secs(1),
            most: Duration::from_secs(300),
        };
        let waits: Vec<u64> = [1, 2, 3, 9, 10, 1000]
            .map(|n| retry.after(n).as_secs())
            .into();
        assert_eq!(waits, [1, 2, 4, 256, 300, 300]);
    }

    #[test]
    fn lease_outlives_a_call_in_both_sets() {
        for timings in [Timings::real(), Timings::fast()] {
            assert!(timings.lease.renew_deadline < timings.lease.duration);
            assert!(timings.lease.retry_period < timings.lease.renew_deadline);
            assert!(timings.volume_operation < timings.grpc_timeout);
            assert!(timings.snapshot_operation < timings.grpc_timeout);
        }
    }
}
