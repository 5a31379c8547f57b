//! Renders a [`View`] for a terminal: findings by kind, holds, unfinished runs, and a summary. Pure.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use super::super::cluster::GRANTED_BY;
use super::super::holds::ends;
use super::super::output::prose;
use super::super::table::{Column, Layout, wrapped};
use crate::api::remediation::StepProgress;
use crate::findings::storage;
use crate::findings::{Finding, FindingKind, FindingReason};
use crate::model::{Kind, WatchState};
use crate::state::view::{RunView, View};
use crate::text::humanize;

/// How a view is shown.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// With driver, class, cause and evidence.
    pub wide: bool,
    /// Maximum width of tables; `None` for any.
    pub width: Option<usize>,
    /// With headings and summary, and not only rows.
    pub headers: bool,
    /// In ANSI colours.
    pub colour: bool,
}

const TITLE: Style = Style::new().bold();
const HEADER: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
const GOOD: Style = AnsiColor::Green.on_default();

/// `view` as text, ages counted until `now`.
pub fn render(view: &View, now: Timestamp, look: Look) -> String {
    let mut page = Page {
        text: String::new(),
        look,
    };
    for kind in FindingKind::STUCK {
        let rows = view
            .stuck_of(kind)
            .into_iter()
            .map(|finding| stuck(finding, now, look.wide))
            .collect();
        page.section(kind.title(), stuck_columns(look.wide), rows);
    }
    if look.headers {
        forming_locks(view, now, &mut page);
    }
    page.section("Held (snapshots refused)", &HELD, held(view, now));
    page.section("Unfinished Remediations", &RUNS, runs(view, now));
    if look.headers {
        doubts(view, &mut page);
        total(view, now, &mut page);
    }
    page.text
}

/// The doubts of a view, for an output that has only rows or names; empty if everything was read.
pub fn doubts_text(view: &View, look: Look) -> String {
    let mut page = Page {
        text: String::new(),
        look,
    };
    doubts(view, &mut page);
    page.text.trim_end().to_owned()
}

/// The columns of a finding; those from the sixth on are only shown if wide.
const STUCK: [Column; 9] = [
    Column::Text("NAMESPACE"),
    Column::Text("OBJECT"),
    Column::Text("REASON"),
    Column::Number("AGE"),
    Column::Number("SIZE"),
    Column::Text("DRIVER"),
    Column::Text("CLASS"),
    Column::Text("CAUSE"),
    Column::Text("EVIDENCE"),
];
const NARROW: usize = 5;

fn stuck_columns(wide: bool) -> &'static [Column] {
    if wide {
        &STUCK
    } else {
        STUCK.split_at(NARROW).0
    }
}

fn stuck(finding: &Finding, now: Timestamp, wide: bool) -> Vec<String> {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let object = finding.object.as_ref();
    let cause = match &finding.what {
        FindingReason::OperationLock(key) => Some(humanize::plain(&key.0)),
        _ => finding.chain.last().map(humanize::object),
    };
    let mut cells = vec![
        or_dash(object.map(|object| &*object.namespace)),
        object.map_or_else(|| "-".to_owned(), humanize::object),
        finding.what.reason().replace('_', " "),
        age(finding, now),
        humanize::size(finding.bytes),
    ];
    if wide {
        cells.extend([
            or_dash(finding.driver.as_deref()),
            or_dash(finding.class.as_deref()),
            or_dash(cause.as_deref()),
            or_dash(
                finding
                    .evidence
                    .first()
                    .map(|seen| humanize::plain(seen))
                    .as_deref(),
            ),
        ]);
    }
    cells
}

/// The time for which it has been stuck; `-` if this command cannot know it, since it has just begun to watch.
fn age(finding: &Finding, now: Timestamp) -> String {
    if finding.began_unseen() {
        "-".to_owned()
    } else {
        humanize::span(finding.since, now)
    }
}

const HELD: [Column; 5] = [
    Column::Text("NAMESPACE"),
    Column::Text("OBJECT"),
    Column::Number("AGE"),
    Column::Text("ENDS"),
    Column::Text("BY"),
];

fn held(view: &View, now: Timestamp) -> Vec<Vec<String>> {
    let rows = view.holds.iter().map(|hold| {
        let reason = hold.reason.as_ref();
        let by = reason.map_or_else(
            || hold.by.to_string(),
            |reason| format!("{}: {reason}", hold.by),
        );
        vec![
            hold.object.namespace.to_string(),
            humanize::object(&hold.object),
            humanize::span(hold.since, now),
            ends(hold.until, now),
            humanize::plain(&by),
        ]
    });
    rows.collect()
}

const RUNS: [Column; 4] = [
    Column::Text("NAME"),
    Column::Text("STEP"),
    Column::Number("AGE"),
    Column::Text("MESSAGE"),
];

fn runs(view: &View, now: Timestamp) -> Vec<Vec<String>> {
    let unfinished = view.runs.iter().filter(|run| !run.phase.finished());
    unfinished
        .map(|run| {
            vec![
                run.name.to_string(),
                step(run),
                humanize::span(run.created, now),
                humanize::plain(&run.message),
            ]
        })
        .collect()
}

