//! `locksmith crd`: prints the CustomResourceDefinition of the Remediation, as `deploy/crd.yaml` has it.

use std::process::ExitCode;

use kube::CustomResourceExt;

use crate::api::remediation::Remediation;

/// Print the CustomResourceDefinition of Remediation
///
/// For `locksmith crd | kubectl apply --server-side -f -`. Not needed in mode observe, which writes nothing.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(Args {}: &Args) -> anyhow::Result<ExitCode> {
    anstream::print!("{}", yaml()?);
    Ok(ExitCode::SUCCESS)
}

fn yaml() -> Result<String, serde_saphyr::ser_error::Error> {
    serde_saphyr::to_string(&Remediation::crd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

    #[test]
    fn the_deployed_definition_is_that_of_the_code() {
        // kustomize and Helm read nothing above their own directories.
        for file in ["crd.yaml", "base/crd.yaml", "chart/crds/crd.yaml"] {
            let path = format!("{}/deploy/{file}", env!("CARGO_MANIFEST_DIR"));
            let yaml = yaml().unwrap();
            if std::env::var_os("UPDATE_DOCS").is_some() {
                std::fs::write(&path, &yaml).unwrap();
            }
            let deployed = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(
                deployed, yaml,
                "{file} is out of date: UPDATE_DOCS=1 cargo test definition"
            );
        }
    }

    #[test]
    fn no_format_is_unknown_to_the_api_server() {
        // It warns of them at each apply; int32, int64 and date-time are among those it knows.
        assert!(!yaml().unwrap().contains("format: uint"));
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same_definition() {
        let back: CustomResourceDefinition = serde_saphyr::from_str(&yaml().unwrap()).unwrap();
        assert_eq!(back, Remediation::crd());
    }
}
