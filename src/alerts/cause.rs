//! The runs that a notification requests: alerts in, a [`Cause`] each out. Pure.
//!
//! An alert is only a hint: the gates compare it with the findings.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::payload::{Alert, AlertStatus};
use super::recorded_alerts::{MAX_ALERTS, reference};
use super::test_alert::is_test;
use crate::api::SharedStr;
use crate::api::remediation::{AlertRef, RemediationSpec};
use crate::config::{Alertmanager, Config, Playbooks};
use crate::findings::Finding;
use crate::model::{Kind, Model};

/// The cause of a run: one playbook about one driver.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Cause {
    /// Playbook.
    pub playbook: String,
    /// CSI driver.
    pub driver: SharedStr,
}

impl Cause {
    /// Whether a run of this spec does everything that the cause requests.
    pub(super) fn is_served_by(&self, run: &RemediationSpec, playbooks: &Playbooks) -> bool {
        run.driver == self.driver && playbooks.covers(&run.playbook, &self.playbook)
    }
}

/// The alerts about this cluster, and how many are about another.
pub(super) fn ours(alerts: &[Alert], from: &Alertmanager) -> (Vec<Alert>, usize) {
    let ours = alerts.iter().filter(|alert| from.is_ours(&alert.labels));
    let ours: Vec<_> = ours.cloned().collect();
    let other_cluster = alerts.len() - ours.len();
    (ours, other_cluster)
}

/// The causes of `alerts`, each with its alerts, and the number of alerts without any.
///
/// The label `driver` of an alert names the driver it is about; without it, an alert is about every driver with something
/// stuck. Findings without a known driver (orphans on default classes) go to the first of `served`. A test alert has no cause,
/// whatever playbook matches it.
pub fn causes(
    alerts: &[Alert],
    config: &Config,
    findings: &[Finding],
    served: &BTreeSet<SharedStr>,
) -> (BTreeMap<Cause, Vec<AlertRef>>, usize) {
    let watched = || {
        served
            .iter()
            .filter(|driver| config.drivers.find(driver).is_some())
    };
    let stuck: BTreeSet<&SharedStr> = findings
        .iter()
        .filter(|finding| finding.what.is_stuck())
        .filter_map(|finding| finding.driver.as_ref().or_else(|| watched().next()))
        .collect();
    let mut causes: BTreeMap<Cause, Vec<AlertRef>> = BTreeMap::new();
    let mut ignored = 0;
    for alert in alerts {
        let asked: Vec<&String> = config
            .playbooks
            .0
            .iter()
            .filter(|(_, playbook)| {
                alert.status == AlertStatus::Firing
                    && !is_test(alert)
                    && playbook.is_asked_for_by(&alert.labels)
            })
            .map(|(name, _)| name)
            .collect();
        let named = alert.labels.get("driver").filter(|name| !name.is_empty());
        let drivers: Vec<SharedStr> = match named {
            // A forged driver name would start a run of its own.
            Some(name) => watched()
                .filter(|driver| ***driver == **name)
                .cloned()
                .collect(),
            None => stuck.iter().map(|driver| (*driver).clone()).collect(),
        };
        if asked.is_empty() || drivers.is_empty() {
            ignored += 1;
            continue;
        }
        for (playbook, driver) in asked
            .iter()
            .flat_map(|p| drivers.iter().map(move |d| (p, d)))
        {
            let cause = Cause {
                playbook: (*playbook).clone(),
                driver: driver.clone(),
            };
            let known = causes.entry(cause).or_default();
            if known.len() < MAX_ALERTS {
                let alert = reference(alert);
                if !known.contains(&alert) {
                    known.push(alert);
                }
            }
        }
    }
    (causes, ignored)
}

