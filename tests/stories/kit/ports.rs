//! Free ports on the loopback interface.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that nobody listens on. It lies below the range that the kernel gives
/// to outgoing connections, so that none of those takes it before it is used, and
/// no two calls in a test process return the same.
pub fn free() -> u16 {
    // Test processes that run side by side begin at different places.
    let begin = (std::process::id() % 120) as u16 * 100;
    (0..12_000)
        .map(|_| 20_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed) % 12_000) % 12_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of 12,000 ports is free")
}
