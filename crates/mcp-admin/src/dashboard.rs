//! The dashboard: embedded files of a page that reads the API.

use axum::{
    Router,
    extract::OriginalUri,
    http::{HeaderName, header},
    response::IntoResponse,
    routing::get,
};

/// The page, its style and scripts. They hold no data, and so need no token.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let page = Router::new()
        .route("/", get(page))
        .route("/dashboard.css", get(async || asset(CSS, STYLE)));
    SCRIPTS.into_iter().fold(page, |router, (path, script)| {
        router.route(path, get(async move || asset(JAVASCRIPT, script)))
    })
}

async fn page(OriginalUri(uri): OriginalUri) -> impl IntoResponse {
    // Nested at `/x`, the page is at `/x` and its files are in `/x/`. Relative, so that a proxy may move them.
    let base = match uri.path().rsplit_once('/') {
        Some((_, "")) | None => "./".to_owned(),
        // The only character of a path that could end the attribute.
        Some((_, folder)) => format!("./{}/", folder.replace('"', "%22")),
    };
    let html = PAGE.replace("{{base}}", &base);
    (
        [(HeaderName::from_static("content-security-policy"), POLICY)],
        asset(HTML, html),
    )
}

fn asset(kind: &'static str, content: impl IntoResponse) -> impl IntoResponse {
    // An upgrade may change them at the same address.
    (
        [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "no-cache"),
        ],
        content,
    )
}

/// Nothing from other origins, nothing inline, and not in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

const PAGE: &str = include_str!("dashboard/index.html");
const STYLE: &str = include_str!("dashboard/dashboard.css");

/// Modules; `dashboard.js` imports the others.
const SCRIPTS: [(&str, &str); 16] = [
    ("/about.js", include_str!("dashboard/about.js")),
    ("/dashboard.js", include_str!("dashboard/dashboard.js")),
    ("/access.js", include_str!("dashboard/access.js")),
    ("/actions.js", include_str!("dashboard/actions.js")),
    ("/alerts.js", include_str!("dashboard/alerts.js")),
    ("/breaker.js", include_str!("dashboard/breaker.js")),
    ("/card.js", include_str!("dashboard/card.js")),
    ("/charts.js", include_str!("dashboard/charts.js")),
    ("/clients.js", include_str!("dashboard/clients.js")),
    ("/dom.js", include_str!("dashboard/dom.js")),
    ("/events.js", include_str!("dashboard/events.js")),
    ("/format.js", include_str!("dashboard/format.js")),
    ("/overview.js", include_str!("dashboard/overview.js")),
    ("/sessions.js", include_str!("dashboard/sessions.js")),
    ("/storage.js", include_str!("dashboard/storage.js")),
    ("/stream.js", include_str!("dashboard/stream.js")),
];
