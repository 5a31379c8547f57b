//! The receivers of an alert in Alertmanager's configuration. Pure.
//!
//! Only the name of the alert is known. A matcher on another label may match or not: such a route counts as taken, and so do the
//! ones after it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::config::Matcher;

/// Path of the daemon's webhook.
const WEBHOOK: &str = "/webhook";

/// Replaces a URL that Alertmanager hides.
const HIDDEN: &str = "<secret>";

/// A webhook that an alert may be sent to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hook {
    /// Name of its receiver.
    pub receiver: String,
    /// Its URL; `None` if Alertmanager hides it.
    pub url: Option<String>,
}

impl Hook {
    /// Whether it is the daemon's: by its path, else by its receiver's name.
    pub fn is_ours(&self) -> bool {
        match &self.url {
            Some(url) => {
                let url = reqwest::Url::parse(url);
                url.is_ok_and(|url| url.path().ends_with(WEBHOOK))
            }
            None => self.receiver.contains("locksmith"),
        }
    }
}

/// The webhooks that an alert with this name may be sent to; an error if the configuration cannot be parsed.
pub fn hooks(config: &str, alert: &str) -> Result<Vec<Hook>, String> {
    let config = parse(config)?;
    let mut names = BTreeSet::new();
    walk(&config["route"], "", alert, &mut names);
    Ok(webhooks(&config, &names))
}

/// The webhooks of these receivers; an error if the configuration cannot be parsed.
pub fn hooks_of(config: &str, receivers: &BTreeSet<String>) -> Result<Vec<Hook>, String> {
    Ok(webhooks(&parse(config)?, receivers))
}

fn parse(config: &str) -> Result<Value, String> {
    serde_saphyr::from_str(config).map_err(|error| error.to_string())
}

fn webhooks(config: &Value, names: &BTreeSet<String>) -> Vec<Hook> {
    let receivers = config["receivers"].as_array().into_iter().flatten();
    let reached = receivers.filter_map(|receiver| {
        let name = receiver["name"].as_str()?;
        names.contains(name).then_some((name, receiver))
    });
    let mut hooks = Vec::new();
    for (name, receiver) in reached {
        let webhooks = receiver["webhook_configs"].as_array().into_iter().flatten();
        hooks.extend(webhooks.map(|hook| {
            Hook {
                receiver: name.to_owned(),
                url: hook["url"]
                    .as_str()
                    .filter(|url| *url != HIDDEN)
                    .map(ToOwned::to_owned),
            }
        }));
    }
    hooks
}

/// Whether a route takes an alert.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hit {
    No,
    Maybe,
    Yes,
}

/// Adds the receivers of `route`, as Alertmanager's `Route.Match` does. `inherited` is the receiver of the parent route.
fn walk(route: &Value, inherited: &str, alert: &str, receivers: &mut BTreeSet<String>) -> Hit {
    let hit = matches(route, alert);
    if hit == Hit::No {
        return hit;
    }
    let receiver = route["receiver"].as_str().unwrap_or(inherited);
    let mut taken = false;
    for child in route["routes"].as_array().into_iter().flatten() {
        let below = walk(child, receiver, alert, receivers);
        taken |= below == Hit::Yes;
        if below == Hit::Yes && child["continue"] != true {
            break;
        }
    }
    if !taken {
        receivers.insert(receiver.to_owned());
    }
    hit
}

/// Whether an alert with this name satisfies the matchers of `route`.
fn matches(route: &Value, alert: &str) -> Hit {
    let labels = [("alertname".to_owned(), alert.to_owned())].into();
    let mut hit = Hit::Yes;
    for text in matchers(route) {
        match text.parse::<Matcher>() {
            Ok(matcher) if matcher.label() == "alertname" => {
                if !matcher.matches(&labels) {
                    return Hit::No;
                }
            }
            _ => hit = Hit::Maybe,
        }
    }
    hit
}

