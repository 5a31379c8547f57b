//! Counts of stuck objects over the last day, kept in memory only. Pure.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::view::View;
use crate::findings::FindingKind;

/// Minutes that are kept: 1440 samples of some 50 bytes.
pub const MINUTES: usize = 24 * 60;

const KINDS: usize = FindingKind::STUCK.len();

/// One sample per minute, oldest first. Minutes in which the cluster could not be observed whole have none.
#[derive(Clone, Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
}

/// The highest counts of one minute: a jam may last a few seconds only.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Minutes since the Unix epoch.
    minute: i64,
    /// In the order of [`FindingKind::STUCK`]; `None` if more than nothing may have been stuck.
    counts: [Option<u32>; KINDS],
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

impl History {
    /// Counts what is stuck in `view`. A view of a part of the cluster is left out: its counts are lower bounds. With a doubt, a
    /// count of zero is unknown.
    pub fn record(&mut self, view: &View) {
        if !view.complete() {
            return;
        }
        let minute = minute(view.at);
        // After the clock was set back, later samples would never be replaced.
        while self.samples.back().is_some_and(|it| it.minute > minute) {
            self.samples.pop_back();
        }
        let mut counts = [view.is_certain().then_some(0); KINDS];
        for finding in view.stuck() {
            let kind = finding.what.kind();
            if let Some(at) = FindingKind::STUCK.iter().position(|it| *it == kind) {
                counts[at] = Some(counts[at].unwrap_or(0) + 1);
            }
        }
        match self.samples.back_mut() {
            Some(last) if last.minute == minute => {
                for (known, seen) in last.counts.iter_mut().zip(counts) {
                    *known = seen.max(*known);
                }
            }
            _ => self.samples.push_back(Sample { minute, counts }),
        }
        let oldest = minute - i64::try_from(MINUTES).unwrap_or(i64::MAX);
        while self.samples.front().is_some_and(|it| it.minute <= oldest) {
            self.samples.pop_front();
        }
    }

    /// Time of the oldest sample.
    pub fn since(&self) -> Option<Timestamp> {
        let first = self.samples.front()?;
        Timestamp::from_second(first.minute * 60).ok()
    }

    /// The highest count of `kind` in each of `columns` spans of `minutes` minutes, the last one ending with the minute of `now`;
    /// `None` where nothing was observed.
    pub fn columns(
        &self,
        kind: FindingKind,
        columns: usize,
        minutes: usize,
        now: Timestamp,
    ) -> Vec<Option<u32>> {
        let mut highest = vec![None; columns];
        let Some(index) = FindingKind::STUCK.iter().position(|it| *it == kind) else {
            return highest;
        };
        let end = minute(now);
        for sample in &self.samples {
            let Ok(ago) = usize::try_from(end - sample.minute) else {
                continue;
            };
            let column = columns.checked_sub(1 + ago / minutes);
            if let Some(known) = column.and_then(|column| highest.get_mut(column)) {
                *known = sample.counts[index].max(*known);
            }
        }
        highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{Doubt, DoubtKind};
    use crate::fixture;

    fn claims(stuck: usize, minutes_ago: i64) -> View {
        let mut view = fixture::jammed();
        let claim = view.stuck_of(FindingKind::PendingClaim)[0].clone();
        view.findings = vec![claim; stuck];
        view.at = fixture::ago(minutes_ago);
        view
    }

    fn columns(history: &History, columns: usize, minutes: usize) -> Vec<Option<u32>> {
        history.columns(FindingKind::PendingClaim, columns, minutes, fixture::ago(0))
    }

    #[test]
    fn history_keeps_the_highest_count_of_each_minute() {
        let mut history = History::default();
        for (stuck, ago) in [(1, 3), (4, 3), (0, 3), (2, 1), (3, 0)] {
            history.record(&claims(stuck, ago));
        }
        let wanted = vec![None, Some(4), None, Some(2), Some(3)];
        assert_eq!(columns(&history, 5, 1), wanted);
        assert_eq!(columns(&history, 2, 2), [Some(4), Some(3)]);
        assert_eq!(history.since(), Some(fixture::ago(3)));
    }

    #[test]
    fn history_keeps_a_day_and_no_more() {
        let mut history = History::default();
        for ago in (0..2_000).rev() {
            history.record(&claims(1, ago));
        }
        assert_eq!(history.samples.len(), MINUTES);
        assert_eq!(history.since(), Some(fixture::ago(1_439)));
    }

    #[test]
    fn history_leaves_out_partial_observations() {
        let mut history = History::default();
        history.record(&fixture::half_seen());
        assert_eq!(history.since(), None);
    }

    #[test]
    fn doubtful_zero_is_unknown() {
        let doubtful = |stuck| {
            let mut view = claims(stuck, 0);
            view.doubts.push(Doubt {
                kind: DoubtKind::NotServed,
                subject: "VolumeSnapshot".into(),
                message: String::new(),
            });
            view
        };
        let mut history = History::default();
        history.record(&doubtful(0));
        assert_eq!(columns(&history, 1, 1), [None]);
        history.record(&doubtful(2));
        assert_eq!(columns(&history, 1, 1), [Some(2)]);
    }

    #[test]
    fn history_drops_samples_later_than_a_clock_that_was_set_back() {
        let mut history = History::default();
        history.record(&claims(5, 0));
        history.record(&claims(1, 10));
        assert_eq!(columns(&history, 1, 60), [Some(1)]);
    }
}
