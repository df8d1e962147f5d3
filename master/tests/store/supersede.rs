//! Jobs of which only the newest is wanted.

use master::store::{Admitted, Place};
use model::intake::JobAnswer;
use model::lease::{Hold, Receipt};
use model::{End, Finding, JobId, JobState, Outcome, Policy, Span, Time};

use crate::bed::{
    Bed, SITE, TERM, batch, claim, decide, event, fit, keyed, limited, make, passed, quiet, report, states, worker,
};
use crate::stories;

use JobState::{Cancelled, Finished, Queued, Running, Superseded, Waiting};
use Policy::{CancelPrevious, KeepLatestQueued};

/// Of an event that was sent in this second.
fn sent(mut admitted: Admitted, second: i64) -> Admitted {
    admitted.ordered_at = Time(second * 1_000_000);
    admitted
}

fn latest(bed: &Bed, n: u32, second: i64) -> Admitted {
    sent(keyed(bed.admitted(n), "foo", KeepLatestQueued), second)
}

fn cancelling(bed: &Bed, n: u32, second: i64) -> Admitted {
    sent(keyed(bed.admitted(n), "foo", CancelPrevious), second)
}

async fn successor(bed: &Bed, job: JobId) -> Option<JobId> {
    match bed.store.job(job).await.unwrap().unwrap().place {
        Place::Ended { successor, .. } => successor,
        other => panic!("{other:?}"),
    }
}

fn failed(granted: &master::store::Granted) -> master::store::ReportIn {
    master::store::ReportIn { findings: vec![Finding::of(Outcome::Failed)], ..report(granted, End::Exited { code: 1 }) }
}

