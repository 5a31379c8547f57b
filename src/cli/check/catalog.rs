//! Every check: its name, its group, why it matters and how to fix it. `deploy/docs/check.md` is generated from it. Pure.

use serde::Serialize;

/// A part of the report.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Group {
    /// The API server.
    Server,
    /// Kinds and policies that must be installed.
    Prerequisites,
    /// CSI drivers in use.
    Drivers,
    /// Their provisioners.
    Provisioners,
    /// RBAC.
    Rights,
    /// The daemon.
    Daemon,
    /// Prometheus and Alertmanager.
    Monitoring,
}

impl Group {
    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Server => "API server",
            Self::Prerequisites => "Prerequisites",
            Self::Drivers => "CSI drivers",
            Self::Provisioners => "Provisioners",
            Self::Rights => "Rights",
            Self::Daemon => "Daemon",
            Self::Monitoring => "Monitoring",
        }
    }
}

/// The closed set of checks, in the order they are reported.
macro_rules! checks {
    ($($id:ident = $name:literal, $group:ident, $reason:literal, $fix:literal;)+) => {
        /// Identifies a check.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
        pub enum CheckId {
            $(#[doc = $name] #[serde(rename = $name)] $id,)+
        }

        impl CheckId {
            /// Every check.
            #[cfg(test)]
            pub const ALL: &[Self] = &[$(Self::$id),+];

            /// Its name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$id => $name,)+ }
            }

            /// The group it is reported in.
            pub fn group(self) -> Group {
                match self { $(Self::$id => Group::$group,)+ }
            }

            /// Why it matters.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$id => $reason,)+ }
            }

            /// How to fix it, where the result knows nothing more precise.
            pub fn fix(self) -> &'static str {
                match self { $(Self::$id => $fix,)+ }
            }
        }
    };
}

