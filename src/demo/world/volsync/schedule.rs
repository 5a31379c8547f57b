//! Parses the period of a cron expression.

use k8s_openapi::jiff::SignedDuration;

/// The period of common backup schedules: `@hourly`, `@daily`, `@weekly`, `*/n * * * *`, `m * * * *`, `m */n * * *`, `m h *
/// * *`. `None` for any other.
///
/// A sync is due one period after the last one, not at the clock's hour, so that nothing starts because a test runs at the
/// full hour.
pub(super) fn interval(schedule: &str) -> Option<SignedDuration> {
    let minutes = match schedule.split_whitespace().collect::<Vec<_>>()[..] {
        ["@hourly"] => 60,
        ["@daily" | "@midnight"] => 24 * 60,
        ["@weekly"] => 7 * 24 * 60,
        [minute, "*", "*", "*", "*"] => match step(minute) {
            Some(minutes) => minutes,
            None => number(minute).map(|_| 60)?,
        },
        [minute, hour, "*", "*", "*"] => match (number(minute)?, step(hour)) {
            (_, Some(hours)) => hours * 60,
            (_, None) => number(hour).map(|_| 24 * 60)?,
        },
        _ => return None,
    };
    Some(SignedDuration::from_mins(minutes))
}

/// `n` of `*/n`, and 1 of `*`.
fn step(field: &str) -> Option<i64> {
    match field.strip_prefix('*')? {
        "" => Some(1),
        rest => number(rest.strip_prefix('/')?).filter(|step| *step > 0),
    }
}

fn number(field: &str) -> Option<i64> {
    field.parse().ok().filter(|number| *number >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_schedules_have_a_period() {
        let minutes = |schedule| interval(schedule).map(|period| period.as_secs() / 60);
        assert_eq!(minutes("@hourly"), Some(60));
        assert_eq!(minutes("0 * * * *"), Some(60));
        assert_eq!(minutes("*/15 * * * *"), Some(15));
        assert_eq!(minutes("* * * * *"), Some(1));
        assert_eq!(minutes("30 */6 * * *"), Some(360));
        assert_eq!(minutes("0 0 * * *"), Some(1440));
        assert_eq!(minutes("0 0 * * 0"), None);
        assert_eq!(minutes("*/0 * * * *"), None);
        assert_eq!(minutes("nonsense"), None);
    }
}
