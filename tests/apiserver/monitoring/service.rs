//! Alertmanager behind a Service, which may choose a replica that does not lead.

use std::sync::Arc;

use locksmith::api::remediation::Remediation;

use crate::support::load_balancer::Balancer;
use crate::support::monitors::{Monitor, Places};
use crate::support::stage::{DRIVER, Settings, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn alertmanager_reaches_the_leader_through_a_service() {
    let stage = Stage::jammed().await;
    let settings = Settings::default();
    let leader = stage.daemon(&settings).await;
    let standby = stage.standby(&settings).await;
    let service = Balancer::start(&[&standby, &leader]).await;
    let places = Places::new();
    let alertmanager = Monitor::alertmanager(&places, &service.url("/webhook")).await;
    let driver = format!("driver={DRIVER}");
    alertmanager.fire("LocksmithOperationLocked", &[&driver, "severity=critical"]);
    let any = |runs: &[Arc<Remediation>]| !runs.is_empty();
    stage.until::<Remediation>("a run", any).await;
    let turned_away = "locksmith_webhook_requests_total{code=\"503\"}";
    assert!(standby.metrics().await[turned_away] >= 1.0);
}
