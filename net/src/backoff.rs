//! Waiting longer each time, and not all at once.

use std::time::Duration;

use rand::RngExt as _;

/// Doubles from `least` to `most`; each wait is a random part of it, so that many clients spread out.
#[derive(Clone, Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(least: Duration, most: Duration) -> Backoff {
        Backoff { least, most, next: least }
    }

    /// How long to wait now, between a half and the whole of the present step.
    pub fn step(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.most);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    pub async fn wait(&mut self) {
        tokio::time::sleep(self.step()).await;
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.next = self.least;
    }
}
