//! The workers: who is there, and what it offers.

use askama::Template;
use model::Time;
use model::operator::WorkerView;

use super::parts::WorkerRow;

#[derive(Template)]
#[template(path = "workers.html")]
pub struct Workers {
    workers: Vec<WorkerRow>,
}

impl Workers {
    pub fn new(workers: &[WorkerView], now: Time) -> Workers {
        Workers { workers: workers.iter().map(|worker| WorkerRow::new(worker, now)).collect() }
    }
}

#[cfg(test)]
impl super::Sample for Workers {
    fn sample() -> Workers {
        use super::sample;
        Workers::new(&[sample::worker()], sample::NOW)
    }
}
