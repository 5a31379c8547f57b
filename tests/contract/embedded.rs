//! Properties of the embedded server only: start and end, clock, memory, loaded objects.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, PostParams, WatchParams};
use kube::config::KubeConfigOptions;
use kube::core::WatchEvent;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use locksmith::demo::apiserver::{ApiServer, Clock, Options};
use serde_json::json;

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

fn config_maps(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, "default")
}

#[tokio::test]
async fn network_and_internal_clients_see_the_same() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let inside = config_maps(server.client());
    inside
        .create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&server.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    let outside = config_maps(Client::try_from(config).unwrap());
    assert_eq!(
        outside.get("a").await.unwrap(),
        inside.get("a").await.unwrap()
    );
}

#[tokio::test]
async fn stopped_server_ends_watches_and_refuses_requests() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let api = config_maps(server.client());
    let watch = api.watch(&WatchParams::default(), "0").await.unwrap();
    drop(server);
    let events: Vec<_> = watch.try_collect().await.unwrap();
    assert!(events.is_empty(), "{events:?}");
    let kube::Error::Api(status) = api.list(&ListParams::default()).await.unwrap_err() else {
        panic!("not refused by the server");
    };
    assert_eq!(status.code, 503);
}

#[tokio::test]
async fn timestamps_come_from_the_given_clock() {
    let then: Timestamp = "2026-07-04T12:00:00Z".parse().unwrap();
    let options = Options {
        clock: Clock::new(move || then),
        ..Options::default()
    };
    let server = ApiServer::start(options).await.unwrap();
    let api = config_maps(server.client());
    let object = api
        .create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    assert_eq!(object.creation_timestamp().unwrap().0, then);
}

#[tokio::test]
async fn seed_makes_identifiers_reproducible() {
    let mut made = Vec::new();
    for _ in 0..2 {
        let options = Options {
            seed: Some(7),
            ..Options::default()
        };
        let server = ApiServer::start(options).await.unwrap();
        let mut object = config_map("");
        object.metadata.name = None;
        object.metadata.generate_name = Some("made-".to_owned());
        let api = config_maps(server.client());
        let object = api.create(&PostParams::default(), &object).await.unwrap();
        made.push((object.name_any(), object.uid().unwrap()));
    }
    assert_eq!(made[0], made[1]);
}

#[tokio::test]
async fn loaded_objects_are_unchanged() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "old", "namespace": "default", "uid": "11111111-2222-4333-8444-555555555555",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Bound"},
    });
    let unknown = json!({"apiVersion": "x.example/v1", "kind": "Thing", "metadata": {"name": "a"}});
    assert_eq!(server.load([claim, unknown.clone()]), [unknown]);
    let claims: Api<k8s_openapi::api::core::v1::PersistentVolumeClaim> =
        Api::namespaced(server.client(), "default");
    let claim = claims.get("old").await.unwrap();
    assert_eq!(claim.uid().unwrap(), "11111111-2222-4333-8444-555555555555");
    assert_eq!(claim.status.unwrap().phase.unwrap(), "Bound");
    assert_eq!(
        claim.metadata.creation_timestamp.unwrap().0.to_string(),
        "2026-01-01T00:00:00Z"
    );
}

#[tokio::test]
async fn compaction_expires_only_older_watches() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let api = config_maps(server.client());
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &config_map(name))
            .await
            .unwrap();
    }
    let page = api.list(&ListParams::default().limit(1)).await.unwrap();
    let version = page.metadata.resource_version.clone().unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let now = api
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let mut abreast = Box::pin(api.watch(&WatchParams::default(), &now).await.unwrap());
    server.compact();

    let next = ListParams::default()
        .limit(1)
        .continue_token(&page.metadata.continue_.unwrap());
    let kube::Error::Api(status) = api.list(&next).await.unwrap_err() else {
        panic!("not refused by the server");
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));

    let mut events = Box::pin(api.watch(&WatchParams::default(), &version).await.unwrap());
    let event = events.next().await.unwrap().unwrap();
    assert!(
        matches!(&event, WatchEvent::Error(status) if status.code == 410),
        "{event:?}"
    );

    api.create(&PostParams::default(), &config_map("d"))
        .await
        .unwrap();
    let event = abreast.next().await.unwrap().unwrap();
    assert!(
        matches!(&event, WatchEvent::Added(o) if o.name_any() == "d"),
        "{event:?}"
    );
}

#[tokio::test]
async fn slow_watch_gets_an_error() {
    let options = Options {
        remembered_events: 4,
        ..Options::default()
    };
    let server = ApiServer::start(options).await.unwrap();
    let api = config_maps(server.client());
    let first = api
        .create(&PostParams::default(), &config_map("first"))
        .await
        .unwrap();
    for index in 0..6 {
        api.create(&PostParams::default(), &config_map(&format!("c{index}")))
            .await
            .unwrap();
    }
    let version = first.resource_version().unwrap();
    let mut events = Box::pin(api.watch(&WatchParams::default(), &version).await.unwrap());
    let event = events.next().await.unwrap().unwrap();
    assert!(
        matches!(&event, WatchEvent::Error(status) if status.code == 410),
        "{event:?}"
    );
    // This program's watches list again by themselves.
    let all: Vec<_> = watcher::watcher(api, watcher::Config::default())
        .take_while(|e| std::future::ready(!matches!(e, Ok(Event::InitDone))))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(
        all.iter()
            .filter(|e| matches!(e, Event::InitApply(_)))
            .count(),
        7
    );
}

#[tokio::test]
async fn watch_of_hundreds_of_objects_has_no_gap() {
    const OBJECTS: usize = 500;
    let server = ApiServer::start(Options::default()).await.unwrap();
    let api = config_maps(server.client());
    let mut events = Box::pin(watcher::watcher(api.clone(), watcher::Config::default()));
    while !matches!(events.next().await.unwrap().unwrap(), Event::InitDone) {}
    let writing = futures::stream::iter(0..OBJECTS).for_each_concurrent(16, |index| {
        let api = api.clone();
        async move {
            let object = config_map(&format!("c{index}"));
            api.create(&PostParams::default(), &object).await.unwrap();
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    let watching = async {
        while seen.len() < OBJECTS {
            if let Event::Apply(object) = events.next().await.unwrap().unwrap() {
                assert!(
                    seen.insert(object.name_any()),
                    "{} came twice",
                    object.name_any()
                );
            }
        }
    };
    let both = futures::future::join(writing, watching);
    tokio::time::timeout(Duration::from_secs(60), both)
        .await
        .unwrap();
}
