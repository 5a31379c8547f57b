//! Queries Prometheus for the expressions of gate `promql`.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::Changes;
use crate::config::Config;
use crate::http_client::{HttpClient, HttpError, shortened};
use crate::model::{Answer, Change};

/// The response of `/api/v1/query`, with only the fields that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    status: Status,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: Option<String>,
    /// Such as that a store of Thanos did not respond.
    #[serde(default)]
    warnings: Vec<String>,
    /// Set by VictoriaMetrics if a storage node did not respond.
    #[serde(default)]
    is_partial: bool,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Status {
    Success,
    Error,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

/// Why an expression was not evaluated.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// There is no answer that can be read.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The server refuses the expression, or fails to evaluate it.
    #[error("the evaluation failed: {0}")]
    Failed(String),
    /// Series may be missing, so that their number does not count.
    #[error("the result may be incomplete: {0}")]
    Incomplete(String),
}

/// Queries every expression once per interval, until the model's task ends.
pub async fn poll(http: HttpClient, config: Arc<Config>, changes: Changes) {
    let mut rounds = tokio::time::interval(config.prometheus.interval.0);
    loop {
        rounds.tick().await;
        for expression in config.gates.promql.values() {
            let at = Timestamp::now();
            let series = series(&http, expression)
                .await
                .map_err(|error| error.to_string());
            let change = Change::Answered(expression.clone(), Answer { at, series });
            if changes.send(change).await.is_err() {
                return;
            }
        }
    }
}

/// Number of series that an expression returns; a scalar counts as one unless it is 0.
pub async fn series(http: &HttpClient, expression: &str) -> Result<usize, QueryError> {
    let query = [("query", expression)];
    let Response {
        status,
        data,
        error,
        warnings,
        is_partial,
    } = http.post_form("/api/v1/query", &query).await?;
    if let Some(warning) = warnings.first() {
        return Err(QueryError::Incomplete(shortened(warning)));
    }
    if is_partial {
        let problem = "a storage node did not respond";
        return Err(QueryError::Incomplete(problem.to_owned()));
    }
    let (Status::Success, Some(data)) = (status, data) else {
        let error = error.as_deref().unwrap_or("no reason is given");
        return Err(QueryError::Failed(shortened(error)));
    };
    Ok(match (data.result_type.as_str(), data.result.as_array()) {
        ("scalar", Some(pair)) => usize::from(pair.get(1).is_none_or(|value| value != "0")),
        (_, Some(series)) => series.len(),
        // An answer that cannot be parsed counts as one series, which closes the gate.
        (_, None) => 1,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::routing::post;
    use axum::{Json, Router};
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Prometheus;

    /// A client for a Prometheus on a free port, which serves `router` until the test ends.
    async fn serve(router: Router) -> HttpClient {
        // Installed once per process; another test may have done so.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let prometheus = Prometheus {
            url: Some(format!("http://{}/", listener.local_addr().unwrap())),
            ..Prometheus::default()
        };
        tokio::spawn(async { axum::serve(listener, router).await });
        HttpClient::prometheus(&prometheus).unwrap()
    }

    /// Attack: object names that change a query. Defence: nothing is inserted into an expression; Prometheus receives it
    /// unchanged.
    #[tokio::test]
    async fn expressions_are_sent_unchanged() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let keep = asked.clone();
        let answer = async move |form: String| {
            keep.lock().unwrap().push(form);
            Json(json!({"status": "success", "data": {"resultType": "vector", "result": []}}))
        };
        let http = serve(Router::new().route("/api/v1/query", post(answer))).await;
        let expression = "up{namespace=~\"{{ $labels.namespace }}|$name\"} == 0 & x=1 + \u{e4}%00";
        assert_eq!(series(&http, expression).await.unwrap(), 0);
        let form = asked.lock().unwrap().pop().unwrap();
        let form = reqwest::Url::parse(&format!("http://x/?{form}")).unwrap();
        let pairs: Vec<_> = form.query_pairs().collect();
        assert_eq!(pairs, [("query".into(), expression.into())]);
    }

    /// Thanos and VictoriaMetrics return 200 and the series of those stores that responded.
    #[rstest]
    #[case::warning(json!({"warnings": ["store a: timeout"]}), "the result may be incomplete: store a: timeout")]
    #[case::partial(json!({"isPartial": true}), "the result may be incomplete: a storage node did not respond")]
    #[case::error(json!({"status": "error", "error": "too many samples"}), "the evaluation failed: too many samples")]
    #[case::no_data(json!({"data": null}), "the evaluation failed: no reason is given")]
    #[tokio::test]
    async fn partial_result_is_no_evaluation(#[case] change: Value, #[case] expected: &str) {
        let mut answer =
            json!({"status": "success", "data": {"resultType": "vector", "result": []}});
        let fields = change.as_object().unwrap().clone();
        answer.as_object_mut().unwrap().extend(fields);
        let router = Router::new().route("/api/v1/query", post(async || Json(answer)));
        let error = series(&serve(router).await, "up == 0").await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