stories! {
    async fn the_newest_takes_the_place_of_what_has_not_begun(bed: Bed) {
        let w = worker("w1");
        let first = make(&bed.store, [latest(&bed, 0, 10)]).await[0];
        let beside = bed.submit(50).await;
        let second = make(&bed.store, [latest(&bed, 1, 20)]).await[0];
        assert_eq!(states(&bed, &[first, second]).await, [Superseded, Queued]);
        assert_eq!(successor(&bed, first).await, Some(second));
        // It has the place of the first in the queue: a key on which much happens does not starve.
        let granted = bed.claim(&w, 1).await.pop().unwrap();
        assert_eq!(granted.job, second);
        // What runs goes on, and is published.
        let third = make(&bed.store, [latest(&bed, 2, 30)]).await[0];
        assert_eq!(states(&bed, &[second, third]).await, [Running, Queued]);
        assert_eq!(bed.store.renew(&w, std::slice::from_ref(&granted.token), TERM).await.unwrap(), [Hold::Held]);
        bed.finish(&w, passed(&granted)).await;
        assert_eq!(states(&bed, &[second, third]).await, [Finished, Queued]);
        assert_eq!(bed.store.outbox_len().await.unwrap(), 1);
        // But it is not tried again beside a newer one, nor is one that was lost.
        let granted: Vec<_> = bed.claim(&w, 2).await;
        assert_eq!(granted.iter().map(|g| g.job).collect::<Vec<_>>(), [beside, third]);
        let fourth = make(&bed.store, [latest(&bed, 3, 40)]).await[0];
        bed.finish(&w, report(&granted[1], End::Exited { code: 75 })).await;
        assert_eq!(states(&bed, &[third, fourth]).await, [Superseded, Queued]);
        assert_eq!(successor(&bed, third).await, Some(fourth));
        bed.claim(&w, 1).await;
        let fifth = make(&bed.store, [latest(&bed, 4, 50)]).await[0];
        bed.store.advance(Span::minutes(2));
        bed.store.expire(&decide).await.unwrap();
        assert_eq!(states(&bed, &[fourth, fifth]).await, [Superseded, Queued]);
        // Asked for again, all of them are there, and nothing moves.
        let again: Vec<_> = (0..5).map(|n| fit(latest(&bed, n, i64::from(n) * 10 + 10))).collect();
        let answers = bed.store.submit(&again).await.unwrap();
        assert_eq!(answers[0], JobAnswer::Exists { job: first, state: Superseded });
        assert_eq!(states(&bed, &[first, fifth]).await, [Superseded, Queued]);
    }

    async fn what_runs_is_stopped_for_a_newer_one_and_never_fails(bed: Bed) {
        let w = worker("w1");
        let first = make(&bed.store, [cancelling(&bed, 0, 10)]).await[0];
        let granted = bed.claim(&w, 1).await.pop().unwrap();
        let second = make(&bed.store, [cancelling(&bed, 1, 20)]).await[0];
        assert_eq!(states(&bed, &[first, second]).await, [Running, Queued]);
        let held = bed.store.renew(&w, std::slice::from_ref(&granted.token), TERM).await.unwrap();
        assert_eq!(held, [Hold::Cancel { reason: format!("superseded by job {second}") }]);
        // It had judged its item before it heard so.
        assert_eq!(bed.finish(&w, failed(&granted)).await, Receipt::Accepted);
        assert_eq!(states(&bed, &[first, second]).await, [Superseded, Queued]);
        assert_eq!(successor(&bed, first).await, Some(second));
        let parts = bed.store.job(first).await.unwrap().unwrap();
        assert_eq!((parts.summary.outcome, bed.store.outbox_len().await.unwrap()), (None, 0));
        // Stopped, or lost: it ends so as well. A person's word outweighs that of a newer job.
        for (n, end) in [(1, Some(End::Cancelled)), (2, None), (3, Some(End::Cancelled))] {
            let granted = bed.claim(&w, 1).await.pop().unwrap();
            let next = make(&bed.store, [cancelling(&bed, n + 1, i64::from(n) * 10 + 20)]).await[0];
            if n == 3 {
                bed.cancel(&[granted.job]).await;
            }
            match end {
                Some(end) => drop(bed.finish(&w, report(&granted, end)).await),
                None => {
                    bed.store.advance(Span::minutes(2));
                    bed.store.expire(&decide).await.unwrap();
                }
            }
            let ended = if n == 3 { Cancelled } else { Superseded };
            assert_eq!(states(&bed, &[granted.job, next]).await, [ended, Queued]);
        }
        // One that its worker was to give back for a drain is not given to another.
        let granted = bed.claim(&w, 1).await.pop().unwrap();
        bed.meddle("UPDATE leases SET cancel = 'a drain', requeue = TRUE").await;
        let next = make(&bed.store, [latest(&bed, 9, 90)]).await[0];
        bed.finish(&w, report(&granted, End::Cancelled)).await;
        assert_eq!(states(&bed, &[granted.job, next]).await, [Superseded, Queued]);
    }

    async fn an_older_event_that_comes_late_is_superseded_whatever_became_of_the_newer(bed: Bed) {
        let w = worker("w1");
        // A14: the newer was recorded before the older.
        let newer = make(&bed.store, [latest(&bed, 0, 100)]).await[0];
        let late = make(&bed.store, [latest(&bed, 1, 90)]).await[0];
        assert_eq!(states(&bed, &[newer, late]).await, [Queued, Superseded]);
        assert_eq!(successor(&bed, late).await, Some(newer));
        let granted = bed.claim(&w, 9).await.pop().unwrap();
        let late = make(&bed.store, [cancelling(&bed, 2, 80)]).await[0];
        assert_eq!(states(&bed, &[newer, late]).await, [Running, Superseded]);
        bed.finish(&w, passed(&granted)).await;
        let late = make(&bed.store, [cancelling(&bed, 3, 99), latest(&bed, 4, 70)]).await;
        assert_eq!(states(&bed, &late).await, [Superseded, Superseded]);
        assert_eq!(successor(&bed, late[1]).await, Some(newer));
        // A replay in any order leaves the newest of it.
        let replay = make(&bed.store, [latest(&bed, 5, 210), latest(&bed, 6, 230), latest(&bed, 7, 220)]).await;
        assert_eq!(states(&bed, &replay).await, [Superseded, Queued, Superseded]);
        // Of the same moment, what was asked for later is the newer.
        let same = make(&bed.store, [latest(&bed, 8, 230), latest(&bed, 9, 230)]).await;
        assert_eq!(states(&bed, &[replay[1], same[0], same[1]]).await, [Superseded, Superseded, Queued]);
    }

    async fn jobs_of_one_event_and_of_other_tasks_and_arches_leave_each_other_alone(bed: Bed) {
        let of = |n: u32, event: &str, arch: &str, second| {
            let mut admitted = latest(&bed, n, second);
            admitted.event = Some(event.into());
            admitted.job.arch = arch.into();
            admitted.job.key = JobId::of(event, "rpmlint", "koji_build", &admitted.job.item, arch);
            admitted
        };
        let one = make(&bed.store, [of(1, "e1", "x86_64", 10), of(2, "e1", "x86_64", 10), of(3, "e1", "s390x", 10)]).await;
        assert_eq!(states(&bed, &one).await, [Queued; 3]);
        let mut other = of(4, "e2", "x86_64", 20);
        other.job.task = "rpmgrill".into();
        let two = make(&bed.store, [other, of(5, "e2", "x86_64", 20), of(6, "e2", "x86_64", 20)]).await;
        assert_eq!(states(&bed, &one).await, [Superseded, Superseded, Queued]);
        assert_eq!(states(&bed, &two).await, [Queued; 3]);
        assert_eq!(successor(&bed, one[0]).await, Some(two[2]));
        // The same by way of a trigger, whose events are stored: one that was sent earlier and comes later.
        let mut newer = batch("qa01", 1, vec![event("e4", 1), event("e3", 2)]);
        newer.events[0].jobs = vec![fit(of(7, "e4", "x86_64", 40)), fit(of(8, "e4", "x86_64", 40))];
        newer.events[1].jobs = vec![fit(of(9, "e3", "x86_64", 30))];
        bed.store.intake(&newer).await.unwrap();
        let jobs: Vec<JobId> = newer.events.iter().flat_map(|e| &e.jobs).map(|c| match c {
            master::store::Candidate::Admitted(admitted) => admitted.job.key,
            master::store::Candidate::Answered(_) => panic!("all are admitted"),
        }).collect();
        assert_eq!(states(&bed, &jobs).await, [Queued, Queued, Superseded]);
    }

    async fn a_job_that_is_superseded_gives_its_keys_to_the_next(bed: Bed) {
        let holder = make(&bed.store, [limited(latest(&bed, 0, 10), "", 1)]).await[0];
        let other = make(&bed.store, [limited(bed.admitted(1), "", 1)]).await[0];
        assert_eq!(states(&bed, &[holder, other]).await, [Queued, Waiting]);
        // The newer stands behind who has waited.
        let newer = make(&bed.store, [limited(latest(&bed, 2, 20), "", 1)]).await[0];
        assert_eq!(states(&bed, &[holder, other, newer]).await, [Superseded, Queued, Waiting]);
        let last = make(&bed.store, [limited(latest(&bed, 3, 30), "", 1)]).await[0];
        let w = worker("w1");
        for _ in 0..2 {
            let granted = bed.claim(&w, 9).await;
            assert_eq!(granted.len(), 1);
            bed.finish(&w, passed(&granted[0])).await;
        }
        assert_eq!(states(&bed, &[holder, other, newer, last]).await, [Superseded, Finished, Superseded, Finished]);
    }

    async fn a_key_is_left_until_it_is_quiet_but_not_for_ever(bed: Bed) {
        let step = async |seconds| {
            bed.store.advance(Span::seconds(seconds));
            bed.store.promote().await.unwrap();
        };
        let first = make(&bed.store, [quiet(latest(&bed, 0, 10), 30)]).await[0];
        let begun = bed.store.now().await.unwrap();
        let Place::Quiet { until, reason } = bed.store.job(first).await.unwrap().unwrap().place else {
            panic!("it waits for quiet")
        };
        assert!(until > begun.plus(Span::seconds(20)) && until <= begun.plus(Span::seconds(30)));
        assert_eq!(reason, "keep-latest-queued on foo: unless another comes");
        step(20).await;
        let second = make(&bed.store, [quiet(latest(&bed, 1, 20), 30)]).await[0];
        // What is older, or there already, does not begin the wait anew.
        step(20).await;
        make(&bed.store, [quiet(latest(&bed, 2, 15), 30)]).await;
        bed.store.submit(&[fit(quiet(latest(&bed, 1, 20), 30))]).await.unwrap();
        assert_eq!(states(&bed, &[first, second]).await, [Superseded, Waiting]);
        step(11).await;
        assert_eq!(states(&bed, &[second]).await, [Queued]);
        // Another every 20 seconds: after ten times its length the wait is over all the same.
        let mut n = 10;
        let mut job;
        loop {
            job = make(&bed.store, [quiet(latest(&bed, n, i64::from(n) * 10), 30)]).await[0];
            if n > 10 && bed.state(job).await == Queued {
                break;
            }
            step(20).await;
            n += 1;
            if bed.state(job).await == Queued {
                break;
            }
            assert!(n < 40, "it starves");
        }
        assert!(n >= 23, "it was over after {n}");
        // It may be cancelled, and its time may pass, while it waits.
        let mut pointless = quiet(latest(&bed, 60, 1000), 30);
        pointless.job.expires_at = Some(Time(1));
        let pointless = make(&bed.store, [pointless]).await[0];
        bed.store.expire(&decide).await.unwrap();
        let cancelled = make(&bed.store, [quiet(latest(&bed, 61, 1001), 30)]).await[0];
        bed.cancel(&[cancelled]).await;
        assert_eq!(states(&bed, &[pointless, cancelled]).await, [JobState::Expired, Cancelled]);
        // Then it asks for its keys.
        let jobs = make(&bed.store, [limited(bed.admitted(70), "", 1), limited(quiet(latest(&bed, 71, 1100), 30), "", 1)]).await;
        step(31).await;
        assert_eq!(states(&bed, &jobs).await, [Queued, Waiting]);
        assert_eq!(bed.store.behind(jobs[1]).await.unwrap().unwrap().first, Some(jobs[0]));
    }

    async fn a_person_s_rerun_supersedes_nothing_and_is_not_superseded(bed: Bed) {
        let w = worker("w1");
        let first = make(&bed.store, [latest(&bed, 0, 10)]).await[0];
        let granted = bed.claim(&w, 9).await.pop().unwrap();
        bed.finish(&w, passed(&granted)).await;
        let second = make(&bed.store, [latest(&bed, 1, 20)]).await[0];
        let job = bed.rerun(first, "again", None).await;
        let third = make(&bed.store, [cancelling(&bed, 2, 30)]).await[0];
        assert_eq!(states(&bed, &[first, second, job, third]).await, [Finished, Superseded, Queued, Queued]);
    }
}

