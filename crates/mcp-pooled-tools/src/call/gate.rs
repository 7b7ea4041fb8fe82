//! The points between two steps of a call, where tests reconfigure its server.

use crate::server::Snapshot;

#[cfg(not(test))]
#[inline]
pub(super) fn pass(_step: &str, _snapshot: &Snapshot) {}

#[cfg(test)]
pub(super) use tests::pass;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mcp_config::{CircuitBreakerSettings, EffectiveSettings};
    use mcp_pool_core::connect::in_process::InProcess;
    use mcp_testkit::TestServer;
    use parking_lot::Mutex;
    use serde_json::json;

    use super::Snapshot;
    use crate::{ConnectionManager, PoolSettings};

    /// What a step saw of its server.
    type Seen = (&'static str, u64, Arc<EffectiveSettings>);

    struct Gates {
        seen: Mutex<Vec<Seen>>,
        at: &'static str,
        reconfigure: Box<dyn Fn() + Send + Sync>,
    }

    tokio::task_local! {
        static GATES: Arc<Gates>;
    }

    pub(in super::super) fn pass(step: &'static str, snapshot: &Snapshot) {
        let _ = GATES.try_with(|gates| {
            let seen = (step, snapshot.generation, Arc::clone(&snapshot.settings));
            let first = !gates.seen.lock().iter().any(|(passed, ..)| *passed == step);
            gates.seen.lock().push(seen);
            if step == gates.at && first {
                (gates.reconfigure)();
            }
        });
    }

    const STEPS: [&str; 6] = [
        "validate", "retry", "circuit", "checkout", "exchange", "classify",
    ];

    #[tokio::test]
    async fn pool_reload_between_any_two_steps_leaves_an_attempt_on_one_generation() {
        let in_place = || {
            let breaker = CircuitBreakerSettings::new().failure_threshold(17);
            PoolSettings::new().circuit_breaker(breaker)
        };
        // The pool of the snapshot is replaced by another.
        let replaced = || PoolSettings::new().max_message_size(1 << 20);
        for (what, settings) in [("in place", in_place()), ("replaced", replaced())] {
            for at in STEPS {
                let server = TestServer::new();
                let connector = server.clone();
                let manager = ConnectionManager::builder()
                    .connector(
                        "test",
                        InProcess::new(move || connector.clone()),
                        PoolSettings::new(),
                    )
                    .build()
                    .await
                    .unwrap();
                let tools = manager.tools("test").unwrap();
                tools
                    .call("echo", json!({"message": "warm"}))
                    .await
                    .unwrap();
                let gates = Arc::new(Gates {
                    seen: Mutex::default(),
                    at,
                    reconfigure: Box::new({
                        let (manager, settings) = (manager.clone(), settings.clone());
                        move || manager.configure_server("test", settings.clone()).unwrap()
                    }),
                });
                let call = tools.call("echo", json!({"message": "m"}));
                let reply = GATES.scope(Arc::clone(&gates), call).await;
                assert!(reply.is_ok(), "{what} at {at}: {reply:?}");
                let seen = std::mem::take(&mut *gates.seen.lock());
                let attempt = seen
                    .iter()
                    .rposition(|(step, ..)| *step == "circuit")
                    .unwrap();
                let steps: Vec<_> = seen[attempt..].iter().map(|(step, ..)| *step).collect();
                assert_eq!(steps, &STEPS[2..], "{what} at {at}");
                let (_, generation, settings) = &seen[attempt];
                for (step, other, others) in &seen[attempt..] {
                    assert_eq!(other, generation, "{what} at {at}: {step}");
                    assert!(Arc::ptr_eq(others, settings), "{what} at {at}: {step}");
                }
                manager.shutdown().await;
            }
        }
    }
}
