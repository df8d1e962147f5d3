//! What each check makes of a master's vitals: pure, so that every case of it is a line in a test.

use model::Time;
use model::operator::{Mode, WorkerState, WorkerView};
use model::vitals::{MirrorVitals, Vitals};

use super::Name;
use super::finding::{Finding, Measure, Severity};
use super::range::Range;

/// What was asked for in place of the first figure's own limits.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub warning: Option<Range>,
    pub critical: Option<Range>,
}

impl Limits {
    pub fn is_empty(&self) -> bool {
        self.warning.is_none() && self.critical.is_none()
    }
}

pub fn judge(name: Name, vitals: &Vitals, limits: &Limits) -> Finding {
    let mut finding = Finding::new(name.word());
    match name {
        Name::Intake => intake(vitals, limits, &mut finding),
        Name::Queue => queue(vitals, limits, &mut finding),
        Name::Workers => workers(vitals, limits, &mut finding),
        Name::Results => results(vitals, limits, &mut finding),
        Name::Mode => mode(vitals, limits, &mut finding),
        Name::Mirrors => mirrors(vitals, limits, &mut finding),
        Name::Clock => clock(vitals, limits, &mut finding),
        Name::All => finding = Finding::unknown(name.word(), "it is several checks".into()),
    }
    finding
}

/// A figure with limits of its own.
fn figure(label: &'static str, value: f64, unit: &'static str, warning: &str, critical: &str) -> Measure {
    let range = |text: &str| (!text.is_empty()).then(|| text.parse().expect("a constant range"));
    Measure { label, value, unit, warning: range(warning), critical: range(critical) }
}

