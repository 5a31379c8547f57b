//! The apps of the playbook's cluster as manifests, and the role of each in its jam.

use locksmith::demo::scenario::App;
use serde_json::{Value, json};

use crate::stack::{SNAPSHOT_CLASS, STORAGE_CLASS};

/// Namespaces of the apps.
pub const NAMESPACES: [&str; 4] = ["media", "ai", "home-automation", "selfhosted"];

/// Secret with the repository of every source and destination of a namespace.
const REPOSITORY: &str = "restic";

/// The apps by role.
pub struct Cast {
    /// Backed up before, idle now.
    pub idle: Vec<App>,
    /// Its mover is copying.
    pub copying: App,
    /// Their backups become stuck.
    pub stuck: Vec<App>,
    /// Its backup becomes stuck, and then its claim is deleted.
    pub leaving: App,
    /// Its claim is deleted before its backup starts.
    pub gone: App,
    /// Their restores from a snapshot become stuck.
    pub restoring: Vec<App>,
    /// The same, but the stuck claim is deleted and created again, so that its restore is refused only for the snapshot's
    /// handle.
    pub again: App,
    /// Its restore through VolSync's volume populator becomes stuck.
    pub populating: App,
}

impl Cast {
    /// Common names of a home cluster. Nobody restores archon in `ai`; litellm is scaled to zero.
    pub fn new() -> Self {
        let app = App::new;
        Self {
            idle: vec![
                app("media", "bazarr").size("1Gi"),
                app("media", "qbittorrent"),
                app("ai", "litellm").twice().stopped(),
                app("home-automation", "esphome").size("1Gi"),
                app("home-automation", "node-red"),
                app("selfhosted", "mealie"),
                app("selfhosted", "atuin").size("1Gi").stopped(),
            ],
            copying: app("media", "plex").size("20Gi"),
            stuck: vec![
                app("media", "prowlarr").twice(),
                app("home-automation", "home-assistant").size("10Gi"),
                app("selfhosted", "vaultwarden").size("1Gi"),
            ],
            leaving: app("media", "readarr"),
            gone: app("ai", "archon").twice(),
            restoring: vec![
                app("media", "sonarr"),
                app("home-automation", "zigbee2mqtt").size("1Gi"),
            ],
            again: app("media", "radarr"),
            populating: app("selfhosted", "paperless").size("20Gi"),
        }
    }

    /// The apps deployed in the healthy phase.
    pub fn deployed(&self) -> impl Iterator<Item = &App> {
        self.idle.iter().chain([&self.copying]).chain(&self.stuck)
    }

    /// The apps whose data is restored from a backup.
    pub fn restored(&self) -> impl Iterator<Item = &App> {
        self.restoring.iter().chain([&self.again, &self.populating])
    }

    /// The apps whose backups complete in the healthy phase.
    pub fn backed_up(&self) -> impl Iterator<Item = &App> {
        self.idle.iter().chain(self.restored())
    }
}

/// The secret that VolSync requires for a repository.
pub fn repository(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": REPOSITORY, "namespace": namespace},
        "stringData": {"RESTIC_REPOSITORY": "s3:s3.example/backups", "RESTIC_PASSWORD": "none"},
    })
}

/// The ReplicationSource `name` of `app`, hourly with restic. Its first sync starts immediately, the next in half an hour.
pub fn source(app: &App, name: &str) -> Value {
    let minute = (jiff::Zoned::now().minute() + 30) % 60;
    json!({
        "apiVersion": "volsync.backube/v1alpha1",
        "kind": "ReplicationSource",
        "metadata": {"name": name, "namespace": app.namespace},
        "spec": {
            "sourcePVC": app.name,
            "trigger": {"schedule": format!("{minute} * * * *")},
            "restic": mover(),
        },
    })
}

/// The ReplicationDestination of `app`, which restores once.
pub fn destination(app: &App) -> Value {
    let mut restic = mover();
    restic["capacity"] = json!(
        app.claim()
            .spec
            .unwrap()
            .resources
            .unwrap()
            .requests
            .unwrap()["storage"]
    );
    restic["accessModes"] = json!(["ReadWriteOnce"]);
    json!({
        "apiVersion": "volsync.backube/v1alpha1",
        "kind": "ReplicationDestination",
        "metadata": {"name": app.destination_name(), "namespace": app.namespace},
        "spec": {"trigger": {"manual": "restore-once"}, "restic": restic},
    })
}

fn mover() -> Value {
    json!({
        "repository": REPOSITORY,
        "copyMethod": "Snapshot",
        "storageClassName": STORAGE_CLASS,
        "volumeSnapshotClassName": SNAPSHOT_CLASS,
    })
}
