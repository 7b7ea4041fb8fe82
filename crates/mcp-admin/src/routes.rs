//! The routes, and the document that describes them.

mod alerts;
mod changes;
mod configured;
mod numbers;
mod pools;
mod program;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::OriginalUri,
    http::{Method, StatusCode, Uri},
    middleware::from_fn_with_state,
    routing::get,
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self, Server,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    access::{self, Open},
    admin::Shared,
    dashboard, events,
    problem::Problem,
    snapshot::Snapshot,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "mcp-pool",
        description = "Status and control of pools of Model Context Protocol sessions.\n\nErrors are problem details \
                       (RFC 9457). Times are in seconds."
    ),
    tags(
        (name = "servers", description = "Servers and their sessions"),
        (name = "watching", description = "Numbers, alerts and events"),
        (name = "program", description = "The program itself"),
    ),
    components(schemas(Snapshot)),
    modifiers(&Bearer),
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "Needed to change something where a token is configured",
            ))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// All routes, with what keeps them.
pub(crate) fn all(shared: Arc<Shared>, open: Open) -> Router {
    let reading = OpenApiRouter::new()
        .routes(routes!(program::status))
        .routes(routes!(pools::pools))
        .routes(routes!(pools::pool))
        .routes(routes!(alerts::alerts))
        .routes(routes!(configured::servers))
        .routes(routes!(configured::config))
        .routes(routes!(numbers::summary))
        .routes(routes!(numbers::prometheus))
        .routes(routes!(events::events))
        .route_layer(from_fn_with_state(
            (Arc::clone(&shared), open),
            access::read,
        ));
    let changing = OpenApiRouter::new()
        .routes(routes!(changes::health_check))
        .routes(routes!(changes::reset))
        .routes(routes!(changes::drain))
        .route_layer(from_fn_with_state(
            (Arc::clone(&shared), open),
            access::change,
        ));
    let always = OpenApiRouter::new()
        .routes(routes!(program::alive))
        .routes(routes!(program::ready));
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(reading)
        .merge(changing)
        .merge(always)
        .split_for_parts();
    let document = Arc::new(document);
    router
        .route(DOCUMENT, get(async move |uri| described(&document, uri)))
        .merge(dashboard::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(Arc::clone(&shared), access::admit))
        .with_state(shared)
}

/// The document, with the place at which the routes are.
fn described(document: &openapi::OpenApi, OriginalUri(uri): OriginalUri) -> Json<openapi::OpenApi> {
    let mut document = document.clone();
    let at = uri.path().strip_suffix(DOCUMENT).unwrap_or_default();
    document.servers = Some(vec![Server::new(if at.is_empty() { "/" } else { at })]);
    Json(document)
}

async fn unknown(uri: Uri) -> Problem {
    let detail = format!(
        "there is nothing at {}; {DOCUMENT} tells what there is",
        uri.path()
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

const DOCUMENT: &str = "/api/v1/openapi.json";
