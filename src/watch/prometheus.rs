//! Queries Prometheus for the expressions of gate `promql`.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::Changes;
use crate::config::Config;
use crate::http_client::{HttpClient, HttpError};
use crate::model::{Answer, Change};

/// The answer of `/api/v1/query`, with only the fields that are read.
#[derive(Deserialize)]
struct Body {
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

/// Queries every expression once per interval, until the model's task ends.
pub async fn ask(http: HttpClient, config: Arc<Config>, changes: Changes) {
    let mut rounds = tokio::time::interval(config.prometheus.interval.0);
    loop {
        rounds.tick().await;
        for expression in config.gates.promql.values() {
            let at = Timestamp::now();
            let series = once(&http, expression)
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
async fn once(http: &HttpClient, expression: &str) -> Result<usize, HttpError> {
    let query = [("query", expression)];
    let Body { data } = http.post_form("/api/v1/query", &query).await?;
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
    use serde_json::json;

    use super::*;
    use crate::config::Prometheus;

    /// Attack: object names that change a query. Defence: nothing is inserted into an expression; Prometheus receives it
    /// unchanged.
    #[tokio::test]
    async fn expressions_are_sent_unchanged() {
        // Installed once per process; another test may have done so.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let keep = asked.clone();
        let answer = async move |form: String| {
            keep.lock().unwrap().push(form);
            Json(json!({"data": {"resultType": "vector", "result": []}}))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let prometheus = Prometheus {
            url: Some(format!("http://{}/", listener.local_addr().unwrap())),
            ..Prometheus::default()
        };
        let router = Router::new().route("/api/v1/query", post(answer));
        tokio::spawn(async { axum::serve(listener, router).await });
        let expression = "up{namespace=~\"{{ $labels.namespace }}|$name\"} == 0 & x=1 + \u{e4}%00";
        let http = HttpClient::prometheus(&prometheus).unwrap();
        assert_eq!(once(&http, expression).await.unwrap(), 0);
        let form = asked.lock().unwrap().pop().unwrap();
        let form = reqwest::Url::parse(&format!("http://x/?{form}")).unwrap();
        let pairs: Vec<_> = form.query_pairs().collect();
        assert_eq!(pairs, [("query".into(), expression.into())]);
    }
}
