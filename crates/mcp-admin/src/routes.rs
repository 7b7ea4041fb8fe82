//! The routes, and the document that describes them.

mod alerts;
mod changes;
mod configured;
mod numbers;
mod pools;
mod program;

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
    dashboard,
    document::{self, Document, demand_token, described},
    events,
    params::NoQuery,
    problem::Problem,
};

/// All routes, with what keeps them.
pub(crate) fn all(shared: Arc<Shared>, open: Open) -> Router {
    let reading = OpenApiRouter::new()
        .routes(routes!(program::status))
        .routes(routes!(pools::pools))
        .routes(routes!(pools::pool))
        .routes(routes!(alerts::alerts))
        .routes(routes!(configured::servers))
        .routes(routes!(configured::server))
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
        .routes(routes!(changes::silence))
        .route_layer(from_fn_with_state(
            (Arc::clone(&shared), open),
            access::change,
        ));
    let always = OpenApiRouter::new()
        .routes(routes!(program::alive))
        .routes(routes!(program::ready));
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(demand_token(reading, open == Open::Nothing))
        .merge(demand_token(changing, open != Open::Everything))
        .merge(always)
        .split_for_parts();
    let description = Arc::new(document);
    router
        .route(
            document::PATH,
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
        "there is nothing at {}; {} tells what there is",
        original.path(),
        document::at(&uri, &original)
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn not_allowed(method: Method, original: OriginalUri) -> Problem {
    let detail = format!("{} does not take {method}", original.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}
