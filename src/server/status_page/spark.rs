//! Sparklines: how many objects of a kind were stuck over time, with runs as bands. Pure.

use jiff::Timestamp;
use maud::{Markup, html};

use super::time;
use crate::api::remediation::Phase;
use crate::findings::FindingKind;
use crate::state::history::History;
use crate::state::view::View;

/// Size of a sparkline before it is scaled.
const WIDTH: usize = 240;
const HEIGHT: usize = 28;

/// Most runs drawn as bands, latest first.
const MAX_BANDS: usize = 24;

/// The time that a sparkline covers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Range {
    /// Columns, of which the width is a multiple: more would cost more bytes than anybody sees.
    columns: usize,
    /// Minutes of each column.
    minutes: usize,
    label: &'static str,
}

/// From a young process's history to the whole day.
const RANGES: [Range; 4] = [
    Range {
        columns: 30,
        minutes: 1,
        label: "30 minutes",
    },
    Range {
        columns: 120,
        minutes: 1,
        label: "2 hours",
    },
    Range {
        columns: 120,
        minutes: 3,
        label: "6 hours",
    },
    Range {
        columns: 120,
        minutes: 12,
        label: "24 hours",
    },
];

impl Range {
    /// The shortest one that covers the whole history.
    pub fn of(history: &History, now: Timestamp) -> Self {
        let age = history
            .since()
            .map_or(0, |since| now.duration_since(since).as_mins());
        let covers = |range: &Range| usize::try_from(age).is_ok_and(|it| it < range.total());
        RANGES
            .into_iter()
            .find(covers)
            .unwrap_or(RANGES[RANGES.len() - 1])
    }

    fn total(self) -> usize {
        self.minutes * self.columns
    }

    fn column_width(self) -> usize {
        WIDTH / self.columns
    }
}

/// A sparkline, with its highest count as text.
pub(super) fn spark(
    kind: FindingKind,
    history: &History,
    range: Range,
    view: &View,
    now: Timestamp,
) -> Markup {
    let columns = history.columns(kind, range.columns, range.minutes, now);
    let counted = columns.iter().flatten().max().copied();
    let highest = counted.unwrap_or(0);
    let text = match counted {
        Some(highest) => format!("at most {highest}"),
        None => "not known".to_owned(),
    };
    let label = format!("{}s stuck in the last {}", kind.noun(), range.label);
    let view_box = format!("0 0 {WIDTH} {HEIGHT}");
    html! {
        svg.spark viewBox=(view_box) preserveAspectRatio="none" role="img" aria-label=(format!("{label}: {text}")) {
            @for (x, width, failed) in bands(view, range, now) {
                rect.band.failed[failed] x=(x) y="0" width=(width) height=(HEIGHT) {}
            }
            path.axis d=(format!("M0 {}H{WIDTH}", HEIGHT - 1)) {}
            path.counts d=(path(&columns, range.column_width(), highest)) {}
        }
        small { (text) }
    }
}

/// The outline of a step chart; a gap where nothing was observed.
fn path(columns: &[Option<u32>], column_width: usize, highest: u32) -> String {
    let y = |count: u32| {
        let top = u64::from(highest.max(1));
        let height = u64::from(count) * (HEIGHT as u64 - 3) / top;
        HEIGHT as u64 - 1 - height
    };
    let base = HEIGHT - 1;
    let mut path = String::new();
    let mut last = None;
    for (column, count) in columns.iter().copied().chain([None]).enumerate() {
        if count == last {
            continue;
        }
        let x = column * column_width;
        let part = match (last, count) {
            (None, Some(count)) => format!("M{x} {base}V{}", y(count)),
            (Some(_), Some(count)) => format!("H{x}V{}", y(count)),
            (_, None) => format!("H{x}V{base}z"),
        };
        path += &part;
        last = count;
    }
    path
}

/// Left edge and width of each run, and whether it failed.
fn bands(view: &View, range: Range, now: Timestamp) -> Vec<(usize, usize, bool)> {
    let column_width = range.column_width();
    let x = |at: Timestamp| {
        let ago = usize::try_from(now.duration_since(at).as_mins().max(0)).ok()?;
        WIDTH.checked_sub(column_width * (ago / range.minutes))
    };
    let runs = view.runs.iter().filter_map(|run| {
        let end = x(run.finished.unwrap_or(now))?;
        let start = x(run.started?).unwrap_or(0);
        let end = end.max(column_width);
        let start = start.min(end - column_width);
        Some((start, end - start, run.phase == Phase::Failed))
    });
    runs.take(MAX_BANDS).collect()
}

/// Caption of the sparklines: their content, and its first minute.
pub(super) fn caption(history: &History, range: Range) -> Markup {
    html! {
        p.caption {
            @match history.since() {
                Some(since) => {
                    "Lines: highest count of each minute in the last " (range.label) ", shaded while a run was active. "
                    "Counted since " (time(since)) " and lost when this process ends."
                }
                None => "No history yet: it is counted once the whole cluster is observed, and lost when this process ends.",
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use rstest::rstest;

    #[rstest]
    #[case(&[], 0, "")]
    #[case(&[Some(0), Some(0)], 0, "M0 27V27H4V27z")]
    #[case(&[Some(0), Some(5), Some(10)], 10, "M0 27V27H2V15H4V2H6V27z")]
    #[case(&[None, Some(1), None, Some(1)], 1, "M2 27V2H4V27zM6 27V2H8V27z")]
    fn path_is_a_step_chart_with_gaps(
        #[case] columns: &[Option<u32>],
        #[case] highest: u32,
        #[case] wanted: &str,
    ) {
        assert_eq!(path(columns, 2, highest), wanted);
    }

    #[test]
    fn range_covers_the_history() {
        let mut history = History::default();
        assert_eq!(Range::of(&history, fixture::now()), RANGES[0]);
        for (ago, range) in [(1_439, 3), (300, 2), (100, 1), (10, 0)] {
            history = History::default();
            let mut view = fixture::healthy();
            view.at = fixture::ago(ago);
            history.record(&view);
            assert_eq!(Range::of(&history, fixture::now()), RANGES[range], "{ago}");
        }
    }

    #[test]
    fn bands_show_runs_within_the_range() {
        // The run under way began 16 minutes ago; the failed one lasted from 128 until 90 minutes ago, and began before.
        let bands = bands(&fixture::jammed(), RANGES[1], fixture::now());
        assert_eq!(bands, [(208, 32, false), (0, 60, true)]);
    }
}
