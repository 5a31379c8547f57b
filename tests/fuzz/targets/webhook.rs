//! Body of a webhook: it is refused, or starts exactly the runs of its firing alerts.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use locksmith::alerts::{self, AlertStatus, Notification, cause, existing_run};
use locksmith::api::SharedStr;
use locksmith::config::Config;
use locksmith::server::MAX_BODY;

const SERVED: &str = "rook-ceph.rbd.csi.ceph.com";

static CONFIG: LazyLock<Config> = LazyLock::new(Config::default);
static DRIVERS: LazyLock<BTreeSet<SharedStr>> = LazyLock::new(|| BTreeSet::from([SERVED.into()]));

pub fn run(data: &[u8]) {
    let data = data.get(..MAX_BODY).unwrap_or(data);
    match alerts::parse(data) {
        Ok(notification) => means_what_it_says(data, &notification),
        // An error names the problem, and does not amplify a small request.
        Err(refused) => assert!(
            refused.to_string().len() <= 6 * data.len() + 512,
            "{refused}"
        ),
    }
}

fn means_what_it_says(data: &[u8], notification: &Notification) {
    let value: serde_json::Value = serde_json::from_slice(data).expect("it was read as JSON");
    assert!(value["version"] == "4" || value["version"] == "1");
    let sent = value["alerts"].as_array().expect("alerts are a list");
    assert_eq!(sent.len(), notification.alerts.len());
    let (causes, ignored) = cause::causes(&notification.alerts, &CONFIG, &[], &DRIVERS);
    let firing = notification.alerts.iter();
    let firing = firing.filter(|alert| alert.status == AlertStatus::Firing);
    let firing: Vec<_> = firing.collect();
    assert!(ignored <= sent.len());
    // However many alerts there are, only runs of the configuration can start.
    assert!(causes.len() <= CONFIG.playbooks.0.len());
    for (cause, alerts) in &causes {
        assert_eq!(&*cause.driver, SERVED);
        let playbook = &CONFIG.playbooks.0[&cause.playbook];
        assert!(
            firing
                .iter()
                .any(|alert| playbook.is_asked_for_by(&alert.labels))
        );
        assert!(!alerts.is_empty() && alerts.len() <= firing.len().min(50));
        assert!(serde_json::to_string(alerts).expect("plain values").len() < 64 << 10);
        let name = existing_run::next_name(cause, None);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(name.len() <= 63 && name.chars().all(plain), "{name}");
    }
}