/// The newer comes at the moment at which the older is claimed, or reported: it ends once, in one way.
#[tokio::test]
async fn a_newer_job_meets_claims_and_reports_of_the_older() {
    let bed = Bed::postgres().await;
    let other = bed.another(SITE).await;
    let w = worker("w1");
    for round in 0..60u32 {
        let (n, second) = (round * 2, i64::from(round) * 10);
        let older = make(&bed.store, [cancelling(&bed, n, second)]).await[0];
        let newer = [fit(cancelling(&bed, n + 1, second + 5))];
        let granted = if round % 2 == 0 {
            let (granted, made) = tokio::join!(claim(&bed.store, &w, 1), other.submit(&newer));
            made.unwrap();
            granted
        } else {
            let granted = claim(&bed.store, &w, 1).await;
            let reports = [failed(&granted[0])];
            let (receipts, made) = tokio::join!(bed.store.finish(&w.name, &reports, &decide), other.submit(&newer));
            made.unwrap();
            assert_eq!(receipts.unwrap(), [Receipt::Accepted]);
            let at = bed.state(older).await;
            assert!(at == Finished || at == Superseded, "{at}");
            Vec::new()
        };
        for granted in granted {
            if granted.job == older {
                let held = bed.store.renew(&w, std::slice::from_ref(&granted.token), TERM).await.unwrap();
                assert!(matches!(held[..], [Hold::Cancel { .. }]), "round {round}: {held:?}");
                bed.finish(&w, report(&granted, End::Cancelled)).await;
                assert_eq!(bed.state(older).await, Superseded);
            } else {
                bed.finish(&w, passed(&granted)).await;
            }
        }
        if round % 2 == 0 {
            assert_eq!(bed.state(older).await, Superseded, "round {round}");
        }
        for granted in bed.claim(&w, 9).await {
            bed.finish(&w, passed(&granted)).await;
        }
        bed.sound().await;
    }
}

/// Two triggers, or a trigger and a replay, bring the same jobs in another order at two masters at once.
#[tokio::test]
async fn the_same_jobs_at_two_masters_at_once_leave_the_newest() {
    let bed = Bed::postgres().await;
    let other = bed.another(SITE).await;
    for round in 0..20u32 {
        let n = round * 10;
        let all: Vec<_> = (0..10).map(|i| fit(latest(&bed, n + i, i64::from(n + i)))).collect();
        let backwards: Vec<_> = all.iter().rev().cloned().collect();
        let (one, two) = tokio::join!(bed.store.submit(&all), other.submit(&backwards));
        let submitted = one.unwrap().into_iter().chain(two.unwrap());
        assert_eq!(submitted.filter(|a| matches!(a, JobAnswer::Submitted { .. })).count(), 10);
        bed.sound().await;
    }
    assert_eq!(bed.store.counts().await.unwrap().queued, 1);
    assert_eq!(bed.store.counts().await.unwrap().superseded, 199);
}
