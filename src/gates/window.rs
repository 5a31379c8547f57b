//! Gate `window`: the time is within a maintenance window.

use jiff::Timestamp;

use super::{Gate, GateName, GateResult};
use crate::config::Window;
use crate::run_context::RunContext;

pub(super) struct WindowGate;

impl Gate for WindowGate {
    fn name(&self) -> GateName {
        GateName::Window
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let windows = &cx.config.gates.windows;
        if windows.is_empty() || windows.iter().any(|window| is_in(window, cx.now)) {
            return GateResult::Open;
        }
        let all: Vec<_> = windows.iter().map(ToString::to_string).collect();
        GateResult::Closed {
            reason: "the time is outside every maintenance window".to_owned(),
            opens: format!("in {}", all.join(" or ")),
        }
    }
}

/// Whether `now` is in the window. A window that ends before it begins extends past midnight, and belongs to the day it
/// begins on.
fn is_in(window: &Window, now: Timestamp) -> bool {
    let local = now.to_zoned(window.time_zone.0.clone());
    let (day, time) = (local.weekday(), local.time());
    let (from, to) = (window.from.0, window.to.0);
    if from < to {
        window.on(day) && time >= from && time < to
    } else {
        (window.on(day) && time >= from) || (window.on(day.previous()) && time < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::in_the_day(
        "{days: [tue], from: \"01:00\", to: \"05:00\", timeZone: UTC}",
        "2026-11-24T03:00:00Z",
        true
    )]
    #[case::another_day(
        "{days: [wed], from: \"01:00\", to: \"05:00\", timeZone: UTC}",
        "2026-11-24T03:00:00Z",
        false
    )]
    #[case::its_end(
        "{from: \"01:00\", to: \"03:00\", timeZone: UTC}",
        "2026-11-24T03:00:00Z",
        false
    )]
    #[case::every_day(
        "{from: \"01:00\", to: \"05:00\", timeZone: UTC}",
        "2026-11-24T03:00:00Z",
        true
    )]
    #[case::past_midnight(
        "{days: [mon], from: \"22:00\", to: \"05:00\", timeZone: UTC}",
        "2026-11-24T03:00:00Z",
        true
    )]
    #[case::day_it_begins(
        "{days: [tue], from: \"22:00\", to: \"05:00\", timeZone: UTC}",
        "2026-11-24T03:00:00Z",
        false
    )]
    #[case::elsewhere(
        "{from: \"03:30\", to: \"05:00\", timeZone: Europe/Berlin}",
        "2026-11-24T03:00:00Z",
        true
    )]
    fn windows_use_their_time_zone(
        #[case] window: &str,
        #[case] now: Timestamp,
        #[case] inside: bool,
    ) {
        let window: Window = serde_saphyr::from_str(window).unwrap();
        assert_eq!(is_in(&window, now), inside);
    }
}
