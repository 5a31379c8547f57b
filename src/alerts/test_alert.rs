//! Test alerts of `locksmith test-alert`. They start no run; only their arrival is recorded.
//!
//! The id in their label lets the command recognise its own alert. Anybody who may post to the webhook can send test alerts, so
//! the record is bounded, and an id has a fixed form.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::payload::{Alert, AlertStatus};
use crate::config::{Alertmanager, Mode};
use crate::metrics::AlertSource;

/// Name of test alerts.
pub const ALERTNAME: &str = "LocksmithTest";

/// Label with the id of a test alert: 16 hexadecimal digits.
pub const ID_LABEL: &str = "test_id";

/// Number of arrivals that are kept.
const MAX_ARRIVALS: usize = 16;

/// Whether this is a test alert.
pub(super) fn is_test(alert: &Alert) -> bool {
    alert
        .labels
        .get("alertname")
        .is_some_and(|name| name == ALERTNAME)
}

/// The arrival of a test alert.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrival {
    /// Value of its label `test_id`.
    pub id: String,
    /// The way it arrived.
    pub via: AlertSource,
    /// Time it first arrived in this way.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Whether its labels satisfy `alertmanager.require`, as those of an alert that starts a run must.
    pub is_ours: bool,
}

/// A request to the webhook that was refused.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// HTTP status of the response.
    pub status: u16,
    /// Time of the response.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// The test alerts that one replica has received, as in `/api/v1/test-alerts`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TestAlerts {
    /// Identity of the replica.
    pub replica: String,
    /// Its mode.
    pub mode: Mode,
    /// Whether it leads. In the modes plan and act, only the leader accepts alerts.
    pub leads: bool,
    /// The latest arrivals since the process started, oldest first.
    pub arrivals: Vec<Arrival>,
    /// The last request to the webhook that was refused.
    pub last_refusal: Option<Refusal>,
}

/// Records arrivals. Clones share the record.
#[derive(Clone, Debug)]
pub struct TestAlertLog {
    alertmanager: Arc<Alertmanager>,
    record: Arc<Mutex<Record>>,
}

#[derive(Debug, Default)]
struct Record {
    arrivals: VecDeque<Arrival>,
    last_refusal: Option<Refusal>,
}

impl TestAlertLog {
    /// An empty record, which applies the matchers of `alertmanager`.
    pub fn new(alertmanager: &Alertmanager) -> Self {
        Self {
            alertmanager: Arc::new(alertmanager.clone()),
            record: Arc::default(),
        }
    }

    /// The arrivals in a notification that is accepted at `at`. Resolved alerts and other ids are ignored.
    pub fn arrivals(&self, alerts: &[Alert], via: AlertSource, at: Timestamp) -> Vec<Arrival> {
        let tests = alerts
            .iter()
            .filter(|alert| is_test(alert) && alert.status == AlertStatus::Firing);
        let arrivals = tests.filter_map(|alert| {
            let id = alert.labels.get(ID_LABEL).filter(|id| is_id(id))?.clone();
            let is_ours = self.alertmanager.is_ours(&alert.labels);
            Some(Arrival {
                id,
                via,
                at,
                is_ours,
            })
        });
        arrivals.collect()
    }

    /// Records arrivals. Alertmanager repeats alerts, so only the first arrival of each way counts.
    pub fn record(&self, arrivals: Vec<Arrival>) {
        let mut record = self.lock();
        for arrival in arrivals {
            let same = |known: &Arrival| known.id == arrival.id && known.via == arrival.via;
            if record.arrivals.iter().any(same) {
                continue;
            }
            if record.arrivals.len() == MAX_ARRIVALS {
                record.arrivals.pop_front();
            }
            record.arrivals.push_back(arrival);
        }
    }

    /// Records a refused request to the webhook.
    pub fn record_refusal(&self, status: u16, at: Timestamp) {
        self.lock().last_refusal = Some(Refusal { status, at });
    }

    /// The record of a replica.
    pub fn report(&self, replica: &str, mode: Mode, leads: bool) -> TestAlerts {
        let record = self.lock();
        TestAlerts {
            replica: replica.to_owned(),
            mode,
            leads,
            arrivals: record.arrivals.iter().cloned().collect(),
            last_refusal: record.last_refusal.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this is an id as the command makes them.
fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(require: &[&str]) -> TestAlertLog {
        TestAlertLog::new(&Alertmanager {
            require: require.iter().map(|it| it.parse().unwrap()).collect(),
            ..Alertmanager::default()
        })
    }

    fn alert(name: &str, id: &str, status: AlertStatus) -> Alert {
        let labels = [("alertname", name), (ID_LABEL, id), ("cluster", "home")];
        Alert {
            status,
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            starts_at: at(0),
            fingerprint: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn id(number: usize) -> String {
        format!("{number:016x}")
    }

    #[test]
    fn only_firing_test_alerts_with_an_id_are_arrivals() {
        let (firing, id) = (AlertStatus::Firing, id(1));
        let alerts = [
            alert(ALERTNAME, &id, firing),
            alert(ALERTNAME, &id, AlertStatus::Resolved),
            alert(ALERTNAME, "<script>", firing),
            alert("LocksmithRestoreStuck", &id, firing),
        ];
        for (require, is_ours) in [(&[][..], true), (&["cluster=\"office\""], false)] {
            let arrivals = log(require).arrivals(&alerts, AlertSource::Webhook, at(5));
            let expected = Arrival {
                id: id.clone(),
                via: AlertSource::Webhook,
                at: at(5),
                is_ours,
            };
            assert_eq!(arrivals, [expected]);
        }
    }

    #[test]
    fn record_keeps_the_first_arrival_and_is_bounded() {
        let log = log(&[]);
        let arrive = |number, via, second| {
            let alerts = [alert(ALERTNAME, &id(number), AlertStatus::Firing)];
            log.record(log.arrivals(&alerts, via, at(second)));
        };
        arrive(0, AlertSource::Webhook, 1);
        arrive(0, AlertSource::Webhook, 2);
        arrive(0, AlertSource::Poll, 3);
        log.record_refusal(401, at(4));
        let report = log.report("locksmith-0", Mode::Act, true);
        let seen: Vec<_> = report.arrivals.iter().map(|it| (it.via, it.at)).collect();
        assert_eq!(
            seen,
            [(AlertSource::Webhook, at(1)), (AlertSource::Poll, at(3))]
        );
        assert_eq!(report.last_refusal.unwrap().status, 401);

        (0..100).for_each(|number| arrive(number, AlertSource::Webhook, 9));
        let kept = log.report("locksmith-0", Mode::Act, true).arrivals;
        assert_eq!(kept.len(), MAX_ARRIVALS);
        assert_eq!(kept.last().unwrap().id, id(99));
    }
}
