//! The result of a test: what arrived where, and if nothing did, the most likely reason. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::alerts::TestAlerts;
use crate::alerts::test_alert::Arrival;
use crate::cli::alert_route::{Hook, hooks_of};
use crate::cli::check::State;
use crate::metrics::AlertSource;

/// Everything known about one test alert.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Its id.
    pub id: String,
    /// Time it was sent.
    pub sent: Timestamp,
    /// How long its arrival is waited for.
    pub timeout: Duration,
    /// The latest answer of each replica.
    pub replicas: BTreeMap<String, TestAlerts>,
    /// As Alertmanager lists it; `None` until it does.
    pub listed: Option<ListedAlert>,
    /// The configuration of Alertmanager, or why it could not be read.
    pub config: Result<String, String>,
    /// Whether the daemon polls Alertmanager within the timeout.
    pub is_polled: bool,
}

/// An alert in an answer of `/api/v2/alerts`, with only the fields that are read.
#[derive(Clone, Debug, Deserialize)]
pub struct ListedAlert {
    receivers: Vec<Receiver>,
    status: Status,
}

#[derive(Clone, Debug, Deserialize)]
struct Receiver {
    name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    state: AlertState,
    #[serde(default)]
    silenced_by: Vec<String>,
    #[serde(default)]
    inhibited_by: Vec<String>,
}

/// The states in Alertmanager's API.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum AlertState {
    Unprocessed,
    Active,
    Suppressed,
}

impl ListedAlert {
    /// Whether Alertmanager has not dispatched it yet: its state is not known.
    pub fn is_unprocessed(&self) -> bool {
        self.status.state == AlertState::Unprocessed
    }
}

/// The result, each with its section in `deploy/docs/test-alert.md`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestResult {
    /// The webhook received it.
    Received,
    /// Only a poll read it.
    OnlyPolled,
    /// It arrived, but the daemon refuses its labels.
    OtherCluster,
    /// Alertmanager does not list it.
    NotListed,
    /// A silence or another alert mutes it.
    Muted,
    /// No route leads to the webhook.
    NoRoute,
    /// The webhook refuses requests.
    Refused,
    /// No request arrived.
    NotDelivered,
}

impl TestResult {
    /// Every result.
    #[cfg(test)]
    pub const ALL: [Self; 8] = [
        Self::Received,
        Self::OnlyPolled,
        Self::OtherCluster,
        Self::NotListed,
        Self::Muted,
        Self::NoRoute,
        Self::Refused,
        Self::NotDelivered,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::OnlyPolled => "only-polled",
            Self::OtherCluster => "other-cluster",
            Self::NotListed => "not-listed",
            Self::Muted => "muted",
            Self::NoRoute => "no-route",
            Self::Refused => "refused",
            Self::NotDelivered => "not-delivered",
        }
    }

    /// Whether it counts as passed.
    pub fn state(self) -> State {
        match self {
            Self::Received => State::Pass,
            Self::OnlyPolled => State::Warn,
            Self::OtherCluster
            | Self::NotListed
            | Self::Muted
            | Self::NoRoute
            | Self::Refused
            | Self::NotDelivered => State::Fail,
        }
    }

    /// Where the documentation describes it.
    pub fn docs(self) -> String {
        format!("deploy/docs/test-alert.md#{}", self.as_str())
    }

    /// How to fix it; `None` if it passed.
    fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::Received => return None,
            Self::OnlyPolled => {
                "Runs begin at the next poll only. To begin within seconds, add the route and the receiver of \
                 alerts/alertmanager.yaml or deploy/examples/alertmanagerconfig.yaml."
            }
            Self::OtherCluster => {
                "Pass --config with the configuration of the daemon, or the labels of its cluster: --label cluster=NAME"
            }
            Self::NotListed => {
                "Check that --alertmanager is not one of several unconnected replicas, and the header of its tenant."
            }
            Self::Muted => "Expire the silence, or wait until the other alert is resolved.",
            Self::NoRoute => {
                "Add the route and the receiver of alerts/alertmanager.yaml or deploy/examples/alertmanagerconfig.yaml; the \
                 matcher must include LocksmithTest. If the operator adds a namespace matcher, pass --label namespace=NAME."
            }
            Self::Refused => {
                "401 and 403: Alertmanager must send a token that server.auth accepts. 503: no replica leads, or the API server \
                 fails."
            }
            Self::NotDelivered => {
                "Pass a --timeout longer than group_wait and group_interval of the route. Check the receiver's URL, the \
                 NetworkPolicy and the log of Alertmanager."
            }
        })
    }
}

/// A result and the facts behind it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The result.
    pub result: TestResult,
    /// The facts, in one line.
    pub found: String,
    /// How to fix it.
    pub hint: Option<&'static str>,
    /// The replica that received the alert first, and when.
    pub arrival: Option<(String, Arrival)>,
}

