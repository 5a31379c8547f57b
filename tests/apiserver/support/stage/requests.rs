//! What the program asked the API server for, as the audit log has it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use locksmith::api::RESTART_ANNOTATION;

use super::{NAMESPACE, Stage};
use crate::testbed::Event;

/// Whether a right was missing. The dry-run snapshot that the hold's policy refuses is the proof of the hold instead.
pub fn lacks_right(event: &Event) -> bool {
    let is_proof = event.resource == "volumesnapshots" && event.uri.contains("dryRun=All");
    event.code == 403 && !is_proof
}

impl Stage {
    /// The uids of all snapshots the program had deleted, whoever it was to the API server. Asserts what
    /// [`Stage::deleted`] does, and that it deleted nothing else.
    pub async fn destroyed(&self) -> BTreeSet<String> {
        let mut deleted = self.deleted().await;
        let snapshots = deleted.remove("volumesnapshots").unwrap_or_default();
        assert!(deleted.is_empty(), "{deleted:#?}");
        snapshots
    }

    /// The uids of all that the program had deleted but its own runs, by resource. Asserts that each was asked for by
    /// uid and version; that who had it deleted never asked again; and that what was asked for in vain was refused
    /// for being another version by then, or gone.
    pub async fn deleted(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut deleted: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for event in self.log().await {
            // Of its own objects a hold is deleted whatever has become of it, by its uid alone.
            let own = matches!(&*event.resource, "remediations" | "snapshotholds");
            let about = event.verb.starts_with("delete") && !own;
            if !is_ours(&event) || !about {
                continue;
            }
            let precondition = |name: &str| {
                let body = event.request_body.as_ref()?;
                body["preconditions"][name].as_str().map(str::to_owned)
            };
            let uid = precondition("uid").unwrap_or_else(|| panic!("whichever: {event:#?}"));
            assert!(precondition("resourceVersion").is_some(), "{event:#?}");
            let by = deleted.entry(event.resource.clone()).or_default();
            assert_ne!(by.get(&uid), Some(&event.user), "asked again: {event:#?}");
            if event.code < 300 {
                let before = by.insert(uid, event.user.clone());
                assert_eq!(before, None, "deleted twice: {event:#?}");
            } else {
                assert!(matches!(event.code, 404 | 409), "{event:#?}");
            }
        }
        deleted.retain(|_, by| !by.is_empty());
        let uids = |by: BTreeMap<String, String>| by.into_keys().collect();
        let all = deleted.into_iter();
        all.map(|(resource, by)| (resource, uids(by))).collect()
    }

    /// What the restarts of a Deployment that came through are named by. Asserts that each came through once.
    pub async fn restarts(&self) -> BTreeSet<String> {
        let mut tokens = BTreeSet::new();
        for event in self.log().await {
            if !is_ours(&event) || event.resource != "deployments" || !event.is_write() {
                continue;
            }
            let body = event.request_body.as_ref().unwrap();
            let version = body["metadata"]["resourceVersion"].as_str();
            assert!(version.is_some(), "whichever version: {event:#?}");
            let annotations = &body["spec"]["template"]["metadata"]["annotations"];
            let token = annotations[RESTART_ANNOTATION].as_str().unwrap().to_owned();
            if event.code < 300 {
                assert!(tokens.insert(token), "restarted twice: {event:#?}");
            }
        }
        tokens
    }

    /// Every write the program asked for until now, but those to its own Remediations, Lease and Events.
    pub async fn writes_elsewhere(&self) -> Vec<Event> {
        let mut writes = self.writes().await;
        writes.retain(|event| match &*event.resource {
            "remediations" | "snapshotholds" | "leases" => event.namespace != NAMESPACE,
            // The proof of a hold, by dry run.
            "volumesnapshots" => event.verb != "create" || event.namespace != NAMESPACE,
            "events" => false,
            _ => true,
        });
        writes
    }

    /// Every write the program asked for until now.
    pub async fn writes(&self) -> Vec<Event> {
        self.requests().await.0
    }

    /// Every write any of these users asked for until now.
    pub async fn writes_of(&self, users: &[&str]) -> Vec<Event> {
        let mut events = self.log().await;
        events.retain(|event| users.contains(&&*event.user) && event.is_write());
        events
    }

    /// Every request of the program until now: writes, and how many others.
    pub async fn requests(&self) -> (Vec<Event>, usize) {
        let mut events = self.everything().await;
        let all = events.len();
        events.retain(Event::is_write);
        let others = all - events.len();
        (events, others)
    }

    /// Every request of the program until now.
    pub async fn everything(&self) -> Vec<Event> {
        self.everything_of(&self.user).await
    }

    /// Every request of `user` until now.
    pub async fn everything_of(&self, user: &str) -> Vec<Event> {
        let mut events = self.log().await;
        events.retain(|event| event.user == user);
        events
    }

    /// Every request of anybody until now.
    async fn log(&self) -> Vec<Event> {
        // The log trails behind the answers: what was asked before this is in it once this is.
        let marker = format!("marker-{}", jiff::Timestamp::now().as_nanosecond());
        let namespaces: Api<Namespace> = Api::all(self.testbed.client());
        assert_eq!(namespaces.get_opt(&marker).await.unwrap(), None);
        let seen = |event: &Event| event.name == marker;
        self.testbed.audit().until("the marker", seen).await
    }
}

/// Whether the program asked. Whoever else asks for something is of the cluster: a controller, the world, or a test.
fn is_ours(event: &Event) -> bool {
    event.user.starts_with("locksmith-")
}
