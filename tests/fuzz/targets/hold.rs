//! The annotation that marks a hold, read back: whatever it says, a release touches the switch of its own kind and the
//! mark, sets the switch to what a hold of ours can have found, and names the version it was decided on.

use locksmith::holds::{HOLD_ANNOTATION, Hold};
use locksmith::model::ObjectKind;
use serde_json::{Value, json};

const COPY_TRIGGER: &str = "volsync.backube/use-copy-trigger";

pub fn run(data: &[u8]) {
    let text = super::text(data);
    for kind in [
        ObjectKind::ReplicationSource,
        ObjectKind::PersistentVolumeClaim,
    ] {
        let object = |off: bool| {
            let mut object = json!({
                "metadata": { "resourceVersion": "7", "annotations": { HOLD_ANNOTATION: text } },
                "spec": {},
            });
            if off {
                object["spec"] = json!({ "paused": true, "suspend": true });
                object["metadata"]["annotations"][COPY_TRIGGER] = json!("locksmith");
            }
            object
        };
        let read = Hold::parse(kind, &text);
        for object in [object(false), object(true)] {
            let release = Hold::release(kind, &object);
            assert_eq!(release.is_some(), read.is_some());
            release.iter().for_each(is_harmless);
        }
        let Some(hold) = read else { continue };
        let written = json!(hold).to_string();
        assert_eq!(Hold::parse(kind, &written).as_ref(), Some(&hold));
        taken_over(&hold, &object(true));
    }
    assert_eq!(Hold::parse(ObjectKind::VolumeSnapshot, &text), None);
}

/// No patch does more than a release may.
fn is_harmless(patch: &Value) {
    let mut left = patch.clone();
    let metadata = left["metadata"].take();
    assert_eq!(metadata["resourceVersion"], "7");
    let annotations = metadata["annotations"]
        .as_object()
        .expect("the mark is among them");
    assert!(annotations.values().all(Value::is_null), "{patch}");
    assert!(
        annotations
            .keys()
            .all(|key| key == HOLD_ANNOTATION || key == COPY_TRIGGER)
    );
    for (field, was) in left["spec"].as_object().into_iter().flatten() {
        assert!(field == "paused" || field == "suspend", "{patch}");
        assert!(was.is_null() || *was == json!(false), "{patch}");
    }
    let fields = patch.as_object().expect("a patch is an object");
    assert!(
        fields.keys().all(|key| key == "metadata" || key == "spec"),
        "{patch}"
    );
}

/// Another run that finds the mark neither grows it nor puts its end off.
fn taken_over(standing: &Hold, object: &Value) {
    let mut mine = standing.clone();
    mine.run.uid = "another".into();
    mine.until = super::now();
    let patch = mine.take(object).expect("what is held can be taken over");
    let mark = patch["metadata"]["annotations"][HOLD_ANNOTATION].as_str();
    let mark = mark.expect("it is marked again");
    let taken = Hold::parse(standing.switch.kind(), mark).expect("the mark can be read");
    assert!(taken.until <= standing.until && taken.until <= super::now());
    assert_eq!(taken.was, standing.was);
    assert_eq!(patch.get("spec"), None);
}
