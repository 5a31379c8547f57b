//! The clients that this program uses.

use anyhow::{Context as _, Result};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::Outcome;
use crate::ground::{Ground, config_map, same};

/// Watches the namespace's config maps through the initial list, an addition, a change and a deletion.
async fn follow<K>(g: &Ground, events: impl Stream<Item = watcher::Result<Event<K>>>) -> Outcome
where
    K: kube::Resource + std::fmt::Debug,
{
    let mut events = Box::pin(events.filter(|event| {
        // Controllers add one to every namespace.
        let own = match event {
            Ok(Event::Apply(o) | Event::InitApply(o) | Event::Delete(o)) => {
                o.name_any() != "kube-root-ca.crt"
            }
            _ => true,
        };
        std::future::ready(own)
    }));
    let mut next = async || -> Result<String> {
        let event = events.next().await.context("the watcher ended")??;
        Ok(match event {
            Event::Init => "init".to_owned(),
            Event::InitApply(o) => format!("there {}", o.name_any()),
            Event::InitDone => "all there".to_owned(),
            Event::Apply(o) => format!("applied {}", o.name_any()),
            Event::Delete(o) => format!("deleted {}", o.name_any()),
        })
    };
    for expected in ["init", "there a", "there b", "all there"] {
        same("at first", next().await?, expected)?;
    }
    let path = g.core("configmaps");
    g.post(&path, config_map("c")).await?.is(201)?;
    same("then", next().await?, "applied c")?;
    g.merge(&format!("{path}/a"), json!({"data": {"b": "2"}}))
        .await?
        .is(200)?;
    same("then", next().await?, "applied a")?;
    g.delete(&format!("{path}/b"), json!(null)).await?.is(200)?;
    same("then", next().await?, "deleted b")
}

async fn config_maps(g: &Ground) -> Result<Api<ConfigMap>> {
    g.config_map("a").await?;
    let last = g.config_map("b").await?;
    // Streamed lists come from a cache, which may lag until a revision is requested.
    let revision = crate::ground::text(&last, "/metadata/resourceVersion");
    g.get(&g.core(&format!("configmaps?resourceVersion={revision}")))
        .await?
        .is(200)?;
    Ok(Api::namespaced(g.client.clone(), &g.namespace))
}

pub async fn a_listing_watcher_follows(g: Ground) -> Outcome {
    let api = config_maps(&g).await?;
    follow(
        &g,
        watcher::watcher(api, watcher::Config::default().page_size(1)),
    )
    .await
}

pub async fn a_streaming_watcher_follows(g: Ground) -> Outcome {
    let api = config_maps(&g).await?;
    follow(
        &g,
        watcher::watcher(api, watcher::Config::default().streaming_lists()),
    )
    .await
}

pub async fn metadata_is_watched(g: Ground) -> Outcome {
    config_maps(&g).await?;
    let api: Api<PartialObjectMeta<ConfigMap>> = Api::namespaced(g.client.clone(), &g.namespace);
    follow(&g, watcher::watcher(api, watcher::Config::default())).await
}

pub async fn typed_objects_come_back(g: Ground) -> Outcome {
    let api = config_maps(&g).await?;
    let params = PatchParams::apply("typed").validation_strict();
    let patch = Patch::Apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"b": "2"},
    }));
    let object = api.patch("a", &params, &patch).await?;
    same("data", object.data.and_then(|d| d.get("b").cloned()), "2")?;
    let error = api.get("absent").await.err().context("found")?;
    let kube::Error::Api(status) = error else {
        anyhow::bail!("not a status: {error}");
    };
    same("not found", status.is_not_found(), true)
}
