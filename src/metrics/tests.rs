//! Complete expositions of constructed views.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::process::Resources;
use super::{
    AlertOutcome, AlertSource, Coding, Format, Machine, Metrics, SelfMetrics, StepOutcome, families,
};
use crate::api::StepName;
use crate::fixture;
use crate::model::{Kind, WatchState};
use crate::state::view::View;

async fn scrape(view: View, own: SelfMetrics) -> String {
    let (_publish, views) = watch::channel(Arc::new(view));
    let metrics = Metrics::on(machine(fixture::now), views, own);
    text(
        &metrics
            .scrape(Format::OpenMetrics, Coding::Identity)
            .await
            .unwrap(),
    )
}

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

/// A machine with this clock, on which the process has used a little of everything.
fn machine(clock: fn() -> Timestamp) -> Machine {
    let resources = || Resources {
        cpu: Some(1.25),
        start: Some(1_793_500_000.5),
        resident: Some(64 << 20),
        mapped: Some(512 << 20),
        open_fds: Some(21),
        max_fds: Some(1024),
    };
    Machine { clock, resources }
}

#[tokio::test]
async fn compressed_exposition_is_the_same_text() {
    let (_publish, views) = watch::channel(Arc::new(fixture::jammed()));
    let metrics = Metrics::on(machine(fixture::now), views, busy());
    for format in [Format::OpenMetrics, Format::Classic] {
        let plain = metrics.scrape(format, Coding::Identity).await.unwrap();
        let gzipped = metrics.scrape(format, Coding::Gzip).await.unwrap();
        assert!(gzipped.len() * 4 < plain.len(), "{} bytes", gzipped.len());
        let mut unpacked = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&*gzipped);
        decoder.read_to_end(&mut unpacked).unwrap();
        assert_eq!(ordered(&text(&unpacked)), ordered(&text(&plain)));
    }
}

#[tokio::test]
async fn unknown_resources_are_absent() {
    let (_publish, views) = watch::channel(Arc::new(fixture::healthy()));
    let nowhere = Machine {
        resources: Resources::default,
        ..machine(fixture::now)
    };
    let metrics = Metrics::on(nowhere, views, SelfMetrics::default());
    let body = metrics.scrape(Format::Classic, Coding::Identity).await;
    let body = text(&body.unwrap());
    assert!(!body.contains("\nprocess_"), "{body}");
}

/// Attack: scrapes without end, so that Prometheus has to wait. Defence: concurrent scrapes share one exposition.
#[tokio::test]
async fn concurrent_scrapes_share_expositions() {
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    let counted = || {
        // The clock is read once per exposition.
        WRITTEN.fetch_add(1, Ordering::Relaxed);
        fixture::now()
    };
    let (_publish, views) = watch::channel(Arc::new(fixture::jammed()));
    let metrics = Metrics::on(machine(counted), views, SelfMetrics::default());
    let scrapes = (0..100).map(|_| metrics.scrape(Format::Classic, Coding::Gzip));
    let bodies = futures::future::try_join_all(scrapes).await.unwrap();
    assert_eq!(bodies.len(), 100);
    let written = WRITTEN.load(Ordering::Relaxed);
    assert!((1..=3).contains(&written), "{written} expositions");
    let later = metrics.scrape(Format::Classic, Coding::Gzip).await;
    assert!(later.is_ok());
    assert_eq!(
        WRITTEN.load(Ordering::Relaxed),
        written + 1,
        "a later one is fresh"
    );
}

fn busy() -> SelfMetrics {
    let own = SelfMetrics::default();
    own.leads(true);
    own.webhook_request(202);
    own.alert(Some("csi-operation-locks"), AlertOutcome::Started);
    own.alert(None, AlertOutcome::Ignored);
    own.alert_arrived(AlertSource::Webhook, fixture::ago(3));
    let took = Duration::from_millis(2_500);
    own.step_finished(StepName::SuspendSources, StepOutcome::Succeeded, took);
    own.write("patch", "ReplicationSource", "ok");
    own.watch_failed(Kind::Pods);
    own.log_lines(7);
    own.cleared("pending_claim", Duration::from_mins(12));
    own.view_taken(Duration::from_millis(3));
    own
}

