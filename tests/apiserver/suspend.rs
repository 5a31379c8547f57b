//! What holds a source, and what only seems to; which field the cluster has for it.

use kube::ResourceExt;
use locksmith::api::remediation::{Phase, RemediationStatus, StepPhase};
use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::api::volsync::{ReplicationSource, temporary_name};
use serde_json::json;

use crate::daemon::Daemon;
use crate::stage::{Settings, Setup, Stage};
use crate::testbed::crds;

/// An app that runs well, whose backup somebody starts while it is held.
const APP: (&str, &str) = ("media", "bazarr");

/// A run during whose quiet period somebody starts a backup by hand.
async fn backup_begun_while_held(
    stage: &Stage,
    settings: &Settings,
) -> (Daemon, RemediationStatus) {
    let daemon = stage.daemon(settings).await;
    stage.fire(&daemon).await;
    stage
        .run_until("the quiet period to begin", |status| {
            status
                .steps
                .first()
                .is_some_and(|step| step.quiet_since.is_some())
        })
        .await;
    let (namespace, name) = APP;
    let trigger = json!({"spec": {"trigger": {"manual": "now"}}});
    stage
        .patch::<ReplicationSource>(namespace, name, &trigger)
        .await;
    let status = stage.finished().await;
    (daemon, status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn paused_alone_is_seen_not_to_hold_and_the_run_ends_there() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        method: "paused",
        // What was made meanwhile is looked for at its end.
        quiet: "30s",
        ..Settings::default()
    };
    let (daemon, status) = backup_begun_while_held(&stage, &settings).await;
    assert_eq!(status.phase, Phase::Failed, "{}", daemon.log_text());
    let snapshot = temporary_name(APP.1);
    for part in ["suspendSources failed", "another snapshot", &*snapshot] {
        assert!(status.message.contains(part), "{}", status.message);
    }
    let phases: Vec<_> = status.steps.iter().map(|step| step.phase).collect();
    let [failed, skipped, done] = [StepPhase::Failed, StepPhase::Skipped, StepPhase::Succeeded];
    assert_eq!(phases, [failed, skipped, skipped, skipped, done]);

    // Released again, and nothing else was done.
    stage.nothing_is_held().await;
    assert_eq!((status.held, status.holds), (0, Vec::new()));
    assert!(stage.stuck_snapshots_stand().await);
    for event in stage.writes_elsewhere().await {
        assert_eq!(
            (&*event.verb, &*event.resource),
            ("patch", "replicationsources"),
            "{event:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn the_default_method_holds_where_paused_alone_does_not() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        quiet: "6s",
        ..Settings::default()
    };
    let (daemon, status) = backup_begun_while_held(&stage, &settings).await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());

    // What was asked for while it was held is done once it no longer is.
    let (_, name) = APP;
    stage
        .until::<ReplicationSource>("the backup asked for to be made", |sources| {
            let served = |source: &ReplicationSource| {
                let status = source.status.as_ref();
                status.and_then(|status| status.last_manual_sync.as_deref()) == Some("now")
            };
            sources
                .iter()
                .any(|source| source.name_any() == name && served(source))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn where_the_crd_has_suspend_sources_are_held_by_it_and_never_paused() {
    let stage = Stage::set(Setup {
        sources: crds::suspendable_sources(),
        ..Setup::default()
    })
    .await;
    let (daemon, status) = backup_begun_while_held(&stage, &Settings::default()).await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());

    let mut suspended = 0;
    for event in stage.writes_elsewhere().await {
        if !matches!(
            &*event.resource,
            "replicationsources" | "persistentvolumeclaims"
        ) {
            continue;
        }
        assert_eq!(event.resource, "replicationsources", "{event:?}");
        let body = event.request_body.unwrap();
        assert_eq!(body.pointer("/spec/paused"), None, "{body}");
        suspended += usize::from(body.pointer("/spec/suspend") == Some(&json!(true)));
    }
    assert_eq!(suspended, stage.jam.sources.len());
    let held = stage.held().await;
    for source in stage.list::<ReplicationSource>().await {
        let expected = held.contains(&source.name_any()).then_some(true);
        assert_eq!(source.spec.suspend, expected, "{}", source.name_any());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn where_the_crd_has_neither_field_the_run_is_refused_and_nothing_is_written() {
    let sources = crds::sources_with(|fields| {
        assert!(fields.remove("paused").is_some());
    });
    let stage = Stage::set(Setup {
        sources,
        ..Setup::default()
    })
    .await;
    let before = stage.list::<VolumeSnapshot>().await.len();
    let daemon = stage.daemon(&Settings::default()).await;
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Failed);
    for part in ["spec.paused", "spec.suspend", "nothing was written"] {
        assert!(status.message.contains(part), "{}", status.message);
    }
    let writes = stage.writes_elsewhere().await;
    assert!(writes.is_empty(), "{writes:#?}");
    assert!(stage.stuck_snapshots_stand().await);
    assert_eq!(stage.list::<VolumeSnapshot>().await.len(), before);
}
