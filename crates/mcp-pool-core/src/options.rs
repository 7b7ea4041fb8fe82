//! The settings of a pool.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::router::Limits;

/// Who may share a session. Sessions never serve two identities in any mode: those have pools of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SharingMode {
    /// A session carries up to `max_in_flight` calls at once, of any callers. For stateless servers: nearly all.
    #[default]
    Multiplexed,
    /// One call at a time per session. For servers that break under concurrent requests.
    Exclusive,
    /// A session belongs to one scope, is never given to another, and is closed when the scope ends. For servers
    /// that keep state: browsers, shells, workspaces.
    Pinned,
}

/// The settings of a pool, with the defaults that suit most servers.
///
/// The fields are public; start from [`PoolOptions::default`] and change what differs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolOptions {
    /// Sessions kept open from the moment two callers have had one at once, or from
    /// [`warm_up`](crate::SessionPool::warm_up) (2). Counts idle and busy ones together. Pinned pools keep none.
    pub min_connections: u32,
    /// Sessions at the most, counting those being opened and those not yet dead (10).
    pub max_connections: u32,
    /// A session above the minimum is closed after so long without use (300 s).
    pub max_idle_time: Duration,
    /// A session is replaced at this age, less up to 10 % at random so that they do not all go at once (1 h).
    pub max_session_age: Duration,
    /// Limit on a whole acquire, from the call to the lease, and on when a try at opening may begin (30 s). A try that is
    /// under way when callers give up goes on for up to four times as long in all, for the next caller.
    pub connection_timeout: Duration,
    /// An idle session is probed when it has not answered for so long (60 s).
    pub health_check_interval: Duration,
    /// Limit on one probe (5 s).
    pub probe_timeout: Duration,
    /// Further tries at opening after a failure that may pass (3).
    pub retry_attempts: u32,
    /// Pause before the first further try; doubled for each later one, with jitter (1 s).
    pub retry_delay: Duration,
    /// Who may share a session.
    pub sharing: SharingMode,
    /// Calls at once on one session, where sessions are shared (16).
    pub max_in_flight: u32,
    /// One more session is opened when those in use carry more than so many calls each (8).
    pub scale_up_at: u32,
    /// Callers that may wait; one more is refused at once (1,000).
    pub max_waiters: usize,
    /// Sessions being opened at once (1).
    pub max_connecting: u32,
    /// How long calls in flight may go on when the pool is closed (10 s).
    pub shutdown_grace: Duration,
    /// How long a call that was given up may go on running on the server, where sessions are exclusive or pinned (5 s).
    /// Its place is given on when the server has answered it. After this time an exclusive session is replaced; a pinned
    /// one, which holds state, has to answer a probe.
    pub cancel_grace: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            min_connections: 2,
            max_connections: 10,
            max_idle_time: Duration::from_secs(300),
            max_session_age: Duration::from_secs(3600),
            connection_timeout: Duration::from_secs(30),
            health_check_interval: Duration::from_secs(60),
            probe_timeout: Duration::from_secs(5),
            retry_attempts: 3,
            retry_delay: Duration::from_secs(1),
            sharing: SharingMode::Multiplexed,
            max_in_flight: 16,
            scale_up_at: 8,
            max_waiters: 1_000,
            max_connecting: 1,
            shutdown_grace: Duration::from_secs(10),
            cancel_grace: Duration::from_secs(5),
        }
    }
}

impl PoolOptions {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Everything that is wrong, not the first thing only.
    pub fn validate(&self) -> Result<(), InvalidOptions> {
        let mut problems = Vec::new();
        let mut at_least_one = |name: &str, value: usize| {
            if value == 0 {
                problems.push(format!("{name} must be at least 1"));
            }
        };
        at_least_one("max_connections", self.max_connections as usize);
        at_least_one("max_in_flight", self.max_in_flight as usize);
        at_least_one("scale_up_at", self.scale_up_at as usize);
        at_least_one("max_waiters", self.max_waiters);
        at_least_one("max_connecting", self.max_connecting as usize);
        for (name, value) in [
            ("max_idle_time", self.max_idle_time),
            ("max_session_age", self.max_session_age),
            ("connection_timeout", self.connection_timeout),
            ("health_check_interval", self.health_check_interval),
            ("probe_timeout", self.probe_timeout),
            ("retry_delay", self.retry_delay),
        ] {
            if value.is_zero() {
                problems.push(format!("{name} must not be zero"));
            }
        }
        if self.min_connections > self.max_connections {
            problems.push(format!(
                "min_connections ({}) must not exceed max_connections ({})",
                self.min_connections, self.max_connections
            ));
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(InvalidOptions { problems })
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        let max_in_flight = if self.sharing == SharingMode::Exclusive {
            1
        } else {
            self.max_in_flight
        };
        Limits {
            // A pinned session belongs to a scope: one that is opened ahead has no owner.
            min_connections: if self.sharing == SharingMode::Pinned {
                0
            } else {
                self.min_connections
            },
            max_connections: self.max_connections,
            max_in_flight,
            scale_up_at: self.scale_up_at.min(max_in_flight),
            max_connecting: self.max_connecting,
            max_waiters: self.max_waiters,
        }
    }
}

/// Settings that contradict themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOptions {
    problems: Vec<String>,
}

impl InvalidOptions {
    /// Each thing that is wrong, in words.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for InvalidOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("; "))
    }
}

impl std::error::Error for InvalidOptions {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(PoolOptions::default().validate(), Ok(()));
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let options = PoolOptions {
            max_connections: 0,
            max_waiters: 0,
            retry_delay: Duration::ZERO,
            ..PoolOptions::default()
        };
        let problems = options.validate().unwrap_err().problems().join("\n");
        for expected in [
            "max_connections must be",
            "max_waiters",
            "retry_delay",
            "min_connections (2)",
        ] {
            assert!(
                problems.contains(expected),
                "{expected} is missing from {problems}"
            );
        }
    }

    #[test]
    fn an_exclusive_pool_carries_one_call_per_session() {
        let options = PoolOptions {
            sharing: SharingMode::Exclusive,
            ..PoolOptions::default()
        };
        assert_eq!(
            (options.limits().max_in_flight, options.limits().scale_up_at),
            (1, 1)
        );
    }
}
