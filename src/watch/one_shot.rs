//! Reads the cluster once, for the command line.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;

use super::lookups;
use crate::config::Config;
use crate::csi::PatternError;
use crate::findings::{self, DetectionSettings};
use crate::metrics::SelfMetrics;
use crate::model::{Kind, Model, WatchState};
use crate::state::Store;
use crate::state::view::{self, View};
use crate::tasks::Tasks;

/// Result of reading the cluster once. Dropping it ends the watches.
pub struct Seen {
    /// The view.
    pub view: View,
    /// The model of the view.
    pub store: Store,
    config: Arc<Config>,
    settings: DetectionSettings,
    _watches: Tasks,
}

impl Seen {
    /// The present view, with the same doubts as the first one.
    pub fn latest(&self) -> View {
        let now = Timestamp::now();
        self.store
            .read(|model| in_part(model, &self.config, &self.settings, now))
    }

    /// Number of Pending claims in `namespace`, or in all, that are too young to be findings.
    pub fn young_claims(&self, namespace: Option<&str>) -> usize {
        let now = Timestamp::now();
        self.store
            .read(|model| findings::young_claims(model, &self.settings, namespace, now))
    }
}

/// Waits until everything has been read once, or was refused, and missing claims twice, for at most `timeout`. The view's freshness shows
/// which kinds could not be read by then.
pub async fn look(
    client: Client,
    config: &Config,
    timeout: Duration,
) -> Result<Seen, PatternError> {
    let config = Arc::new(config.clone());
    let settings = DetectionSettings {
        detect: config.detect.clone(),
        drivers: config.drivers.clone(),
        one_shot: true,
    };
    let (store, watches) = super::start_with(
        &client,
        &config,
        settings.clone(),
        lookups::Pace::one_shot(&config),
        &SelfMetrics::default(),
    )?;
    let mut views = store.views();
    let complete = async {
        while views.changed().await.is_ok() {
            // The published view may be older than the model, so a new view is taken of the model that is checked here.
            let seen = store.read(|model| {
                let view = view::take(model, &config, &settings, Timestamp::now());
                let opened = view.provisioners.iter().all(|it| it.unopened == 0);
                (is_settled(&view) && opened && lookups::open(model).is_empty()).then_some(view)
            });
            if seen.is_some() {
                return seen;
            }
        }
        None
    };
    let view = match tokio::time::timeout(timeout, complete).await {
        Ok(Some(view)) => view,
        _ => store.read(|model| in_part(model, &config, &settings, Timestamp::now())),
    };
    Ok(Seen {
        view,
        store,
        config,
        settings,
        _watches: watches,
    })
}

/// Whether waiting cannot complete the view: a right that is missing does not appear within seconds.
fn is_settled(view: &View) -> bool {
    let mut unsynced = view.freshness.unsynced();
    unsynced.all(|(_, state)| matches!(state, WatchState::Refused(_)))
}

/// The view at the timeout. A claim that could not be looked up is a doubt.
fn in_part(model: &Model, config: &Config, settings: &DetectionSettings, now: Timestamp) -> View {
    let mut view = view::take(model, config, settings, now);
    let open = lookups::open(model).into_iter();
    let names: Vec<_> = open
        .map(|(space, name)| format!("{space}/{name}"))
        .collect();
    if !names.is_empty() {
        let why = format!("no answer whether there is {}", names.join(", "));
        let kind = Kind::PersistentVolumeClaims;
        view.freshness.note(kind, WatchState::Failing(why), now);
    }
    view
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use axum::http::{Request, Response};
    use kube::client::Body as KubeBody;

    use super::*;
    use crate::model::fixture::{World, at, source};

    /// The API server answers every list with 403; only its version is public.
    #[tokio::test(start_paused = true)]
    async fn refused_observation_ends_before_the_timeout() {
        let service = tower::service_fn(async |request: Request<KubeBody>| {
            let answer = Response::builder();
            let answer = if request.uri().path() == "/version" {
                answer.body(Body::from("{}"))
            } else {
                let status = r#"{"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message":
                    "x is forbidden: User \"jane\" cannot list resource \"x\" in API group \"\" at the cluster scope"}"#;
                answer.status(403).body(Body::from(status))
            };
            Ok::<_, Infallible>(answer.unwrap())
        });
        let client = Client::new(service, "default");
        let begun = tokio::time::Instant::now();
        let timeout = Duration::from_secs(60);
        let seen = look(client, &Config::default(), timeout).await.unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        let refused = WatchState::Refused("jane may not list x in the whole cluster".to_owned());
        assert_eq!(*seen.view.freshness.of(Kind::Pods), refused);
        assert!(!seen.view.is_certain());
    }

    #[test]
    fn unanswered_lookup_is_a_doubt() {
        let config = Config::default();
        let world = World::empty().with(source("ai", "litellm").of("gone"));
        let settings = DetectionSettings {
            detect: config.detect.clone(),
            drivers: config.drivers.clone(),
            one_shot: true,
        };
        let view = in_part(&world.0, &config, &settings, at(0));
        let doubts: Vec<_> = view.freshness.unsynced().collect();
        let why = "no answer whether there is ai/gone".to_owned();
        assert_eq!(
            doubts,
            [(Kind::PersistentVolumeClaims, &WatchState::Failing(why))]
        );
    }
}
