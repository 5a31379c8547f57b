//! Publishes an actor's Events about objects.
//!
//! As in client-go's recorder, a repetition increases the count of the existing Event. Events are best effort; an actor
//! never fails because of one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::actor::Actor;

/// Number of Events that client-go caches to count repetitions.
const REMEMBERED: usize = 4096;

/// Whether an Event is a warning.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Severity {
    Normal,
    Warning,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Records Events as one component.
#[derive(Debug)]
pub(super) struct Recorder {
    actor: Actor,
    component: String,
    seen: Mutex<HashMap<Said, Known>>,
}

/// Fields by which two Events are equal.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Said {
    uid: Option<String>,
    severity: Severity,
    reason: &'static str,
    message: String,
}

#[derive(Clone, Debug)]
struct Known {
    name: String,
    count: i32,
}

impl Recorder {
    /// Events of `component`, as `actor`.
    pub(super) fn new(actor: Actor, component: impl Into<String>) -> Self {
        Self {
            actor,
            component: component.into(),
            seen: Mutex::default(),
        }
    }

    /// Publishes `message` about `object` in the core/v1 form, which counts repetitions.
    pub(super) async fn say(
        &self,
        object: ObjectReference,
        severity: Severity,
        reason: &'static str,
        message: &str,
    ) {
        let said = Said {
            uid: object.uid.clone(),
            severity,
            reason,
            message: message.to_owned(),
        };
        let known = self.seen().get(&said).cloned();
        let namespace = namespace(&object);
        if let Some(known) = known
            && let Some(known) = self.count_up(&namespace, known).await
        {
            self.remember(said, known);
            return;
        }
        let now = Timestamp::now();
        let event = Event {
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            source: Some(EventSource {
                component: Some(self.component.clone()),
                host: None,
            }),
            ..self.event(object, now, severity, reason, message)
        };
        if let Some(name) = self.write(&namespace, &event).await {
            self.remember(said, Known { name, count: 1 });
        }
    }

    /// Publishes `message` about `object` in the events.k8s.io form, which has an action and a time.
    pub(super) async fn note(
        &self,
        object: ObjectReference,
        severity: Severity,
        reason: &'static str,
        action: &'static str,
        message: &str,
    ) {
        let now = Timestamp::now();
        let namespace = namespace(&object);
        let event = Event {
            action: Some(action.to_owned()),
            event_time: Some(MicroTime(now)),
            reporting_instance: Some(self.component.clone()),
            ..self.event(object, now, severity, reason, message)
        };
        self.write(&namespace, &event).await;
    }

    fn event(
        &self,
        object: ObjectReference,
        now: Timestamp,
        severity: Severity,
        reason: &str,
        message: &str,
    ) -> Event {
        let name = format!(
            "{}.{:x}",
            object.name.as_deref().unwrap_or_default(),
            now.as_nanosecond()
        );
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace(&object)),
                ..ObjectMeta::default()
            },
            involved_object: object,
            type_: Some(severity.name().to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            reporting_component: Some(self.component.clone()),
            ..Event::default()
        }
    }

    async fn write(&self, namespace: &str, event: &Event) -> Option<String> {
        match self
            .actor
            .create(&self.actor.within(namespace), event)
            .await
        {
            Ok(_) => event.metadata.name.clone(),
            Err(error) => {
                tracing::debug!(component = self.component, %error, "event not written");
                None
            }
        }
    }

    /// Counts up a known Event; `None` if it has expired meanwhile.
    async fn count_up(&self, namespace: &str, known: Known) -> Option<Known> {
        let count = known.count + 1;
        let patch = json!({"count": count, "lastTimestamp": Time(Timestamp::now())});
        self.actor
            .merge::<Event>(&self.actor.within(namespace), &known.name, &patch)
            .await
            .ok()?;
        Some(Known { count, ..known })
    }

    fn remember(&self, said: Said, known: Known) {
        let mut seen = self.seen();
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(said, known);
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<Said, Known>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events about cluster-scoped objects are in `default`.
fn namespace(object: &ObjectReference) -> String {
    object
        .namespace
        .clone()
        .unwrap_or_else(|| "default".to_owned())
}
