//! What is said when no secure connection comes about. Runs with the feature `tls`.

#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{assert_balanced, pool_of, quiet, within};
use mcp_pool_core::{AcquireError, OpenErrorKind, connect::http::Http};
use mcp_testkit::{HttpOptions, HttpServer};

#[tokio::test]
async fn https_against_a_server_without_it_is_a_failure_of_tls() {
    let server = HttpServer::start(HttpOptions::default()).await;
    let url = server.url().replace("http://", "https://");
    let pool = pool_of(Http::new(url).unwrap(), quiet());
    let AcquireError::Open { cause, .. } = within(pool.acquire()).await.unwrap_err() else {
        panic!("not a failed opening");
    };
    assert_eq!(cause.kind(), OpenErrorKind::Tls, "{cause}");
    assert!(
        cause.to_string().starts_with("no secure connection"),
        "{cause}"
    );
    within(pool.close()).await;
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}