/// The phase, or the current step and its progress.
fn step(run: &RunView) -> String {
    let Some(step) = run.step else {
        return run.phase.as_str().to_owned();
    };
    let current = run.steps.last().and_then(|step| step.progress.as_ref());
    match current {
        Some(StepProgress { done, total, .. }) => format!("{} {done}/{total}", step.as_str()),
        None => step.as_str().to_owned(),
    }
}

fn forming_locks(view: &View, now: Timestamp, page: &mut Page) {
    for of in &view.forming_locks {
        let due = if of.due > now {
            format!("in {}", humanize::span(now, of.due))
        } else {
            "with its next refusal".to_owned()
        };
        let text = format!(
            "{} of {} may be forming: refused for {}, reported as stuck {due}",
            humanize::count(of.count, "operation lock"),
            of.driver,
            humanize::span(of.since, now),
        );
        for line in wrapped(&humanize::plain(&text), prose(page.look.width), "", "  ") {
            page.line(Style::new(), &line);
        }
        page.text.push('\n');
    }
}

fn doubts(view: &View, page: &mut Page) {
    let doubts: Vec<_> = view.freshness.unsynced().collect();
    if doubts.is_empty() && view.doubts.is_empty() && view.hold_problem().is_none() {
        return;
    }
    page.line(
        DOUBTFUL,
        "Not everything could be read; more may be stuck than is listed here:",
    );
    let refused = doubts
        .iter()
        .any(|(_, state)| matches!(state, WatchState::Refused(_)));
    for (kind, state) in doubts {
        let why = humanize::plain(state.problem().unwrap_or("no response yet"));
        page.line(Style::new(), &format!("  {}: {why}", kind.as_str()));
    }
    if refused {
        page.sentence(GRANTED_BY);
    }
    if let Some(why) = view.hold_problem() {
        let text = format!(
            "holds may not be in force: {why}; to reinstall the policy: locksmith crd -n NAMESPACE | kubectl apply --server-side -f -"
        );
        page.sentence(&humanize::plain(&text));
    }
    for doubt in &view.doubts {
        let text = format!("{}: {}", doubt.subject, doubt.message);
        page.sentence(&humanize::plain(&text));
    }
    page.text.push('\n');
}

fn total(view: &View, now: Timestamp, page: &mut Page) {
    let counts: Vec<_> = FindingKind::STUCK
        .into_iter()
        .map(|kind| (view.stuck_of(kind).len(), kind.noun()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, noun)| humanize::count(count, noun))
        .collect();
    let known = view.stuck().filter(|finding| !finding.began_unseen());
    let oldest = known.map(|finding| finding.since).min();
    if view.stuck().next().is_some() {
        let bytes = humanize::size(storage::bytes(&view.findings));
        let age = oldest.map_or_else(|| "-".to_owned(), |oldest| humanize::span(oldest, now));
        let counts = counts.join(", ");
        page.line(
            BAD,
            &format!("Stuck: {counts}; storage: {bytes}, oldest: {age}."),
        );
    } else if view.is_certain() {
        page.line(GOOD, "Nothing is stuck.");
    } else {
        page.line(DOUBTFUL, "Nothing stuck was found.");
    }
    checked(view, page);
}

/// The kinds that `checked` counts.
const COUNTED: [(Kind, &str); 4] = [
    (Kind::PersistentVolumeClaims, "claim"),
    (Kind::VolumeSnapshots, "snapshot"),
    (Kind::ReplicationSources, "source"),
    (Kind::ReplicationDestinations, "destination"),
];

/// Number of objects checked in the whole cluster, and the drivers.
fn checked(view: &View, page: &mut Page) {
    let counts = COUNTED.map(|(kind, noun)| {
        humanize::count(view.objects.get(&kind).copied().unwrap_or_default(), noun)
    });
    page.line(HEADER, &format!("Checked: {}", counts.join(", ")));
    let none = if view.drivers.is_empty() { " none" } else { "" };
    page.line(HEADER, &format!("CSI drivers:{none}"));
    for driver in &view.drivers {
        page.line(HEADER, &format!("  {}", humanize::plain(driver)));
    }
}

/// The text so far.
struct Page {
    text: String,
    look: Look,
}

impl Page {
    fn section(&mut self, title: &str, columns: &[Column], rows: Vec<Vec<String>>) {
        if rows.is_empty() {
            return;
        }
        let Look { width, headers, .. } = self.look;
        let lines = Layout { width, headers }.lines(columns, rows);
        if !headers {
            for line in &lines {
                self.line(Style::new(), line);
            }
            return;
        }
        self.line(TITLE, title);
        for (index, line) in lines.iter().enumerate() {
            self.line(if index == 0 { HEADER } else { Style::new() }, line);
        }
        self.text.push('\n');
    }

    /// An indented sentence, in several lines if it is long.
    fn sentence(&mut self, text: &str) {
        for line in wrapped(text, prose(self.look.width), "  ", "    ") {
            self.line(Style::new(), &line);
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