impl Observed {
    /// Names of the receivers that Alertmanager sends it to, once it lists it.
    pub fn receivers(&self) -> Option<BTreeSet<String>> {
        let listed = self.listed.as_ref()?;
        Some(listed.receivers.iter().map(|it| it.name.clone()).collect())
    }

    /// The verdict, once no later observation can change it; before that, waiting is worthwhile.
    pub fn settled(&self) -> Option<Verdict> {
        let verdict = self.verdict();
        match verdict.result {
            TestResult::Received | TestResult::OtherCluster | TestResult::Muted => Some(verdict),
            TestResult::NoRoute if !self.is_polled => Some(verdict),
            TestResult::OnlyPolled if !self.may_be_posted() => Some(verdict),
            _ => None,
        }
    }

    /// The verdict if nothing more happens.
    pub fn verdict(&self) -> Verdict {
        let arrivals: Vec<_> = self.arrivals().collect();
        let first = |via| arrivals.iter().find(|(_, it)| it.via == via && it.is_ours);
        let webhook = first(AlertSource::Webhook);
        let arrival = webhook.or_else(|| first(AlertSource::Poll));
        let (result, found) = match arrival {
            Some((replica, arrival)) => {
                let after = self.after(arrival.at);
                match arrival.via {
                    AlertSource::Webhook => (
                        TestResult::Received,
                        format!("by the webhook of {replica}, {after} after it was sent"),
                    ),
                    AlertSource::Poll => (
                        TestResult::OnlyPolled,
                        format!(
                            "by a poll of {replica}, {after} after it was sent, and by no webhook"
                        ),
                    ),
                }
            }
            None => self.missing(arrivals.first()),
        };
        Verdict {
            result,
            found,
            hint: result.hint(),
            arrival: arrival.map(|(replica, arrival)| ((*replica).to_owned(), (*arrival).clone())),
        }
    }

    /// Why nothing that counts has arrived; `foreign` is an arrival with labels that the daemon refuses.
    fn missing(&self, foreign: Option<&(&str, &Arrival)>) -> (TestResult, String) {
        if let Some((replica, _)) = foreign {
            let found =
                format!("by {replica}, whose alertmanager.require its labels do not satisfy");
            return (TestResult::OtherCluster, found);
        }
        let Some(listed) = &self.listed else {
            let found = "Alertmanager took the alert, and does not list it".to_owned();
            return (TestResult::NotListed, found);
        };
        if listed.status.state == AlertState::Suppressed {
            let Status {
                silenced_by,
                inhibited_by,
                ..
            } = &listed.status;
            let by: Vec<_> = silenced_by.iter().chain(inhibited_by).cloned().collect();
            let found = format!("silenced or inhibited by {}", by.join(", "));
            return (TestResult::Muted, found);
        }
        let receivers = self.receivers().unwrap_or_default();
        let receivers: Vec<_> = receivers.into_iter().collect();
        let receivers = receivers.join(", ");
        if !self.may_be_posted() {
            let found = format!("sent to {receivers}, which has no webhook of locksmith");
            return (TestResult::NoRoute, found);
        }
        let replicas = self.replicas.values();
        let refusals = replicas.filter_map(|replica| replica.last_refusal.as_ref());
        let since = refusals.filter(|refusal| refusal.at >= self.sent);
        if let Some(refusal) = since.max_by_key(|refusal| refusal.at) {
            let found = format!("the webhook answered {} to a request", refusal.status);
            return (TestResult::Refused, found);
        }
        let within = humantime::format_duration(self.timeout);
        let found = format!("sent to {receivers}, and not received within {within}");
        (TestResult::NotDelivered, found)
    }

    /// Whether Alertmanager may post it to the daemon, as far as its configuration is known.
    fn may_be_posted(&self) -> bool {
        let (Some(receivers), Ok(config)) = (self.receivers(), &self.config) else {
            return true;
        };
        // A configuration that cannot be parsed proves nothing.
        hooks_of(config, &receivers).map_or(true, |hooks| {
            hooks.iter().any(|hook| hook.is_ours() || is_hidden(hook))
        })
    }

    /// The arrivals of this alert, earliest first, each with its replica.
    fn arrivals(&self) -> impl Iterator<Item = (&str, &Arrival)> {
        let replicas = self.replicas.values();
        let mut arrivals: Vec<_> = replicas
            .flat_map(|replica| {
                let ours = replica.arrivals.iter().filter(|it| it.id == self.id);
                ours.map(|arrival| (&*replica.replica, arrival))
            })
            .collect();
        arrivals.sort_by_key(|(_, arrival)| arrival.at);
        arrivals.into_iter()
    }

    fn after(&self, at: Timestamp) -> String {
        format!(
            "{:.1}s",
            at.duration_since(self.sent).as_secs_f64().max(0.0)
        )
    }
}

