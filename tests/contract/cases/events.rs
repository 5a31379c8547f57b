//! Events, which are served in two groups.

use serde_json::json;

use super::Outcome;
use crate::ground::{Ground, at, same};

pub async fn both_groups_serve_the_same_events(g: Ground) -> Outcome {
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "type": "Warning", "reason": "Tested", "action": "Test", "note": "a note",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "contract.locksmith.dev/test", "reportingInstance": "one",
        "regarding": {"kind": "Pod", "namespace": g.namespace, "name": "a"},
    });
    g.post(&g.of("events.k8s.io/v1", "events"), event)
        .await?
        .is(201)?;
    let core = g.get(&g.core("events/e")).await?.is(200)?;
    same("message", at(&core, "/message"), "a note")?;
    same("involved", at(&core, "/involvedObject/name"), "a")?;
    same(
        "reporting",
        at(&core, "/reportingComponent"),
        "contract.locksmith.dev/test",
    )?;
    let list = g
        .get(&g.of(
            "events.k8s.io/v1",
            "events?fieldSelector=regarding.name%3Da",
        ))
        .await?
        .is(200)?;
    same("note", at(&list, "/items/0/note"), "a note")?;
    let old = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "f"}, "reason": "Tested", "message": "hm",
        "type": "Normal", "involvedObject": {"kind": "Pod", "namespace": g.namespace, "name": "a"},
        "count": 3, "source": {"component": "kubelet"},
    });
    g.post(&g.core("events"), old).await?.is(201)?;
    let new = g
        .get(&g.of("events.k8s.io/v1", "events/f"))
        .await?
        .is(200)?;
    let found = json!([
        new["note"],
        new["deprecatedCount"],
        at(&new, "/deprecatedSource/component")
    ]);
    same("new shape", found, json!(["hm", 3, "kubelet"]))
}
