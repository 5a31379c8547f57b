//! Holds: what this program switches off, and how it is switched on again. Pure.
//!
//! A hold is one merge patch on one object. The same write that turns the switch records, in an annotation,
//! who turned it, what it was before and until when; the release is its mirror image and happens only where
//! that annotation still stands. Nothing about a hold is kept anywhere else, so that no crash, lost leader or
//! deleted run can forget one.

mod release;

pub use release::{Due, HeldObject, ReleasePolicy, due, held_objects, unreadable};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::volsync;
use crate::model::{ObjectKind, Sym, Uid};

/// Annotation that records a hold.
pub const HOLD_ANNOTATION: &str = "locksmith.dev/hold";

/// What [`volsync::USE_COPY_TRIGGER`] is set to; VolSync accepts any value.
pub const COPY_TRIGGER_VALUE: &str = "locksmith";

/// Why an object whose mark cannot be read is left alone.
pub const UNREADABLE: &str = "carries a mark of a hold that cannot be read";

/// Longest name of a Kubernetes object.
const MAX_NAME: usize = 253;

/// Longest mark read, in bytes: two names, a uid and two times fit several times over.
const MAX_MARK: usize = 2048;

/// The run that took a hold.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct RunRef {
    /// Namespace of the Remediation.
    pub namespace: Sym,
    /// Name of the Remediation.
    pub name: Sym,
    /// Uid of the Remediation.
    pub uid: Uid,
}

/// What can be switched off.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, schemars::JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Switch {
    /// `spec.paused` of a ReplicationSource: its mover's Job.
    Paused,
    /// `spec.suspend` of a ReplicationSource, where its CRD has that field.
    Suspend,
    /// The copy trigger on a source PersistentVolumeClaim: new snapshots and clones of it.
    CopyTrigger,
}

impl Switch {
    /// The kind of object the switch is on.
    pub fn kind(self) -> ObjectKind {
        match self {
            Self::Paused | Self::Suspend => ObjectKind::ReplicationSource,
            Self::CopyTrigger => ObjectKind::PersistentVolumeClaim,
        }
    }

    fn path(self) -> [&'static str; 2] {
        match self {
            Self::Paused => ["spec", "paused"],
            Self::Suspend => ["spec", "suspend"],
            Self::CopyTrigger => ["metadata", "annotations"],
        }
    }

    /// Its present value in `object`, `Null` when absent.
    fn read(self, object: &Value) -> Value {
        let [outer, inner] = self.path();
        let value = object.get(outer).and_then(|outer| outer.get(inner));
        let value = match self {
            Self::CopyTrigger => {
                value.and_then(|annotations| annotations.get(volsync::USE_COPY_TRIGGER))
            }
            Self::Paused | Self::Suspend => value,
        };
        value.cloned().unwrap_or(Value::Null)
    }

    /// The value that switches off.
    fn off(self) -> Value {
        match self {
            Self::Paused | Self::Suspend => json!(true),
            Self::CopyTrigger => json!(COPY_TRIGGER_VALUE),
        }
    }

    /// Whether a hold can have found it so. What else a mark says of the value before, no release writes anywhere.
    fn can_have_been(self, was: &Value) -> bool {
        match self {
            Self::CopyTrigger => was.is_null(),
            Self::Paused | Self::Suspend => was.is_null() || *was == json!(false),
        }
    }

    /// Whether a person had switched it off already.
    fn is_off(self, value: &Value) -> bool {
        match self {
            Self::CopyTrigger => !value.is_null(),
            Self::Paused | Self::Suspend => *value == self.off(),
        }
    }

    /// The merge patch that sets it to `value` and the mark to `mark`, on exactly the version that was read.
    fn patch(self, version: &str, value: Option<&Value>, mark: &Value) -> Value {
        let mut patch = json!({
            "metadata": { "resourceVersion": version, "annotations": { HOLD_ANNOTATION: mark } }
        });
        if let Some(value) = value {
            let [outer, inner] = self.path();
            match self {
                Self::CopyTrigger => patch[outer][inner][volsync::USE_COPY_TRIGGER] = value.clone(),
                Self::Paused | Self::Suspend => patch[outer][inner] = value.clone(),
            }
        }
        patch
    }
}

