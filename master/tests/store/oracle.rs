//! Keys of every kind under a random schedule, beside a model of them that is too simple to be wrong: after each step
//! every job is where the model says. TASKOTRON_SEED repeats one.

use std::collections::BTreeSet;

use master::store::{Deed, Granted, Store};
use model::{End, JobId, JobState, Policy, Span, Time};

use crate::bed::{Bed, SITE, act_on, claim, decide, fit, keyed, limited, passed, report, request_named, worker};
use crate::stories;

const STEPS: u32 = 160;

/// Seconds that pass at once: far more than a slow machine takes for all of it.
const STRIDE: u64 = 600;

/// Numbers that look like chance and are the same for one seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// Until then; whether it waits for quiet, and since when.
    Waiting(i64, Option<i64>),
    /// For the key of this step.
    Line(usize),
    Queued,
    /// Until then.
    Running(i64),
    Ended(JobState),
}

#[derive(Clone, Debug)]
struct Job {
    id: JobId,
    /// By step: the key, and how many may have it.
    turns: [Option<(u64, usize)>; 2],
    held: [bool; 2],
    scope: Option<(u64, Policy)>,
    age: (i64, usize),
    event: usize,
    rank: i64,
    expires: i64,
    at: At,
    successor: Option<usize>,
    stopped: bool,
    cancelled: bool,
}

impl Job {
    fn live(&self) -> bool {
        !matches!(self.at, At::Ended(_))
    }

    fn state(&self) -> JobState {
        match self.at {
            At::Waiting(..) | At::Line(_) => JobState::Waiting,
            At::Queued => JobState::Queued,
            At::Running(_) => JobState::Running,
            At::Ended(state) => state,
        }
    }
}

/// Seconds since it began, and all jobs in the order in which they were made.
#[derive(Default)]
struct Model {
    now: i64,
    jobs: Vec<Job>,
}

impl Model {
    /// Asks for the next key, or is queued.
    fn go_on(&mut self, i: usize) {
        let job = &mut self.jobs[i];
        let next = (0..2).find(|step| job.turns[*step].is_some() && !job.held[*step]);
        job.at = next.map_or(At::Queued, At::Line);
    }

    fn end(&mut self, i: usize, state: JobState) {
        self.jobs[i].at = At::Ended(state);
    }

    /// Gives free keys to the first of their lines, until there is nothing more to give.
    fn settle(&mut self) {
        for step in 0..2 {
            loop {
                let mut line: Vec<usize> =
                    (0..self.jobs.len()).filter(|i| self.jobs[*i].at == At::Line(step)).collect();
                line.sort_by_key(|i| (self.jobs[*i].rank, *i));
                let mut seen = BTreeSet::new();
                let next = line.into_iter().find(|i| {
                    let (key, most) = self.jobs[*i].turns[step].unwrap();
                    let holds =
                        |job: &&Job| job.live() && job.held[step] && job.turns[step].is_some_and(|(of, _)| of == key);
                    seen.insert(key) && self.jobs.iter().filter(holds).count() < most
                });
                let Some(i) = next else { break };
                self.jobs[i].held[step] = true;
                self.go_on(i);
            }
        }
    }

    fn supersede(&mut self, fresh: &[(usize, Option<i64>)]) {
        let scopes: BTreeSet<u64> = fresh.iter().filter_map(|(i, _)| Some(self.jobs[*i].scope?.0)).collect();
        for scope in scopes {
            let of: Vec<usize> =
                (0..self.jobs.len()).filter(|i| self.jobs[*i].scope.is_some_and(|(s, _)| s == scope)).collect();
            let newest = *of.iter().max_by_key(|i| self.jobs[**i].age).unwrap();
            let (mut rank, mut since) = (i64::MAX, self.now);
            for i in of.iter().copied() {
                if !self.jobs[i].live()
                    || self.jobs[i].age >= self.jobs[newest].age
                    || self.jobs[i].event == self.jobs[newest].event
                {
                    continue;
                }
                match self.jobs[i].at {
                    At::Running(_) if self.jobs[i].cancelled => {}
                    At::Running(_) => {
                        let stops = matches!(self.jobs[newest].scope, Some((_, Policy::CancelPrevious)));
                        let job = &mut self.jobs[i];
                        job.successor.get_or_insert(newest);
                        job.stopped |= stops;
                    }
                    At::Waiting(..) | At::Line(_) | At::Queued => {
                        if !fresh.iter().any(|(f, _)| *f == i) {
                            rank = rank.min(self.jobs[i].rank);
                            if let At::Waiting(_, Some(quiet)) = self.jobs[i].at {
                                since = since.min(quiet);
                            }
                        }
                        self.jobs[i].successor = Some(newest);
                        self.end(i, JobState::Superseded);
                    }
                    At::Ended(_) => unreachable!("it is live"),
                }
            }
            for (i, quiet) in fresh.iter().filter(|(i, _)| of.contains(i)) {
                let job = &mut self.jobs[*i];
                job.rank = job.rank.min(rank);
                if let (Some(quiet), true) = (quiet, job.live()) {
                    job.at = At::Waiting((self.now + quiet).min(since + 10 * quiet), Some(since));
                }
            }
        }
        // What they held is free for who has waited; then they ask themselves.
        self.settle();
        for (i, _) in fresh {
            if self.jobs[*i].at == At::Queued {
                self.go_on(*i);
            }
        }
        self.settle();
    }

