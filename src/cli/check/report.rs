//! The report: outcomes in, text or JSON out. Pure.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::catalog::{CheckId, Group};
use super::facts::{LogContainer, Observed};
use super::judge::{Outcome, State};
use crate::cli::FAILED;
use crate::text::humanize::{count, plain};

/// How a report is shown on a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// In ANSI colours.
    pub colour: bool,
    /// With symbols beyond ASCII.
    pub unicode: bool,
}

/// The whole report, as printed with `-o json`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Result of the worst check; `pass` if there is no other.
    state: State,
    /// Checks that passed.
    pass: usize,
    /// Checks that passed with a warning, or that could not be made.
    warn: usize,
    /// Checks that failed.
    fail: usize,
    /// Every check, in order.
    checks: Vec<Entry>,
    /// `drivers` and `provisionerNamespaces` for the configuration, as YAML; absent if no driver is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<String>,
    /// Whether the text shows them.
    #[serde(skip)]
    shows_configuration: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: CheckId,
    group: Group,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    state: State,
    found: String,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    docs: String,
}

impl Entry {
    fn of(outcome: &Outcome) -> Self {
        Self {
            id: outcome.id,
            group: outcome.group(),
            subject: outcome.subject.clone(),
            state: outcome.state,
            found: plain(&outcome.found),
            reason: outcome.id.reason(),
            hint: outcome.fix().map(ToOwned::to_owned),
            docs: outcome.id.docs(),
        }
    }
}

/// Checks about what the block of the configuration is for.
const CONFIGURED: [CheckId; 5] = [
    CheckId::DriversWatched,
    CheckId::DriversConfigured,
    CheckId::Namespaces,
    CheckId::Provisioner,
    CheckId::Log,
];

impl Report {
    /// The report of `outcomes`. `before_install`, the text has the block for the configuration in any case.
    pub fn of(outcomes: &[Outcome], observed: Option<&Observed>, before_install: bool) -> Self {
        let of_state = |state| outcomes.iter().filter(|it| it.state == state).count();
        let configured = |it: &Outcome| it.state != State::Pass && CONFIGURED.contains(&it.id);
        Self {
            state: outcomes
                .iter()
                .map(|it| it.state)
                .max()
                .unwrap_or(State::Fail),
            pass: of_state(State::Pass),
            warn: of_state(State::Warn),
            fail: of_state(State::Fail),
            checks: outcomes.iter().map(Entry::of).collect(),
            configuration: observed.and_then(configuration),
            shows_configuration: before_install || outcomes.iter().any(configured),
        }
    }

    /// 0 if all pass, 1 if there are only warnings, else 2.
    pub fn exit_code(&self) -> u8 {
        match self.state {
            State::Pass => 0,
            State::Warn => 1,
            State::Fail => FAILED,
        }
    }

    /// The report for a terminal.
    pub fn text(&self, look: Look) -> String {
        let mut page = Page {
            text: String::new(),
            look,
        };
        let mut group = None;
        for entry in &self.checks {
            if group.replace(entry.group) != Some(entry.group) {
                let gap = if page.text.is_empty() { "" } else { "\n" };
                page.text.push_str(gap);
                page.line(Style::new().bold(), entry.group.title());
            }
            page.entry(entry);
        }
        if let Some(configuration) = self
            .configuration
            .as_ref()
            .filter(|_| self.shows_configuration)
        {
            page.line(Style::new(), "\nFor the configuration:\n");
            for line in configuration.lines() {
                page.line(Style::new(), &format!("    {line}"));
            }
        }
        let total = format!(
            "\n{} passed, {}, {} failed",
            self.pass,
            count(self.warn, "warning"),
            self.fail
        );
        page.line(style(self.state).bold(), &total);
        page.text
    }
}

fn style(state: State) -> Style {
    let colour = match state {
        State::Pass => AnsiColor::Green,
        State::Warn => AnsiColor::Yellow,
        State::Fail => AnsiColor::Red,
    };
    colour.on_default()
}

/// As `linkerd check` has them, or in ASCII.
fn symbol(state: State, unicode: bool) -> &'static str {
    match (state, unicode) {
        (State::Pass, true) => "✔",
        (State::Warn, true) => "‼",
        (State::Fail, true) => "×",
        (State::Pass, false) => "[ok]",
        (State::Warn, false) => "[!!]",
        (State::Fail, false) => "[xx]",
    }
}

/// The text so far.
struct Page {
    text: String,
    look: Look,
}

impl Page {
    fn entry(&mut self, entry: &Entry) {
        let symbol = symbol(entry.state, self.look.unicode);
        let name = entry.id.as_str();
        let subject = entry.subject.as_ref();
        let subject = subject.map_or(String::new(), |it| format!(" of {}", plain(it)));
        let line = format!("{symbol} {name}{subject}: {}", entry.found);
        self.line(style(entry.state), &line);
        if let Some(hint) = &entry.hint {
            for text in [entry.reason, hint.as_str(), &format!("see {}", entry.docs)] {
                self.line(Style::new(), &format!("    {text}"));
            }
        }
    }

    fn line(&mut self, style: Style, line: &str) {
        let style = if self.look.colour {
            style
        } else {
            Style::new()
        };
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{style}{line}{style:#}");
    }
}

/// `drivers` with every driver that a class names, and `provisionerNamespaces` with every namespace in which their leases are held
/// or their provisioner was found.
fn configuration(observed: &Observed) -> Option<String> {
    let used: Vec<_> = observed
        .drivers
        .iter()
        .filter(|it| it.has_class())
        .collect();
    if used.is_empty() {
        return None;
    }
    let mut text = "drivers:\n".to_owned();
    for driver in &used {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  - name: {}", plain(&driver.name));
        let _ = match &driver.container {
            LogContainer::Named(container) => writeln!(text, "    container: {}", plain(container)),
            LogContainer::TakesNoLocks => Ok(()),
            LogContainer::Unknown => {
                writeln!(
                    text,
                    "    # container: the one whose log shows operation locks"
                )
            }
        };
    }
    let leased = used.iter().flat_map(|driver| &driver.leased_in);
    let found = used
        .iter()
        .filter_map(|driver| driver.provisioner.as_ref().ok());
    let mut namespaces: Vec<_> = leased
        .chain(found.map(|found| &found.namespace))
        .map(|namespace| plain(namespace))
        .collect();
    namespaces.sort();
    namespaces.dedup();
    if !namespaces.is_empty() {
        let _ = writeln!(
            text,
            "# Rights are granted in each; a Lease alone may be anybody's."
        );
        let _ = writeln!(text, "provisionerNamespaces: [{}]", namespaces.join(", "));
    }
    Some(text)
}
