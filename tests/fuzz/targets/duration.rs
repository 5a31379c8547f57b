//! Durations, as in the configuration: a parsed duration round-trips.

use jiff::Timestamp;
use locksmith::config::Duration;
use serde_json::Value;

pub fn run(data: &[u8]) {
    let text = Value::String(super::text(data).into_owned());
    let Ok(duration) = serde_json::from_value::<Duration>(text) else {
        return;
    };
    let written = serde_json::to_value(duration).expect("a duration is text");
    assert_eq!(
        serde_json::from_value::<Duration>(written).expect("text is a duration"),
        duration
    );
    // As used by gates and steps: an overflow is an error there, not a panic.
    let signed = duration.signed();
    assert!(!signed.is_negative());
    let _ = super::now().checked_add(signed);
    let _ = Timestamp::MAX.checked_sub(signed);
    assert!(signed.saturating_mul(2) >= signed);
}