    /// Who is given to a worker; what is past its time ends on the way.
    fn claim(&mut self, slots: usize) -> Vec<usize> {
        let mut granted = Vec::new();
        while granted.len() < slots {
            let mut queue: Vec<usize> = (0..self.jobs.len()).filter(|i| self.jobs[*i].at == At::Queued).collect();
            queue.sort_by_key(|i| (self.jobs[*i].rank, *i));
            queue.truncate(slots - granted.len());
            let (late, good): (Vec<usize>, Vec<usize>) =
                queue.into_iter().partition(|i| self.jobs[*i].expires <= self.now);
            for i in &good {
                self.jobs[*i].at = At::Running(self.now + 60);
            }
            granted.extend(good);
            if late.is_empty() {
                break;
            }
            late.iter().for_each(|i| self.end(*i, JobState::Expired));
            self.settle();
        }
        granted
    }

    fn report(&mut self, i: usize, end: &End) {
        let job = &self.jobs[i];
        let again = match end {
            End::Exited { code: 75 } => Some(At::Waiting(self.now + 60, None)),
            _ if job.cancelled => None,
            end if end.is_infrastructure() => Some(At::Queued),
            _ => None,
        };
        let at = match (again, job.successor) {
            (_, Some(_)) if job.stopped => At::Ended(JobState::Superseded),
            (Some(_), Some(_)) => At::Ended(JobState::Superseded),
            (Some(again), None) => again,
            (None, _) if job.cancelled => At::Ended(JobState::Cancelled),
            (None, _) => At::Ended(JobState::Finished),
        };
        let job = &mut self.jobs[i];
        (job.at, job.cancelled) = (at, false);
        self.settle();
    }

    fn cancel(&mut self, i: usize) {
        match self.jobs[i].at {
            At::Waiting(..) | At::Line(_) | At::Queued => self.end(i, JobState::Cancelled),
            At::Running(_) => {
                let job = &mut self.jobs[i];
                (job.cancelled, job.successor, job.stopped) = (true, None, false);
            }
            At::Ended(_) => {}
        }
        self.settle();
    }

    fn expire(&mut self) {
        for i in 0..self.jobs.len() {
            if matches!(self.jobs[i].at, At::Running(until) if until <= self.now) {
                self.report(i, &End::Lost);
            }
        }
        while let Some(i) = (0..self.jobs.len()).find(|i| {
            let job = &self.jobs[*i];
            job.expires <= self.now && !matches!(job.at, At::Running(_) | At::Ended(_))
        }) {
            self.end(i, JobState::Expired);
            self.settle();
        }
    }

    fn promote(&mut self) {
        for i in 0..self.jobs.len() {
            match self.jobs[i].at {
                At::Waiting(until, None) if until <= self.now => self.jobs[i].at = At::Queued,
                At::Waiting(until, Some(_)) if until <= self.now => self.go_on(i),
                _ => {}
            }
        }
        self.settle();
    }
}

stories! {
    async fn every_job_is_where_a_simple_model_says(bed: Bed) {
        let seed = std::env::var("TASKOTRON_SEED").ok().map(|seed| seed.parse().unwrap());
        let first = seed.unwrap_or(net::clock::uuid().as_u128() as u64 % 1_000_000);
        eprintln!("TASKOTRON_SEED={first}");
        let other = if bed.is_postgres() { bed.another(SITE).await } else { bed.store.clone() };
        let stores = [bed.store.clone(), other];
        schedule(&bed, &stores, Chance(first)).await;
    }
}

