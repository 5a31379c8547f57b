//! `locksmith crd`: prints the two CustomResourceDefinitions and the admission policy that enforces holds.

use std::process::ExitCode;

use kube::CustomResourceExt;

use super::daemon::NAMESPACE;
use super::output::print;
use crate::api::hold::SnapshotHold;
use crate::api::remediation::Remediation;
use crate::holds::policy;

/// Print the CustomResourceDefinitions and the policy that enforces holds
///
/// Install them with `locksmith crd | kubectl apply --server-side -f -`. Mode observe needs none of them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Namespace of the Remediations and SnapshotHolds
    #[arg(short, long, value_name = "NAME", default_value = NAMESPACE)]
    namespace: String,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (crds, policy) = (yaml()?, policy::manifest(&args.namespace));
    print(format_args!("{crds}---\n{policy}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Both definitions.
fn yaml() -> Result<String, serde_saphyr::ser_error::Error> {
    let remediation = serde_saphyr::to_string(&Remediation::crd())?;
    let hold = serde_saphyr::to_string(&SnapshotHold::crd())?;
    Ok(format!("{remediation}---\n{hold}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

    fn in_step(file: &str, text: &str) {
        let path = format!("{}/deploy/{file}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        let deployed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            deployed, text,
            "{file} is out of date: UPDATE_DOCS=1 cargo test definition"
        );
    }

    #[test]
    fn deployed_crds_match_the_code() {
        // kustomize and Helm read no files outside their own directories.
        for file in ["crd.yaml", "base/crd.yaml", "chart/crds/crd.yaml"] {
            in_step(file, &yaml().unwrap());
        }
    }

    #[test]
    fn chart_policy_matches_the_manifest() {
        let text = policy::manifest("{{ .Release.Namespace }}");
        let (own, charts) = (
            "  labels:\n    app.kubernetes.io/name: locksmith\n",
            "  labels: {{- include \"locksmith.labels\" . | nindent 4 }}\n",
        );
        in_step(
            "chart/templates/hold-policy.yaml",
            &text.replace(own, charts),
        );
    }

    #[test]
    fn crd_formats_are_known_to_the_api_server() {
        // kubectl warns of unknown formats at each apply; int32, int64 and date-time are known.
        assert!(!yaml().unwrap().contains("format: uint"));
    }

    #[test]
    fn printed_crds_round_trip() {
        let text = yaml().unwrap();
        let (remediation, hold) = text.split_once("---\n").unwrap();
        let back: CustomResourceDefinition = serde_saphyr::from_str(remediation).unwrap();
        assert_eq!(back, Remediation::crd());
        let back: CustomResourceDefinition = serde_saphyr::from_str(hold).unwrap();
        assert_eq!(back, SnapshotHold::crd());
    }
}
