//! Steps as readers get them: their deadlines, and those to come.

use super::*;
use crate::api::remediation::HoldRecord;
use crate::fixture;

fn status(steps: &[(StepName, u32)], held_until: &[i64]) -> RemediationStatus {
    let planned = [
        StepName::SuspendSources,
        StepName::RestartProvisioner,
        StepName::ResumeSources,
    ];
    let plan = serde_json::json!({
        "driver": "d", "madeAt": fixture::ago(0), "hash": "",
        "steps": planned.map(|step| serde_json::json!({ "step": step })),
    });
    let record = |(step, attempt): &(StepName, u32)| {
        let record = serde_json::json!({
            "step": step, "attempt": attempt, "phase": "Started", "startedAt": fixture::ago(0),
        });
        serde_json::from_value::<StepRecord>(record).unwrap()
    };
    RemediationStatus {
        phase: Phase::Running,
        attempt: steps.last().map_or(1, |(_, attempt)| *attempt),
        plan: serde_json::from_value(plan).unwrap(),
        steps: steps.iter().map(record).collect(),
        holds: held_until
            .iter()
            .map(|minutes| HoldRecord {
                object: fixture::object(ObjectKind::ReplicationSource, "media", "sonarr"),
                until: fixture::ago(-minutes),
                waiting_for: String::new(),
            })
            .collect(),
        ..RemediationStatus::default()
    }
}

#[test]
fn upcoming_steps_are_those_the_attempt_has_not_recorded() {
    use StepName::{RestartProvisioner, ResumeSources, SuspendSources};
    let mut status = status(&[(SuspendSources, 1), (SuspendSources, 2)], &[]);
    assert_eq!(upcoming(&status), [RestartProvisioner, ResumeSources]);
    status.phase = Phase::Failed;
    assert_eq!(upcoming(&status), []);
}

#[test]
fn deadline_is_the_time_limit_or_the_end_of_the_last_hold() {
    let limits = Config::default().steps;
    let of = |step, held_until: &[i64]| {
        let status = status(&[(step, 1)], held_until);
        deadline(&status.steps[0], &status, &limits)
    };
    assert_eq!(
        of(StepName::RestartProvisioner, &[]),
        Some(fixture::ago(-5))
    );
    assert_eq!(
        of(StepName::ResumeSources, &[90, 120, 30]),
        Some(fixture::ago(-120))
    );
    assert_eq!(of(StepName::ResumeSources, &[]), None);
}
