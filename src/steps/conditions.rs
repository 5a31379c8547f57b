//! The two conditions of a Remediation, for `kubectl wait` and other generic tools.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::remediation::RemediationStatus;
use crate::plan::MAX_LISTED;

/// Derives the conditions from the rest of the status.
pub(super) fn set(status: &mut RemediationStatus, now: Timestamp) {
    let over = if status.phase.finished() {
        "True"
    } else {
        "False"
    };
    let phase = status.phase.as_str();
    let message = status.message.clone();
    put(status, "Complete", over, phase, message, now);
    let last = status.holds.iter().map(|hold| hold.until).max();
    let (released, reason, message) = match last {
        None => ("True", "NothingHeld", "nothing is held".to_owned()),
        Some(until) => {
            let held = status.holds.len();
            // The list is cut at MAX_LISTED, so the last deadline may not be in it.
            let message = if held < MAX_LISTED {
                format!("{held} objects are held, at the latest until {until:.0}")
            } else {
                format!("at least {held} objects are held, each until its deadline")
            };
            ("False", "Held", message)
        }
    };
    put(status, "HoldsReleased", released, reason, message, now);
}

fn put(
    status: &mut RemediationStatus,
    type_: &str,
    value: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let known = status
        .conditions
        .iter_mut()
        .find(|condition| condition.type_ == type_);
    let Some(known) = known else {
        status.conditions.push(Condition {
            type_: type_.to_owned(),
            status: value.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: Time(now),
            observed_generation: None,
        });
        return;
    };
    if known.status != value {
        known.last_transition_time = Time(now);
        value.clone_into(&mut known.status);
    }
    reason.clone_into(&mut known.reason);
    known.message = message;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::remediation::Phase;

    #[test]
    fn a_transition_is_dated_and_a_repetition_is_not() {
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(60).unwrap());
        let mut status = RemediationStatus::default();
        set(&mut status, early);
        status.message = "still waiting".to_owned();
        set(&mut status, late);
        let complete = |status: &RemediationStatus| status.conditions[0].clone();
        assert_eq!(complete(&status).last_transition_time.0, early);
        assert_eq!(complete(&status).message, "still waiting");
        status.phase = Phase::Succeeded;
        set(&mut status, late);
        assert_eq!(
            (
                complete(&status).status.as_str(),
                complete(&status).last_transition_time.0
            ),
            ("True", late)
        );
    }
}
