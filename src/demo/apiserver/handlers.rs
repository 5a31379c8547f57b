//! Handles requests by route and method.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::failure::{Failure, Result};
use super::json::Meta as _;
use super::request::{self, Query};
use super::resources::{Resource, Subresource, Trait};
use super::routes::{Route, route};
use super::subresources::{logs, review};
use super::view::View;
use super::watch::watch;
use super::write::{Change, Target, Written};
use super::{Shared, discovery, openapi};

/// Handles a request.
pub async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match answer(&shared, request).await {
        Ok(response) => response,
        Err(failure) => {
            let code =
                StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            json_response(code, &failure.status(), &[])
        }
    }
}

async fn answer(shared: &Arc<Shared>, request: Request) -> Result<Response> {
    if shared.stop.is_cancelled() {
        return Err(Failure::stopping());
    }
    let (parts, body) = request.into_parts();
    let route = route(&shared.lock().catalog, parts.uri.path())?;
    let query = Query::of(&parts.uri)?;
    match route {
        Route::Collection(target) => collection(shared, &target, &parts, &query, body).await,
        Route::Object(target) => match target.subresource {
            None => object(shared, &target, &parts, &query, body).await,
            Some(part) => subresource(shared, &target, part, &parts, &query, body).await,
        },
        _ if parts.method != Method::GET => Err(Failure::method_not_allowed()),
        Route::Health => Ok("ok".into_response()),
        route => {
            let cluster = shared.lock();
            let accept = accept(&parts);
            if let Some((media, document)) = discovery::aggregated(&cluster.catalog, &route, accept)
            {
                let mut response = json_response(StatusCode::OK, &document, &[]);
                let media = HeaderValue::from_static(media);
                response.headers_mut().insert(header::CONTENT_TYPE, media);
                return Ok(response);
            }
            let document = match discovery::document(&cluster.catalog, &route) {
                Some(document) => document,
                None => {
                    openapi::document(&cluster.catalog, &route).ok_or_else(Failure::no_resource)?
                }
            };
            Ok(json_response(StatusCode::OK, &document, &[]))
        }
    }
}

async fn collection(
    shared: &Arc<Shared>,
    target: &Target,
    parts: &Parts,
    query: &Query,
    body: Body,
) -> Result<Response> {
    let view = view(parts, query)?;
    let resource = &target.resource;
    let namespace = Some(target.namespace.as_str()).filter(|ns| !ns.is_empty());
    match parts.method {
        Method::GET if query.flag("watch") => {
            let options = query.watch(resource, namespace.map(ToOwned::to_owned))?;
            watch_response(watch(shared, resource, options, view)?)
        }
        Method::GET => {
            let options = query.list(resource)?;
            let mut cluster = shared.lock();
            let page = cluster.list(resource, namespace, &options)?;
            let now = cluster.now();
            // Serializing a long list takes time, for which the lock is not needed.
            drop(cluster);
            let document = view.page(resource, &page, now);
            Ok(json_response(StatusCode::OK, &document, &[]))
        }
        Method::POST => {
            let options = query.write(&parts.headers)?;
            let object = request::object(parts, &request::body(body).await?)?;
            let mut cluster = shared.lock();
            if resource.is(Trait::Review) {
                let document = review(&cluster, object);
                return Ok(json_response(StatusCode::CREATED, &document, &[]));
            }
            if resource.namespaced && namespace.is_none() && object.namespace().is_empty() {
                return Err(Failure::bad_request(
                    "an empty namespace may not be set during creation",
                ));
            }
            let written = cluster.create(target, &options, object)?;
            Ok(written_response(view, resource, &written, cluster.now()))
        }
        Method::DELETE => {
            let body = request::optional_object(parts, &request::body(body).await?)?;
            let (list, delete) = (query.list(resource)?, query.delete(&body)?);
            let mut cluster = shared.lock();
            let mut page = cluster.list(resource, namespace, &list)?;
            for item in &mut page.items {
                *item = cluster.delete(&Target::of(resource, item), &delete)?.object;
            }
            let document = view.page(resource, &page, cluster.now());
            Ok(json_response(StatusCode::OK, &document, &[]))
        }
        _ => Err(Failure::method_not_allowed()),
    }
}

async fn object(
    shared: &Arc<Shared>,
    target: &Target,
    parts: &Parts,
    query: &Query,
    body: Body,
) -> Result<Response> {
    let view = view(parts, query)?;
    let resource = &target.resource;
    match parts.method {
        Method::GET if query.flag("watch") => {
            let namespace = Some(target.namespace.clone()).filter(|ns| !ns.is_empty());
            let mut options = query.watch(resource, namespace)?;
            options.selector = options.selector.named(&target.name);
            watch_response(watch(shared, resource, options, view)?)
        }
        Method::GET => {
            let cluster = shared.lock();
            let object = cluster.get(resource, &target.namespace, &target.name)?;
            let document = view.object(resource, &object, cluster.now());
            Ok(json_response(StatusCode::OK, &document, &[]))
        }
        Method::PUT | Method::PATCH => {
            let options = query.write(&parts.headers)?;
            let change = change(target, parts, query, body).await?;
            let mut cluster = shared.lock();
            let written = cluster.update(target, &options, change)?;
            Ok(written_response(view, resource, &written, cluster.now()))
        }
        Method::DELETE => {
            let body = request::optional_object(parts, &request::body(body).await?)?;
            let options = query.delete(&body)?;
            let mut cluster = shared.lock();
            let deletion = cluster.delete(target, &options)?;
            let document = if deletion.gone && !resource.is(Trait::ReturnsDeleted) {
                deleted(resource, &deletion.object)
            } else {
                view.object(resource, &deletion.object, cluster.now())
            };
            Ok(json_response(StatusCode::OK, &document, &[]))
        }
        _ => Err(Failure::method_not_allowed()),
    }
}