/// The drivers that have a StorageClass or VolumeSnapshotClass, or `None` until both have been listed.
pub(super) fn served(model: &Model) -> Option<BTreeSet<SharedStr>> {
    let seen = |kind| model.freshness.trusted(kind);
    if !seen(Kind::StorageClasses) || !seen(Kind::VolumeSnapshotClasses) {
        return None;
    }
    let classes = model.storage_classes.iter().map(|class| &class.provisioner);
    let snapshot_classes = model.snapshot_classes.iter().map(|class| &class.driver);
    Some(classes.chain(snapshot_classes).cloned().collect())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rstest::rstest;

    use super::*;
    use crate::config::Matcher;
    use crate::model::fixture::{DRIVER, UNWATCHED, at};

    fn firing(alertname: &str, driver: Option<&str>) -> Alert {
        let labels = [("alertname", Some(alertname)), ("driver", driver)];
        let labels = labels
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        Alert {
            status: AlertStatus::Firing,
            labels: labels.collect(),
            starts_at: at(-5),
            fingerprint: Some("f".to_owned()),
        }
    }

    #[rstest]
    #[case::known_driver(Some(DRIVER), &[DRIVER])]
    #[case::invented_driver(Some("x1.rbd.csi.ceph.com"), &[])]
    #[case::unwatched_driver(Some(UNWATCHED), &[])]
    #[case::without_driver(None, &[DRIVER])]
    #[case::empty_driver(Some(""), &[DRIVER])]
    fn alert_selects_drivers(#[case] driver: Option<&str>, #[case] about: &[&str]) {
        // The driver of an orphan on default classes is unknown.
        let orphan = Finding {
            what: crate::findings::FindingReason::OrphanedSource(
                crate::findings::SourceReason::ClaimMissing,
            ),
            object: None,
            since: at(-60),
            driver: None,
            class: None,
            bytes: 0,
            restores: None,
            chain: Vec::new(),
            evidence: Vec::new(),
        };
        let drivers = BTreeSet::from([DRIVER.into(), UNWATCHED.into()]);
        let alert = firing("LocksmithSourceOrphaned", driver);
        let (causes, ignored) = causes(&[alert], &Config::default(), &[orphan], &drivers);
        let found: Vec<_> = causes.keys().map(|cause| &*cause.driver).collect();
        assert_eq!(
            (found, ignored),
            (about.to_vec(), usize::from(about.is_empty()))
        );
    }

    #[test]
    fn test_alert_starts_nothing_whatever_matches_it() {
        let mut config = Config::default();
        for playbook in config.playbooks.0.values_mut() {
            playbook.alerts = vec![vec![r#"alertname=~"Locksmith.+""#.parse().unwrap()]];
        }
        let drivers = BTreeSet::from([DRIVER.into()]);
        let found = |name| {
            let (causes, ignored) = causes(&[firing(name, Some(DRIVER))], &config, &[], &drivers);
            (causes.len(), ignored)
        };
        assert_eq!(found("LocksmithTest"), (0, 1));
        assert_eq!(found("LocksmithTested"), (config.playbooks.0.len(), 0));
    }

    #[test]
    fn alert_is_ours_if_every_matcher_matches() {
        let alert = |labels: &[(&str, &str)]| Alert {
            status: AlertStatus::Firing,
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            starts_at: Timestamp::UNIX_EPOCH,
            fingerprint: None,
        };
        let home = alert(&[("cluster", "home"), ("tier", "prod")]);
        let lab = alert(&[("cluster", "home"), ("tier", "lab")]);
        let other = alert(&[("cluster", "office"), ("tier", "prod")]);
        let unnamed = alert(&[("tier", "prod")]);
        let all = [home.clone(), lab, other, unnamed];
        let require = |matchers: &[&str]| Alertmanager {
            require: matchers.iter().map(|text| text.parse().unwrap()).collect(),
            ..Alertmanager::default()
        };
        assert_eq!(ours(&all, &require(&[])), (all.to_vec(), 0));
        let of_home = require(&["cluster=\"home\"", "tier!=\"lab\""]);
        assert_eq!(ours(&all, &of_home), (vec![home], 3));
    }

    /// Attack: alerts without end, with names and fingerprints that fill a Remediation to the limit of etcd, so that its
    /// status cannot be recorded. Defence: both the size and the number of recorded alerts are limited.
    #[test]
    fn recorded_alerts_are_limited_in_size() {
        let alerts: Vec<_> = (0..5_000)
            .map(|n| {
                let mut alert = firing("LocksmithOperationLocked", Some(DRIVER));
                let name = format!("{n}{}", "ä".repeat(10_000));
                alert.labels.insert("alertname".to_owned(), name);
                alert.fingerprint = Some("f".repeat(10_000));
                alert
            })
            .collect();
        let mut config = Config::default();
        let all: Matcher = r#"alertname=~".*ä""#.parse().unwrap();
        for playbook in config.playbooks.0.values_mut() {
            playbook.alerts = vec![vec![Matcher::clone(&all)]];
        }
        let (causes, ignored) = causes(&alerts, &config, &[], &BTreeSet::from([DRIVER.into()]));
        assert_eq!((causes.len(), ignored), (config.playbooks.0.len(), 0));
        for alerts in causes.values() {
            let bytes = serde_json::to_string(alerts).unwrap().len();
            assert!(
                alerts.len() == MAX_ALERTS && bytes < 32 << 10,
                "{bytes} bytes"
            );
        }
    }

    /// Attack: alerts about invented drivers, each of which starts a Remediation whose failure counts for the circuit
    /// breaker. Defence: only drivers that a class of the cluster names are accepted.
    #[test]
    fn alert_about_an_invented_driver_starts_nothing() {
        let config = Config::default();
        let alerts = ["made-up.rbd.csi.ceph.com", DRIVER].map(|driver| Alert {
            status: AlertStatus::Firing,
            labels: [
                ("alertname", "LocksmithOperationLocked"),
                ("driver", driver),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            starts_at: at(-5),
            fingerprint: Some(driver.to_owned()),
        });
        let served = BTreeSet::from([DRIVER.into()]);
        let (causes, ignored) = causes(&alerts, &config, &[], &served);
        let drivers: Vec<_> = causes.keys().map(|cause| &*cause.driver).collect();
        assert_eq!((drivers, ignored), (vec![DRIVER], 1));
    }
}