/// The mark on a held object.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Hold {
    /// What was switched.
    pub switch: Switch,
    /// Its value before; `Null` when it was absent.
    pub was: Value,
    /// Who switched it.
    pub run: RunRef,
    /// When.
    pub since: Timestamp,
    /// When it is released in any case.
    pub until: Timestamp,
}

impl Eq for Hold {}

/// Why an object is not held.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotHeld {
    /// It carries a hold of ours already.
    #[error("held already")]
    Already,
    /// Somebody switched it off before; it is theirs, and stays so.
    #[error("switched off before, by somebody else")]
    Theirs,
    /// It carries a mark of ours that cannot be read: what it was switched by, nobody would know any more.
    #[error("{UNREADABLE}")]
    Unreadable,
    /// It has no resourceVersion, so no write to it can be guarded.
    #[error("read without a resourceVersion")]
    Unguarded,
}

impl Hold {
    /// Reads the mark from the annotations of `object`, which is of this kind; an unreadable one is no mark of ours.
    pub fn of(kind: ObjectKind, object: &Value) -> Option<Self> {
        Self::parse(
            kind,
            object
                .pointer("/metadata/annotations")?
                .get(HOLD_ANNOTATION)?
                .as_str()?,
        )
    }

    /// Reads the mark from the text of the annotation on an object of this kind.
    ///
    /// Whoever may write the object may write the text: one that no hold of ours can have left is no mark.
    pub fn parse(kind: ObjectKind, text: &str) -> Option<Self> {
        if text.len() > MAX_MARK {
            return None;
        }
        let hold: Self = serde_json::from_str(text).ok()?;
        let meant = hold.switch.kind() == kind
            && hold.switch.can_have_been(&hold.was)
            && is_a_name(&hold.run.namespace)
            && is_a_name(&hold.run.name);
        meant.then_some(hold)
    }

    /// The merge patch that takes this hold on `object` as it was just read. `self.was` is filled in.
    pub fn take(mut self, object: &Value) -> Result<Value, NotHeld> {
        let version = version(object).ok_or(NotHeld::Unguarded)?;
        let current = self.switch.read(object);
        if let Some(standing) = Self::of(self.switch.kind(), object) {
            if standing.run == self.run {
                return Err(NotHeld::Already);
            }
            if standing.switch.is_off(&standing.switch.read(object)) {
                return Ok(self.adopt(&standing, version));
            }
            // Somebody switched it on again and left the mark: it is held by nobody.
        } else if is_marked(object) {
            return Err(NotHeld::Unreadable);
        } else if self.switch.is_off(&current) {
            return Err(NotHeld::Theirs);
        }
        self.was = current;
        let off = self.switch.off();
        Ok(self
            .switch
            .patch(version, Some(&off), &Value::String(json!(self).to_string())))
    }

    /// Takes over the hold of an earlier run: what was before, and the deadline, stay as they were.
    fn adopt(mut self, standing: &Self, version: &str) -> Value {
        self.was = standing.was.clone();
        self.since = standing.since;
        self.until = self.until.min(standing.until);
        self.switch = standing.switch;
        self.switch
            .patch(version, None, &Value::String(json!(self).to_string()))
    }

    /// The merge patch that releases the hold `object`, of this kind, carries, or `None` when it carries none.
    ///
    /// Where somebody has turned the switch since, it is theirs: only the mark goes.
    pub fn release(kind: ObjectKind, object: &Value) -> Option<Value> {
        let hold = Self::of(kind, object)?;
        let version = version(object)?;
        let untouched = hold.switch.read(object) == hold.switch.off();
        Some(
            hold.switch
                .patch(version, untouched.then_some(&hold.was), &Value::Null),
        )
    }
}

/// Whether `object` carries the annotation, whatever it says.
fn is_marked(object: &Value) -> bool {
    let annotations = object.pointer("/metadata/annotations");
    annotations.is_some_and(|annotations| annotations.get(HOLD_ANNOTATION).is_some())
}

