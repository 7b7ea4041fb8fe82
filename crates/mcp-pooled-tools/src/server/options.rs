//! Options of a pool, made from the settings of its server.

use mcp_config::EffectiveSettings;
use mcp_pool_core::{PoolOptions, SharingMode};

pub(super) fn options(settings: &EffectiveSettings, kept_warm: bool) -> PoolOptions {
    let mut options = PoolOptions::default();
    // An identity that called once is not kept a warm session.
    options.min_connections = if kept_warm {
        settings.min_connections
    } else {
        0
    };
    options.max_connections = settings.max_connections;
    options.max_idle_time = settings.max_idle_time;
    options.max_session_age = settings.max_session_age;
    options.connection_timeout = settings.connection_timeout;
    options.health_check_interval = settings.health_check_interval;
    options.probe_timeout = settings.probe_timeout;
    options.retry_attempts = settings.retry_attempts;
    options.retry_delay = settings.retry_delay;
    options.sharing = match settings.sharing {
        mcp_config::Sharing::Exclusive => SharingMode::Exclusive,
        mcp_config::Sharing::Pinned => SharingMode::Pinned,
        _ => SharingMode::Multiplexed,
    };
    options.max_in_flight = settings.max_in_flight;
    options.scale_up_at = settings.scale_up_at;
    options.max_waiters = settings.max_waiters as usize;
    options.max_connecting = settings.max_connecting;
    options.shutdown_grace = settings.shutdown_grace;
    options.cancel_grace = settings.cancel_grace;
    options
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_setting_of_a_pool_reaches_the_option_of_its_name() {
        let seconds = Duration::from_secs;
        let mut settings = EffectiveSettings::default();
        settings.min_connections = 11;
        settings.max_connections = 12;
        settings.max_idle_time = seconds(13);
        settings.max_session_age = seconds(14);
        settings.connection_timeout = seconds(15);
        settings.health_check_interval = seconds(16);
        settings.probe_timeout = seconds(17);
        settings.retry_attempts = 18;
        settings.retry_delay = seconds(19);
        settings.sharing = mcp_config::Sharing::Exclusive;
        settings.max_in_flight = 20;
        settings.scale_up_at = 21;
        settings.max_waiters = 22;
        settings.max_connecting = 23;
        settings.shutdown_grace = seconds(24);
        settings.cancel_grace = seconds(25);
        // As text, so that an option which is new and follows no setting yet shows here.
        assert_eq!(
            format!("{:?}", options(&settings, true)),
            "PoolOptions { min_connections: 11, max_connections: 12, max_idle_time: 13s, max_session_age: 14s, \
             connection_timeout: 15s, health_check_interval: 16s, probe_timeout: 17s, retry_attempts: 18, \
             retry_delay: 19s, sharing: Exclusive, max_in_flight: 20, scale_up_at: 21, max_waiters: 22, \
             max_connecting: 23, shutdown_grace: 24s, cancel_grace: 25s }"
        );
        assert_eq!(options(&settings, false).min_connections, 0);
    }

    #[test]
    fn each_way_of_sharing_is_that_of_its_name() {
        for (set, expected) in [
            (mcp_config::Sharing::Multiplexed, SharingMode::Multiplexed),
            (mcp_config::Sharing::Exclusive, SharingMode::Exclusive),
            (mcp_config::Sharing::Pinned, SharingMode::Pinned),
        ] {
            let mut settings = EffectiveSettings::default();
            settings.sharing = set;
            assert_eq!(options(&settings, true).sharing, expected);
        }
    }
}
