//! The program's requests to the API server, from the audit log.

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
    /// The uids of all snapshots that the program deleted, under any user. Asserts the same as [`Stage::deleted`], and that
    /// it deleted nothing else.
    pub async fn destroyed(&self) -> BTreeSet<String> {
        let mut deleted = self.deleted().await;
        let snapshots = deleted.remove("volumesnapshots").unwrap_or_default();
        assert!(deleted.is_empty(), "{deleted:#?}");
        snapshots
    }

    /// The uids of all objects that the program deleted, except for its own runs, by resource. Asserts that each request
    /// had a uid and version; that no user deleted an object again; and that each failed request was refused because the
    /// version had changed or the object was gone.
    pub async fn deleted(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut deleted: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for event in self.log().await {
            // A hold of its own is deleted in any version, by its uid alone.
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

    /// The names of the successful restarts of a Deployment. Asserts that each succeeded once.
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

    /// Every write of the program so far, except for those to its own Remediations, Lease and Events.
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

    /// Every write of the program so far.
    pub async fn writes(&self) -> Vec<Event> {
        self.requests().await.0
    }

    /// Every write of any of these users so far.
    pub async fn writes_of(&self, users: &[&str]) -> Vec<Event> {
        let mut events = self.log().await;
        events.retain(|event| users.contains(&&*event.user) && event.is_write());
        events
    }

    /// Every request of the program so far: writes, and the number of others.
    pub async fn requests(&self) -> (Vec<Event>, usize) {
        let mut events = self.everything().await;
        let all = events.len();
        events.retain(Event::is_write);
        let others = all - events.len();
        (events, others)
    }

    /// Every request of the program so far.
    pub async fn everything(&self) -> Vec<Event> {
        self.everything_of(&self.user).await
    }

    /// Every request of `user` so far.
    pub async fn everything_of(&self, user: &str) -> Vec<Event> {
        let mut events = self.log().await;
        events.retain(|event| event.user == user);
        events
    }

    /// Every request so far.
    async fn log(&self) -> Vec<Event> {
        // The log is delayed: once it contains this request, it contains all earlier ones.
        let marker = format!("marker-{}", jiff::Timestamp::now().as_nanosecond());
        let namespaces: Api<Namespace> = Api::all(self.testbed.client());
        assert_eq!(namespaces.get_opt(&marker).await.unwrap(), None);
        let seen = |event: &Event| event.name == marker;
        self.testbed.audit().until("the marker", seen).await
    }
}

/// Whether the program sent it. Other requests come from controllers, the world, or a test.
fn is_ours(event: &Event) -> bool {
    event.user.starts_with("locksmith-")
}
