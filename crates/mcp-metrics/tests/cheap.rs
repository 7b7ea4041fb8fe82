//! What a record may cost on the path of a call: no allocation.
//!
//! In a program of its own, because an allocator is that of the whole process.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use mcp_metrics::{CallOutcome, Metrics, PoolGauges, Publisher};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get().wrapping_add(layout.size())));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get().wrapping_sub(layout.size())));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(during: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    during();
    ALLOCATIONS.get() - before
}

#[test]
fn a_call_is_recorded_without_allocating() {
    for metrics in [Metrics::new(), Metrics::builder().tool_labels(2).build()] {
        let server = metrics.server("time");
        let record = |took| {
            server.acquired(true, Duration::ZERO);
            // The third tool finds no room of its own.
            for tool in ["a", "b", "c"] {
                server.call("tools/call", Some(tool), CallOutcome::Ok, took);
            }
        };
        record(Duration::from_millis(1)); // makes the buckets
        let made = allocations(|| {
            for call in 0..1_000 {
                record(Duration::from_micros(call * call));
            }
        });
        assert_eq!(made, 0);
    }
}

#[test]
fn a_server_that_nobody_calls_takes_little_room_also_when_it_is_read() {
    const SERVERS: usize = 1_000;
    let metrics = Metrics::new();
    let mut published = Publisher::new(metrics.clone(), metrics::NoopRecorder);
    let before = BYTES.get();
    for server in 0..SERVERS {
        metrics
            .server(&format!("server-{server}"))
            .observe(PoolGauges::default());
    }
    assert_eq!(metrics.summary().pool_metrics.len(), SERVERS);
    published.publish();
    let each = BYTES.get().wrapping_sub(before) / SERVERS;
    assert!(each <= 1_024, "{each} bytes");
}
