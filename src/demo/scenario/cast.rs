//! The apps of the playbook's cluster, and the role of each in its jam.

use super::app::App;

/// Namespaces of the apps.
pub(super) const NAMESPACES: [&str; 4] = ["media", "ai", "home-automation", "selfhosted"];

/// The apps by role.
#[derive(Debug)]
pub(super) struct Cast {
    /// Backed up before, idle now.
    pub(super) idle: Vec<App>,
    /// Their backups become stuck.
    pub(super) stuck: Vec<App>,
    /// Its backup becomes stuck, and then its claim is deleted.
    pub(super) leaving: App,
    /// Its claim is deleted before.
    pub(super) gone: App,
    /// Their restores from a snapshot become stuck.
    pub(super) restoring: Vec<App>,
    /// Their restores through the volume populator become stuck.
    pub(super) populating: Vec<App>,
}

impl Cast {
    /// Common names of a home cluster. Nobody restores archon in `ai`; litellm is scaled to zero.
    pub(super) fn new() -> Self {
        let app = App::new;
        Self {
            idle: vec![
                app("media", "bazarr").size("1Gi"),
                app("media", "qbittorrent"),
                app("media", "plex").size("20Gi"),
                app("ai", "litellm").twice().stopped(),
                app("home-automation", "esphome").size("1Gi"),
                app("home-automation", "node-red"),
                app("selfhosted", "mealie"),
                app("selfhosted", "atuin").size("1Gi").stopped(),
            ],
            stuck: vec![
                app("media", "prowlarr").twice(),
                app("home-automation", "home-assistant").size("10Gi"),
                app("selfhosted", "vaultwarden").size("1Gi"),
            ],
            leaving: app("media", "readarr"),
            gone: app("ai", "archon").twice(),
            restoring: vec![
                app("media", "sonarr"),
                app("media", "radarr"),
                app("home-automation", "zigbee2mqtt").size("1Gi"),
            ],
            populating: vec![app("selfhosted", "paperless").size("20Gi")],
        }
    }

    /// All apps; each has a backup.
    pub(super) fn all(&self) -> impl Iterator<Item = &App> {
        self.deployed()
            .chain(self.undeployed())
            .chain(self.restored())
    }

    /// The apps deployed in the healthy phase.
    pub(super) fn deployed(&self) -> impl Iterator<Item = &App> {
        self.idle.iter().chain(&self.stuck)
    }

    /// The apps with only a claim in the healthy phase.
    pub(super) fn undeployed(&self) -> [&App; 2] {
        [&self.leaving, &self.gone]
    }

    /// The apps whose data is restored from a backup.
    pub(super) fn restored(&self) -> impl Iterator<Item = &App> {
        self.restoring.iter().chain(&self.populating)
    }

    /// The apps with a stuck snapshot at the end.
    pub(super) fn snapshotted(&self) -> impl Iterator<Item = &App> {
        self.stuck.iter().chain([&self.leaving])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn sources<'a>(apps: impl IntoIterator<Item = &'a App>) -> BTreeSet<(&'a str, &'a str)> {
        let apps = apps.into_iter();
        apps.flat_map(|app| {
            app.sources
                .iter()
                .map(|source| (app.namespace.as_str(), source.as_str()))
        })
        .collect()
    }

    #[test]
    fn cast_matches_the_playbook() {
        let cast = Cast::new();
        let all = sources(cast.all());
        assert_eq!(all.len(), 20);
        let of_ai: Vec<_> = all
            .iter()
            .filter(|(namespace, _)| *namespace == "ai")
            .map(|(_, name)| *name)
            .collect();
        assert_eq!(of_ai, ["archon", "archon-r2", "litellm", "litellm-r2"]);
        assert_eq!(
            all.iter()
                .map(|(namespace, _)| *namespace)
                .collect::<BTreeSet<_>>(),
            NAMESPACES.into()
        );
        assert_eq!(sources(cast.undeployed()).len(), 3);
        assert_eq!(sources(cast.snapshotted()).len(), 5);
        assert_eq!(cast.restored().count(), 4);
    }
}
