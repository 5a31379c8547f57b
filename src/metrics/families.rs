//! The table of all metric families, from which `/metrics` and `deploy/docs/metrics.md` are written.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::family::{Family, Row, families};

families! {
    "Stuck objects": "locksmith_" {
        FINDINGS: Gauge "findings" { finding, reason }
            "Number of findings by kind and reason. While the whole cluster is observed and there is no doubt, kinds and reasons without findings are exported as 0; otherwise they are absent. A doubt is a series of locksmith_doubts.";
        STUCK_OPERATIONS: Gauge "stuck_operations" { finding, reason, namespace, driver, class }
            "Number of stuck objects: pending claims, failed snapshots, orphaned sources, and objects that wait for an operation lock. The reason of an operation lock is the operation that hangs: `create_volume`, `create_snapshot`, or `existing_volume` if the lock is on the handle of an existing volume or snapshot.";
        STUCK_OPERATIONS_BYTES: Gauge "stuck_operations" [Bytes] { finding, reason, namespace, driver, class }
            "Storage of the stuck objects. A lock and the claim that waits for it both count the same volume: select one finding before summing, or use locksmith_stuck_storage_bytes.";
        STUCK_OLDEST: Gauge "stuck_oldest_timestamp" [Seconds] { finding, reason, namespace, driver, class }
            "Time the oldest stuck object became stuck.";
        FORMING_LOCKS: Gauge "forming_locks" { driver }
            "Number of keys that the driver has refused at least twice, and for which an object waits, but not yet for as long as a lock (detect.lockedAfter). An operation that is only slow ends before it becomes a lock. While the whole cluster is observed and there is no doubt, 0 is exported for the other watched drivers; otherwise they are absent.";
        FORMING_LOCKS_OLDEST: Gauge "forming_locks_oldest_timestamp" [Seconds] { driver }
            "Time of the first refusal of the forming lock that has been refused for longest.";
        STUCK_STORAGE: Gauge "stuck_storage" [Bytes] { namespace, driver, class }
            "Storage of everything that is stuck, each volume once: safe to sum.";
        STUCK_SINCE: Gauge "stuck_since_timestamp" [Seconds] { finding, reason, namespace, name, kind, driver, class }
            "Time this object became stuck. Limited to the objects that have been stuck for longest: 500 of a namespace, 5,000 in all.";
        STUCK_BYTES: Gauge "stuck" [Bytes] { finding, reason, namespace, name, kind, driver, class }
            "Storage of this stuck object: the requested size of a claim; the restore size of a snapshot, or else the size of its claim. Limited to the objects that have been stuck for longest: 500 of a namespace, 5,000 in all.";
    }
    "Cleared findings": "locksmith_" {
        STUCK_DURATION: Histogram "stuck_duration" [Seconds] { finding }
            "Time that findings were stuck, observed when the object is gone or works again. Findings that clear while this replica is not running are not counted.";
    }
    "Holds": "locksmith_" {
        HOLDS: Gauge "holds" { namespace }
            "Number of ReplicationSources whose snapshots the API server refuses; held VolumeSnapshotClasses are counted under an empty namespace.";
        HOLD_SINCE: Gauge "hold_since_timestamp" [Seconds] { kind, namespace, name, run }
            "Time the hold on this object began; `run` is empty for a planned hold. At most 500 per namespace.";
        HOLD_UNTIL: Gauge "hold_until_timestamp" [Seconds] { kind, namespace, name, run }
            "Time at which the API server ends this hold. At most 500 per namespace.";
        HOLD_POLICY_READY: Gauge "hold_policy_ready" {}
            "1 if the ValidatingAdmissionPolicy that enforces holds and its binding are installed as shipped, else 0. While 0, no run starts; `locksmith crd` prints both.";
        HELD_STORAGE: Gauge "held_storage" [Bytes] { namespace, driver, class }
            "Storage of the held ReplicationSources.";
    }
    "Remediations": "locksmith_" {
        REMEDIATIONS: Gauge "remediations" { playbook, driver, phase }
            "Number of Remediation objects by phase. Every phase is exported, as 0 if empty, for each playbook and driver that has a Remediation.";
        REMEDIATION_INFO: Gauge "remediation_info" { namespace, name, playbook, driver, phase, step }
            "Always 1; one series for each unfinished Remediation, with its phase and current step.";
        REMEDIATION_CREATED: Gauge "remediation_created_timestamp" [Seconds] { namespace, name }
            "Creation time of this unfinished Remediation.";
        REMEDIATION_STARTED: Gauge "remediation_started_timestamp" [Seconds] { namespace, name }
            "Start time of the first step of this unfinished Remediation.";
        REMEDIATION_HELD: Gauge "remediation_held_sources" { namespace, name }
            "Number of ReplicationSources this Remediation still holds. Finished Remediations are included only while they hold any.";
        REMEDIATION_FINISHED: Gauge "remediation_last_finished_timestamp" [Seconds] { playbook, driver, phase }
            "End time of the latest Remediation that finished in this phase.";
        REMEDIATION_WAITS: Gauge "remediation_waits_for_approval" { namespace, name, playbook, driver }
            "1 while this unfinished Remediation waits for approval only; see `locksmith approve`.";
        BREAKER_TRIPPED: Gauge "breaker_tripped" {}
            "1 while the circuit breaker is tripped, else 0. It trips when gates.breakerAfter runs of any playbook and driver have failed in a row; then no run starts until `locksmith reset`. Absent while Remediations cannot be read.";
        BREAKER_FAILURES: Gauge "breaker_failures" {}
            "Number of latest runs that failed in a row, as the circuit breaker counts them. Absent while Remediations cannot be read.";
        GATE_OPEN: Gauge "gate_open" { gate, playbook, namespace, name }
            "Latest result of each gate for this unfinished Remediation: 1 open, 0 closed.";
    }
    "Observation": "locksmith_" {
        WATCH_SYNCED: Gauge "watch_synced" { kind }
            "1 while the watch of this collection is synced, or the cluster is known not to serve the collection; else 0.";
        WATCH_API_ABSENT: Gauge "watch_api_absent" { kind }
            "1 if the cluster does not serve this collection, else 0.";
        WATCH_CONFIRMED: Gauge "watch_confirmed_timestamp" [Seconds] { kind }
            "Time the state of the watch was last confirmed or changed.";
        OBJECTS: Gauge "objects" { kind }
            "Number of watched objects in memory.";
        DOUBTS: Gauge "doubts" { doubt, subject }
            "1 for each doubt: something that locksmith cannot watch, so that findings may be missing, such as a collection the cluster does not serve, a CSI driver in use that the configuration excludes, or a configuration entry for a driver that is not in use. A kind of doubt without any is exported as 0 with an empty subject.";
        OBSERVATION_COMPLETE: Gauge "observation_complete" {}
            "1 while every watch is synced. While 0, findings may be missing.";
        PROVISIONER_FOUND: Gauge "provisioner_found" { driver }
            "1 if the provisioner of this driver is found, else 0. While 0, its logs are not read and it cannot be restarted; see `locksmith status` for the reason. Exported for drivers that a class names.";
        PROVISIONER_LOGS: Gauge "provisioner_logs" { driver, state }
            "Number of provisioner replicas by state of their log: `followed`, or `unreadable` if it could not be opened, in which case locks that only this log shows are not found. Both are 0 while the provisioner is not found.";
        OBSERVATION: Gauge "observation_timestamp" [Seconds] {}
            "Time of the cluster observation that findings, holds and Remediation metrics are computed from.";
    }
    "Process": "locksmith_" {
        BUILD_INFO: Gauge "build_info" { version, revision }
            "Always 1; the labels are the version, and the commit it was built from, or `unknown` outside a release.";
        MODE: Gauge "mode" { mode }
            "1 for the configured mode, 0 for the others.";
        LEADER: Gauge "leader" {}
            "1 while this replica is the leader, else 0.";
        WEBHOOK_REQUESTS: Counter "webhook_requests" { code }
            "Number of requests to the webhook, by HTTP status.";
        WEBHOOK_ALERTS: Counter "webhook_alerts" { playbook, outcome }
            "Number of alerts received, by outcome and by the playbook they match, which is empty if there is none.";
        ALERTMANAGER_POLLS: Counter "alertmanager_polls" { outcome }
            "Number of polls of the firing alerts from Alertmanager: `ok`, or `failed` if they could not be read or accepted.";
        ALERT_LAST_RECEIVED: Gauge "alert_last_received_timestamp" [Seconds] { via }
            "Time an alert last arrived by `webhook` or `poll`, whether or not it starts a run. Absent until one arrives.";
        STEPS: Counter "steps" { step, outcome }
            "Number of steps that ended.";
        STEP_DURATION: Histogram "step_duration" [Seconds] { step }
            "Duration of steps, from start to outcome.";
        WRITES: Counter "writes" { verb, kind, outcome }
            "Number of attempted writes: `ok`, `skipped` if the object had changed since the decision, or the class of the error.";
        WATCH_ERRORS: Counter "watch_errors" { kind }
            "Number of failures of a watch; it is retried.";
        LOG_LINES: Counter "log_lines" {}
            "Number of lines read from provisioner logs.";
        DETECTION_DURATION: Histogram "detection_duration" [Seconds] {}
            "Duration of one pass over the model to detect everything that is stuck.";
    }
    "Resources": "process_" {
        PROCESS_CPU: Counter "cpu" [Seconds] {}
            "CPU time of the process in user and kernel mode.";
        PROCESS_START: Gauge "start_time" [Seconds] {}
            "Start time of the process, in seconds since 1970.";
        PROCESS_RESIDENT: Gauge "resident_memory" [Bytes] {}
            "Resident memory of the process.";
        PROCESS_VIRTUAL: Gauge "virtual_memory" [Bytes] {}
            "Virtual memory of the process.";
        PROCESS_OPEN_FDS: Gauge "open_fds" {}
            "Number of open file descriptors.";
        PROCESS_MAX_FDS: Gauge "max_fds" {}
            "Limit on the number of open file descriptors.";
    }
}
