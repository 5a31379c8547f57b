//! Durations, as in the configuration: what is read is written so that it is read the same.

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
    // As gates and steps use it: beyond all time is an error there, and no panic.
    let signed = duration.signed();
    assert!(!signed.is_negative());
    let _ = super::now().checked_add(signed);
    let _ = Timestamp::MAX.checked_sub(signed);
    assert!(signed.saturating_mul(2) >= signed);
}
