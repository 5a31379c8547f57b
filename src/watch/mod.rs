//! Looks at the cluster: watches, Events, logs and look-ups in, [`Change`]s out.
//!
//! Every object is folded into its record as it arrives and dropped. Nothing here decides anything, and nothing
//! here writes.

mod convert;
mod logs;
mod look;
mod lookups;
mod source;
mod store;

pub use convert::{snapshot as snapshot_record, source as source_record};
pub use look::{LookError, look};
pub use store::Store;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::api::remediation::Remediation;
use crate::api::snapshot::{VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent};
use crate::api::volsync::{ReplicationDestination, ReplicationSource};
use crate::config::Config;
use crate::locks::{LockPatterns, PatternError};
use crate::model::{Change, Kind};

/// How many observations may wait for the model's task.
const QUEUE: usize = 4096;

/// Where observations go.
pub type Changes = mpsc::Sender<Change>;

/// Starts looking. Everything ends when the returned set is dropped.
pub fn start(client: &Client, config: &Arc<Config>) -> Result<(Store, JoinSet<()>), PatternError> {
    let patterns = Arc::new(Patterns::new(config)?);
    let (changes, received) = mpsc::channel(QUEUE);
    let mut tasks = JoinSet::new();
    let store = store::start(received, config.clone(), &mut tasks);
    objects(client, &patterns, &changes, &mut tasks);
    tasks.spawn(lookups::claims(
        client.clone(),
        config.clone(),
        store.clone(),
        changes.clone(),
    ));
    tasks.spawn(logs::follow_provisioners(
        client.clone(),
        config.clone(),
        patterns,
        store.clone(),
        changes,
    ));
    Ok((store, tasks))
}

/// One watch a kind.
fn objects(client: &Client, patterns: &Arc<Patterns>, changes: &Changes, tasks: &mut JoinSet<()>) {
    macro_rules! watch {
        ($kind:ident, $object:ty, $change:ident, $convert:expr) => {
            watch!($kind, $object, $change, $convert, "")
        };
        ($kind:ident, $object:ty, $change:ident, $convert:expr, $fields:expr) => {{
            let api: Api<$object> = Api::all(client.clone());
            let sink = source::Sink::new(Kind::$kind, changes.clone(), Change::$change);
            tasks.spawn(source::follow(api, $fields, sink, $convert));
        }};
    }
    watch!(
        PersistentVolumeClaims,
        PersistentVolumeClaim,
        Claim,
        convert::claim
    );
    watch!(PersistentVolumes, PersistentVolume, Volume, convert::volume);
    watch!(
        StorageClasses,
        StorageClass,
        StorageClass,
        convert::storage_class
    );
    watch!(
        VolumeSnapshotClasses,
        VolumeSnapshotClass,
        SnapshotClass,
        convert::snapshot_class
    );
    watch!(
        ReplicationSources,
        ReplicationSource,
        Source,
        convert::source
    );
    watch!(
        ReplicationDestinations,
        ReplicationDestination,
        Destination,
        convert::destination
    );
    watch!(Pods, convert::LeanPod, Pod, convert::pod);
    watch!(Deployments, Deployment, Deployment, convert::deployment);
    // Every node renews a Lease of its own every 10 s: no news of any provisioner.
    watch!(
        Leases,
        Lease,
        Lease,
        convert::lease,
        "metadata.namespace!=kube-node-lease"
    );
    watch!(Namespaces, Namespace, Namespace, convert::namespace);
    watch!(Remediations, Remediation, Run, convert::run);
    let by_driver = patterns.clone();
    watch!(
        VolumeSnapshotContents,
        VolumeSnapshotContent,
        Content,
        move |content| { convert::content(content, &by_driver) }
    );
    let any = patterns.clone();
    watch!(VolumeSnapshots, VolumeSnapshot, Snapshot, move |snapshot| {
        convert::snapshot(snapshot, &any)
    });
    let events: Api<Event> = Api::all(client.clone());
    tasks.spawn(source::follow_events(
        events,
        changes.clone(),
        patterns.clone(),
    ));
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    tasks.spawn(source::follow_source_schema(definitions, changes.clone()));
}

/// The lock patterns of every configured driver, compiled once.
pub struct Patterns {
    drivers: Vec<(crate::config::Driver, LockPatterns)>,
    common: LockPatterns,
}

impl Patterns {
    /// Compiles them.
    pub fn new(config: &Config) -> Result<Self, PatternError> {
        let compile = |driver: &crate::config::Driver| {
            Ok((driver.clone(), LockPatterns::new(&driver.lock_patterns)?))
        };
        Ok(Self {
            drivers: config
                .drivers
                .0
                .iter()
                .map(compile)
                .collect::<Result<_, _>>()?,
            common: LockPatterns::new(&[])?,
        })
    }

    /// Those of `driver`, or the common ones where it is unknown.
    pub fn of(&self, driver: Option<&str>) -> &LockPatterns {
        driver
            .and_then(|name| self.drivers.iter().find(|(driver, _)| driver.matches(name)))
            .map_or(&self.common, |(_, patterns)| patterns)
    }
}