checks! {
    Reachable = "api-reachable", Server,
        "Everything else is read from the API server.",
        "Check the kubeconfig, its context and $HTTPS_PROXY.";
    Version = "api-version", Server,
        "Holds are enforced by a ValidatingAdmissionPolicy, which is stable since Kubernetes 1.30.",
        "Upgrade the cluster to Kubernetes 1.30 or newer.";
    Clock = "clock", Server,
        "Ages, deadlines and cooldowns compare this clock with times that the API server wrote. Gate freshness stays closed while \
         they differ.",
        "Synchronise the clocks of this machine and of the control plane (NTP).";
    VolSync = "volsync-crds", Prerequisites,
        "Sources and destinations are the backups that get stuck, and the objects that a run holds.",
        "Install VolSync with its CRDs.";
    Snapshots = "snapshot-crds", Prerequisites,
        "Without the snapshot kinds neither VolSync nor a CSI driver makes snapshots.",
        "Install the CRDs and the snapshot-controller of kubernetes-csi/external-snapshotter.";
    PolicyApi = "policy-api", Prerequisites,
        "The API server itself enforces holds and ends them, by a ValidatingAdmissionPolicy.",
        "Serve admissionregistration.k8s.io/v1 with ValidatingAdmissionPolicies: Kubernetes 1.30 or newer.";
    Crds = "locksmith-crds", Prerequisites,
        "An older CRD drops fields that a run records. Gate freshness stays closed.",
        "Run locksmith crd -n NAMESPACE | kubectl apply --server-side -f -";
    HoldPolicy = "hold-policy", Prerequisites,
        "Without this exact policy and its binding no hold is in force. Gate holdPolicy stays closed.",
        "Run locksmith crd -n NAMESPACE | kubectl apply --server-side -f -";
    HoldEffect = "hold-effect", Prerequisites,
        "A policy that is installed may still not be enforced. A trial hold of a uid that nobody has proves it: two dry-run \
         creates, of which the API server must refuse one. Step suspendSources does the same.",
        "Check the API server's log for errors of ValidatingAdmissionPolicy locksmith-snapshot-hold, and other admission policies \
         that refuse VolumeSnapshots in the namespace of locksmith.";
    Observation = "observation", Prerequisites,
        "Nothing stuck is found, and no run begins, while a collection cannot be read.",
        "Grant list and watch on it, as ClusterRole locksmith-read does.";
    DriversInUse = "drivers-in-use", Drivers,
        "locksmith watches the drivers that a StorageClass or VolumeSnapshotClass names.",
        "Create the StorageClass and VolumeSnapshotClass that VolSync uses.";
    DriversWatched = "drivers-watched", Drivers,
        "Whatever is stuck behind a driver that is not watched is not reported.",
        "Add the driver to drivers, or leave drivers empty to watch every CSI driver.";
    DriversConfigured = "drivers-configured", Drivers,
        "An entry of drivers that matches no driver is often a misspelt one.",
        "Correct or remove the entry.";
    Namespaces = "provisioner-namespaces", Drivers,
        "Leases and pods of provisioners are read, and rights granted, in these namespaces only.",
        "List the namespaces of your provisioners in provisionerNamespaces; the chart grants the rights there.";
    Provisioner = "provisioner", Provisioners,
        "Its log shows the operation locks, and step restartProvisioner replaces its pods.",
        "Name it in drivers[].provisioner.";
    Sidecars = "sidecars", Provisioners,
        "Without csi-provisioner no claim becomes Bound, and without csi-snapshotter every snapshot hangs; no restart helps.",
        "Enable the sidecar where the driver is installed (ceph-csi-drivers chart: snapshotPolicy must not be none).";
    Leases = "leases", Provisioners,
        "A sidecar that leads nobody does no work. A restart is verified by who holds the leases afterwards.",
        "Check the logs of the sidecars: one of them must lead.";
    Log = "log", Provisioners,
        "Operation locks are found in this log. Events and statuses alone show fewer, and later.",
        "Grant get on pods/log in the namespace of the provisioner, as Role locksmith-logs does.";
    RightsObserve = "rights-observe", Rights,
        "The daemon needs these rights in every mode.",
        "Apply the RBAC of this mode: deploy/overlays, or the chart's value mode.";
    RightsRecord = "rights-record", Rights,
        "The modes plan and act elect a leader, record runs and release holds.",
        "Apply the RBAC of this mode: deploy/overlays, or the chart's value mode.";
    RightsSteps = "rights-steps", Rights,
        "A step without its rights fails in the middle of a run.",
        "Apply the RBAC of mode act: deploy/overlays/act, or the chart's value mode=act with your playbooks in config.";
    Leader = "leader", Daemon,
        "Only the replica that holds Lease locksmith records and acts.",
        "Check that the pods run and may write the Lease: kubectl -n NAMESPACE get pods,lease/locksmith";
    DaemonVersion = "daemon-version", Daemon,
        "CRDs, policy and RBAC are checked for this version of the program.",
        "Use the version of locksmith that is deployed, or pass its address: --url";
    Prometheus = "prometheus", Monitoring,
        "Prometheus evaluates the alerts that start runs, and the expressions of gate promql.",
        "Set prometheus.url, or pass --prometheus with an address that is reachable from here.";
    Rules = "rules", Monitoring,
        "Without the shipped alerts nobody is notified and no run starts.",
        "Load alerts/locksmith.rules.yaml: the chart's monitoring.enabled, with the labels that your Prometheus selects by.";
    Target = "target", Monitoring,
        "The alerts are evaluated on the metrics of the daemon.",
        "Scrape port 9797 of the pods: the chart's monitoring.enabled, and networkPolicy.fromNamespaces.";
    Promql = "promql", Monitoring,
        "An expression of gate promql that cannot be evaluated keeps the gate closed, so that no run starts.",
        "Correct the expression in gates.promql, or what keeps Prometheus from evaluating it.";
    Alertmanager = "alertmanager", Monitoring,
        "Firing alerts are read from Alertmanager, so that a lost webhook loses nothing.",
        "Set alertmanager.url, or pass --alertmanager with an address that is reachable from here.";
    Route = "alert-route", Monitoring,
        "With a route to its webhook a run begins within seconds; without one, at the next poll of Alertmanager.",
        "Add the route and the receiver of alerts/alertmanager.yaml or deploy/examples/alertmanagerconfig.yaml, and prove them: \
         locksmith test-alert";
}

impl CheckId {
    /// Where the documentation describes it.
    pub fn docs(self) -> String {
        format!("deploy/docs/check.md#{}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/docs/check.md");
    const BEGIN: &str = "<!-- checks -->\n";
    const END: &str = "<!-- /checks -->";

    fn sections() -> String {
        let mut text = String::new();
        let mut group = None;
        for check in CheckId::ALL {
            if group.replace(check.group()) != Some(check.group()) {
                writeln!(text, "## {}\n", check.group().title()).unwrap();
            }
            let (name, reason, fix) = (check.as_str(), check.reason(), check.fix());
            writeln!(text, "### {name}\n\n{reason}\n\nFix: {fix}\n").unwrap();
        }
        text
    }

    #[test]
    fn page_has_a_section_for_each_check() {
        let page = std::fs::read_to_string(PAGE).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let wanted = format!("{before}{BEGIN}{}{END}{after}", sections());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(PAGE, &wanted).unwrap();
        }
        let page = std::fs::read_to_string(PAGE).unwrap();
        assert_eq!(page, wanted, "UPDATE_DOCS=1 cargo test check::catalog");
    }

    #[test]
    fn every_docs_anchor_is_a_heading() {
        for check in CheckId::ALL {
            let docs = check.docs();
            let (file, anchor) = docs.split_once('#').unwrap();
            let file = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
            let page = std::fs::read_to_string(file).unwrap();
            let heading = page.lines().any(|line| line == format!("### {anchor}"));
            assert!(heading, "{docs}");
        }
    }

    #[test]
    fn groups_are_reported_in_their_order() {
        assert!(CheckId::ALL.is_sorted());
        assert!(CheckId::ALL.iter().map(|check| check.group()).is_sorted());
    }
}
