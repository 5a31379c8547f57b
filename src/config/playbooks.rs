//! Playbooks: their steps, and the alerts that start them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::api::StepName;

/// Playbooks by name.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Playbooks(pub BTreeMap<String, Playbook>);

/// Steps, and the alerts that start them.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Playbook {
    /// Lines of matchers. An alert starts the playbook if its labels match all matchers of one line.
    #[schemars(inner(length(min = 1)))]
    pub alerts: Vec<Vec<Matcher>>,
    /// Steps in the order they run.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub steps: Vec<StepName>,
    /// Maximum number of attempts; another one starts if locks are found after the verification.
    #[serde(default = "Playbook::default_attempts")]
    #[schemars(range(min = 1))]
    pub attempts: u32,
    /// Whether a person must approve each plan.
    #[serde(default)]
    pub approval: bool,
}

impl Playbook {
    fn default_attempts() -> u32 {
        2
    }

    /// Whether a run of this playbook does everything that one of `other` would do, and requires no additional approval.
    pub fn covers(&self, other: &Self) -> bool {
        other.steps.iter().all(|step| self.steps.contains(step))
            && (other.approval || !self.approval)
    }

    /// Whether an alert with these labels starts this playbook.
    pub fn is_asked_for_by(&self, labels: &BTreeMap<String, String>) -> bool {
        self.alerts
            .iter()
            .any(|all| all.iter().all(|matcher| matcher.matches(labels)))
    }
}

impl Playbooks {
    /// Whether a run of playbook `one` does everything that one of `other` would do. A playbook covers itself.
    pub fn covers(&self, one: &str, other: &str) -> bool {
        one == other
            || matches!((self.0.get(one), self.0.get(other)), (Some(one), Some(other)) if one.covers(other))
    }
}

impl Default for Playbooks {
    fn default() -> Self {
        let on = |alerts: &[&str]| {
            alerts
                .iter()
                .map(|name| vec![Matcher::equal("alertname", name)])
                .collect()
        };
        let locks = Playbook {
            alerts: on(&["LocksmithOperationLocked", "LocksmithRestoreStuck"]),
            steps: vec![
                StepName::SuspendSources,
                StepName::RestartProvisioner,
                StepName::DeleteFailedSnapshots,
                StepName::VerifyProvisioning,
                StepName::ResumeSources,
            ],
            attempts: Playbook::default_attempts(),
            approval: false,
        };
        let snapshots = Playbook {
            alerts: on(&["LocksmithSnapshotFailed"]),
            steps: vec![
                StepName::SuspendSources,
                StepName::DeleteFailedSnapshots,
                StepName::ResumeSources,
            ],
            attempts: 1,
            approval: false,
        };
        let orphans = Playbook {
            alerts: on(&["LocksmithSourceOrphaned"]),
            steps: vec![StepName::DeleteOrphanedSources],
            attempts: 1,
            approval: true,
        };
        let named = [
            ("csi-operation-locks", locks),
            ("failed-snapshots", snapshots),
            ("orphaned-sources", orphans),
        ];
        Self(
            named
                .map(|(name, playbook)| (name.to_owned(), playbook))
                .into(),
        )
    }
}

/// A label matcher in Alertmanager's notation: `name="value"`, `!=`, `=~`, `!~`.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    value: String,
    negated: bool,
    /// Anchored at both ends, as in Alertmanager.
    regex: Option<Regex>,
}

impl Matcher {
    /// Parses `name="value"`.
    pub fn equal(name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
            negated: false,
            regex: None,
        }
    }

    /// Name of its label.
    pub fn label(&self) -> &str {
        &self.name
    }

    /// The value that it requires, if there is only one.
    pub fn value(&self) -> Option<&str> {
        (!self.negated && self.regex.is_none()).then_some(&self.value)
    }

    /// Whether it matches the labels; an absent label counts as empty.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.name).map_or("", String::as_str);
        let hit = self
            .regex
            .as_ref()
            .map_or(self.value == value, |regex| regex.is_match(value));
        hit != self.negated
    }
}

impl std::str::FromStr for Matcher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault =
            || format!("{text:?} is not a matcher such as alertname=\"X\" or namespace=~\"a|b\"");
        let at = text.find(['=', '!']).ok_or_else(fault)?;
        let (name, rest) = text.split_at(at);
        let (operator, value) = ["=~", "!~", "!=", "="]
            .into_iter()
            .find_map(|operator| Some((operator, rest.strip_prefix(operator)?)))
            .ok_or_else(fault)?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(fault());
        }
        let value = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted).ok_or_else(fault)?,
            None => value.to_owned(),
        };
        let regex = operator
            .ends_with('~')
            .then(|| Regex::new(&format!("^(?:{value})$")))
            .transpose()
            .map_err(|error| format!("{text:?} has an invalid regular expression: {error}"))?;
        Ok(Self {
            name: name.to_owned(),
            value,
            negated: operator.starts_with('!'),
            regex,
        })
    }
}

/// The quoted text after its opening quote. As in Alertmanager, `\"`, `\\` and `\n` are one character each.
fn unquote(text: &str) -> Option<String> {
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(value),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                escaped @ ('"' | '\\') => value.push(escaped),
                // An escape of a regular expression, such as \d.
                other => value.extend(['\\', other]),
            },
            plain => value.push(plain),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match (self.negated, self.regex.is_some()) {
            (false, false) => "=",
            (true, false) => "!=",
            (false, true) => "=~",
            (true, true) => "!~",
        };
        let value = self.value.replace('\\', r"\\").replace('"', "\\\"");
        write!(
            f,
            "{}{operator}\"{}\"",
            self.name,
            value.replace('\n', r"\n")
        )
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Matcher {
    fn schema_name() -> Cow<'static, str> {
        "Matcher".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A label matcher in Alertmanager's notation.",
            "type": "string",
            "pattern": r#"^\s*[A-Za-z0-9_]+\s*(=|!=|=~|!~)\s*("([^"\\]|\\.)*"|([^"=~\s].*)?)\s*$"#,
            "examples": ["alertname=\"X\"", "namespace=~\"a|b\""],
        })
    }
}

impl Serialize for Matcher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("alertname=\"X\"", "X", true)]
    #[case("alertname=X", "X", true)]
    #[case("alertname!=\"X\"", "X", false)]
    #[case("alertname=~\"X|Y\"", "Y", true)]
    #[case("alertname=~\"X\"", "XY", false)]
    #[case("alertname!~\"X.*\"", "Y", true)]
    #[case("other=\"\"", "X", true)]
    #[case(r#"alertname="a \"b\" \\ c""#, r#"a "b" \ c"#, true)]
    #[case(r#"alertname=~"X\d""#, "X1", true)]
    fn matcher_agrees_with_alertmanager(
        #[case] matcher: Matcher,
        #[case] alertname: &str,
        #[case] hit: bool,
    ) {
        let labels = BTreeMap::from([("alertname".to_owned(), alertname.to_owned())]);
        assert_eq!(matcher.matches(&labels), hit);
        assert_eq!(matcher.to_string().parse::<Matcher>().unwrap(), matcher);
    }

    #[rstest]
    #[case("alertname")]
    #[case("=x")]
    #[case("a b=x")]
    #[case("a=~\"(\"")]
    #[case("a=\"x")]
    #[case("a=\"x\"y\"")]
    fn invalid_matcher_is_refused(#[case] text: &str) {
        assert!(
            text.parse::<Matcher>()
                .unwrap_err()
                .contains(&format!("{text:?}"))
        );
    }
}
