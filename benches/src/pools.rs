//! Pools to compare with, and ours with its sessions open.

use std::{convert::Infallible, time::Duration};

use mcp_pool_core::{PoolOptions, SessionPool, connect::in_process::InProcess};
use rmcp::ServerHandler;

use crate::subjects::{Bare, bare_stdio};

/// A connection that costs nothing: what is left is the pool.
#[derive(Debug)]
pub struct Trivial;

impl bb8::ManageConnection for Trivial {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

impl deadpool::managed::Manager for Trivial {
    type Type = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn recycle(
        &self,
        _: &mut u64,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

/// bb8 with so many connections, all open, at its best: without a check at every checkout.
pub async fn trivial_bb8(places: u32) -> bb8::Pool<Trivial> {
    let builder = bb8::Pool::builder()
        .max_size(places)
        .min_idle(places)
        .test_on_check_out(false);
    builder.build(Trivial).await.expect("it cannot fail")
}

/// deadpool with so many connections, all open.
pub async fn trivial_deadpool(places: usize) -> deadpool::managed::Pool<Trivial> {
    let builder = deadpool::managed::Pool::builder(Trivial).max_size(places);
    let pool = builder.build().expect("nothing in it needs a runtime");
    let mut all = Vec::new();
    for _ in 0..places {
        all.push(pool.get().await.expect("it cannot fail"));
    }
    pool
}

/// A server without anything to offer.
#[derive(Clone, Debug)]
pub struct Nothing;

impl ServerHandler for Nothing {}

/// Our pool with so many sessions, all open, each carrying so many calls.
pub async fn warm_pool(sessions: u32, max_in_flight: u32) -> SessionPool {
    let mut options = PoolOptions::default();
    options.min_connections = sessions;
    options.max_connections = sessions;
    options.max_in_flight = max_in_flight;
    options.scale_up_at = max_in_flight;
    options.max_connecting = 4;
    let pool = SessionPool::builder("bench", InProcess::new(|| Nothing)).options(options);
    let pool = pool.build().expect("the settings are valid");
    pool.warm_up();
    while pool.status().connections.idle < sessions {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    pool
}

/// Sessions of the plain client in bb8: how one would pool without sharing.
#[derive(Debug)]
pub struct BareSessions;

impl bb8::ManageConnection for BareSessions {
    type Connection = Bare;
    type Error = Infallible;

    async fn connect(&self) -> Result<Bare, Infallible> {
        Ok(bare_stdio().await)
    }

    async fn is_valid(&self, _: &mut Bare) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, session: &mut Bare) -> bool {
        session.is_transport_closed()
    }
}
