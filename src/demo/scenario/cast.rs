//! The apps of the playbook's cluster, and the part each plays in its jam.

use super::app::App;

/// Where they live.
pub(super) const NAMESPACES: [&str; 4] = ["media", "ai", "home-automation", "selfhosted"];

/// Who plays which part.
#[derive(Debug)]
pub(super) struct Cast {
    /// Backed up before, idle now.
    pub(super) idle: Vec<App>,
    /// Their backups get stuck.
    pub(super) stuck: Vec<App>,
    /// Its backup gets stuck, and then its claim is deleted.
    pub(super) leaving: App,
    /// Its claim is deleted before.
    pub(super) gone: App,
    /// Their restores get stuck: from a snapshot.
    pub(super) restoring: Vec<App>,
    /// As those, through the volume populator.
    pub(super) populating: Vec<App>,
}

impl Cast {
    /// The usual names of a home cluster. Of `ai`, nobody will restore archon; litellm is switched off.
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

    /// Everyone: each is backed up.
    pub(super) fn all(&self) -> impl Iterator<Item = &App> {
        self.deployed()
            .chain(self.undeployed())
            .chain(self.restored())
    }

    /// Those deployed in the healthy beginning.
    pub(super) fn deployed(&self) -> impl Iterator<Item = &App> {
        self.idle.iter().chain(&self.stuck)
    }

    /// Those of which only a claim is left in the healthy beginning.
    pub(super) fn undeployed(&self) -> [&App; 2] {
        [&self.leaving, &self.gone]
    }

    /// Those whose data comes from a backup.
    pub(super) fn restored(&self) -> impl Iterator<Item = &App> {
        self.restoring.iter().chain(&self.populating)
    }

    /// Those of which a snapshot is stuck in the end.
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
