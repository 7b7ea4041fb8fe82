//! Which protocol version is offered, and what a server may make of it.

use super::*;

#[tokio::test(start_paused = true)]
async fn every_initialize_offers_the_newest_version_that_has_it() {
    for mode in [LifecycleMode::Auto, LifecycleMode::Initialize] {
        let wire = Wire::new(|_, message| match method(message) {
            // Repeats whatever it is offered.
            "initialize" => {
                let offered = message["params"]["protocolVersion"].as_str().unwrap();
                reply(message, initialized(offered))
            }
            _ => legacy(message),
        });
        let handshake = Handshake::new(mode, EraMemory::default(), SessionHandler::default());
        let pool = SessionPool::builder("server", wire.clone())
            .handshake(handshake)
            .options(quiet())
            .build()
            .unwrap();
        for _ in 0..3 {
            assert_eq!(pool.acquire().await.unwrap().session().era(), Era::Legacy);
            pool.drain().await;
        }
        assert_eq!(wire.offered(), vec![json!("2025-11-25"); 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_initialize_has_opened_is_legacy_whatever_the_reply_says() {
    for version in [
        "2026-07-28",
        "2027-01-01",
        "DRAFT-2026-v1",
        "1.0",
        "2024-10-07",
    ] {
        let wire = Wire::new(move |_, message| match method(message) {
            "initialize" => reply(message, initialized(version)),
            _ => legacy(message),
        });
        assert_eq!(open(&wire).await.1, Era::Legacy, "{version}");
        assert_eq!(wire.heard().last().unwrap().1, "notifications/initialized");
    }
}

#[tokio::test(start_paused = true)]
async fn the_version_to_offer_can_be_set() {
    for (version, script, era) in [
        ("2025-03-26", legacy as fn(&Value) -> Vec<Act>, Era::Legacy),
        ("2026-07-28", modern, Era::Modern),
    ] {
        let wire = Wire::new(move |_, message| script(message));
        let parsed: ProtocolVersion = serde_json::from_value(json!(version)).unwrap();
        let handshake = Handshake::default().protocol_version(parsed);
        let pool = SessionPool::builder("server", wire.clone())
            .handshake(handshake)
            .options(quiet())
            .build()
            .unwrap();
        assert_eq!(pool.acquire().await.unwrap().session().era(), era);
        let (_, first) = wire.heard.lock()[0].clone();
        assert!(first.to_string().contains(version), "{first}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_initialize_is_quoted_with_the_versions_that_it_names() {
    let wire = Wire::new(|_, message| match method(message) {
        "initialize" => {
            let data = json!({"supported": ["2024-11-05"]});
            let error = json!({"code": -32602, "message": "Unsupported", "data": data});
            vec![Act::Send(
                json!({"jsonrpc": "2.0", "id": message["id"], "error": error}),
            )]
        }
        _ => legacy(message),
    });
    let error = failure(&wire).await;
    assert_eq!(error.kind(), OpenErrorKind::NoCommonVersion);
    let text = error.to_string();
    assert!(
        text.contains("Unsupported (-32602)") && text.contains("2024-11-05"),
        "{text}"
    );
}
