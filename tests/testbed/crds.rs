//! Installs CustomResourceDefinitions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, CustomResourceExt, ResourceExt};

use locksmith::api::volsync::{ReplicationDestination, ReplicationSource};

/// The API server does not report when its handler knows an Established definition.
const POLL: Duration = Duration::from_millis(20);

/// The kinds in a directory of CRD files, as published by their project.
pub fn published(directory: &Path) -> Vec<CustomResourceDefinition> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("failed to read {}: {error}", directory.display()))
        .map(|entry| entry.expect("failed to list the CRDs").path())
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("failed to read a CRD");
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    files.into_iter().map(read).collect()
}

/// VolSync's kinds, with the fields that are used here.
pub fn volsync() -> Vec<CustomResourceDefinition> {
    vec![ReplicationSource::crd(), ReplicationDestination::crd()]
}

/// Creates them, and waits until all are served.
pub async fn install(client: &Client, crds: Vec<CustomResourceDefinition>) -> kube::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in &crds {
        api.create(&PostParams::default(), crd).await?;
    }
    for crd in crds {
        await_condition(
            api.clone(),
            &crd.name_any(),
            conditions::is_crd_established(),
        )
        .await
        .unwrap_or_else(|error| panic!("failed to watch {}: {error}", crd.name_any()));
        served(client, &crd).await?;
    }
    Ok(())
}

async fn served(client: &Client, crd: &CustomResourceDefinition) -> kube::Result<()> {
    let spec = &crd.spec;
    let version = spec
        .versions
        .iter()
        .find(|version| version.served)
        .expect("a CRD serves a version");
    let kind = GroupVersionKind::gvk(&spec.group, &version.name, &spec.names.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &spec.names.plural);
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    loop {
        match objects.list(&ListParams::default().limit(1)).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                tokio::time::sleep(POLL).await;
            }
            Err(error) => return Err(error),
        }
    }
}