async fn subresource(
    shared: &Arc<Shared>,
    target: &Target,
    part: Subresource,
    parts: &Parts,
    query: &Query,
    body: Body,
) -> Result<Response> {
    use Subresource::{Binding, Eviction, Finalize, Log, Scale, Status, Token};
    let options = query.write(&parts.headers)?;
    let method = parts.method.clone();
    match (part, method) {
        (Log, Method::GET) => {
            let location = shared.lock().log_location(target, query)?;
            let Some(location) = location else {
                return Ok(StatusCode::NO_CONTENT.into_response());
            };
            let answer = logs::stream(location).await?;
            let stop = shared.stop.clone().cancelled_owned();
            Ok(answer.map(|body| Body::from_stream(body.into_data_stream().take_until(stop))))
        }
        (Status, Method::GET) => {
            let cluster = shared.lock();
            let object = cluster.get(&target.resource, &target.namespace, &target.name)?;
            let document = view(parts, query)?.object(&target.resource, &object, cluster.now());
            Ok(json_response(StatusCode::OK, &document, &[]))
        }
        (Status, Method::PUT | Method::PATCH) => {
            let change = change(target, parts, query, body).await?;
            let mut cluster = shared.lock();
            let written = cluster.update(target, &options, change)?;
            let view = view(parts, query)?;
            Ok(written_response(
                view,
                &target.resource,
                &written,
                cluster.now(),
            ))
        }
        (Scale, Method::GET) => {
            let document = shared.lock().scale(target)?;
            Ok(json_response(StatusCode::OK, &document, &[]))
        }
        (Scale, Method::PUT | Method::PATCH) => {
            let change = change(target, parts, query, body).await?;
            let document = shared.lock().rescale(target, &options, change)?;
            Ok(json_response(StatusCode::OK, &document, &[]))
        }
        (Finalize, Method::PUT) => {
            let namespace = request::object(parts, &request::body(body).await?)?;
            let document = shared.lock().finalize(target, &options, &namespace)?;
            Ok(json_response(StatusCode::OK, &document, &[]))
        }
        (Binding | Eviction | Token, Method::POST) => {
            let question = request::object(parts, &request::body(body).await?)?;
            let mut cluster = shared.lock();
            let document = match part {
                Binding => cluster.bind(target, &options, &question)?,
                Eviction => cluster.evict(target, &question)?,
                _ => cluster.issue_token(target, question)?,
            };
            Ok(json_response(StatusCode::CREATED, &document, &[]))
        }
        _ => Err(Failure::method_not_allowed()),
    }
}

/// The change of a PUT or a PATCH.
async fn change(target: &Target, parts: &Parts, query: &Query, body: Body) -> Result<Change> {
    let bytes = request::body(body).await?;
    if parts.method == Method::PUT {
        request::object(parts, &bytes).map(Change::Replace)
    } else {
        request::patch(&target.resource, parts, query, &bytes)
    }
}

fn accept(parts: &Parts) -> &str {
    let header = parts.headers.get(header::ACCEPT);
    header.and_then(|v| v.to_str().ok()).unwrap_or_default()
}

fn view(parts: &Parts, query: &Query) -> Result<View> {
    View::negotiate(accept(parts), query.get("includeObject"))
}

/// Response to the deletion of kinds that do not return the object.
fn deleted(resource: &Resource, object: &Value) -> Value {
    let mut details = json!({"name": object.name(), "kind": resource.plural, "uid": object.uid()});
    if !resource.group.is_empty() {
        details["group"] = resource.group.as_str().into();
    }
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    })
}

fn written_response(
    view: View,
    resource: &Resource,
    written: &Written,
    now: jiff::Timestamp,
) -> Response {
    let code = if written.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let document = view.object(resource, &written.object, now);
    json_response(code, &document, &written.warnings)
}

fn watch_response(
    stream: impl futures::Stream<Item = std::io::Result<axum::body::Bytes>> + Send + 'static,
) -> Result<Response> {
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from_stream(stream))
        .map_err(Failure::internal)
}

fn json_response(code: StatusCode, document: &Value, warnings: &[String]) -> Response {
    let mut response = (code, axum::Json(document)).into_response();
    for warning in warnings {
        // 299 is "miscellaneous persistent warning"; the agent is left out. RFC 7234, section 5.5.
        let text = format!("299 - {warning:?}");
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}
