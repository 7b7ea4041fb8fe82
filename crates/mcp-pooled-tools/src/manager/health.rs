//! Numbers, health and alerts of a manager.

use std::{sync::Arc, time::Duration};

use mcp_metrics::{Alert, HealthRules, Metrics, Summary, health::Health};
use mcp_pool_core::{Phase, SessionId};
use serde::Serialize;
use tokio::time::timeout;

use super::ConnectionManager;
use crate::{
    error::{Error, ErrorKind},
    events::EventStream,
    server::ServerPool,
};

/// How well a server is, and what a probe made for this report found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// The server.
    pub server: String,
    /// The same, under the name that it has in the JSON of pools.
    pub server_name: String,
    /// Its state, with the reasons.
    #[serde(flatten)]
    pub health: Health,
    /// What the probe found; `None` if there was no session to send it on.
    pub probe: Option<Probe>,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Probe {
    /// The session that was asked.
    pub session: SessionId,
    /// Whether it answered in time. If not, it has been retired.
    pub alive: bool,
    /// How long that took, in seconds.
    #[serde(rename = "took_seconds", serialize_with = "crate::status::seconds")]
    pub took: Duration,
}

impl ConnectionManager {
    /// The metrics of all servers: the source of [`summary`](Self::summary) and [`prometheus`](Self::prometheus), and what
    /// an exporter of your own reads. If a recorder is installed in the process, it is updated every five seconds.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.monitor.metrics
    }

    /// The numbers of all servers at this moment, and over the last minute.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.0.monitor.summary()
    }

    /// The same in Prometheus' text format.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// assert!(manager.prometheus().contains("mcp_calls_total"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn prometheus(&self) -> String {
        self.0.monitor.render()
    }

    /// Active alerts and the last resolved ones, the latest raised first.
    /// Looked for every five seconds.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// for alert in manager.alerts() {
    ///     println!("{}: {}", alert.server, alert.message);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        self.0.monitor.alerts()
    }

    /// What is no longer healthy: the rules by which [`check_health`](Self::check_health) judges.
    #[must_use]
    pub fn health_rules(&self) -> &HealthRules {
        &self.0.monitor.health
    }

    /// What happens to sessions, breakers and alerts from here on.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error, Event};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// let mut events = manager.events();
    /// while let Some(event) = events.next().await {
    ///     if let Event::SessionClosed { server, reason, .. } = event {
    ///         println!("{server}: a session was closed: {reason}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn events(&self) -> EventStream {
        self.0.monitor.events.listen()
    }

    /// Asks a session of the server for a sign of life, now, and says how well the server is. A session that stays silent
    /// is retired. If none is open, one is opened: a server that does not start is not well.
    ///
    /// It ends within `probe_timeout`, and `connection_timeout` if it has to wait for a session.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// let report = manager.check_health("time").await?;
    /// println!("{report:?}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a server that is not known, or disabled; [`ErrorKind::ShuttingDown`]. That the server is
    /// not well is no error.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn check_health(&self, server: &str) -> Result<HealthReport, Error> {
        let pool = self.server(server)?.pool(None)?;
        let probe = match probe(&pool).await {
            Err(error) if error.kind() == ErrorKind::ShuttingDown => return Err(error),
            probe => probe,
        };
        let summary = self.summary();
        let of_server = |snapshot: &&_| {
            let snapshot: &mcp_metrics::ServerSnapshot = snapshot;
            snapshot.server_name == *pool.server
        };
        let snapshot = summary.pool_metrics.iter().find(of_server);
        let mut health = snapshot
            .map(|snapshot| self.0.monitor.health.judge(snapshot))
            .unwrap_or_default();
        match &probe {
            Ok(probe) if probe.alive => {}
            Ok(probe) => health.critical(format!(
                "session {} did not answer a probe within {:.1} s, and was retired",
                probe.session,
                probe.took.as_secs_f64()
            )),
            // To be busy is not to be ill. If the calls hang, their limits and the error rate tell.
            Err(error) if is_busy(error) => health.warn(format!("it could not be asked: {error}")),
            Err(error) => health.critical(error.to_string()),
        }
        Ok(HealthReport {
            server: pool.server.to_string(),
            server_name: pool.server.to_string(),
            health,
            probe: probe.ok(),
        })
    }
}

fn is_busy(error: &Error) -> bool {
    error.kind() == ErrorKind::Exhausted
        || (error.kind() == ErrorKind::Timeout && error.phase() == Some(Phase::Queue))
}

async fn probe(pool: &Arc<ServerPool>) -> Result<Probe, Error> {
    let current = pool.snapshot();
    let options = current.pool.options();
    let limit = options
        .connection_timeout
        .saturating_add(options.probe_timeout);
    match timeout(limit, current.pool.probe()).await {
        Ok(Ok(report)) => Ok(Probe {
            session: report.session,
            alive: report.alive,
            took: report.took,
        }),
        Ok(Err(error)) => Err(Error::acquire(&pool.server, pool.secrets(), error)),
        Err(_) => Err(Error::new(
            ErrorKind::Timeout,
            format!("there was no session to probe within {limit:?}"),
        )),
    }
}
