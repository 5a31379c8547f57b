//! VolSync's state machine of a source or destination (`statemachine/machine.go`).
//!
//! A sync is in progress while `status.lastSyncStartTime` is set, whoever set it.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::schedule;
use locksmith_api::volsync::{ReplicationDestination, ReplicationSource, SYNCHRONIZING, Trigger};

/// Common fields of both kinds.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    schedule: Option<String>,
    manual: Option<String>,
    started: Option<Timestamp>,
    synced: Option<Timestamp>,
    due: Option<Timestamp>,
    last_manual: Option<String>,
    conditions: Vec<Condition>,
}

/// The next action.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// A sync is due, or none has run before.
    Begin,
    /// Continue the current sync.
    Synchronize,
    /// Clean up and wait: this long for the schedule, or for a manual trigger.
    Idle(Option<Duration>),
}

/// The condition `Synchronizing`, with VolSync's wording.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    InProgress,
    CleaningUp,
    WaitingForSchedule,
    WaitingForManual,
    Error(String),
}

impl From<&ReplicationSource> for Machine {
    fn from(source: &ReplicationSource) -> Self {
        let status = source.status.clone().unwrap_or_default();
        Self {
            started: status.last_sync_start_time.map(|time| time.0),
            synced: status.last_sync_time.map(|time| time.0),
            due: status.next_sync_time.map(|time| time.0),
            last_manual: status.last_manual_sync,
            conditions: status.conditions,
            ..Self::triggered(source.spec.trigger.as_ref())
        }
    }
}

impl From<&ReplicationDestination> for Machine {
    fn from(destination: &ReplicationDestination) -> Self {
        let status = destination.status.clone().unwrap_or_default();
        Self {
            started: status.last_sync_start_time.map(|time| time.0),
            synced: status.last_sync_time.map(|time| time.0),
            due: status.next_sync_time.map(|time| time.0),
            last_manual: status.last_manual_sync,
            conditions: status.conditions,
            ..Self::triggered(destination.spec.trigger.as_ref())
        }
    }
}

impl Machine {
    fn triggered(trigger: Option<&Trigger>) -> Self {
        let trigger = trigger.cloned().unwrap_or_default();
        Self {
            schedule: trigger.schedule,
            manual: trigger.manual,
            ..Self::default()
        }
    }

    /// The action at `now`.
    pub(super) fn next(&self, now: Timestamp) -> Next {
        let (Some(synced), None) = (self.synced, self.started) else {
            return if self.started.is_some() {
                Next::Synchronize
            } else {
                Next::Begin
            };
        };
        if self.manual.is_some() {
            return if self.manual == self.last_manual {
                Next::Idle(None)
            } else {
                Next::Begin
            };
        }
        match self.scheduled_after(synced) {
            Some(due) if due > now => Next::Idle(Duration::try_from(due - now).ok()),
            // Without a trigger, VolSync syncs in a loop.
            Some(_) | None => Next::Begin,
        }
    }

    /// Status while idle, with the next trigger and its time; `None` if unchanged.
    pub(super) fn idle(&self, now: Timestamp) -> Option<Value> {
        let due = self
            .synced
            .and_then(|synced| self.scheduled_after(synced))
            .map(Time);
        let waiting = if self.manual.is_none() && self.schedule.is_some() {
            State::WaitingForSchedule
        } else {
            State::WaitingForManual
        };
        let conditions = self.conditions(&waiting, now);
        let said = conditions == self.conditions && due == self.due.map(Time);
        (!said).then(|| json!({"nextSyncTime": due, "conditions": conditions}))
    }

    /// Status of a sync that starts.
    pub(super) fn begun(&self, now: Timestamp) -> Value {
        json!({"lastSyncStartTime": Time(now), "conditions": self.conditions(&State::InProgress, now)})
    }

    /// Status of a sync that has completed.
    pub(super) fn completed(&self, now: Timestamp) -> Value {
        let took = self.started.map(|started| now.duration_since(started));
        json!({
            "lastSyncStartTime": null,
            "lastSyncTime": Time(now),
            "lastSyncDuration": took.map(|took| format!("{:.3}s", took.as_secs_f64())),
            "lastManualSync": self.manual,
            "nextSyncTime": self.scheduled_after(now).map(Time),
            "conditions": self.conditions(&State::CleaningUp, now),
        })
    }

    /// Status with `state`; `None` if unchanged.
    pub(super) fn saying(&self, state: &State, now: Timestamp) -> Option<Value> {
        let conditions = self.conditions(state, now);
        (conditions != self.conditions).then(|| json!({"conditions": conditions}))
    }

