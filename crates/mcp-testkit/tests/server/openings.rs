//! Servers whose first openings fail.

use rmcp::service::ClientInitializeError;

use crate::support::{Pair, auto, discover, initialize, open_as};

#[tokio::test]
async fn fail_first_answers_the_first_openings_with_an_error_across_processes() {
    for lifecycle in [initialize(), discover(), auto()] {
        let folder = tempfile::tempdir().unwrap();
        let arguments = format!(
            "--fail-first 2 --state-file {}/openings",
            folder.path().display()
        );
        for _ in 0..2 {
            let failed = open_as(&arguments, lifecycle.clone()).await.err().unwrap();
            assert!(
                matches!(
                    failed,
                    ClientInitializeError::JsonRpcError(_)
                        | ClientInitializeError::LegacyFallbackFailed { .. }
                ),
                "{failed:?}"
            );
        }
        let opened: Pair = open_as(&arguments, lifecycle).await.unwrap();
        assert!(opened.answers().await);
    }
}

#[tokio::test]
async fn exit_first_ends_the_first_processes_before_they_answer() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = format!(
        "--exit-first 1 --state-file {}/openings",
        folder.path().display()
    );
    let failed = open_as(&arguments, initialize()).await.err().unwrap();
    assert!(
        !matches!(failed, ClientInitializeError::JsonRpcError(_)),
        "{failed:?}"
    );
    assert!(
        open_as(&arguments, initialize())
            .await
            .unwrap()
            .answers()
            .await
    );
}
