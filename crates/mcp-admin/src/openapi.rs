//! The OpenAPI document, made from the routes.

use axum::{Json, extract::OriginalUri, http::Uri};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self, Server,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

use crate::snapshot::Snapshot;

/// The path of the document.
pub(crate) const PATH: &str = "/api/v1/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "mcp-pool",
        description = "Status and control of pools of Model Context Protocol sessions.\n\nErrors are problem details \
                       (RFC 9457). Times are in seconds."
    ),
    tags(
        (name = "servers", description = "Servers and their sessions"),
        (name = "watching", description = "Metrics, alerts and events"),
        (name = "program", description = "The program itself"),
    ),
    components(schemas(Snapshot)),
    modifiers(&Bearer),
)]
pub(crate) struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("Of routes that are not open"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Declares whether the routes need the token.
pub(crate) fn demand_token<S>(mut router: OpenApiRouter<S>, needed: bool) -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    for item in router.get_openapi_mut().paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            let token = || vec![SecurityRequirement::new("token", [""; 0])];
            operation.security = needed.then(token);
        }
    }
    router
}

/// The path of the document, given a request for another path.
pub(crate) fn at(uri: &Uri, original: &Uri) -> String {
    let nested = original.path().strip_suffix(uri.path()).unwrap_or_default();
    format!("{nested}{PATH}")
}

/// The document, with the path at which the routes are mounted.
pub(crate) fn described(
    document: &openapi::OpenApi,
    OriginalUri(uri): OriginalUri,
) -> Json<openapi::OpenApi> {
    let mut document = document.clone();
    let at = uri.path().strip_suffix(PATH).unwrap_or_default();
    document.servers = Some(vec![Server::new(if at.is_empty() { "/" } else { at })]);
    Json(document)
}
