//! Durations in humantime's notation: `90s`, `5m`, `2h 30m`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration as StdDuration;

use jiff::{SignedDuration, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration, parsed and formatted in humantime's notation.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Duration(pub StdDuration);

impl Duration {
    /// The given number of seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(StdDuration::from_secs(seconds))
    }

    /// The given number of milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(StdDuration::from_millis(milliseconds))
    }

    /// For arithmetic on timestamps; saturates at the longest representable duration.
    pub fn signed(self) -> SignedDuration {
        SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX)
    }

    /// The time after `since`, or the end of time.
    pub fn after(self, since: Timestamp) -> Timestamp {
        since.checked_add(self.signed()).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|error| {
            serde::de::Error::custom(format!(
                "{text:?} is not a duration such as 90s, 5m or 2h 30m: {error}"
            ))
        })
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    /// The units of humantime. Fractions are left out: they are rarely used, and not supported by every version.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        const UNITS: &str = "(nsec|ns|usec|us|µs|msec|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|hr|h|days?|d|weeks?|wks?|wk|w|\
                             months?|M|years?|yrs?|yr|y)";
        json_schema!({
            "description": "A span of time in humantime's notation.",
            "type": "string",
            "pattern": format!(r"^\s*([0-9]+\s*{UNITS}\s*)+$"),
            "examples": ["90s", "5m", "2h 30m"],
        })
    }
}
