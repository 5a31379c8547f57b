//! Reviews of tokens and access. Every user is authorized for everything.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::failure::Result;
use crate::json::{Json as _, Meta as _};
use crate::write::Target;

/// User of a request without credentials.
const USER: &str = "kubernetes-admin";
/// Default lifetime of a token, in seconds.
const TOKEN_SECONDS: i64 = 3600;

/// Returns a review with its status.
pub fn review(cluster: &Cluster, mut review: Value) -> Value {
    let status = match review.text("/kind") {
        "TokenReview" => match cluster.tokens.get(review.text("/spec/token")) {
            Some(user) => json!({"authenticated": true, "user": {"username": user}}),
            None => json!({"authenticated": false}),
        },
        "SelfSubjectReview" => {
            json!({"userInfo": {"username": USER, "groups": ["system:masters"]}})
        }
        "SelfSubjectRulesReview" => json!({
            "incomplete": false,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }),
        _ => json!({"allowed": true}),
    };
    review.put("/status", status);
    review
}

impl Cluster {
    /// Issues a token for a service account, which `TokenReview` accepts from then on.
    pub fn issue_token(&mut self, target: &Target, mut request: Value) -> Result<Value> {
        let account = self.get(&target.resource, &target.namespace, &target.name)?;
        let token = format!("demo.{}.{}", self.random.uid(), self.random.uid());
        let user = format!(
            "system:serviceaccount:{}:{}",
            account.namespace(),
            account.name()
        );
        self.tokens.insert(token.clone(), user);
        let seconds = request
            .integer("/spec/expirationSeconds")
            .unwrap_or(TOKEN_SECONDS);
        let end = self
            .now()
            .saturating_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap_or_else(|_| self.now());
        request.put("/status/token", token);
        request.put("/status/expirationTimestamp", crate::cluster::stamp(end));
        Ok(request)
    }
}