/// Sorts the series of each counter family, as the client keeps them in a hash map.
fn ordered(body: &str) -> String {
    let mut families: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for line in body.lines() {
        if line.starts_with("# HELP") || line.starts_with("# EOF") {
            families.push((Vec::new(), Vec::new()));
        }
        let (head, series) = families.last_mut().unwrap();
        if line.starts_with('#') { head } else { series }.push(line);
    }
    let mut ordered = String::new();
    for (head, mut series) in families {
        let counted = |line: &&str| line.ends_with(" counter");
        if head.iter().any(counted) {
            series.sort_unstable();
        }
        if head.iter().any(|line| line.ends_with(" histogram")) {
            // The series of one histogram keep their order: the last label names the bucket.
            series.sort_by_key(|line| line.rsplit(['{', ',']).next());
        }
        for line in head.into_iter().chain(series) {
            writeln!(ordered, "{line}").unwrap();
        }
    }
    ordered.replace(env!("CARGO_PKG_VERSION"), "[version]")
}

#[tokio::test]
async fn jammed_cluster_is_exported() {
    insta::assert_snapshot!(ordered(&scrape(fixture::jammed(), busy()).await));
}

#[tokio::test]
async fn every_family_is_written_once_in_table_order() {
    let body = scrape(fixture::jammed(), busy()).await;
    let written: Vec<_> = body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let table: Vec<_> = families::TABLE
        .iter()
        .flat_map(|(_, rows)| *rows)
        .map(|row| row.full_name().trim_end_matches("_total").to_owned())
        .collect();
    assert_eq!(written, table);
}

#[tokio::test]
async fn every_family_has_a_series_in_the_snapshot() {
    let body = scrape(fixture::jammed(), busy()).await;
    for row in families::TABLE.iter().flat_map(|(_, rows)| *rows) {
        let name = row.full_name();
        let start = format!("\n{name}");
        assert!(
            body.contains(&format!("{start}{{"))
                || body.contains(&format!("{start} "))
                || body.contains(&format!("{start}_bucket{{")),
            "{name}"
        );
    }
}

#[tokio::test]
async fn series_are_unique() {
    let body = scrape(fixture::jammed(), busy()).await;
    let mut series: Vec<_> = body
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, _)| series)
        .collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all);
}

fn findings(body: &str) -> Vec<&str> {
    let start = "locksmith_findings{";
    body.lines()
        .filter(|line| line.starts_with(start))
        .collect()
}

#[tokio::test]
async fn healthy_cluster_exports_zero_for_every_finding() {
    let body = scrape(fixture::healthy(), SelfMetrics::default()).await;
    let findings = findings(&body);
    assert_eq!(
        findings.len(),
        crate::findings::FindingReason::all().count()
    );
    assert!(findings.iter().all(|line| line.ends_with(" 0")), "{body}");
}

#[tokio::test]
async fn unobserved_findings_are_never_zero() {
    let body = scrape(fixture::half_seen(), SelfMetrics::default()).await;
    let findings = findings(&body);
    assert!(!findings.is_empty());
    assert!(findings.iter().all(|line| !line.ends_with(" 0")), "{body}");
    assert!(body.contains("\nlocksmith_observation_complete 0\n"));
}

#[tokio::test]
async fn breaker_is_unknown_while_runs_are_unobserved() {
    let mut view = fixture::jammed();
    let line = "\nlocksmith_breaker_tripped ";
    assert!(
        scrape(view.clone(), SelfMetrics::default())
            .await
            .contains(line)
    );
    let unseen = WatchState::Failing("remediations.locksmith.dev is forbidden".into());
    view.freshness
        .note(Kind::Remediations, unseen, fixture::now());
    assert!(!scrape(view, SelfMetrics::default()).await.contains(line));
}

#[tokio::test]
async fn run_awaits_a_person_only_if_nothing_else_blocks_it() {
    let waits = async |gates: &[(&str, bool)]| {
        let mut view = fixture::jammed();
        for run in &mut view.runs {
            let gates = gates.iter().map(|(gate, open)| fixture::gate(gate, *open));
            run.gates = gates.collect();
        }
        let body = scrape(view, SelfMetrics::default()).await;
        let mut lines = body.lines();
        let line = lines.find(|line| line.starts_with("locksmith_remediation_waits_for_approval{"));
        line.unwrap().ends_with(" 1")
    };
    assert!(waits(&[("mode", true), ("approval", false)]).await);
    assert!(!waits(&[("mode", false), ("approval", false)]).await);
    assert!(!waits(&[("mode", false), ("approval", true)]).await);
    assert!(!waits(&[("mode", true), ("approval", true)]).await);
    assert!(!waits(&[]).await);
}

