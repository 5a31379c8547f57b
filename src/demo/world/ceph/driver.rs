//! One `csi-rbdplugin` process: handles CSI calls, and logs.
//!
//! Follows `internal/rbd/controllerserver.go` of ceph-csi. A call takes its locks, works, and releases them when it
//! returns; a caller that times out does not end it. So a hanging call keeps its ids locked, and every further call with
//! them is refused, until the process ends: until [`Driver`] is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::jiff::Timestamp;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::locks::{Held, Locks};
use super::rpc::Status;
use super::{Ceph, DriverConfig, HeldLock, Image, Snapshot};
use crate::klog;
use crate::logs::Logs;
use crate::names::DRIVER_CONTAINER;

/// Source lines that log a refusal, of ceph-csi 3.12.
const CREATE_VOLUME: &str = "controllerserver.go:362";
const RESTORE: &str = "controllerserver.go:669";
const DELETE_VOLUME: &str = "controllerserver.go:937";
const CREATE_SNAPSHOT: &str = "controllerserver.go:1161";
const DELETE_SNAPSHOT: &str = "controllerserver.go:1441";
/// Source line that logs every failed call.
const FAILED: &str = "utils.go:271";

/// A running process. Dropping it ends all calls and releases all locks.
#[derive(Debug)]
pub(crate) struct Driver {
    process: Arc<Process>,
    alive: CancellationToken,
    _ends: DropGuard,
}

#[derive(Debug)]
pub(super) struct Process {
    config: DriverConfig,
    ceph: Ceph,
    logs: Logs,
    volumes: Locks,
    snapshots: Locks,
    calls: AtomicU64,
}

/// Request to create a volume.
#[derive(Clone, Debug)]
pub(crate) struct CreateVolume {
    /// `pvc-<uid of the claim>`.
    pub(crate) name: String,
    pub(crate) bytes: i64,
    /// Handle of the snapshot to restore.
    pub(crate) snapshot: Option<String>,
}

/// One call, as named in its log lines.
#[derive(Clone, Debug)]
struct Call {
    number: u64,
    request: String,
}

impl Driver {
    /// Starts a process.
    pub(crate) fn start(config: DriverConfig, ceph: &Ceph, logs: Logs) -> Self {
        let process = Arc::new(Process {
            config,
            ceph: ceph.clone(),
            logs,
            volumes: Locks::default(),
            snapshots: Locks::default(),
            calls: AtomicU64::default(),
        });
        ceph.register(&process);
        let alive = CancellationToken::new();
        Self {
            process,
            _ends: alive.clone().drop_guard(),
            alive,
        }
    }

    /// CreateVolume: locks the name and, for a restore, the snapshot's handle.
    pub(crate) async fn create_volume(&self, request: CreateVolume) -> Result<Image, Status> {
        let call = self.process.number(&request.name);
        let process = Arc::clone(&self.process);
        self.call(call.clone(), async move {
            let _volume = process.lock_volume(&call, CREATE_VOLUME, &request.name)?;
            let _source = match &request.snapshot {
                None => None,
                Some(handle) if process.ceph.has_snapshot(handle) => {
                    Some(process.lock_snapshot(&call, RESTORE, handle)?)
                }
                Some(handle) => return Err(Status::not_found("Snapshot", handle)),
            };
            process
                .ceph
                .work(&request.name, process.config.volume_operation)
                .await;
            Ok(process.ceph.put_image(&request.name, request.bytes))
        })
        .await
    }

    /// DeleteVolume: locks the handle.
    pub(crate) async fn delete_volume(&self, handle: String) -> Result<(), Status> {
        let call = self.process.number(&handle);
        let process = Arc::clone(&self.process);
        self.call(call.clone(), async move {
            let _volume = process.lock_volume(&call, DELETE_VOLUME, &handle)?;
            process
                .ceph
                .work(&handle, process.config.volume_operation)
                .await;
            process.ceph.remove_image(&handle);
            Ok(())
        })
        .await
    }

