//! Which lifecycle each server answers, over stdio.

use rmcp::{model::ProtocolVersion, service::ClientInitializeError};
use serde_json::json;

use crate::support::{auto, discover, initialize, open_as};

#[tokio::test]
async fn a_server_of_both_eras_answers_as_it_is_asked() {
    for (lifecycle, version) in [
        (initialize(), ProtocolVersion::V_2025_11_25),
        (discover(), ProtocolVersion::V_2026_07_28),
        (auto(), ProtocolVersion::V_2026_07_28),
    ] {
        let pair = open_as("", lifecycle).await.unwrap();
        assert_eq!(pair.client.peer_info().unwrap().protocol_version, version);
        assert_eq!(pair.ask("echo", json!({"message": "hello"})).await, "hello");
    }
}

#[tokio::test]
async fn a_legacy_server_does_not_know_discover() {
    let pair = open_as("--era legacy", initialize()).await.unwrap();
    assert_eq!(pair.ask("echo", json!({"message": "hello"})).await, "hello");

    let refused = open_as("--era legacy", discover()).await.err().unwrap();
    let ClientInitializeError::JsonRpcError(error) = refused else {
        panic!("not a JSON-RPC error: {refused:?}");
    };
    assert_eq!(error.code, rmcp::model::ErrorCode::METHOD_NOT_FOUND);
}

#[tokio::test]
async fn a_client_that_tries_both_falls_back_to_initialize_on_a_legacy_server() {
    let pair = open_as("--era legacy", auto()).await.unwrap();
    assert!(
        pair.client
            .peer_info()
            .unwrap()
            .protocol_version
            .has_initialize()
    );
    assert_eq!(pair.ask("echo", json!({"message": "hello"})).await, "hello");
}

#[tokio::test]
async fn a_modern_server_refuses_initialize_and_lives_on() {
    let pair = open_as("--era modern", discover()).await.unwrap();
    assert_eq!(pair.ask("echo", json!({"message": "hello"})).await, "hello");

    let refused = open_as("--era modern", initialize()).await.err().unwrap();
    let ClientInitializeError::JsonRpcError(error) = refused else {
        panic!("not a JSON-RPC error: {refused:?}");
    };
    assert_eq!(
        error.code,
        rmcp::model::ErrorCode::UNSUPPORTED_PROTOCOL_VERSION
    );
}