/// The matchers of `route` in the current notation, and in the older `match` and `match_re`.
fn matchers(route: &Value) -> Vec<String> {
    let texts = route["matchers"].as_array().into_iter().flatten();
    let mut all: Vec<_> = texts
        .filter_map(|text| text.as_str().map(ToOwned::to_owned))
        .collect();
    for (field, operator) in [("match", "="), ("match_re", "=~")] {
        let fields = route[field].as_object().into_iter().flatten();
        all.extend(fields.filter_map(|(name, value)| {
            let value = value.as_str()?;
            Some(format!("{name}{operator}{value}"))
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SHIPPED: &str = include_str!("../../alerts/alertmanager.yaml");

    fn receivers(config: &str, alert: &str) -> Vec<String> {
        let hooks = hooks(config, alert).unwrap();
        hooks.into_iter().map(|hook| hook.receiver).collect()
    }

    #[test]
    fn shipped_route_leads_every_starting_alert_to_the_webhook() {
        let hooks = hooks(SHIPPED, "LocksmithOperationLocked").unwrap();
        assert_eq!(hooks.len(), 1);
        assert!(hooks[0].is_ours(), "{hooks:?}");
        assert_eq!(receivers(SHIPPED, "LocksmithDown"), [""; 0]);
    }

    fn routed(routes: &str) -> String {
        format!(
            "route: {{receiver: pager, routes: [{routes}]}}\n\
             receivers:\n\
             - {{name: pager}}\n\
             - {{name: locksmith, webhook_configs: [{{url: 'http://locksmith.x:9797/webhook'}}]}}\n\
             - {{name: chat, webhook_configs: [{{url: 'https://chat.example/api/webhooks/1'}}]}}\n"
        )
    }

    #[rstest]
    #[case::by_name("{receiver: locksmith, matchers: ['alertname=\"LocksmithX\"']}", &["locksmith"])]
    #[case::older_notation("{receiver: locksmith, match: {alertname: LocksmithX}}", &["locksmith"])]
    #[case::older_regex("{receiver: locksmith, match_re: {alertname: 'Locksmith.*'}}", &["locksmith"])]
    #[case::another_label("{receiver: locksmith, matchers: ['cluster=\"home\"']}", &["locksmith"])]
    #[case::another_alert("{receiver: locksmith, matchers: ['alertname=\"Y\"']}", &[])]
    #[case::taken_before(
        "{receiver: chat, matchers: ['alertname=~\"Locksmith.+\"']}, {receiver: locksmith, matchers: ['alertname=\"LocksmithX\"']}",
        &["chat"]
    )]
    #[case::continued(
        "{receiver: chat, continue: true, matchers: ['alertname=~\"Locksmith.+\"']}, {receiver: locksmith}",
        &["locksmith", "chat"]
    )]
    #[case::inherited("{receiver: locksmith, routes: [{matchers: ['alertname=\"LocksmithX\"']}]}", &["locksmith"])]
    fn receivers_are_those_of_alertmanager(#[case] routes: &str, #[case] expected: &[&str]) {
        assert_eq!(receivers(&routed(routes), "LocksmithX"), expected);
    }

    #[rstest]
    #[case(Some("http://locksmith.volsync-locksmith:9797/webhook"), "x", true)]
    #[case(Some("https://home.example/locksmith/webhook"), "x", true)]
    #[case(Some("https://chat.example/api/webhooks/1"), "locksmith", false)]
    #[case::hidden(None, "volsync-locksmith/route/locksmith", true)]
    #[case::hidden_other(None, "chat", false)]
    fn webhook_is_known_by_path_or_name(
        #[case] url: Option<&str>,
        #[case] receiver: &str,
        #[case] ours: bool,
    ) {
        let hook = Hook {
            receiver: receiver.to_owned(),
            url: url.map(ToOwned::to_owned),
        };
        assert_eq!(hook.is_ours(), ours);
    }
}
