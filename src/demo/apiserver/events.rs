//! The two forms of Events: stored as core/v1, served as events.k8s.io/v1, too.
//!
//! Upstream: `pkg/apis/events/v1/conversion.go` of Kubernetes.

use serde_json::Value;

/// Field names in core/v1 and in events.k8s.io/v1.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Converts a core event to events.k8s.io.
pub fn to_new(event: Value) -> Value {
    renamed(event, NAMES)
}

/// Converts an events.k8s.io event to core.
pub fn to_core(event: Value) -> Value {
    renamed(event, NAMES.map(|(core, new)| (new, core)))
}

fn renamed(mut event: Value, names: [(&str, &str); 7]) -> Value {
    if let Value::Object(map) = &mut event {
        for (from, to) in names {
            if let Some(value) = map.remove(from) {
                map.insert(to.to_owned(), value);
            }
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn event_forms_round_trip() {
        let new =
            json!({"note": "n", "regarding": {"kind": "Pod"}, "reason": "R", "deprecatedCount": 2});
        let core =
            json!({"message": "n", "involvedObject": {"kind": "Pod"}, "reason": "R", "count": 2});
        assert_eq!(to_core(new.clone()), core);
        assert_eq!(to_new(core), new);
    }
}
