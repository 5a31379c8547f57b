//! The script: actions of a person, conditions to wait for, and observations.

use locksmith::demo::scenario::{App, Restore};
use serde_json::json;

use super::ground::Ground;
use super::observe;
use super::person::{
    CLAIM, CONTENT, Person, SNAPSHOT, SOURCE, being_deleted, bound, created, failing, gone, held,
    ready, refused, released, unprotected, waits_for_schedule,
};
use crate::cast::{repository, source};

const NAMESPACE: &str = "script";
/// Snapshots that are deleted while their creation hangs.
const DELETED: [&str; 3] = ["deleted-1", "deleted-2", "deleted-3"];

/// The stage of a deletion that csi-snapshotter has missed.
pub const MISSED: &str = "a deletion is missed";

/// A point of the script, with its observations.
pub struct Stage {
    pub title: &'static str,
    pub observed: String,
}

/// Plays the script in a namespace of its own.
pub async fn play(ground: &Ground) -> Vec<Stage> {
    let person = Person::new(ground.client(), NAMESPACE).await;
    let mut stages = Vec::new();
    person.create(repository(NAMESPACE)).await;
    let app = App::new(NAMESPACE, "data");

    person.claim(&app.claim()).await;
    person.until(CLAIM, "data", bound).await;
    stages.push(stage(&person, "a claim is bound").await);

    person.snapshot("healthy").await;
    person.until(SNAPSHOT, "healthy", ready).await;
    person.until(CLAIM, "data", unprotected).await;
    stages.push(stage(&person, "a snapshot is ready").await);

    jam(ground, &person).await;
    stages.push(stage(&person, "calls hang and their retries are refused").await);
    stages.push(Stage {
        title: "the driver's log of the refusals",
        observed: observe::refusals(&ground.driver_logs().await),
    });

    let mut contents = Vec::new();
    for name in DELETED {
        let content = person.content_of(name).await;
        person.delete(SNAPSHOT, name).await;
        person.until(CONTENT, &content, being_deleted).await;
        person.until(SNAPSHOT, name, released).await;
        contents.push(content);
    }
    stages.push(stage(&person, "a snapshot is deleted while its creation hangs").await);

    ground.restart().await;
    person.until(SNAPSHOT, "stuck", ready).await;
    person.until(CLAIM, "restored", bound).await;
    for content in &contents {
        person.until(CONTENT, content, created).await;
    }
    // It takes longer than a deletion that csi-snapshotter does not miss.
    synchronised(&person, "slow").await;
    stages.push(missed(&person, &contents).await);
    for content in &contents {
        person.touch(CONTENT, content).await;
    }
    for name in DELETED {
        person.until(SNAPSHOT, name, gone).await;
    }
    person.until(CLAIM, "data", unprotected).await;
    stages.push(stage(&person, "the provisioner is restarted").await);

    let orphan = App::new(NAMESPACE, "missing");
    person.create(source(&orphan, "orphan")).await;
    person.create(source(&app, "backup")).await;
    synchronised(&person, "backup").await;
    person.until(SOURCE, "orphan", failing).await;
    person.until(CLAIM, "data", unprotected).await;
    // VolSync may read the snapshot once more after deleting it, and then reports an error until its next reconcile.
    person.until(SOURCE, "backup", waits_for_schedule).await;
    stages.push(stage(&person, "one source is synchronised, another has no claim").await);

    let hold = hold(ground, &person).await;
    stages.push(
        stage(
            &person,
            "the API server refuses the snapshot of a held source",
        )
        .await,
    );

    ground.delete_hold(&hold).await;
    // VolSync retries now instead of after its backoff.
    person.touch(SOURCE, "held").await;
    synchronised(&person, "held").await;
    person.until(CLAIM, "later", unprotected).await;
    stages.push(stage(&person, "the hold is released").await);

    stages.push(Stage {
        title: "the Events of all stages",
        observed: observe::events(&person.client, NAMESPACE).await,
    });
    stages
}

async fn stage(person: &Person, title: &'static str) -> Stage {
    Stage {
        title,
        observed: observe::objects(&person.client, &person.namespace).await,
    }
}

/// A content whose deletion csi-snapshotter has missed; empty if there is none.
async fn missed(person: &Person, contents: &[String]) -> Stage {
    let mut observed = String::new();
    for content in contents {
        if let Some(content) = person.api(CONTENT).get_opt(content).await.unwrap() {
            observed = observe::state(&content);
        }
    }
    Stage {
        title: MISSED,
        observed,
    }
}

/// Holds the source `held` before its first snapshot; returns the hold's name. Its claim is created after the hold.
async fn hold(ground: &Ground, person: &Person) -> String {
    let app = App::new(NAMESPACE, "later");
    person.create(source(&app, "held")).await;
    person.until(SOURCE, "held", failing).await;
    let uid = person.uid(SOURCE, "held").await;
    let hold = ground.create_hold(&uid, "script/held").await;
    person.claim(&app.claim()).await;
    person.until(CLAIM, "later", bound).await;
    person.until(SOURCE, "held", held).await;
    hold
}

/// Waits until the source has synced, and its temporary objects are deleted.
async fn synchronised(person: &Person, source: &str) {
    let temporary = format!("volsync-{source}-src");
    person.until(SOURCE, source, waits_for_schedule).await;
    person.until(SNAPSHOT, &temporary, gone).await;
    person.until(CLAIM, &temporary, gone).await;
}

/// Snapshots, one of them VolSync's, and a restore hang, and are refused when they are retried.
async fn jam(ground: &Ground, person: &Person) {
    let rule = |method: &str, snapshot: &str| {
        json!({
            "id": format!("{method}-{snapshot}"),
            "method": method,
            "snapshot": snapshot,
            "namespace": NAMESPACE,
            "action": "hang",
            "times": 1,
        })
    };
    let stuck: Vec<_> = DELETED.into_iter().chain(["stuck"]).collect();
    let snapshots: Vec<_> = stuck.iter().copied().chain(["volsync-slow-src"]).collect();
    let mut rules: Vec<_> = snapshots
        .iter()
        .map(|name| rule("CreateSnapshot", name))
        .collect();
    rules.push(rule("CreateVolume", "healthy"));
    ground.hang(&rules);

    for name in stuck {
        person.snapshot(name).await;
    }
    let data = App::new(NAMESPACE, "data");
    person.create(source(&data, "slow")).await;
    person
        .until(SNAPSHOT, "volsync-slow-src", |one| one.is_some())
        .await;
    let restored = App::new(NAMESPACE, "restored");
    let from = Restore::Snapshot("healthy".to_owned());
    person.claim(&restored.restored_claim(&from)).await;

    let mut requests = vec![format!("pvc-{}", person.uid(CLAIM, "restored").await)];
    for name in &snapshots {
        requests.push(format!("snapshot-{}", person.uid(SNAPSHOT, name).await));
    }
    ground.hung(&requests).await;
    for name in snapshots {
        person.until(SNAPSHOT, name, refused).await;
    }
    person.claim_refused("restored").await;
}