/// Whether Alertmanager hides the URL of the webhook, which may be the daemon's under any name.
fn is_hidden(hook: &Hook) -> bool {
    hook.url.is_none()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use AlertSource::{Poll, Webhook};

    use super::*;
    use crate::alerts::test_alert::Refusal;
    use crate::config::Mode;

    const ID: &str = "00000000000000ab";
    const CONFIG: &str = include_str!("../../../alerts/alertmanager.yaml");
    const PAGE: &str = include_str!("../../../deploy/docs/test-alert.md");

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn listed(state: &str, receivers: &[&str]) -> ListedAlert {
        let receivers: Vec<_> = receivers.iter().map(|name| json!({"name": name})).collect();
        let status = json!({"state": state, "silencedBy": ["s1"], "inhibitedBy": []});
        serde_json::from_value(json!({"receivers": receivers, "status": status})).unwrap()
    }

    /// Sent, routed to the webhook, and not yet received.
    fn waiting() -> Observed {
        Observed {
            id: ID.to_owned(),
            sent: at(0),
            timeout: Duration::from_secs(120),
            replicas: BTreeMap::new(),
            listed: Some(listed("active", &["locksmith-home", "nobody"])),
            config: Ok(CONFIG.to_owned()),
            is_polled: false,
        }
    }

    fn replica(
        arrivals: &[(&str, AlertSource, i64, bool)],
        refusal: Option<(u16, i64)>,
    ) -> TestAlerts {
        let arrivals = arrivals.iter().map(|(id, via, second, is_ours)| Arrival {
            id: (*id).to_owned(),
            via: *via,
            at: at(*second),
            is_ours: *is_ours,
        });
        TestAlerts {
            replica: "locksmith-0".to_owned(),
            mode: Mode::Act,
            leads: true,
            arrivals: arrivals.collect(),
            last_refusal: refusal.map(|(status, second)| Refusal {
                status,
                at: at(second),
            }),
        }
    }

    fn answered(replica: TestAlerts) -> Observed {
        Observed {
            replicas: [(replica.replica.clone(), replica)].into(),
            ..waiting()
        }
    }

    #[rstest]
    #[case::webhook_after_poll(
        answered(replica(&[(ID, Poll, 2, true), (ID, Webhook, 11, true)], None)),
        TestResult::Received, true, "by the webhook of locksmith-0, 11.0s after it was sent"
    )]
    #[case::another_test(
        answered(replica(&[("00000000000000cd", Webhook, 1, true)], None)),
        TestResult::NotDelivered, false, "sent to locksmith-home, nobody, and not received within 2m"
    )]
    #[case::poll_alone(
        answered(replica(&[(ID, Poll, 2, true)], None)),
        TestResult::OnlyPolled, false, "by a poll of locksmith-0"
    )]
    #[case::other_cluster(
        answered(replica(&[(ID, Webhook, 2, false)], None)),
        TestResult::OtherCluster, true, "alertmanager.require"
    )]
    #[case::refused(
        answered(replica(&[], Some((401, 10)))), TestResult::Refused, false, "answered 401"
    )]
    #[case::refused_before(
        answered(replica(&[], Some((401, -10)))), TestResult::NotDelivered, false, "not received"
    )]
    #[case::muted(
        Observed { listed: Some(listed("suppressed", &["locksmith-home"])), ..waiting() },
        TestResult::Muted, true, "by s1"
    )]
    #[case::no_route(
        Observed { listed: Some(listed("active", &["nobody"])), ..waiting() },
        TestResult::NoRoute, true, "sent to nobody"
    )]
    #[case::no_route_but_polled(
        Observed { listed: Some(listed("active", &["nobody"])), is_polled: true, ..waiting() },
        TestResult::NoRoute, false, "sent to nobody"
    )]
    #[case::unknown_configuration(
        Observed { listed: Some(listed("active", &["x"])), config: Err(String::new()), ..waiting() },
        TestResult::NotDelivered, false, "sent to x"
    )]
    #[case::unreadable_configuration(
        Observed { listed: Some(listed("active", &["x"])), config: Ok("a: [".to_owned()), ..waiting() },
        TestResult::NotDelivered, false, "sent to x"
    )]
    #[case::not_listed(
        Observed { listed: None, ..waiting() }, TestResult::NotListed, false, "does not list it"
    )]
    fn verdict_names_the_most_likely_reason(
        #[case] observed: Observed,
        #[case] result: TestResult,
        #[case] settled: bool,
        #[case] found: &str,
    ) {
        let verdict = observed.verdict();
        assert_eq!(verdict.result, result, "{verdict:?}");
        assert!(verdict.found.contains(found), "{verdict:?}");
        assert_eq!(observed.settled().is_some(), settled, "{verdict:?}");
    }

    #[test]
    fn every_result_is_documented() {
        for result in TestResult::ALL {
            let heading = format!("## {}", result.as_str());
            let there = PAGE.lines().any(|line| line == heading);
            assert!(there, "{heading}");
            assert_eq!(serde_json::to_value(result).unwrap(), result.as_str());
        }
    }
}