    /// CreateSnapshot called `snapshot-<uid of the VolumeSnapshot>` of the volume `source`: locks the name.
    pub(crate) async fn create_snapshot(
        &self,
        name: String,
        source: String,
    ) -> Result<Snapshot, Status> {
        let call = self.process.number(&name);
        let process = Arc::clone(&self.process);
        self.call(call.clone(), async move {
            let _snapshot = process.lock_snapshot(&call, CREATE_SNAPSHOT, &name)?;
            process
                .ceph
                .work(&name, process.config.snapshot_operation)
                .await;
            process
                .ceph
                .put_snapshot(&name, &source)
                .ok_or_else(|| Status::not_found("Volume", &source))
        })
        .await
    }

    /// DeleteSnapshot: locks the handle.
    pub(crate) async fn delete_snapshot(&self, handle: String) -> Result<(), Status> {
        let call = self.process.number(&handle);
        let process = Arc::clone(&self.process);
        self.call(call.clone(), async move {
            let _snapshot = process.lock_snapshot(&call, DELETE_SNAPSHOT, &handle)?;
            process
                .ceph
                .work(&handle, process.config.snapshot_operation)
                .await;
            process.ceph.remove_snapshot(&handle);
            Ok(())
        })
        .await
    }

    /// Waits for `work` until the sidecar's timeout; the work continues in the process.
    async fn call<T: Send + 'static>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        let process = Arc::clone(&self.process);
        let (answer, answered) = oneshot::channel();
        tokio::spawn(self.alive.clone().run_until_cancelled_owned(async move {
            let outcome = work.await;
            if let Err(status) = &outcome {
                process.log(&call, FAILED, &format!("GRPC error: {status}"));
            }
            // After the timeout there is no receiver.
            drop(answer.send(outcome));
        }));
        match tokio::time::timeout(self.process.config.grpc_timeout, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(Status::timed_out()),
        }
    }
}

impl Process {
    pub(super) fn held(&self) -> Vec<HeldLock> {
        let ids = self.volumes.ids().into_iter().chain(self.snapshots.ids());
        ids.map(|id| HeldLock {
            pod: self.config.pod.name.clone(),
            id,
        })
        .collect()
    }

    fn number(&self, request: &str) -> Call {
        Call {
            number: self.calls.fetch_add(1, Ordering::Relaxed) + 1,
            request: request.to_owned(),
        }
    }

    fn lock_volume(&self, call: &Call, place: &str, id: &str) -> Result<Held, Status> {
        self.volumes
            .try_acquire(id)
            .ok_or_else(|| self.refuse(call, place, "Volume", id))
    }

    fn lock_snapshot(&self, call: &Call, place: &str, id: &str) -> Result<Held, Status> {
        self.snapshots
            .try_acquire(id)
            .ok_or_else(|| self.refuse(call, place, "Snapshot", id))
    }

    /// The log names the kind of id; the response always calls it Volume ID.
    fn refuse(&self, call: &Call, place: &str, kind: &str, id: &str) -> Status {
        self.log(
            call,
            place,
            &format!("an operation with the given {kind} ID {id} already exists"),
        );
        Status::locked(id)
    }