#[tokio::test]
async fn storage_of_a_claim_and_its_lock_counts_once() {
    let body = scrape(fixture::jammed(), SelfMetrics::default()).await;
    let of = |name: &str| -> u64 {
        let start = format!("locksmith_{name}{{");
        let lines = body.lines().filter(|line| line.starts_with(&start));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
            .sum()
    };
    // prowlarr 5Gi, sonarr 20Gi, litellm 512Mi.
    assert_eq!(of("stuck_storage_bytes"), (25 << 30) + (1 << 29));
    assert!(of("stuck_operations_bytes") > of("stuck_storage_bytes"));
}

/// Attack: claims, snapshots and holds without end in one namespace, each a series. Defence: the number of series per
/// namespace is limited; the sums count all, and other namespaces keep their series.
#[tokio::test]
async fn series_per_namespace_are_bounded() {
    let mut view = fixture::jammed();
    let before = scrape(view.clone(), SelfMetrics::default())
        .await
        .lines()
        .count();
    let finding = view.stuck().find(|it| it.object.is_some()).unwrap().clone();
    let hold = view.holds[0].clone();
    for number in 0..10_000 {
        let mut finding = finding.clone();
        let mut hold = hold.clone();
        for object in finding.object.iter_mut().chain([&mut hold.object]) {
            object.namespace = "tenant".into();
            object.name = format!("made-{number}").into();
        }
        view.findings.push(finding);
        view.holds.push(hold);
    }
    let body = scrape(view, SelfMetrics::default()).await;
    let added = body.lines().count() - before;
    assert!(added <= 4 * super::stuck::MAX_SERIES + 20, "{added}");
    let sum = body
        .lines()
        .find(|line| line.starts_with("locksmith_stuck_operations{") && line.contains("tenant"));
    assert!(sum.unwrap().ends_with(" 10000"), "{sum:?}");
    assert!(body.contains("name=\"prowlarr\""));
}

/// A jam of a whole large cluster must not inflate a scrape either, and no namespace crowds out another.
#[tokio::test]
async fn series_of_all_namespaces_are_bounded() {
    let mut view = fixture::jammed();
    let finding = view.stuck().find(|it| it.object.is_some()).unwrap().clone();
    let app = |namespace: String, number: usize| {
        let mut finding = finding.clone();
        let object = finding.object.as_mut().unwrap();
        (object.namespace, object.name) = (namespace.into(), format!("app-{number}").into());
        finding
    };
    let old = (0..20_000).map(|number| app(format!("team-{}", number % 20), number));
    let mut recent = app("small".to_owned(), 20_000);
    recent.since += jiff::SignedDuration::from_mins(1);
    view.findings = old.chain([recent]).collect();
    let body = scrape(view, SelfMetrics::default()).await;
    let of = |name: &str| -> Vec<u64> {
        let start = format!("locksmith_{name}{{");
        let lines = body.lines().filter(|line| line.starts_with(&start));
        let values = lines.map(|line| line.rsplit_once(' ').unwrap().1);
        values.map(|value| value.parse().unwrap()).collect()
    };
    assert_eq!(
        of("stuck_since_timestamp_seconds").len(),
        super::stuck::MAX_SERIES_IN_ALL
    );
    assert_eq!(of("stuck_operations").iter().sum::<u64>(), 20_001);
    assert!(body.contains("name=\"app-20000\""));
}

/// Attack: a name that ends its label and starts another series. Defence: labels are escaped.
#[tokio::test]
async fn hostile_name_is_escaped_in_its_label() {
    let mut view = fixture::jammed();
    for run in &mut view.runs {
        run.playbook = "x\"} 1\nlocksmith_mode{mode=\"act".into();
    }
    let body = scrape(view, SelfMetrics::default()).await;
    assert!(body.contains(r#"playbook="x\"} 1\nlocksmith_mode{mode=\"act""#));
}

#[tokio::test]
#[ignore = "needs promtool: ./tests/run"]
async fn promtool_accepts_the_exposition() {
    let body = super::format::classic(&scrape(fixture::jammed(), busy()).await);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is on PATH");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(body.as_bytes()).unwrap();
    drop(stdin);
    let said = promtool.wait_with_output().unwrap();
    let words = format!(
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    assert!(said.status.success() && words.is_empty(), "{words}");
}
