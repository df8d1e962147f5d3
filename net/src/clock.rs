//! Where time and chance come in. Everything else takes them as arguments.

use model::Time;
use uuid::Uuid;

/// This machine's clock.
#[expect(clippy::disallowed_methods, reason = "this is the edge at which time comes in")]
pub fn now() -> Time {
    Time(chrono::Utc::now().timestamp_micros())
}

/// A new id that sorts after the earlier ones of this machine.
#[expect(clippy::disallowed_methods, reason = "this is the edge at which chance comes in")]
pub fn uuid() -> Uuid {
    Uuid::now_v7()
}
