//! The custom resources of the cases: a kind with every supported schema feature, and a bare one.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt as _};

/// The definitions.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [include_str!("widgets.yaml"), include_str!("gadgets.yaml")]
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .into()
}

/// Creates them, and waits until they are served.
pub async fn install(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions() {
        api.create(&PostParams::default(), &definition)
            .await
            .unwrap();
        let established = conditions::is_crd_established();
        await_condition(api.clone(), &definition.name_any(), established)
            .await
            .unwrap();
    }
}
