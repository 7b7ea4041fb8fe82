//! The page: three files, embedded, which ask for everything else themselves.

use axum::{
    Router,
    extract::OriginalUri,
    http::{HeaderName, header},
    response::IntoResponse,
    routing::get,
};

/// The page and what belongs to it. It holds no data, and so is open always.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(page))
        .route(
            "/dashboard.js",
            get(async || asset("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route(
            "/dashboard.css",
            get(async || asset("text/css; charset=utf-8", STYLE)),
        )
}

async fn page(OriginalUri(uri): OriginalUri) -> impl IntoResponse {
    // Nested at `/x`, the page is at `/x` and what belongs to it in `/x/`. Relative, so that a proxy may move it all.
    let base = match uri.path().rsplit_once('/') {
        Some((_, "")) | None => "./".to_owned(),
        Some((_, folder)) => format!("./{folder}/"),
    };
    let html = PAGE.replace("{{base}}", &base);
    (
        [(HeaderName::from_static("content-security-policy"), POLICY)],
        asset("text/html; charset=utf-8", html),
    )
}

fn asset(kind: &'static str, content: impl IntoResponse) -> impl IntoResponse {
    // Another version of the program may be behind the same address in a minute.
    (
        [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "no-cache"),
        ],
        content,
    )
}

/// Nothing from elsewhere, nothing inline, and in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("dashboard/index.html");
const SCRIPT: &str = include_str!("dashboard/dashboard.js");
const STYLE: &str = include_str!("dashboard/dashboard.css");
