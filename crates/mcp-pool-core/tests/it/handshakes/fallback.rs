//! Which era a server is taken for: `server/discover` that is not taken well, and `initialize` after it.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_on_discover_is_opened_by_initialize_and_remembered() {
    let wire = Wire::discovering(|_| vec![Act::End]);
    let (pool, events) = observed(wire.clone(), quiet());
    let began = Instant::now();
    for _ in 0..2 {
        assert_eq!(pool.acquire().await.unwrap().session().era(), Era::Legacy);
        pool.drain().await;
    }
    let heard = wire.heard();
    let asked: Vec<_> = heard.iter().map(|(at, m)| (*at, m.as_str())).collect();
    assert_eq!(
        asked,
        [
            (1, "server/discover"),
            (2, "initialize"),
            (2, "notifications/initialized"),
            (3, "initialize"),
            (3, "notifications/initialized"),
        ]
    );
    assert_eq!(events.count(attempt_failed), 0);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_reply_to_discover_that_makes_no_sense_means_legacy() {
    let replies = [
        json!({}),
        json!(null),
        json!([]),
        json!({"content": [{"type": "text", "text": "Unknown method"}], "isError": true}),
        initialized("2025-06-18"),
        discovered(&["2025-11-25", "2025-06-18"]),
    ];
    for result in replies {
        let shown = result.to_string();
        let wire = Wire::discovering(move |message| reply(message, result.clone()));
        assert_eq!(open(&wire).await.1, Era::Legacy, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_for_discover_means_legacy_whatever_its_code() {
    for code in [-32601, -32600, -32602, -32603, -32700, -32002, 0] {
        let wire = Wire::discovering(move |message| refuse(message, code, "no"));
        assert_eq!(open(&wire).await.1, Era::Legacy, "{code}");
        assert_eq!(*wire.connections.lock(), 1, "{code}");
    }
    // As a text in place of an object.
    let wire = Wire::discovering(|message| {
        let error = json!({"jsonrpc": "2.0", "id": message["id"], "error": "Method not found"});
        vec![Act::Send(error)]
    });
    assert_eq!(open(&wire).await.1, Era::Legacy);
    assert_eq!(*wire.connections.lock(), 1);
    // Without an id, and twice.
    for (id, times) in [(json!(null), 1), (json!(1 << 30), 2)] {
        let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}});
        let wire =
            Wire::discovering(move |_| (0..times).map(|_| Act::Send(error.clone())).collect());
        assert_eq!(open(&wire).await.1, Era::Legacy, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unsupported_version_with_handshake_versions_only_means_legacy() {
    for supported in [json!(["2025-06-18", "2024-11-05"]), json!([])] {
        let wire = Wire::discovering(move |message| {
            let data = json!({"supported": supported, "requested": "2026-07-28"});
            let error = json!({"code": -32022, "message": "Unsupported", "data": data});
            vec![Act::Send(
                json!({"jsonrpc": "2.0", "id": message["id"], "error": error}),
            )]
        });
        assert_eq!(open(&wire).await.1, Era::Legacy);
    }
    // There is nothing to go back to.
    let wire = Wire::discovering(|message| reply(message, discovered(&["2027-03-01"])));
    let error = failure(&wire).await;
    assert_eq!(error.kind(), OpenErrorKind::NoCommonVersion);
    assert!(error.to_string().contains("2027-03-01"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn silence_on_discover_costs_a_tenth_of_the_time() {
    for (timeout, wait) in [(30, 3.0), (8, 0.8)] {
        let wire = Wire::discovering(|_| Vec::new());
        let began = Instant::now();
        let options =
            quiet_with(|options| options.connection_timeout = Duration::from_secs(timeout));
        assert_eq!(open_with(&wire, options).await.1, Era::Legacy);
        let took = began.elapsed().as_secs_f64();
        assert!((wait..wait + 0.1).contains(&took), "{took}");
        assert_eq!(*wire.connections.lock(), 1, "the same process goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_discovery_that_does_not_say_how_long_to_keep_it_is_one() {
    for (field, value) in [
        ("ttlMs", json!(null)),
        ("ttlMs", json!(-1)),
        ("ttlMs", json!(1000.5)),
        ("cacheScope", json!("session")),
        ("resultType", json!(null)),
    ] {
        let mut result = discovered(&["2026-07-28", "2025-11-25"]);
        match &value {
            Value::Null => drop(result.as_object_mut().unwrap().remove(field)),
            other => result[field] = other.clone(),
        }
        let wire = Wire::new(move |_, message| match method(message) {
            "server/discover" => reply(message, result.clone()),
            _ => modern(message),
        });
        assert_eq!(open(&wire).await.1, Era::Modern, "{field} {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_discovery_keeps_what_fits() {
    let mut result = discovered(&["2026-07-28"]);
    result["capabilities"] = json!({"tools": {"listChanged": true}, "experimental": {"x": true}});
    result["instructions"] = json!(["a", "b"]);
    let wire = Wire::discovering(move |message| reply(message, result.clone()));
    let (pool, era) = open(&wire).await;
    assert_eq!(era, Era::Modern);
    let lease = pool.acquire().await.unwrap();
    let info = lease.peer().peer_info().unwrap();
    let tools = info.capabilities.tools.clone().unwrap();
    assert_eq!(tools.list_changed, Some(true));
    assert_eq!(info.instructions, None);
}

#[tokio::test(start_paused = true)]
async fn what_failed_before_initialize_is_said_too() {
    let mut result = discovered(&["2026-07-28"]);
    result["capabilities"] = json!("none");
    let wire = Wire::new(move |_, message| match method(message) {
        "server/discover" => reply(message, result.clone()),
        _ => modern(message),
    });
    let text = failure(&wire).await.to_string();
    assert!(
        text.contains("`initialize`") && text.contains("`capabilities`"),
        "{text}"
    );
}