    fn conditions(&self, state: &State, now: Timestamp) -> Vec<Condition> {
        let (status, reason, message) = state.words();
        let same = self
            .conditions
            .iter()
            .find(|old| old.type_ == SYNCHRONIZING && old.status == status);
        vec![Condition {
            type_: SYNCHRONIZING.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: same.map_or(Time(now), |old| old.last_transition_time.clone()),
            observed_generation: None,
        }]
    }

    fn scheduled_after(&self, last: Timestamp) -> Option<Timestamp> {
        last.checked_add(schedule::interval(self.schedule.as_deref()?)?)
            .ok()
    }
}

impl State {
    /// Status, reason and message of the condition.
    fn words(&self) -> (&'static str, &'static str, &str) {
        match self {
            Self::InProgress => ("True", "SyncInProgress", "Synchronization in-progress"),
            Self::CleaningUp => ("False", "CleaningUp", "Cleaning up"),
            Self::WaitingForSchedule => (
                "False",
                "WaitingForSchedule",
                "Waiting for next scheduled synchronization",
            ),
            Self::WaitingForManual => ("False", "WaitingForManual", "Waiting for manual trigger"),
            Self::Error(message) => ("False", "Error", message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn machine() -> Machine {
        Machine {
            schedule: Some("0 * * * *".into()),
            synced: Some(at("2026-06-23T08:00:00Z")),
            ..Machine::default()
        }
    }

    #[test]
    fn first_sync_starts_immediately() {
        let never = Machine {
            synced: None,
            ..machine()
        };
        assert_eq!(never.next(at("2026-06-23T08:00:00Z")), Next::Begin);
    }

    #[test]
    fn running_sync_continues_whatever_the_trigger() {
        let begun = Machine {
            started: Some(at("2026-06-23T08:00:00Z")),
            ..machine()
        };
        assert_eq!(begun.next(at("2026-06-23T08:00:01Z")), Next::Synchronize);
        let unscheduled = Machine {
            schedule: None,
            manual: None,
            ..begun
        };
        assert_eq!(
            unscheduled.next(at("2026-06-23T08:00:01Z")),
            Next::Synchronize
        );
    }

    #[test]
    fn schedule_is_awaited() {
        let machine = machine();
        assert_eq!(
            machine.next(at("2026-06-23T08:59:00Z")),
            Next::Idle(Some(Duration::from_secs(60)))
        );
        assert_eq!(machine.next(at("2026-06-23T09:00:00Z")), Next::Begin);
        let status = machine.idle(at("2026-06-23T08:59:00Z")).unwrap();
        assert_eq!(status["nextSyncTime"], "2026-06-23T09:00:00Z");
        assert_eq!(status["conditions"][0]["reason"], "WaitingForSchedule");
    }

    #[test]
    fn manual_trigger_takes_precedence_and_fires_once() {
        let manual = Machine {
            manual: Some("a".into()),
            ..machine()
        };
        assert_eq!(manual.next(at("2026-06-23T08:00:01Z")), Next::Begin);
        let done = Machine {
            last_manual: Some("a".into()),
            ..manual
        };
        assert_eq!(done.next(at("2027-06-23T08:00:01Z")), Next::Idle(None));
        let status = done.idle(at("2027-06-23T08:00:01Z")).unwrap();
        assert_eq!(status["conditions"][0]["reason"], "WaitingForManual");
    }

    #[test]
    fn completion_clears_the_start_and_consumes_the_trigger() {
        let begun = Machine {
            started: Some(at("2026-06-23T08:00:00Z")),
            manual: Some("a".into()),
            ..machine()
        };
        let status = begun.completed(at("2026-06-23T08:00:01.5Z"));
        assert_eq!(status["lastSyncStartTime"], Value::Null);
        assert_eq!(status["lastManualSync"], "a");
        assert_eq!(status["lastSyncDuration"], "1.500s");
        assert_eq!(status["nextSyncTime"], "2026-06-23T09:00:01Z");
    }

    #[test]
    fn unchanged_condition_is_not_written() {
        let now = at("2026-06-23T08:00:00Z");
        let mut machine = machine();
        machine.conditions = machine.conditions(&State::WaitingForSchedule, now);
        machine.due = Some(at("2026-06-23T09:00:00Z"));
        let later = at("2026-06-23T08:30:00Z");
        assert_eq!(machine.idle(later), None);
        let rescheduled = Machine {
            schedule: Some("0 0 * * *".into()),
            ..machine.clone()
        };
        assert_eq!(
            rescheduled.idle(later).unwrap()["nextSyncTime"],
            "2026-06-24T08:00:00Z"
        );
        let error = machine.saying(&State::Error("gone".into()), later).unwrap();
        assert_eq!(error["conditions"][0]["reason"], "Error");
        // The transition time belongs to the status, not to the reason.
        assert_eq!(
            error["conditions"][0]["lastTransitionTime"],
            "2026-06-23T08:00:00Z"
        );
    }
}