async fn schedule(bed: &Bed, stores: &[Store; 2], mut chance: Chance) {
    let w = worker("w1");
    let mut model = Model::default();
    let mut running: Vec<(usize, Granted)> = Vec::new();
    let begun = stores[0].now().await.unwrap();
    for step in 0..STEPS {
        let store = &stores[chance.below(2) as usize];
        let what = chance.below(12);
        match what {
            0..=3 => submit(bed, store, &mut model, &mut chance, begun).await,
            4..=6 => {
                let slots = 1 + chance.below(3) as usize;
                let mut expected = model.claim(slots);
                let granted = claim(store, &w, slots as u32).await;
                expected.sort_by_key(|i| (model.jobs[*i].rank, *i));
                let ids: Vec<JobId> = expected.iter().map(|i| model.jobs[*i].id).collect();
                assert_eq!(granted.iter().map(|g| g.job).collect::<Vec<_>>(), ids, "step {step}");
                running.extend(expected.into_iter().zip(granted));
            }
            7 | 8 if !running.is_empty() => {
                let (i, granted) = running.swap_remove(chance.below(running.len() as u64) as usize);
                let report = match chance.below(5) {
                    0 => report(&granted, End::Exited { code: 75 }),
                    1 => report(&granted, End::HandedBack),
                    _ => passed(&granted),
                };
                let late = !matches!(model.jobs[i].at, At::Running(_));
                let end = report.end.clone();
                let receipt = store.finish("w1", &[report], &decide).await.unwrap()[0];
                assert_eq!(receipt == model::lease::Receipt::Gone, late, "step {step}");
                if !late {
                    model.report(i, &end);
                }
            }
            9 if !model.jobs.is_empty() => {
                let i = chance.below(model.jobs.len() as u64) as usize;
                model.cancel(i);
                let request = request_named(&format!("{step}"));
                act_on(store, Deed::Cancel, &[model.jobs[i].id], &request, false).await;
            }
            10 => {
                model.expire();
                store.expire(&decide).await.unwrap();
                running.retain(|(i, _)| matches!(model.jobs[*i].at, At::Running(_)));
            }
            _ => {
                model.now += STRIDE as i64;
                let one = bed.is_postgres();
                stores.iter().take(if one { 2 } else { 1 }).for_each(|store| store.advance(Span::seconds(STRIDE)));
                model.promote();
                store.promote().await.unwrap();
            }
        }
        let (all, _) = store.jobs(&Default::default(), None, 5000).await.unwrap();
        assert_eq!(all.len(), model.jobs.len());
        for (seen, expected) in all.iter().rev().zip(&model.jobs) {
            assert_eq!((seen.id, seen.state), (expected.id, expected.state()), "step {step} ({what}): {expected:?}");
        }
        if step % 10 == 0 {
            bed.sound().await;
        }
    }
    bed.sound().await;
    for job in model.jobs.iter().filter(|job| job.at == At::Ended(JobState::Superseded)) {
        let master::store::Place::Ended { successor, .. } = stores[0].job(job.id).await.unwrap().unwrap().place else {
            panic!("it has ended")
        };
        assert_eq!(successor, job.successor.map(|i| model.jobs[i].id), "{job:?}");
    }
}

/// A few jobs at once, of one event or of several, some of which may be there already.
async fn submit(bed: &Bed, store: &Store, model: &mut Model, chance: &mut Chance, begun: Time) {
    let (mut candidates, mut fresh) = (Vec::new(), Vec::new());
    let mut event = model.jobs.len();
    // Of those that are made one soon after the other the earlier comes first, also in the hands of its successor.
    let turn = model.jobs.len() as i64;
    for _ in 0..1 + chance.below(4) {
        let i = model.jobs.len();
        if !chance.one_in(3) {
            event = i;
        }
        let n = i as u32;
        let mut admitted = bed.admitted(n);
        let (mut turns, mut scope, mut quiet) = ([None; 2], None, None);
        match chance.below(5) {
            0 => {
                let key = chance.below(3);
                turns[0] = Some((key, 1));
                admitted = keyed(admitted, &format!("s{key}"), Policy::Serial);
            }
            1..=3 => {
                let key = chance.below(3);
                let policy = if chance.one_in(2) { Policy::CancelPrevious } else { Policy::KeepLatestQueued };
                scope = Some((key, policy));
                admitted = keyed(admitted, &format!("k{key}"), policy);
                if chance.one_in(3) {
                    quiet = Some(900);
                    admitted.job.supersede.as_mut().unwrap().quiet = Some(Span::seconds(900));
                }
            }
            _ => {}
        }
        if chance.one_in(3) {
            let key = chance.below(2);
            turns[1] = Some((key, 1 + key as usize));
            admitted = limited(admitted, &format!("l{key}"), 1 + key as u32);
        }
        let order = if event == i { chance.below(40) as i64 } else { model.jobs[event].age.0 };
        let priority = 15 * chance.below(3) as i64;
        admitted.ordered_at = Time(order);
        admitted.event = Some(format!("e{event}"));
        admitted.job.priority = priority as i32;
        let expires = if chance.one_in(5) { model.now + 900 } else { i64::MAX };
        if expires < i64::MAX {
            admitted.job.expires_at = Some(begun.plus(Span::seconds(expires as u64)));
        }
        let job = Job {
            id: admitted.job.key,
            turns,
            held: [false; 2],
            scope,
            age: (order, i),
            event,
            rank: (model.now - 60 * priority) * 10_000 + turn,
            expires,
            at: At::Queued,
            successor: None,
            stopped: false,
            cancelled: false,
        };
        model.jobs.push(job);
        fresh.push((i, quiet));
        candidates.push(fit(admitted));
    }
    // Sent again later, they must change nothing: their order and keys do not count any more.
    if !model.jobs.is_empty() && chance.one_in(2) {
        candidates.push(fit(bed.admitted(chance.below(fresh[0].0 as u64 + 1) as u32)));
    }
    store.submit(&candidates).await.unwrap();
    model.supersede(&fresh);
}