/// Whether the API server could have given an object this name.
fn is_a_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(plain)
}

fn version(object: &Value) -> Option<&str> {
    object
        .pointer("/metadata/resourceVersion")?
        .as_str()
        .filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SOURCE: ObjectKind = ObjectKind::ReplicationSource;

    fn hold(switch: Switch) -> Hold {
        Hold {
            switch,
            was: Value::Null,
            run: RunRef {
                namespace: "locksmith".into(),
                name: "run".into(),
                uid: "u-run".into(),
            },
            since: "2026-11-01T02:00:00Z".parse().unwrap(),
            until: "2026-11-01T04:00:00Z".parse().unwrap(),
        }
    }

    /// RFC 7386, as the API server applies it.
    fn merge(target: &mut Value, patch: &Value) {
        let Value::Object(fields) = patch else {
            return *target = patch.clone();
        };
        if !target.is_object() {
            *target = json!({});
        }
        for (name, value) in fields {
            if value.is_null() {
                target.as_object_mut().unwrap().remove(name);
            } else {
                merge(&mut target[name], value);
            }
        }
    }

    #[rstest]
    #[case(Switch::Paused, json!({"metadata": {"resourceVersion": "7", "annotations": {}}, "spec": {"sourcePVC": "a"}}))]
    #[case(Switch::Paused, json!({"metadata": {"resourceVersion": "7", "annotations": {"x": "y"}}, "spec": {"paused": false}}))]
    #[case(Switch::Suspend, json!({"metadata": {"resourceVersion": "7", "annotations": {}}, "spec": {}}))]
    #[case(Switch::CopyTrigger, json!({"metadata": {"resourceVersion": "7", "annotations": {"x": "y"}}}))]
    fn a_release_undoes_a_hold_to_the_letter(#[case] switch: Switch, #[case] before: Value) {
        let kind = switch.kind();
        let mut object = before.clone();
        merge(&mut object, &hold(switch).take(&before).unwrap());
        assert!(switch.is_off(&switch.read(&object)));
        assert_eq!(hold(switch).take(&object), Err(NotHeld::Already));
        let release = Hold::release(kind, &object).unwrap();
        merge(&mut object, &release);
        assert_eq!(object, before);
        assert_eq!(Hold::release(kind, &object), None);
    }

    #[test]
    fn a_mark_that_cannot_be_read_is_not_written_over() {
        let annotations = json!({HOLD_ANNOTATION: "{\"version\": 2}"});
        let object =
            json!({"metadata": {"resourceVersion": "7", "annotations": annotations}, "spec": {}});
        assert_eq!(hold(Switch::Paused).take(&object), Err(NotHeld::Unreadable));
        assert_eq!(Hold::release(SOURCE, &object), None);
    }

    #[rstest]
    #[case(Switch::Paused, json!({"metadata": {"resourceVersion": "7"}, "spec": {"paused": true}}))]
    #[case(Switch::CopyTrigger, json!({"metadata": {"resourceVersion": "7", "annotations": {"volsync.backube/use-copy-trigger": ""}}}))]
    fn what_a_person_switched_off_is_theirs(#[case] switch: Switch, #[case] object: Value) {
        assert_eq!(hold(switch).take(&object), Err(NotHeld::Theirs));
    }

    #[test]
    fn a_later_run_takes_a_hold_over_with_what_was_before_and_its_deadline() {
        let mut object = json!({"metadata": {"resourceVersion": "7"}, "spec": {"paused": false}});
        let take = hold(Switch::Paused).take(&object).unwrap();
        merge(&mut object, &take);
        let mut later = hold(Switch::Paused);
        later.run.uid = "u-later".into();
        later.until = "2026-11-02T00:00:00Z".parse().unwrap();
        let adopt = later.clone().take(&object).unwrap();
        merge(&mut object, &adopt);
        let now = Hold::of(SOURCE, &object).unwrap();
        assert_eq!((now.run, now.was), (later.run, json!(false)));
        assert_eq!(now.until, hold(Switch::Paused).until);
    }

    #[test]
    fn a_switch_somebody_turned_since_keeps_its_value() {
        let mut object = json!({"metadata": {"resourceVersion": "7"}, "spec": {}});
        let take = hold(Switch::Paused).take(&object).unwrap();
        merge(&mut object, &take);
        object["spec"]["paused"] = json!(false);
        let release = Hold::release(SOURCE, &object).unwrap();
        assert_eq!(release.get("spec"), None);
    }

    #[test]
    fn what_somebody_switched_on_again_is_held_anew_by_a_later_run() {
        let mut object = json!({"metadata": {"resourceVersion": "7"}, "spec": {"paused": false}});
        let take = hold(Switch::Paused).take(&object).unwrap();
        merge(&mut object, &take);
        object["spec"].as_object_mut().unwrap().remove("paused");
        let mut later = hold(Switch::Paused);
        later.run.uid = "u-later".into();
        later.until = "2026-11-02T00:00:00Z".parse().unwrap();
        let take = later.clone().take(&object).unwrap();
        merge(&mut object, &take);
        assert_eq!(object["spec"]["paused"], json!(true));
        let now = Hold::of(SOURCE, &object).unwrap();
        assert_eq!((now.was, now.until), (Value::Null, later.until));
    }

    #[test]
    fn every_write_names_the_version_it_was_decided_on() {
        let object = json!({"metadata": {}, "spec": {}});
        assert_eq!(hold(Switch::Paused).take(&object), Err(NotHeld::Unguarded));
    }

    /// Attack: a mark written by hand, for the release to write what it says. Defence: a mark counts only where one of our
    /// holds can have left it; what was before is absent or off, and nothing else.
    #[rstest]
    #[case::half(SOURCE, r#"{"switch":"paused"}"#)]
    #[case::text(SOURCE, "yes")]
    #[case::an_object_to_restore(SOURCE, &forged(&json!({"switch": "paused", "was": {"a": 1}})))]
    #[case::paused_to_restore(SOURCE, &forged(&json!({"switch": "paused", "was": true})))]
    #[case::a_trigger_to_restore(CLAIM, &forged(&json!({"switch": "copyTrigger", "was": "theirs"})))]
    #[case::of_another_kind(CLAIM, &forged(&json!({"switch": "paused"})))]
    #[case::of_a_kind_without_switch(ObjectKind::VolumeSnapshot, &forged(&json!({"switch": "copyTrigger"})))]
    #[case::of_no_run(SOURCE, &forged(&json!({"run": {"namespace": "locksmith", "name": "", "uid": "u"}})))]
    #[case::of_a_run_that_steers_a_terminal(
        SOURCE,
        &forged(&json!({"run": {"namespace": "locksmith", "name": "a\u{1b}[2J\n", "uid": "u"}}))
    )]
    #[case::without_end(SOURCE, &forged(&json!({"run": {"namespace": "l", "name": "r", "uid": "u".repeat(9000)}})))]
    #[case::of_a_time_beyond_all_time(SOURCE, &forged(&json!({"until": "12026-11-01T04:00:00Z"})))]
    fn a_mark_no_hold_can_have_left_is_no_mark(#[case] kind: ObjectKind, #[case] text: &str) {
        assert_eq!(Hold::parse(kind, text), None);
    }

    #[test]
    fn a_mark_that_a_hold_can_have_left_is_one() {
        assert!(Hold::parse(SOURCE, &forged(&json!({"was": false}))).is_some());
        let late = forged(&json!({"until": "9999-12-30T00:00:00Z"}));
        assert!(Hold::parse(SOURCE, &late).is_some());
    }

    const CLAIM: ObjectKind = ObjectKind::PersistentVolumeClaim;

    /// A mark as it should be, but for these fields.
    fn forged(fields: &Value) -> String {
        let mut mark = json!(hold(Switch::Paused));
        merge(&mut mark, fields);
        mark["was"] = fields.get("was").cloned().unwrap_or(Value::Null);
        mark.to_string()
    }
}
