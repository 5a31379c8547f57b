//! Asks the API server whose token it is, and whether they may.

use std::time::Duration;

use axum::http::StatusCode;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;

use super::super::problem::Problem;
use super::super::webhook::{LATER, SOON};
use super::unauthorized;

/// How long both questions may take together: less than a webhook's whole answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Most requests that are asked about at a time: strangers must not put load on the API server.
const AT_A_TIME: usize = 8;

/// TokenReview and SubjectAccessReview.
pub(super) struct Reviews {
    client: Client,
    places: Semaphore,
}

impl Reviews {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            places: Semaphore::new(AT_A_TIME),
        }
    }

    /// Lets the owner of `token` in if they may `verb` on `path`.
    pub(super) async fn admit(
        &self,
        token: &str,
        verb: &'static str,
        path: &'static str,
    ) -> Result<(), Problem> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Problem::passing("too many tokens are being reviewed", SOON));
        };
        let asked = async {
            match self.owner(token).await? {
                None => Ok(Err(unauthorized("the API server does not know the token"))),
                Some(user) => self.judge(user, verb, path).await,
            }
        };
        match tokio::time::timeout(ANSWERED_WITHIN, asked).await {
            Ok(Ok(judged)) => judged,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a token cannot be reviewed");
                Err(Problem::passing("the API server cannot be asked", LATER))
            }
            Err(_) => Err(Problem::passing("the API server does not answer", LATER)),
        }
    }

    async fn owner(&self, token: &str) -> kube::Result<Option<UserInfo>> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: None,
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let status = api.create(&PostParams::default(), &review).await?.status;
        Ok(status
            .filter(|status| status.authenticated == Some(true))
            .and_then(|status| status.user))
    }

    async fn judge(
        &self,
        user: UserInfo,
        verb: &'static str,
        path: &'static str,
    ) -> kube::Result<Result<(), Problem>> {
        let name = user.username.clone().unwrap_or_default();
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username,
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
                non_resource_attributes: Some(NonResourceAttributes {
                    path: Some(path.to_owned()),
                    verb: Some(verb.to_owned()),
                }),
                resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let status = api.create(&PostParams::default(), &review).await?.status;
        Ok(if status.is_some_and(|status| status.allowed) {
            Ok(())
        } else {
            Err(Problem::new(
                StatusCode::FORBIDDEN,
                format!("{name} may not {verb} {path}"),
            ))
        })
    }
}
