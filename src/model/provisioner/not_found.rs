//! Why a driver's provisioner is not found, as shown to users.

use super::lease_names;
use crate::api::{ObjectKind, SharedStr};
use crate::config::ProvisionerRef;
use crate::model::Model;
use crate::model::records::{Lease, Pod, Workload};

/// Maximum number of names shown of a list.
const SHOWN: usize = 3;

/// Why no workload is known to serve a driver.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProvisionerNotFound {
    /// The configured workload does not exist.
    #[error("{0} does not exist; correct drivers[].provisioner")]
    Override(ProvisionerRef),
    /// There is neither a lease nor a pod with its sidecars.
    #[error("{0}")]
    NoLease(String),
    /// The holder leads to no pod, and no pod runs the sidecars.
    #[error(
        "no pod matches {holder:?}, the holder of lease {lease}; name the workload in drivers[].provisioner"
    )]
    Holder {
        /// Namespace and name.
        lease: String,
        /// Its holder identity.
        holder: SharedStr,
    },
    /// The lease exists, but nobody holds it.
    #[error(
        "no holder of lease {0}, and no workload with its sidecars there; start it, or name it in drivers[].provisioner"
    )]
    NotHeld(String),
    /// The pod that holds the lease has no controller that would replace it.
    #[error(
        "{0} holds its lease, but belongs to no Deployment, StatefulSet or DaemonSet; restart it by hand"
    )]
    Unowned(String),
    /// Several workloads match.
    #[error("several workloads run its sidecars: {0}; name one in drivers[].provisioner")]
    Ambiguous(String),
}

impl ProvisionerNotFound {
    pub(super) fn no_lease(model: &Model, driver: &str) -> Self {
        let (provisioner, snapshotter) = lease_names(driver);
        let namespaces = &model.discovery.namespaces.0;
        let is_its = |lease: &&Lease| [&*provisioner, &*snapshotter].contains(&&*lease.name);
        let mut elsewhere: Vec<&SharedStr> = model
            .leases
            .iter()
            .filter(is_its)
            .map(|lease| &lease.namespace)
            .collect();
        elsewhere.sort();
        elsewhere.dedup();
        let fix = if elsewhere.is_empty() {
            "name the workload in drivers[].provisioner".to_owned()
        } else {
            let elsewhere = listed(elsewhere);
            format!(
                "leases of that name are in {elsewhere}: add their namespace to provisionerNamespaces"
            )
        };
        Self::NoLease(format!(
            "no lease {provisioner} or {snapshotter}, and no pod with its sidecars, in {}; {fix}",
            listed(namespaces)
        ))
    }

    pub(super) fn holder(namespace: &SharedStr, lease: Option<&Lease>) -> Self {
        let name = lease.map_or("", |lease| &lease.name);
        let lease_name = format!("{namespace}/{name}");
        match lease.and_then(|lease| lease.holder.clone()) {
            Some(holder) => Self::Holder {
                lease: lease_name,
                holder,
            },
            None => Self::NotHeld(lease_name),
        }
    }

    pub(super) fn unowned(pod: &Pod) -> Self {
        Self::Unowned(pod.meta.key(ObjectKind::Pod).to_string())
    }

    pub(super) fn ambiguous(workloads: &[&Workload]) -> Self {
        Self::Ambiguous(listed(
            workloads.iter().map(|workload| workload.key().to_string()),
        ))
    }
}

/// The first [`SHOWN`] names, and the number of the others.
fn listed(names: impl IntoIterator<Item = impl ToString>) -> String {
    let mut names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let names = names.join(", ");
    if more > 0 {
        format!("{names} and {more} more")
    } else {
        names
    }
}