impl Measure {
    /// The first figure of a check, which a person may have given other limits.
    fn first(self, limits: &Limits) -> Measure {
        Measure {
            warning: limits.warning.clone().or(self.warning),
            critical: limits.critical.clone().or(self.critical),
            ..self
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and seconds of the size that people look at")]
fn number(n: u64) -> f64 {
    n as f64
}

/// Whole seconds from one moment to another.
fn age(from: Time, now: Time) -> u64 {
    now.since(from).0.as_secs()
}

/// An age in words: its largest two units would be too many for one line.
fn words(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

fn intake(vitals: &Vitals, limits: &Limits, finding: &mut Finding) {
    if vitals.triggers.is_empty() {
        *finding = Finding::unknown(finding.check, "no trigger has been heard from in the last day".into());
        return;
    }
    let now = vitals.now;
    for trigger in &vitals.triggers {
        let silent = now.since(trigger.last_heard);
        if silent > vitals.silence {
            let age = words(silent.0.as_secs());
            finding.say(Severity::Critical, format!("trigger {} has not been heard from for {age}", trigger.recorder));
        }
        for trouble in &trigger.troubles {
            finding.say(Severity::Critical, format!("trigger {} {trouble}", trigger.recorder));
        }
    }
    // A repository of tasks has a check of its own.
    for warning in vitals.status.warnings.iter().filter(|warning| !vitals.mirrors.warnings.contains(warning)) {
        finding.say(Severity::Warning, &warning.what);
    }
    // Of several triggers the one that has waited longest: its queue may be the one that is broken.
    let ages: Vec<u64> = vitals.triggers.iter().filter_map(|t| Some(age(t.last_event?, now))).collect();
    match ages.iter().max() {
        Some(&oldest) => {
            finding.say(Severity::Ok, format!("last event {} ago", words(oldest)));
            finding.measure(figure("last_event_age", number(oldest), "s", "600", "1800").first(limits));
        }
        None => finding.say(Severity::Warning, "no event has come yet"),
    }
    let behind: u64 = vitals.triggers.iter().map(|trigger| trigger.behind).sum();
    finding.say(Severity::Ok, format!("lag {behind}"));
    finding.measure(figure("lag", number(behind), "", "5000", "50000"));
    let quarantined: u64 = vitals.triggers.iter().map(|trigger| trigger.quarantined).sum();
    finding.measure(figure("quarantined", number(quarantined), "c", "", ""));
}

fn mirrors(vitals: &Vitals, limits: &Limits, finding: &mut Finding) {
    let MirrorVitals { repositories, failed, warnings } = &vitals.mirrors;
    for warning in warnings {
        finding.say(Severity::Warning, &warning.what);
    }
    let plural = if *repositories == 1 { "y" } else { "ies" };
    finding.say(Severity::Ok, format!("{repositories} repositor{plural} of tasks"));
    finding.measure(figure("failed", number(*failed), "", "0", "").first(limits));
}

fn queue(vitals: &Vitals, limits: &Limits, finding: &mut Finding) {
    let queued = vitals.status.jobs.queued;
    let oldest = vitals.oldest_queued.map_or(0, |at| age(at, vitals.now));
    finding.say(Severity::Ok, format!("{queued} queued"));
    if queued > 0 {
        finding.say(Severity::Ok, format!("oldest {}", words(oldest)));
    }
    let mut figures = [
        figure("queued", number(queued), "", "1000", "5000").first(limits),
        figure("oldest", number(oldest), "s", "3600", "14400"),
    ];
    if vitals.mode.mode != Mode::Active {
        finding.say(Severity::Ok, format!("the system is {}", vitals.mode.mode));
        for figure in &mut figures {
            (figure.warning, figure.critical) = (None, None);
        }
    }
    figures.into_iter().for_each(|figure| finding.measure(figure));
}

fn workers(vitals: &Vitals, limits: &Limits, finding: &mut Finding) {
    let (lost, connected): (Vec<&WorkerView>, Vec<&WorkerView>) =
        vitals.workers.iter().partition(|worker| worker.state == WorkerState::Lost);
    for unserved in &vitals.unserved {
        let mut jobs = Vec::new();
        for (n, what) in [(unserved.queued, "queued"), (unserved.running, "running")] {
            if n > 0 {
                jobs.push(format!("{n} {what}"));
            }
        }
        finding.say(Severity::Critical, format!("{} ({} jobs)", unserved.why, jobs.join(" and ")));
    }
    if connected.is_empty() && vitals.unserved.is_empty() {
        finding.say(Severity::Warning, "no worker is connected");
    }
    for worker in &connected {
        if let Some(why) = worker.figures.as_ref().and_then(|figures| figures.takes_none.as_ref()) {
            finding.say(Severity::Warning, format!("{} takes no jobs: {why}", worker.name));
        }
    }
    for worker in &lost {
        finding.say(Severity::Ok, format!("{} lost since {}", worker.name, worker.last_seen.to_seconds()));
    }
    let busy = connected.iter().filter(|worker| worker.state == WorkerState::Busy).count() as u64;
    finding.say(Severity::Ok, format!("{} of {} workers connected", connected.len(), vitals.workers.len()));
    finding.measure(figure("lost", number(lost.len() as u64), "", "0", "2").first(limits));
    finding.measure(figure("connected", number(connected.len() as u64), "", "", ""));
    finding.measure(figure("busy", number(busy), "", "", ""));
    let slots: u32 = connected.iter().map(|worker| worker.slots).sum();
    finding.measure(figure("slots", f64::from(slots), "", "", ""));
}

fn results(vitals: &Vitals, limits: &Limits, finding: &mut Finding) {
    let waits = [vitals.oldest_result, vitals.oldest_message];
    let oldest = waits.into_iter().flatten().map(|at| age(at, vitals.now)).max().unwrap_or(0);
    let outbox = vitals.status.outbox;
    finding.say(Severity::Ok, format!("{outbox} in the outbox"));
    if outbox > 0 {
        finding.say(Severity::Ok, format!("oldest {}", words(oldest)));
    }
    finding.say(Severity::Ok, format!("{} late reports in 24h", vitals.stale_reports));
    finding.measure(figure("oldest", number(oldest), "s", "60", "600").first(limits));
    finding.measure(figure("outbox", number(outbox), "", "", ""));
    finding.measure(figure("stale_reports", number(vitals.stale_reports), "", "", ""));
}

fn mode(vitals: &Vitals, limits: &Limits, finding: &mut Finding) {
    let mode = &vitals.mode;
    let seconds = match mode.mode {
        Mode::Active => 0,
        Mode::Draining | Mode::Idle => age(mode.since, vitals.now),
    };
    let mut figure = figure("not_active", number(seconds), "s", "14400", "86400").first(limits);
    match mode.mode {
        Mode::Active => finding.say(Severity::Ok, "active"),
        Mode::Draining | Mode::Idle => {
            let (mode, by, reason) = (mode.mode, &mode.by, &mode.reason);
            finding.say(Severity::Ok, format!("{mode} for {} by {by} \"{reason}\"", words(seconds)));
        }
    }
    match mode.deadline {
        Some(deadline) if deadline <= vitals.now => {
            finding.say(Severity::Warning, format!("its deadline passed {} ago", words(age(deadline, vitals.now))));
        }
        Some(deadline) => {
            finding.say(Severity::Ok, format!("planned until {}", deadline.to_seconds()));
            (figure.warning, figure.critical) = (None, None);
        }
        None => {}
    }
    finding.measure(figure);
}

fn clock(vitals: &Vitals, limits: &Limits, finding: &mut Finding) {
    let connected = || vitals.workers.iter().filter(|worker| worker.state != WorkerState::Lost);
    let told = connected().filter_map(|worker| Some((format!("worker {}", worker.name), worker.clock_ahead_ms?)));
    let clocks: Vec<(String, i64)> = told.chain([("the master".to_owned(), vitals.master_ahead_ms)]).collect();
    let unknown: Vec<&str> =
        connected().filter(|worker| worker.clock_ahead_ms.is_none()).map(|worker| worker.name.as_str()).collect();
    if !unknown.is_empty() {
        finding.say(Severity::Unknown, format!("{} does not tell its clock", unknown.join(", ")));
    }
    let worst = clocks.iter().max_by_key(|(_, ahead)| ahead.unsigned_abs());
    let (name, ahead) = worst.map_or(("the master", 0), |(name, ahead)| (name.as_str(), *ahead));
    let way = if ahead < 0 { "behind" } else { "ahead of" };
    let off = match ahead.unsigned_abs() {
        ms @ 0..2000 => format!("{ms}ms"),
        ms => words((ms + 500) / 1000),
    };
    finding.say(Severity::Ok, format!("{name} is {off} {way} the database, the most of {} clocks", clocks.len()));
    #[expect(clippy::cast_precision_loss, reason = "a clock that is off by more than 2^52 ms is off all the same")]
    let seconds = ahead as f64 / 1000.0;
    // Nothing goes by these clocks, so no offset is critical where nobody says so.
    finding.measure(figure("ahead", seconds, "s", "-5:5", "").first(limits));
}

#[cfg(test)]
mod tests {
    use model::Span;
    use model::operator::{DivergenceCounts, IntakeCounts, JobCounts, Status, Warning, WorkerCounts};
    use model::vitals::{ModeSince, TriggerVitals, Unserved};

    use super::*;

    const NOW: Time = Time(1_700_000_000_000_000);

    fn ago(seconds: u64) -> Time {
        NOW.minus(Span::seconds(seconds))
    }

    /// All is well.
    fn vitals() -> Vitals {
        Vitals {
            now: NOW,
            master_ahead_ms: 1,
            status: Status {
                mode: Mode::Active,
                site: "main".into(),
                generation: 1,
                jobs: JobCounts::default(),
                workers: WorkerCounts::default(),
                outbox: 0,
                messages: 0,
                intake: IntakeCounts::default(),
                stopped_by: Vec::new(),
                warnings: Vec::new(),
                divergences: DivergenceCounts::default(),
            },
            mode: ModeSince {
                mode: Mode::Active,
                by: "kath".into(),
                reason: "kernel update".into(),
                since: ago(20_000),
                deadline: None,
            },
            silence: Span::minutes(1),
            triggers: vec![trigger("bus-1", 3), trigger("bus-2", 5)],
            workers: vec![worker("w1", Some(12)), worker("w2", Some(-40))],
            unserved: Vec::new(),
            oldest_queued: None,
            oldest_result: None,
            oldest_message: None,
            stale_reports: 0,
            mirrors: MirrorVitals { repositories: 3, failed: 0, warnings: Vec::new() },
        }
    }

    fn trigger(recorder: &str, last_event: u64) -> TriggerVitals {
        TriggerVitals {
            recorder: recorder.into(),
            last_heard: ago(2),
            last_event: Some(ago(last_event)),
            behind: 0,
            quarantined: 1,
            troubles: Vec::new(),
        }
    }

    fn worker(name: &str, clock_ahead_ms: Option<i64>) -> WorkerView {
        WorkerView {
            name: name.into(),
            state: WorkerState::Ready,
            slots: 4,
            running: 0,
            labels: vec!["arch:x86_64".into()],
            version: "1".into(),
            host: name.into(),
            clock_ahead_ms,
            figures: None,
            last_seen: ago(2),
            first_seen: ago(9999),
        }
    }

    fn line(name: Name, change: impl FnOnce(&mut Vitals)) -> String {
        let mut vitals = vitals();
        change(&mut vitals);
        judge(name, &vitals, &Limits::default()).line()
    }

    #[test]
    fn all_is_well_when_it_is() {
        let lines = Name::EACH.map(|name| line(name, |_| {}));
        assert_eq!(
            lines,
            [
                "INTAKE OK - last event 5s ago, lag 0 | 'last_event_age'=5s;600;1800 'lag'=0;5000;50000 'quarantined'=2c",
                "QUEUE OK - 0 queued | 'queued'=0;1000;5000 'oldest'=0s;3600;14400",
                "WORKERS OK - 2 of 2 workers connected | 'lost'=0;0;2 'connected'=2 'busy'=0 'slots'=8",
                "RESULTS OK - 0 in the outbox, 0 late reports in 24h | 'oldest'=0s;60;600 'outbox'=0 'stale_reports'=0",
                "MODE OK - active | 'not_active'=0s;14400;86400",
                "MIRRORS OK - 3 repositories of tasks | 'failed'=0;0",
                "CLOCK OK - worker w2 is 40ms behind the database, the most of 3 clocks | 'ahead'=-0.04s;-5:5",
            ]
        );
    }

    #[test]
    fn what_keeps_events_from_coming_in_is_critical() {
        let starts = |text: &str, change: &dyn Fn(&mut Vitals)| {
            let line = line(Name::Intake, change);
            assert!(line.starts_with(text), "{line}");
        };
        let silent = "INTAKE CRITICAL - trigger bus-1 has not been heard from for 5m, last event";
        starts(silent, &|v| v.triggers[0].last_heard = ago(300));
        let trouble = "INTAKE CRITICAL - trigger bus-2 takes nothing from queue 'q': connection refused, last event";
        starts(trouble, &|v| v.triggers[1].troubles = vec!["takes nothing from queue 'q': connection refused".into()]);
        starts("INTAKE CRITICAL - last event 50m ago", &|v| v.triggers[1].last_event = Some(ago(3000)));
        starts("INTAKE WARNING - last event 15m ago", &|v| v.triggers[1].last_event = Some(ago(900)));
        starts("INTAKE CRITICAL - last event 5s ago, lag 60000", &|v| v.triggers[0].behind = 60_000);
        let warning = Warning { what: "pair fedora: b differs".into(), since: None, look: None };
        starts("INTAKE WARNING - pair fedora: b differs, last", &|v| v.status.warnings = vec![warning.clone()]);
        starts("INTAKE UNKNOWN - no trigger has been heard from", &|v| v.triggers.clear());
    }

    #[test]
    fn a_repository_that_cannot_be_fetched_is_a_warning_of_its_own_check_only() {
        let warning = Warning { what: "https://h/x cannot be fetched".into(), since: None, look: None };
        let change = |v: &mut Vitals| {
            v.status.warnings = vec![warning.clone()];
            v.mirrors = MirrorVitals { repositories: 1, failed: 1, warnings: vec![warning.clone()] };
        };
        let says = line(Name::Mirrors, change);
        assert_eq!(says, "MIRRORS WARNING - https://h/x cannot be fetched, 1 repository of tasks | 'failed'=1;0");
        assert!(line(Name::Intake, change).starts_with("INTAKE OK"));
    }

    #[test]
    fn a_label_without_a_worker_is_named() {
        let unserved = Unserved {
            needs: vec!["arch:s390x".into()],
            queued: 2,
            running: 1,
            why: "needs arch:s390x; no connected worker offers it".into(),
        };
        let line = |change: &dyn Fn(&mut Vitals)| line(Name::Workers, change);
        let says = line(&|v| {
            v.unserved = vec![unserved.clone()];
            v.workers[1].state = WorkerState::Lost;
        });
        assert_eq!(
            says,
            "WORKERS CRITICAL - needs arch:s390x; no connected worker offers it (2 queued and 1 running jobs), \
             w2 lost since 2023-11-14 22:13:18, 1 of 2 workers connected | 'lost'=1;0;2 'connected'=1 'busy'=0 'slots'=4"
        );
        assert!(line(&|v| v.workers[0].state = WorkerState::Lost).starts_with("WORKERS WARNING - w1 lost since"));
        assert!(line(&|v| v.workers.clear()).starts_with("WORKERS WARNING - no worker is connected"));
    }

    #[test]
    fn a_planned_idle_is_well_until_its_deadline() {
        let idle = |since: u64, deadline: Option<Time>| {
            move |v: &mut Vitals| {
                (v.mode.mode, v.mode.since, v.mode.deadline) = (Mode::Draining, ago(since), deadline);
                (v.status.jobs.queued, v.oldest_queued) = (9000, Some(ago(90_000)));
            }
        };
        let says = line(Name::Mode, idle(18_000, None));
        assert!(
            says.starts_with("MODE WARNING - draining for 5h by kath \"kernel update\" | 'not_active'=18000s"),
            "{says}"
        );
        assert!(line(Name::Mode, idle(90_000, None)).starts_with("MODE CRITICAL"));
        assert!(line(Name::Mode, idle(90_000, Some(NOW.plus(Span::minutes(5))))).starts_with("MODE OK"));
        let late = line(Name::Mode, idle(90_000, Some(ago(300))));
        assert!(late.starts_with("MODE CRITICAL - its deadline passed 5m ago, draining for 25h"), "{late}");
        // What waits for a resume is meant to wait.
        let says = line(Name::Queue, idle(10, None));
        assert_eq!(says, "QUEUE OK - 9000 queued, oldest 25h, the system is draining | 'queued'=9000 'oldest'=90000s");
        assert!(line(Name::Queue, |v| v.status.jobs.queued = 9000).starts_with("QUEUE CRITICAL"));
    }

    #[test]
    fn b10_a_clock_that_is_off_is_a_warning_with_its_name() {
        let says = line(Name::Clock, |v| v.workers[0].clock_ahead_ms = Some(7_199_700));
        assert_eq!(
            says,
            "CLOCK WARNING - worker w1 is 2h ahead of the database, the most of 3 clocks | 'ahead'=7199.7s;-5:5"
        );
        let says = line(Name::Clock, |v| v.master_ahead_ms = -7_200_000);
        assert!(says.starts_with("CLOCK WARNING - the master is 2h behind the database"), "{says}");
        assert!(line(Name::Clock, |v| v.workers[0].clock_ahead_ms = None).starts_with("CLOCK UNKNOWN - w1 does not"));
    }

    #[test]
    fn results_that_wait_too_long_are_told_and_limits_are_the_first_figures() {
        let late = |v: &mut Vitals| (v.status.outbox, v.oldest_result, v.stale_reports) = (3, Some(ago(61)), 2);
        let says = line(Name::Results, late);
        assert!(says.starts_with("RESULTS WARNING - 3 in the outbox, oldest 61s, 2 late reports in 24h |"), "{says}");
        let mut vitals = vitals();
        late(&mut vitals);
        let limits = Limits { warning: Some("100".parse().unwrap()), critical: None };
        let says = judge(Name::Results, &vitals, &limits).line();
        assert!(says.starts_with("RESULTS OK") && says.contains("'oldest'=61s;100;600 "), "{says}");
    }
}
