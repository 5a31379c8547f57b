//! Finds the field of a status that the API server dropped: its CRD is older than this program. Pure.

use serde_json::{Value, json};

use crate::api::remediation::RemediationStatus;

/// Path of the first field of `sent` that is missing in `kept`, such as `status.steps[0].actedAt`.
pub fn pruned(sent: &RemediationStatus, kept: Option<&RemediationStatus>) -> Option<String> {
    first_missing(&json!(sent), &json!(kept), "status")
}

fn first_missing(sent: &Value, kept: &Value, path: &str) -> Option<String> {
    match (sent, kept) {
        (Value::Object(sent), Value::Object(kept)) => sent.iter().find_map(|(name, sent)| {
            let path = format!("{path}.{name}");
            match kept.get(name) {
                Some(kept) => first_missing(sent, kept, &path),
                None => Some(path),
            }
        }),
        (Value::Array(sent), Value::Array(kept)) => {
            let items = sent.iter().zip(kept).enumerate();
            let mut missing =
                items.map(|(at, (sent, kept))| first_missing(sent, kept, &format!("{path}[{at}]")));
            missing.find_map(|missing| missing)
        }
        (Value::Object(_), _) => Some(path.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::StepName;
    use crate::api::remediation::{Phase, StepPhase, StepRecord};

    fn status() -> RemediationStatus {
        RemediationStatus {
            phase: Phase::Running,
            term: Some(3),
            steps: vec![StepRecord {
                step: StepName::SuspendSources,
                attempt: 1,
                phase: StepPhase::Started,
                started_at: "2026-11-01T02:00:00Z".parse().unwrap(),
                finished_at: None,
                acted_at: Some("2026-11-01T02:00:01Z".parse().unwrap()),
                replaced_at: None,
                message: String::new(),
                skipped: Vec::new(),
                progress: None,
            }],
            ..RemediationStatus::default()
        }
    }

    #[test]
    fn status_kept_whole_misses_nothing() {
        assert_eq!(pruned(&status(), Some(&status())), None);
    }

    #[test]
    fn missing_field_is_named_by_its_path() {
        let mut kept = status();
        kept.steps[0].acted_at = None;
        let path = pruned(&status(), Some(&kept));
        assert_eq!(path.as_deref(), Some("status.steps[0].actedAt"));
        kept = status();
        kept.term = None;
        let path = pruned(&status(), Some(&kept));
        assert_eq!(path.as_deref(), Some("status.term"));
        assert_eq!(pruned(&status(), None).as_deref(), Some("status"));
    }
}
