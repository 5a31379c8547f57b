//! The table of all metric families; what is written and what is documented both come from here.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::family::{Family, Row, families};

families! {
    "What is stuck" {
        FINDINGS: Gauge "findings" { finding, reason }
            "Findings by kind and reason. Every kind and reason is there, with 0 where there is none, but only while the whole cluster is seen and there is no doubt: nothing found and nothing seen are not the same.";
        STUCK_OPERATIONS: Gauge "stuck_operations" { finding, reason, namespace, driver, class }
            "Stuck objects: pending claims, failed snapshots, orphaned sources, and objects that wait for an operation lock.";
        STUCK_OPERATIONS_BYTES: Gauge "stuck_operations" [Bytes] { finding, reason, namespace, driver, class }
            "Storage behind the stuck objects. A lock and the claim that waits for it each count theirs: select one finding before summing, or use locksmith_stuck_storage_bytes.";
        STUCK_OLDEST: Gauge "stuck_oldest_timestamp" [Seconds] { finding, reason, namespace, driver, class }
            "Since when the oldest of the stuck objects is stuck.";
        STUCK_STORAGE: Gauge "stuck_storage" [Bytes] { namespace, driver, class }
            "Storage that is stuck for whatever reason, each volume once: safe to sum.";
        STUCK_SINCE: Gauge "stuck_since_timestamp" [Seconds] { finding, reason, namespace, name, kind, driver, class }
            "Since when this object is stuck; time() minus it is its age. Of a namespace with more than 500, those stuck for longest.";
        STUCK_BYTES: Gauge "stuck" [Bytes] { finding, reason, namespace, name, kind, driver, class }
            "Storage behind this stuck object: the requested size of a claim, the restore size of a snapshot or else the size of its claim. Of a namespace with more than 500, those stuck for longest.";
    }
    "What has cleared" {
        STUCK_DURATION: Histogram "stuck_duration" [Seconds] { finding }
            "How long what has cleared had been stuck: counted once it is gone, or works again. What clears while this replica does not run is not counted.";
    }
    "What is held" {
        HOLDS: Gauge "holds" { namespace }
            "ReplicationSources of which the API server refuses snapshots, and held VolumeSnapshotClasses under an empty namespace.";
        HOLD_SINCE: Gauge "hold_since_timestamp" [Seconds] { kind, namespace, name, run }
            "Since when the API server refuses snapshots of this object; `run` is empty for a planned hold. At most 500 of a namespace.";
        HOLD_UNTIL: Gauge "hold_until_timestamp" [Seconds] { kind, namespace, name, run }
            "When the API server ends this hold. At most 500 of a namespace.";
        HOLD_POLICY_READY: Gauge "hold_policy_ready" {}
            "1 while the ValidatingAdmissionPolicy that enforces holds, and its binding, are served as they ship. While 0, no run begins.";
        HELD_STORAGE: Gauge "held_storage" [Bytes] { namespace, driver, class }
            "Storage whose backups are held.";
    }
    "Remediations" {
        REMEDIATIONS: Gauge "remediations" { playbook, driver, phase }
            "Remediation objects that are kept, by phase; every phase is there for a playbook and driver that has any.";
        REMEDIATION_INFO: Gauge "remediation_info" { namespace, name, playbook, driver, phase, step }
            "1 for each unfinished Remediation.";
        REMEDIATION_CREATED: Gauge "remediation_created_timestamp" [Seconds] { namespace, name }
            "When this unfinished Remediation was asked for.";
        REMEDIATION_STARTED: Gauge "remediation_started_timestamp" [Seconds] { namespace, name }
            "When the first step of this unfinished Remediation began.";
        REMEDIATION_HELD: Gauge "remediation_held_sources" { namespace, name }
            "ReplicationSources this Remediation still holds; of finished ones, those that hold any.";
        REMEDIATION_FINISHED: Gauge "remediation_last_finished_timestamp" [Seconds] { playbook, driver, phase }
            "When the last Remediation that ended so did.";
        REMEDIATION_WAITS: Gauge "remediation_waits_for_approval" { namespace, name, playbook, driver }
            "1 while this unfinished Remediation waits for a person and for nothing else.";
        BREAKER_OPEN: Gauge "breaker_open" {}
            "1 while the circuit breaker is open: so many runs have failed in a row, whatever their playbook and driver, that none begins until a person says locksmith reset. Absent while Remediations are not seen.";
        BREAKER_FAILURES: Gauge "breaker_failures" {}
            "Runs that failed in a row up to now, as the circuit breaker counts them. Absent while Remediations are not seen.";
        GATE_OPEN: Gauge "gate_open" { gate, playbook, namespace, name }
            "What each gate last said to this unfinished Remediation: 1 open, 0 closed.";
    }
    "What is seen" {
        WATCH_SYNCED: Gauge "watch_synced" { kind }
            "1 while this collection is seen: listed whole and followed since, or known not to be served.";
        WATCH_API_ABSENT: Gauge "watch_api_absent" { kind }
            "1 when the cluster does not serve this collection.";
        WATCH_CONFIRMED: Gauge "watch_confirmed_timestamp" [Seconds] { kind }
            "When the state of the watch was last confirmed or changed.";
        OBJECTS: Gauge "objects" { kind }
            "Objects known.";
        DOUBTS: Gauge "doubts" { doubt, subject }
            "1 for each reason why something may be stuck that is not found: a collection that is not served, a CSI driver in use that the configuration leaves out, an entry about drivers that are not in use. 0 with an empty subject where there is none of the kind.";
        OBSERVATION_COMPLETE: Gauge "observation_complete" {}
            "1 while every collection is seen. While 0, what is not reported may still be.";
        PROVISIONER_FOUND: Gauge "provisioner_found" { driver }
            "1 while the provisioner of this driver, which a class names, is found; 0 while it is not, so that none of its logs is read and it cannot be restarted: `locksmith status` says why.";
        PROVISIONER_LOGS: Gauge "provisioner_logs" { driver, state }
            "Provisioner replicas by whether their log is followed: `followed`, or `unreadable` where it could not be opened the last time, so that locks only it tells of are not found. Both are 0 while the provisioner is not found.";
        OBSERVATION: Gauge "observation_timestamp" [Seconds] {}
            "When all of the above was last looked at.";
    }
    "The program" {
        BUILD_INFO: Gauge "build_info" { version }
            "Always 1.";
        MODE: Gauge "mode" { mode }
            "1 for the mode it runs in, 0 for the others.";
        LEADER: Gauge "leader" {}
            "1 while this replica is the one that acts.";
        WEBHOOK_REQUESTS: Counter "webhook_requests" { code }
            "Requests to the webhook, by HTTP status.";
        WEBHOOK_ALERTS: Counter "webhook_alerts" { playbook, outcome }
            "Alerts received, by the playbook they ask for, empty where none, and what became of them.";
        ALERTMANAGER_POLLS: Counter "alertmanager_polls" { outcome }
            "Times the firing alerts were read from Alertmanager: `ok`, or `failed`, also where they could not be taken.";
        STEPS: Counter "steps" { step, outcome }
            "Steps ended.";
        STEP_DURATION: Histogram "step_duration" [Seconds] { step }
            "How long steps took, from start to outcome.";
        WRITES: Counter "writes" { verb, kind, outcome }
            "Writes tried: `ok`, `skipped` where the object was no longer as it was decided on, or the class of the error.";
        WATCH_ERRORS: Counter "watch_errors" { kind }
            "Failures of a watch; it is taken up again.";
        LOG_LINES: Counter "log_lines" {}
            "Lines read from provisioner logs.";
        DETECTION_DURATION: Histogram "detection_duration" [Seconds] {}
            "How long finding everything stuck took, each time.";
    }
}
