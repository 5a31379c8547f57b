//! Timestamps of metadata.

use std::num::NonZeroU32;

use jiff::Timestamp;

/// A time in whole seconds, the precision of `metav1.Time`. Four bytes, since every object has two of them.
///
/// From 1970 to 2106; earlier and later times are clamped.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnixSeconds(NonZeroU32);

impl UnixSeconds {
    /// The time as a timestamp.
    pub fn at(self) -> Timestamp {
        Timestamp::constant(i64::from(self.0.get()), 0)
    }
}

impl From<Timestamp> for UnixSeconds {
    fn from(at: Timestamp) -> Self {
        let since_1970 = at.as_second().clamp(1, i64::from(u32::MAX));
        let seconds = u32::try_from(since_1970).ok().and_then(NonZeroU32::new);
        Self(seconds.unwrap_or(NonZeroU32::MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::as_it_is("2026-11-28T12:00:00Z", "2026-11-28T12:00:00Z")]
    #[case::of_a_fraction("2026-11-28T12:00:00.9Z", "2026-11-28T12:00:00Z")]
    #[case::too_early("1969-12-31T23:59:58Z", "1970-01-01T00:00:01Z")]
    #[case::never("1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z")]
    #[case::the_last("2106-02-07T06:28:15Z", "2106-02-07T06:28:15Z")]
    #[case::too_late("9999-01-01T00:00:00Z", "2106-02-07T06:28:15Z")]
    fn whole_seconds_round_trip(#[case] of: Timestamp, #[case] kept: Timestamp) {
        assert_eq!(UnixSeconds::from(of).at(), kept);
    }

    #[test]
    fn optional_time_takes_four_bytes() {
        assert_eq!(size_of::<Option<UnixSeconds>>(), 4);
    }
}