    fn log(&self, call: &Call, place: &str, message: &str) {
        let message = format!("ID: {} Req-ID: {} {message}", call.number, call.request);
        self.logs.append(
            &self.config.pod,
            DRIVER_CONTAINER,
            klog::error(Timestamp::now(), place, &message),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ceph::Scope;
    use crate::ceph::rpc::Code;
    use crate::logs::PodRef;

    /// Only a call that hangs may reach this limit. A healthy call takes milliseconds, but on a loaded machine more than a few
    /// hundred of them.
    const GRPC_TIMEOUT: Duration = Duration::from_secs(3);

    fn driver(ceph: &Ceph, logs: &Logs) -> Driver {
        let pod = PodRef {
            namespace: "rook-ceph".into(),
            name: "provisioner".into(),
            uid: "1".into(),
        };
        logs.begin(&pod, DRIVER_CONTAINER);
        let config = DriverConfig {
            pod,
            grpc_timeout: GRPC_TIMEOUT,
            volume_operation: Duration::from_millis(5),
            snapshot_operation: Duration::from_millis(5),
        };
        Driver::start(config, ceph, logs.clone())
    }

    fn volume(name: &str) -> CreateVolume {
        CreateVolume {
            name: name.into(),
            bytes: 1 << 30,
            snapshot: None,
        }
    }

    fn lines(logs: &Logs) -> Vec<String> {
        let lines = logs
            .read("rook-ceph", "provisioner", DRIVER_CONTAINER)
            .unwrap()
            .written();
        // The header's time differs between runs.
        lines
            .into_iter()
            .map(|line| line.text[21..].to_owned())
            .collect()
    }

    #[tokio::test]
    async fn hung_call_locks_its_id_until_the_process_ends() {
        let (ceph, logs) = (Ceph::default(), Logs::default());
        let old = driver(&ceph, &logs);
        ceph.sicken(Scope::All);
        assert_eq!(
            old.create_volume(volume("pvc-1")).await.unwrap_err().code,
            Code::DeadlineExceeded
        );
        ceph.heal();
        assert_eq!(
            old.create_volume(volume("pvc-1")).await.unwrap_err(),
            Status::locked("pvc-1")
        );
        assert_eq!(
            ceph.locks(),
            [HeldLock {
                pod: "provisioner".into(),
                id: "pvc-1".into()
            }]
        );
        assert!(
            old.create_volume(volume("pvc-2")).await.is_ok(),
            "other ids are free"
        );

        drop(old);
        let released = async {
            while !ceph.locks().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), released)
            .await
            .unwrap();
        assert!(
            driver(&ceph, &logs)
                .create_volume(volume("pvc-1"))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn lasting_outage_jams_the_next_process() {
        let (ceph, logs) = (Ceph::default(), Logs::default());
        ceph.sicken(Scope::Only(["pvc-1".to_owned()].into()));
        for _ in 0..2 {
            let driver = driver(&ceph, &logs);
            assert_eq!(
                driver.create_volume(volume("pvc-1")).await.unwrap_err(),
                Status::timed_out()
            );
            assert!(driver.create_volume(volume("pvc-2")).await.is_ok());
        }
    }

    #[tokio::test]
    async fn refusal_is_logged_twice_and_names_differ_from_the_response() {
        let (ceph, logs) = (Ceph::default(), Logs::default());
        let driver = driver(&ceph, &logs);
        let source = driver.create_volume(volume("pvc-1")).await.unwrap().handle;
        ceph.sicken(Scope::All);
        let create = || driver.create_snapshot("snapshot-7".into(), source.clone());
        assert_eq!(create().await.unwrap_err(), Status::timed_out());
        assert_eq!(create().await.unwrap_err(), Status::locked("snapshot-7"));
        assert_eq!(
            lines(&logs),
            [
                "       1 controllerserver.go:1161] ID: 3 Req-ID: snapshot-7 \
                 an operation with the given Snapshot ID snapshot-7 already exists",
                "       1 utils.go:271] ID: 3 Req-ID: snapshot-7 GRPC error: rpc error: code = Aborted desc = \
                 an operation with the given Volume ID snapshot-7 already exists",
            ]
        );
    }

    #[tokio::test]
    async fn restores_of_one_snapshot_exclude_each_other() {
        let (ceph, logs) = (Ceph::default(), Logs::default());
        let driver = driver(&ceph, &logs);
        let source = driver.create_volume(volume("pvc-1")).await.unwrap().handle;
        let snapshot = driver
            .create_snapshot("snapshot-1".into(), source)
            .await
            .unwrap()
            .handle;
        let restore = |name: &str| CreateVolume {
            snapshot: Some(snapshot.clone()),
            ..volume(name)
        };
        let (one, two) = tokio::join!(
            driver.create_volume(restore("pvc-2")),
            driver.create_volume(restore("pvc-3"))
        );
        assert!(one.is_ok());
        assert_eq!(two.unwrap_err(), Status::locked(&snapshot));
    }
}
