//! Writes that the watch has not shown yet, and writes that were refused and wait for their backoff.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use crate::api::ObjectKey;
use crate::api::StepName;
use crate::api::remediation::{RemediationStatus, StepPhase};

/// Entries expire. Losing them costs a read of each object, and nothing else.
pub struct PendingWrites {
    for_: Duration,
    at: HashMap<ObjectKey, Instant>,
    /// Objects whose last write was refused, each with its backoff.
    refused: Backoff<ObjectKey>,
    /// The last refusal: the object, the step and the reason.
    refusal: Option<(ObjectKey, Option<StepName>, String)>,
    /// When expired entries were last removed.
    swept: Instant,
}

impl PendingWrites {
    /// Entries expire after `for_`.
    pub fn new(for_: Duration) -> Self {
        Self {
            for_,
            at: HashMap::new(),
            refused: Backoff::default(),
            refusal: None,
            swept: Instant::now(),
        }
    }

    /// Records a write.
    pub fn note(&mut self, object: ObjectKey) {
        // Not each time: a batch notes thousands.
        if self.swept.elapsed() >= self.for_ {
            self.at.retain(|_, at| at.elapsed() < self.for_);
            self.swept = Instant::now();
        }
        self.refused.succeeded(&object);
        self.refusal.take_if(|(of, ..)| *of == object);
        self.at.insert(object, Instant::now());
    }

    /// Records a refused write of `step`, with the reason and the pause that the API server requests.
    pub fn note_refused(
        &mut self,
        object: ObjectKey,
        step: Option<StepName>,
        why: String,
        retry_after: Option<Duration>,
    ) {
        self.refused.failed(&object, Instant::now(), retry_after);
        self.refusal = Some((object, step, why));
    }

    /// Appends the reason of the last refused write to the step of `next` that has just failed.
    pub fn explain(&self, known: Option<&RemediationStatus>, next: &mut RemediationStatus) {
        let Some((_, step, why)) = &self.refusal else {
            return;
        };
        let known = known.map_or(&[][..], |known| &known.steps);
        let failed = next.steps.iter_mut().enumerate().find(|(at, record)| {
            let before = known.get(*at).and_then(|known| known.finished_at);
            record.phase == StepPhase::Failed && Some(record.step) == *step && before.is_none()
        });
        if let Some((_, record)) = failed {
            record.message = format!("{}; {why}", record.message);
        }
    }

    /// Whether the object has no pending write and does not wait for a backoff.
    pub fn may_write(&self, object: &ObjectKey) -> bool {
        let written = self.at.get(object);
        written.is_none_or(|at| at.elapsed() >= self.for_)
            && self.refused.left(object, Instant::now()).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ObjectKind;
    use crate::api::remediation::StepRecord;
    use crate::model::fixture::{at, source};

    fn object() -> ObjectKey {
        source("media", "sonarr")
            .meta
            .key(ObjectKind::ReplicationSource)
    }

    fn ended(phase: StepPhase) -> RemediationStatus {
        let record = StepRecord {
            step: StepName::RestartProvisioner,
            attempt: 1,
            phase,
            started_at: at(0),
            finished_at: (phase != StepPhase::Started).then(|| at(1)),
            acted_at: None,
            replaced_at: None,
            message: "failed to restart".to_owned(),
            skipped: Vec::new(),
            progress: None,
        };
        RemediationStatus {
            steps: vec![record],
            ..RemediationStatus::default()
        }
    }

    /// Refused once, it was tried again with every further pass.
    #[test]
    fn refused_object_waits_until_it_is_written() {
        let mut recent = PendingWrites::new(Duration::ZERO);
        recent.note_refused(object(), None, "no".to_owned(), None);
        assert!(!recent.may_write(&object()));
        recent.note(object());
        assert!(recent.may_write(&object()));
    }

    #[test]
    fn failed_step_names_the_refusal_of_its_last_write() {
        let message = |recent: &PendingWrites, phase| {
            let mut next = ended(phase);
            recent.explain(Some(&ended(StepPhase::Started)), &mut next);
            next.steps.remove(0).message
        };
        let refuse = |recent: &mut PendingWrites, step| {
            recent.note_refused(
                object(),
                Some(step),
                "annotations: Too long".to_owned(),
                None,
            );
        };
        let mut recent = PendingWrites::new(Duration::ZERO);
        assert_eq!(message(&recent, StepPhase::Failed), "failed to restart");
        refuse(&mut recent, StepName::RestartProvisioner);
        assert_eq!(message(&recent, StepPhase::Started), "failed to restart");
        assert_eq!(
            message(&recent, StepPhase::Failed),
            "failed to restart; annotations: Too long"
        );
        recent.note(object());
        assert_eq!(message(&recent, StepPhase::Failed), "failed to restart");
        refuse(&mut recent, StepName::SuspendSources);
        assert_eq!(message(&recent, StepPhase::Failed), "failed to restart");
    }
}
