//! `/api/v1`: the latest [`View`] and its parts as JSON, with an OpenAPI description. Read-only.
//!
//! Routes and description come from the same list, and schemas from the types that are sent.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::AppState;
use super::problem::{Problem, internal};
use crate::alerts::{ReceiveAlerts, TestAlerts};
use crate::state::view::View;

const OPENAPI: &str = "/api/v1/openapi.json";

/// An endpoint.
struct Endpoint<I> {
    path: &'static str,
    summary: &'static str,
    handler: MethodRouter<Arc<AppState<I>>>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl<I: ReceiveAlerts> Endpoint<I> {
    fn new<T>(path: &'static str, summary: &'static str, part: fn(&View) -> &T) -> Self
    where
        T: JsonSchema + Serialize + 'static,
    {
        let read = async move |State(context): State<Arc<AppState<I>>>, headers: HeaderMap| {
            context.guard.authorize_get(&headers, path).await?;
            let view = context.views.borrow().clone();
            // Serialized in a blocking task, as the metrics are.
            let body = tokio::task::spawn_blocking(move || serde_json::to_vec(part(&view)));
            let body = body.await.map_err(internal)?.map_err(internal)?;
            Ok::<_, Problem>(sent(body))
        };
        Self {
            path,
            summary,
            handler: get(read),
            schema: SchemaGenerator::subschema_for::<T>,
        }
    }
}

impl<I: ReceiveAlerts> Endpoint<I> {
    /// The test alerts that this replica has received.
    fn test_alerts(path: &'static str) -> Self {
        let read = async move |State(context): State<Arc<AppState<I>>>, headers: HeaderMap| {
            context.guard.authorize_get(&headers, path).await?;
            let mode = context.views.borrow().mode;
            let (replica, leads) = (&context.page.replica, context.own.is_leader());
            Ok::<_, Problem>(Json(context.test_alerts.report(replica, mode, leads)))
        };
        Self {
            path,
            summary: "Test alerts received by this replica",
            handler: get(read),
            schema: SchemaGenerator::subschema_for::<TestAlerts>,
        }
    }
}

fn endpoints<I: ReceiveAlerts>() -> [Endpoint<I>; 5] {
    [
        Endpoint::new("/api/v1/status", "The whole observation", |view| view),
        Endpoint::new(
            "/api/v1/findings",
            "Findings: stuck objects and held sources",
            |view| &view.findings,
        ),
        Endpoint::new("/api/v1/holds", "Held sources and classes", |view| {
            &view.holds
        }),
        Endpoint::new("/api/v1/runs", "Remediations, newest first", |view| {
            &view.runs
        }),
        Endpoint::test_alerts("/api/v1/test-alerts"),
    ]
}

/// The routes of the endpoints, and that of their description.
pub(super) fn routes<I: ReceiveAlerts>() -> Router<Arc<AppState<I>>> {
    let described = get(
        async |State(context): State<Arc<AppState<I>>>, headers: HeaderMap| {
            context.guard.authorize_get(&headers, OPENAPI).await?;
            Ok::<_, Problem>(sent(description::<I>().to_string().into()))
        },
    );
    endpoints::<I>()
        .into_iter()
        .fold(Router::new(), |router, it| {
            router.route(it.path, it.handler)
        })
        .route(OPENAPI, described)
}

fn sent(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The description in OpenAPI 3.1, whose schemas are JSON Schema.
pub(super) fn description<I: ReceiveAlerts>() -> Value {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for endpoint in endpoints::<I>() {
        let schema = (endpoint.schema)(&mut generator);
        let operation = json!({
            "summary": endpoint.summary,
            "responses": {
                "200": { "description": "The latest observation", "content": { "application/json": { "schema": schema } } },
                "401": { "$ref": "#/components/responses/Problem" },
                "403": { "$ref": "#/components/responses/Problem" },
                "503": { "$ref": "#/components/responses/Problem" },
            },
        });
        paths.insert(endpoint.path.to_owned(), json!({ "get": operation }));
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "locksmith",
            "description": "Findings, holds and runs of a cluster. Read-only.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "security": [{}, { "bearer": [] }],
        "components": {
            "schemas": generator.take_definitions(true),
            "responses": { "Problem": {
                "description": "Error",
                "content": { "application/json": { "schema": {
                    "type": "object",
                    "required": ["error"],
                    "properties": { "error": { "type": "string" } },
                } } },
            } },
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
        },
    })
}
