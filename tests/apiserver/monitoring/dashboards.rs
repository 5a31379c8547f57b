//! Every query of the dashboards, evaluated by a real Prometheus during a jam and after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::get;
use jiff::Timestamp;
use locksmith::api::remediation::Phase;

use crate::shipped::{DASHBOARDS, Query, queries};
use crate::support::monitors::{Monitor, Places};
use crate::support::stage::{Settings, Stage};

/// Queries without a result while the run waits for its gates, but with one after its end.
const AFTERWARDS: [(&str, &str); 7] = [
    ("Locksmith: Last finished runs A", "no run has ended"),
    ("Locksmith: Run ended", "no run has ended"),
    ("Locksmith: Held sources A", "no run has begun"),
    (
        "Locksmith: capacity and trends: Run ended",
        "no run has ended",
    ),
    (
        "Locksmith: capacity and trends: Storage of held sources by namespace A",
        "no run has begun",
    ),
    (
        "Locksmith: capacity and trends: Median time to clear, last 24 hours A",
        "nothing has cleared",
    ),
    (
        "Locksmith: capacity and trends: 90th percentile of time to clear, previous 24 hours A",
        "nothing has cleared",
    ),
];

/// Queries with a result only during a run.
const MEANWHILE: [(&str, &str); 2] = [
    ("Locksmith: Run began", "no run is under way"),
    (
        "Locksmith: capacity and trends: Run began",
        "no run is under way",
    ),
];

/// Queries with a result only after failures that this test does not cause.
const IN_TROUBLE: [(&str, &str); 2] = [
    (
        "Locksmith: Alerts received B",
        "every notification is taken",
    ),
    (
        "Locksmith: Errors of locksmith B",
        "the API server may accept every write",
    ),
];

fn is_in(list: &[(&str, &str)], query: &Query) -> bool {
    list.iter().any(|(of, _)| *of == query.of)
}

/// The expression as Grafana evaluates it with everything selected.
fn asked(query: &Query) -> String {
    let expr = query.of_everything().replace("$__rate_interval", "1m");
    assert!(!expr.contains('$'), "{}: {expr}", query.of);
    expr
}

/// A target that reports whether there is maintenance, and its address.
async fn maintenance(under_way: Arc<AtomicBool>) -> String {
    let says = async move || {
        let value = u8::from(under_way.load(Ordering::Relaxed));
        format!("maintenance {value}\n")
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let app = Router::new().route("/metrics", get(says));
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn every_panel_has_data_and_the_promql_gate_opens() {
    let all: Vec<Query> = DASHBOARDS.into_iter().flat_map(queries).collect();
    for (of, _) in AFTERWARDS.iter().chain(&MEANWHILE).chain(&IN_TROUBLE) {
        assert!(all.iter().any(|query| query.of == *of), "nobody is {of}");
    }

    let stage = Stage::jammed().await;
    let places = Places::new();
    let url = places.prometheus();
    let settings = Settings {
        deadline: "10m",
        // The last value counts: the series itself ends with a scrape that takes longer than Prometheus waits for it.
        gates: ", promql: {maintenance: 'last_over_time(maintenance[1m]) == 1'}",
        prometheus: format!("{{url: '{url}', interval: 1s}}"),
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    let under_way = Arc::new(AtomicBool::new(true));
    let target = maintenance(under_way.clone()).await;
    let _alertmanager = Monitor::alertmanager(&places, &daemon.url("/webhook")).await;
    let prometheus = Monitor::prometheus(&places, &[daemon.address(), &target]).await;

    // The gate queries the same Prometheus, so the run waits.
    let waits = stage
        .run_of("csi-operation-locks", "the gate to be closed", |status| {
            let mut gates = status.gates.iter();
            gates.any(|gate| gate.gate == "promql" && gate.reason.contains("returns 1 series"))
        })
        .await;
    assert_eq!(waits.status.unwrap().phase, Phase::Pending);
    for query in &all {
        if is_in(&AFTERWARDS, query) || is_in(&MEANWHILE, query) {
            let series = prometheus.series(&asked(query)).await;
            assert!(series.is_empty(), "{}: {series:#?}", query.of);
        } else if is_in(&IN_TROUBLE, query) {
            prometheus.series(&asked(query)).await;
        } else {
            prometheus.until(&asked(query), true).await;
        }
    }

    under_way.store(false, Ordering::Relaxed);
    let began = all.iter().filter(|query| is_in(&MEANWHILE, query));
    for query in began {
        prometheus.until(&asked(query), true).await;
    }
    let run = stage
        .run_of("csi-operation-locks", "the run to be over", |status| {
            status.phase.finished()
        })
        .await;
    let status = run.status.unwrap();
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    for query in all.iter().filter(|query| is_in(&AFTERWARDS, query)) {
        prometheus.until(&asked(query), true).await;
    }
    // A success is not counted as a failure, and neither are releases at the deadline.
    stage.move_deadline(Timestamp::now()).await;
    stage.released().await;
    let releases = r#"locksmith_writes_total{verb="release"} > 0"#;
    prometheus.until(releases, true).await;
    let faults = all.iter().find(|query| query.of == IN_TROUBLE[1].0);
    for fault in prometheus.series(&asked(faults.unwrap())).await {
        let outcome = fault["metric"]["outcome"].as_str().unwrap();
        assert!(
            !["ok", "written", "skipped"].contains(&outcome),
            "{fault:#}"
        );
    }
}
