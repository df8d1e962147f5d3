//! The numbers of a master, as Prometheus reads them.

use std::time::Duration;

use model::operator::{Status, WorkerState, WorkerView};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// A worker, and what is told of its machine.
type Machine = Vec<(&'static str, String)>;

type Labels = Vec<(&'static str, &'static str)>;

/// What is counted as it happens; the rest is asked for when somebody reads it.
pub struct Metrics {
    registry: Registry,
    jobs: Family<Labels, Gauge>,
    workers: Family<Labels, Gauge>,
    intake: Family<Labels, Gauge>,
    outbox: Gauge,
    stops: Gauge,
    warnings: Gauge,
    divergences: Family<Labels, Gauge>,
    generation: Gauge,
    claimed: Counter,
    finished: Counter,
    delivered: Counter,
    messages: Gauge,
    machines: Family<Machine, Gauge>,
    told: Counter,
    claims: Histogram,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("taskotron"),
            jobs: Family::default(),
            workers: Family::default(),
            intake: Family::default(),
            outbox: Gauge::default(),
            stops: Gauge::default(),
            warnings: Gauge::default(),
            divergences: Family::default(),
            generation: Gauge::default(),
            claimed: Counter::default(),
            finished: Counter::default(),
            delivered: Counter::default(),
            messages: Gauge::default(),
            machines: Family::default(),
            told: Counter::default(),
            claims: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
        };
        let registry = &mut metrics.registry;
        registry.register("jobs", "Jobs in each state", metrics.jobs.clone());
        registry.register("workers", "Workers in each state", metrics.workers.clone());
        registry.register("intake_events", "Events, as the triggers last counted them", metrics.intake.clone());
        registry.register(
            "outbox",
            "Results and messages that are decided and not yet delivered",
            metrics.outbox.clone(),
        );
        registry.register("stops", "Things that stop work", metrics.stops.clone());
        registry.register("warnings", "Things that should be looked at", metrics.warnings.clone());
        let help = "Events of the last day about which the triggers of a pair differ, up to a thousand";
        registry.register("divergences", help, metrics.divergences.clone());
        registry.register("generation", "The configuration in force", metrics.generation.clone());
        registry.register("leases_granted", "Leases that this master gave out", metrics.claimed.clone());
        registry.register("reports_accepted", "Reports that this master accepted", metrics.finished.clone());
        registry.register("results_delivered", "Results that this master delivered", metrics.delivered.clone());
        registry.register("messages", "Messages that are not yet on the bus", metrics.messages.clone());
        let help = "How the workers' machines stand: load_percent, and bytes free";
        registry.register("worker_machine", help, metrics.machines.clone());
        registry.register("messages_sent", "Messages that this master brought to the bus", metrics.told.clone());
        registry.register("claim_seconds", "From a claim to its leases, waiting included", metrics.claims.clone());
        metrics
    }
}

impl Metrics {
    /// A claim was answered; only one that gave something has a latency worth knowing.
    pub fn claimed(&self, leases: usize, after: Duration) {
        if leases > 0 {
            self.claimed.inc_by(leases as u64);
            self.claims.observe(after.as_secs_f64());
        }
    }

    pub fn finished(&self, reports: usize) {
        self.finished.inc_by(reports as u64);
    }

    pub fn delivered(&self, results: usize) {
        self.delivered.inc_by(results as u64);
    }

    pub fn told(&self, messages: usize) {
        self.told.inc_by(messages as u64);
    }

    /// Everything as text, with the gauges as `status` and the workers say.
    pub fn text(&self, status: &Status, workers: &[WorkerView]) -> String {
        self.machines.clear();
        for worker in workers.iter().filter(|worker| worker.state != WorkerState::Lost) {
            let Some(figures) = &worker.figures else { continue };
            for (what, value) in [
                ("load_percent", u64::from(figures.load_percent)),
                ("memory_free", figures.memory_free),
                ("disk_free", figures.disk_free),
                ("takes_none", u64::from(figures.takes_none.is_some())),
            ] {
                let labels = vec![("worker", worker.name.clone()), ("what", what.to_owned())];
                self.machines.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
            }
        }
        let set = |family: &Family<Labels, Gauge>, name, value: u64| {
            family.get_or_create(&vec![("state", name)]).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let jobs = status.jobs;
        for (name, value) in [
            ("waiting", jobs.waiting),
            ("queued", jobs.queued),
            ("running", jobs.running),
            ("finished", jobs.finished),
            ("cancelled", jobs.cancelled),
            ("superseded", jobs.superseded),
            ("expired", jobs.expired),
        ] {
            set(&self.jobs, name, value);
        }
        let workers = status.workers;
        for (name, value) in [("ready", workers.ready), ("busy", workers.busy), ("lost", workers.lost)] {
            set(&self.workers, name, value);
        }
        let intake = status.intake;
        for (name, value) in
            [("recorded", intake.recorded), ("forwarded", intake.forwarded), ("quarantined", intake.quarantined)]
        {
            set(&self.intake, name, value);
        }
        self.outbox.set(i64::try_from(status.outbox).unwrap_or(i64::MAX));
        self.messages.set(i64::try_from(status.messages).unwrap_or(i64::MAX));
        self.stops.set(i64::try_from(status.stopped_by.len()).unwrap_or(i64::MAX));
        self.warnings.set(i64::try_from(status.warnings.len()).unwrap_or(i64::MAX));
        set(&self.divergences, "decided", status.divergences.decided);
        set(&self.divergences, "unseen", status.divergences.unseen);
        self.generation.set(i64::try_from(status.generation).unwrap_or(i64::MAX));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }
}
