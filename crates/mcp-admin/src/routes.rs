//! The routes, with their OpenAPI document.

mod actions;
mod alerts;
mod clients;
mod config;
mod health;
mod metrics;
mod pools;

use std::sync::Arc;

use axum::{
    Router,
    extract::OriginalUri,
    http::{Method, StatusCode, Uri},
    middleware::from_fn_with_state,
    routing::get,
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    access::{self, Open},
    admin::Shared,
    dashboard, events,
    openapi::{self, Document, demand_token, described},
    params::NoQuery,
    problem::Problem,
};

/// All routes, behind their access checks.
pub(crate) fn all(shared: Arc<Shared>, open: Open) -> Router {
    let reading = OpenApiRouter::new()
        .routes(routes!(health::status))
        .routes(routes!(pools::pools))
        .routes(routes!(pools::pool))
        .routes(routes!(alerts::alerts))
        .routes(routes!(clients::clients))
        .routes(routes!(config::servers))
        .routes(routes!(config::server))
        .routes(routes!(config::config))
        .routes(routes!(metrics::summary))
        .routes(routes!(metrics::prometheus))
        .routes(routes!(events::events))
        .route_layer(from_fn_with_state(
            (Arc::clone(&shared), open),
            access::read,
        ));
    let changing = OpenApiRouter::new()
        .routes(routes!(actions::health_check))
        .routes(routes!(actions::reset))
        .routes(routes!(actions::drain))
        .routes(routes!(actions::silence))
        .route_layer(from_fn_with_state(
            (Arc::clone(&shared), open),
            access::change,
        ));
    let always = OpenApiRouter::new()
        .routes(routes!(health::alive))
        .routes(routes!(health::ready));
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(demand_token(reading, open == Open::Nothing))
        .merge(demand_token(changing, open != Open::Everything))
        .merge(always)
        .split_for_parts();
    let description = Arc::new(document);
    router
        .route(
            openapi::PATH,
            get(async move |_: NoQuery, uri| described(&description, uri)),
        )
        .merge(dashboard::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(Arc::clone(&shared), access::admit))
        .with_state(shared)
}

async fn unknown(uri: Uri, original: OriginalUri) -> Problem {
    let detail = format!(
        "there is nothing at {}; {} lists the routes",
        original.path(),
        openapi::at(&uri, &original)
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn not_allowed(method: Method, original: OriginalUri) -> Problem {
    let detail = format!("{} does not accept {method}", original.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}
