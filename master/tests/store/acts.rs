//! What people do to jobs.

use master::store::{Deed, JobFilter, Next, Obeyed, Place};
use model::deed::{ActedJob, Did, Settlement};
use model::lease::{Hold, Receipt};
use model::operator::{IdleRequest, Mode, OnDeadline};
use model::{End, JobId, JobState, Outcome, Policy, Span, Time};
use serde_json::json;

use crate::bed::{
    Bed, SILENCE, TERM, act, act_on, acted, decide, keyed, limited, make, passed, quiet, report, request_named, serial,
    states, worker,
};
use crate::stories;

/// What became of each, in the order in which they were made.
fn told(jobs: &[ActedJob]) -> Vec<(Did, &str)> {
    jobs.iter().map(|job| (job.did, job.note.as_str())).collect()
}

/// Infrastructure ends are left to a person.
fn never(ending: &master::store::Ending) -> Next {
    match ending.ends.last() {
        Some(end) if end.is_infrastructure() => Next::Unsettled { reason: format!("{end}: settle it") },
        _ => decide(ending),
    }
}

/// A job whose worker was lost, and which waits for a person.
async fn unsettled(bed: &Bed, n: u32) -> JobId {
    let granted = bed.run(n, &worker("w1")).await;
    bed.store.advance(Span::seconds(61));
    assert_eq!(bed.store.expire(&never).await.unwrap().lost, [(granted.job, 1)]);
    granted.job
}

stories! {
    async fn cancelling_ends_what_waits_and_asks_for_what_runs(bed: Bed) {
        let w = worker("w1");
        let waits = bed.run(1, &w).await;
        bed.finish(&w, report(&waits, End::Exited { code: 75 })).await;
        let runs = bed.run(2, &w).await;
        let done = bed.run(3, &w).await;
        bed.finish(&w, passed(&done)).await;
        let queued = bed.submit(4).await;
        let jobs = [queued, done.job, runs.job, waits.job];
        assert_eq!(told(&bed.cancel(&jobs).await), [
            (Did::Done, "cancelled"),
            (Did::Done, "w1 is told to stop it"),
            (Did::Skipped, "it has ended before: it is finished, and stays so"),
            (Did::Done, "cancelled"),
        ]);
        let held = bed.store.renew(&w, std::slice::from_ref(&runs.token), TERM).await.unwrap();
        assert_eq!(held, [Hold::Cancel { reason: "cancelled by alice: tests".into() }]);
        let again = bed.cancel(&[runs.job, waits.job]).await;
        assert!(again.iter().all(|job| job.did == Did::Skipped), "{again:?}");
        assert_eq!(bed.finish(&w, report(&runs, End::Cancelled)).await, Receipt::Accepted);
        assert_eq!(bed.state(runs.job).await, JobState::Cancelled);
        assert_eq!(bed.store.counts().await.unwrap().cancelled, 3);
        let unknown = JobId::of("x", "x", "x", "x", "x");
        let refused = act_on(&bed.store, Deed::Cancel, &[queued, unknown], &request_named("u"), false).await;
        assert_eq!(refused, Obeyed::Unknown(unknown));
        bed.sound().await;
    }

    async fn a_cancelled_job_whose_worker_is_lost_is_cancelled(bed: Bed) {
        let w = worker("w1");
        let runs = bed.run(1, &w).await;
        bed.cancel(&[runs.job]).await;
        bed.store.advance(Span::minutes(2));
        bed.store.expire(&decide).await.unwrap();
        assert_eq!(bed.state(runs.job).await, JobState::Cancelled);
        bed.sound().await;
    }

    async fn a_dry_run_says_what_is_done_and_keeps_nothing(bed: Bed) {
        let unsettled = unsettled(&bed, 3).await;
        let runs = bed.run(1, &worker("w1")).await;
        let queued = bed.submit(2).await;
        for (n, (deed, jobs)) in [
            (Deed::Priority(7), vec![queued]),
            (Deed::Rerun, vec![queued]),
            (Deed::Settle(Settlement::Ended(Outcome::Failed)), vec![unsettled]),
            (Deed::Cancel, vec![runs.job, queued]),
        ].into_iter().enumerate() {
            let audited = bed.store.audit(None, 100).await.unwrap().0.len();
            let states = async || {
                let mut all = Vec::new();
                for job in [runs.job, queued, unsettled] {
                    all.push(bed.store.job(job).await.unwrap().unwrap().place);
                }
                (all, bed.store.jobs(&JobFilter::default(), None, 100).await.unwrap().0.len())
            };
            let before = states().await;
            let dry = acted(act_on(&bed.store, deed, &jobs, &request_named("dry"), true).await);
            assert_eq!((dry.done, states().await), (jobs.len() as u64, before), "{deed:?}");
            assert_eq!(bed.store.audit(None, 100).await.unwrap().0.len(), audited);
            // What is done then is what was told.
            let done = acted(act_on(&bed.store, deed, &jobs, &request_named(&format!("real {n}")), false).await);
            let notes = |jobs: &[ActedJob]| jobs.iter().map(|j| (j.id, j.did, j.state)).collect::<Vec<_>>();
            assert_eq!(notes(&dry.jobs), notes(&done.jobs), "{deed:?}");
            bed.sound().await;
        }
    }

    async fn the_same_request_again_is_answered_the_same_and_does_nothing(bed: Bed) {
        let jobs = [bed.submit(1).await, bed.submit(2).await];
        let request = request_named("alice/1");
        let twice = async || tokio::join!(
            act_on(&bed.store, Deed::Rerun, &jobs, &request, false),
            act_on(&bed.store, Deed::Rerun, &jobs, &request, false),
        );
        let (first, second) = twice().await;
        assert_eq!(first, second);
        assert_eq!(first, twice().await.0);
        assert_eq!(bed.store.answered(&request).await.unwrap(), Some(first.clone()));
        let made = acted(first).jobs;
        let new = made[0].new_job.unwrap();
        assert_eq!(bed.store.job(new).await.unwrap().unwrap().rerun_of, Some(jobs[0]));
        assert_eq!(bed.store.jobs(&JobFilter::default(), None, 100).await.unwrap().0.len(), 4);
        assert_eq!(bed.store.audit(None, 100).await.unwrap().0.len(), 2);
        let other = master::store::Request { content: [2; 32], ..request.clone() };
        assert_eq!(act_on(&bed.store, Deed::Rerun, &jobs, &other, false).await, Obeyed::OtherRequest);
        bed.store.advance(Span::days(2));
        bed.store.tidy_requests(Span::days(1)).await.unwrap();
        assert_eq!(bed.store.answered(&request).await.unwrap(), None);
        bed.sound().await;
    }

    async fn a_priority_moves_a_job_in_the_queue_and_is_kept_for_its_retries(bed: Bed) {
        let w = worker("w1");
        let (first, second, third) = (bed.submit(1).await, bed.submit(2).await, bed.submit(3).await);
        assert_eq!(told(&bed.act(Deed::Priority(5), &[third]).await), [(Did::Done, "priority 5 instead of 0")]);
        assert_eq!(told(&bed.act(Deed::Priority(5), &[third]).await), [(Did::Skipped, "its priority is 5 already")]);
        let granted = bed.claim(&w, 1).await.pop().unwrap();
        assert_eq!(granted.job, third);
        // It waits for its retry, in which time the second gets a greater one and a lesser one again.
        bed.finish(&w, report(&granted, End::Exited { code: 75 })).await;
        bed.act(Deed::Priority(9), &[second]).await;
        bed.act(Deed::Priority(2), &[second]).await;
        bed.store.advance(Span::minutes(2));
        assert_eq!(bed.store.promote().await.unwrap(), 1);
        let order: Vec<JobId> = bed.claim(&w, 3).await.into_iter().map(|granted| granted.job).collect();
        assert_eq!(order, [third, second, first]);
        assert_eq!(bed.store.job(second).await.unwrap().unwrap().priority, 2);
        let runs = bed.act(Deed::Priority(1), &[first]).await;
        assert_eq!(told(&runs), [(Did::Skipped, "it runs on w1")]);
        let audit = bed.store.audit(None, 1).await.unwrap().0.remove(0);
        assert_eq!((audit.before, audit.after), (json!({"priority": 9}), json!({"priority": 2})));
        bed.sound().await;
    }

    async fn two_who_change_a_priority_at_once_leave_one_of_the_two(bed: Bed) {
        let job = bed.submit(1).await;
        for n in 1..20 {
            let (one, other) = tokio::join!(
                bed.act(Deed::Priority(n), std::slice::from_ref(&job)),
                bed.act(Deed::Priority(-n), std::slice::from_ref(&job)),
            );
            assert_eq!((one[0].did, other[0].did), (Did::Done, Did::Done));
            let left = bed.store.job(job).await.unwrap().unwrap().priority;
            assert!(left == n || left == -n, "{left}");
        }
        // Its rank followed each of them: else the invariants would find it before its turn.
        bed.act(Deed::Priority(0), &[job]).await;
        bed.meddle("UPDATE jobs SET recorder = 'out of turn' WHERE rank <> created_at").await;
        assert_eq!(bed.store.job(job).await.unwrap().unwrap().recorder, "by-hand");
        bed.sound().await;
    }

    async fn a_job_that_waits_for_its_retry_is_tried_now(bed: Bed) {
        let w = worker("w1");
        let granted = bed.run(1, &w).await;
        bed.finish(&w, report(&granted, End::Exited { code: 75 })).await;
        assert!(bed.claim(&w, 1).await.is_empty());
        let mut changed = bed.store.changed();
        changed.mark_unchanged();
        assert_eq!(told(&bed.act(Deed::Retry, &[granted.job]).await), [(Did::Done, "queued, without waiting any longer")]);
        assert!(changed.has_changed().unwrap(), "whoever waits for work is woken");
        assert_eq!(told(&bed.act(Deed::Retry, &[granted.job]).await), [(Did::Skipped, "it is in the queue")]);
        let again = bed.claim(&w, 1).await.pop().unwrap();
        assert_eq!((again.job, again.attempt), (granted.job, 2));
        bed.finish(&w, passed(&again)).await;
        let ended = bed.act(Deed::Retry, &[granted.job]).await;
        assert!(ended[0].note.contains("taskotron job rerun"), "{ended:?}");
        bed.sound().await;
    }

    async fn what_is_never_tried_again_waits_for_a_person(bed: Bed) {
        let (requeued, failed, cancelled) = (unsettled(&bed, 1).await, unsettled(&bed, 2).await, unsettled(&bed, 3).await);
        for job in [requeued, failed, cancelled] {
            let parts = bed.store.job(job).await.unwrap().unwrap();
            assert_eq!(parts.place, Place::Unsettled { reason: "its worker was lost: settle it".into() });
            assert_eq!(parts.summary.state, JobState::Waiting);
        }
        assert_eq!(bed.store.unsettled().await.unwrap(), Some((3, requeued)));
        let only = JobFilter { unsettled: true, ..JobFilter::default() };
        assert_eq!(bed.store.jobs(&only, None, 10).await.unwrap().0.len(), 3);
        // No time that passes settles it, and no retry.
        bed.store.advance(Span::days(3650));
        assert_eq!(bed.store.promote().await.unwrap(), 0);
        assert_eq!(bed.store.expire(&never).await.unwrap().expired, 0);
        assert_eq!(bed.act(Deed::Retry, &[failed]).await[0].did, Did::Skipped);

        let settle = |what| Deed::Settle(what);
        assert_eq!(told(&bed.act(settle(Settlement::Requeue), &[requeued]).await), [(Did::Done, "queued for another attempt")]);
        let w = worker("w2");
        let again = bed.claim(&w, 1).await.pop().unwrap();
        assert_eq!((again.job, again.attempt), (requeued, 2));
        let runs = bed.act(settle(Settlement::Requeue), &[requeued]).await;
        assert_eq!(told(&runs), [(Did::Skipped, "it runs on w2: there is nothing to settle")]);
        bed.finish(&w, passed(&again)).await;

        let outcome = settle(Settlement::Ended(Outcome::Failed));
        assert_eq!(told(&bed.act(outcome, &[failed]).await), [(Did::Done, "finished as FAILED")]);
        let parts = bed.store.job(failed).await.unwrap().unwrap();
        assert_eq!((parts.summary.state, parts.summary.outcome), (JobState::Finished, Some(Outcome::Failed)));
        assert!(matches!(parts.place, Place::Ended { ref reason, .. } if reason == "settled as FAILED by alice: tests"));
        let due = bed.store.publications_due(10).await.unwrap();
        assert_eq!(due.last().unwrap().publication.body["outcome"], "FAILED");
        bed.cancel(&[cancelled]).await;
        assert_eq!(bed.store.unsettled().await.unwrap(), None);
        bed.sound().await;
    }

    async fn in_a_line_for_a_key_a_priority_passes_others_and_a_retry_does_not(bed: Bed) {
        use JobState::{Cancelled, Finished, Queued, Waiting};
        let jobs = make(&bed.store, (0..4).map(|n| serial(bed.admitted(n), "foo"))).await;
        let refused = bed.act(Deed::Retry, &[jobs[1]]).await;
        assert_eq!(told(&refused), [(Did::Skipped, "it waits for its turn (serial on foo), and not for a moment")]);
        assert_eq!(bed.act(Deed::Priority(5), &[jobs[3]]).await[0].did, Did::Done);
        bed.cancel(&[jobs[0]]).await;
        assert_eq!(states(&bed, &jobs).await, [Cancelled, Waiting, Waiting, Queued]);
        // Who waits for a person keeps the key until that person has said what it found.
        let w = worker("w1");
        let granted = bed.claim(&w, 9).await.pop().unwrap();
        assert_eq!(granted.job, jobs[3]);
        bed.store.advance(Span::seconds(61));
        bed.store.expire(&never).await.unwrap();
        assert_eq!(states(&bed, &jobs).await, [Cancelled, Waiting, Waiting, Waiting]);
        bed.act(Deed::Settle(Settlement::Ended(Outcome::Passed)), &[jobs[3]]).await;
        assert_eq!(states(&bed, &jobs).await, [Cancelled, Queued, Waiting, Finished]);
        // All that are named at once leave no key behind.
        bed.cancel(&jobs[1..]).await;
        assert_eq!(states(&bed, &jobs).await, [Cancelled, Cancelled, Cancelled, Finished]);
    }

    async fn a_retry_of_what_waits_for_quiet_asks_for_its_keys(bed: Bed) {
        let latest = |n| keyed(bed.admitted(n), "foo", Policy::KeepLatestQueued);
        let before = make(&bed.store, [limited(bed.admitted(7), "", 1)]).await[0];
        let job = make(&bed.store, [limited(quiet(latest(1), 3600), "", 1)]).await[0];
        assert_eq!(told(&bed.act(Deed::Retry, &[job]).await), [(Did::Done, "waits no longer for quiet")]);
        bed.store.promote().await.unwrap();
        bed.store.expire(&decide).await.unwrap();
        assert_eq!(states(&bed, &[before, job]).await, [JobState::Queued, JobState::Waiting]);
        bed.cancel(&[before]).await;
        assert_eq!(states(&bed, &[before, job]).await, [JobState::Cancelled, JobState::Queued]);
    }

    async fn what_waits_for_a_person_is_left_to_that_person_when_a_newer_job_comes(bed: Bed) {
        use JobState::{Finished, Queued, Superseded, Waiting};
        let latest = |n: u32| {
            let mut admitted = limited(keyed(bed.admitted(n), "foo", Policy::KeepLatestQueued), "", 1);
            admitted.ordered_at = Time(i64::from(n) * 1_000_000);
            admitted
        };
        let w = worker("w1");
        let cut_off = async || {
            bed.store.advance(Span::seconds(61));
            bed.store.expire(&never).await.unwrap();
        };
        // The newer one comes while it runs: what it began may not be over, and it keeps its other key.
        let first = make(&bed.store, [latest(1)]).await[0];
        bed.claim(&w, 1).await;
        let second = make(&bed.store, [latest(2)]).await[0];
        cut_off().await;
        assert_eq!(states(&bed, &[first, second]).await, [Waiting, Waiting]);
        assert_eq!(bed.store.unsettled().await.unwrap(), Some((1, first)));
        // The next one comes while it waits for the person already.
        let third = make(&bed.store, [latest(3)]).await[0];
        assert_eq!(states(&bed, &[first, second, third]).await, [Waiting, Superseded, Waiting]);
        // Nobody wants another attempt of it by now.
        let requeued = bed.act(Deed::Settle(Settlement::Requeue), &[first]).await;
        assert_eq!(told(&requeued), [(Did::Done, "superseded: a newer job of its key has come meanwhile")]);
        assert_eq!(states(&bed, &[first, third]).await, [Superseded, Queued]);
        let place = bed.store.job(first).await.unwrap().unwrap().place;
        let Place::Ended { reason, successor, .. } = place else { panic!("{place:?}") };
        assert_eq!(reason, "a newer job of its key came before it could be tried again");
        assert_eq!(successor, Some(third));
        // What it has found out counts all the same.
        bed.claim(&w, 1).await;
        cut_off().await;
        let fourth = make(&bed.store, [latest(4)]).await[0];
        bed.act(Deed::Settle(Settlement::Ended(Outcome::Passed)), &[third]).await;
        assert_eq!(states(&bed, &[third, fourth]).await, [Finished, Queued]);
    }

    async fn one_that_is_to_be_tried_again_makes_way_for_a_newer_job_and_says_so(bed: Bed) {
        let latest = |n: u32| {
            let mut admitted = keyed(bed.admitted(n), "foo", Policy::KeepLatestQueued);
            admitted.ordered_at = Time(i64::from(n) * 1_000_000);
            admitted
        };
        let w = worker("w1");
        let first = make(&bed.store, [latest(1)]).await[0];
        let granted = bed.claim(&w, 1).await.pop().unwrap();
        bed.finish(&w, report(&granted, End::Exited { code: 75 })).await;
        make(&bed.store, [latest(2)]).await;
        let place = bed.store.job(first).await.unwrap().unwrap().place;
        let Place::Ended { reason, .. } = place else { panic!("{place:?}") };
        assert_eq!(reason, "a newer job of its key came before it could be tried again");
        bed.sound().await;
    }

    async fn idle_waits_for_what_waits_for_a_person(bed: Bed) {
        let job = unsettled(&bed, 1).await;
        let request = IdleRequest {
            reason: "update".into(), deadline: None, on_deadline: OnDeadline::Wait, finish_queue: false,
        };
        bed.store.drain(&request, &act("idle")).await.unwrap();
        let observed = bed.store.observe_idle(SILENCE).await.unwrap();
        assert_eq!(observed.mode.mode, Mode::Draining);
        assert!(observed.waiting_for[0].contains(&format!("taskotron job settle {job}")), "{observed:?}");
        bed.act(Deed::Settle(Settlement::Requeue), &[job]).await;
        assert_eq!(bed.store.observe_idle(SILENCE).await.unwrap().mode.mode, Mode::Idle);
    }

    async fn jobs_are_found_by_when_they_were_made(bed: Bed) {
        let (mut jobs, mut times) = (Vec::new(), Vec::new());
        for n in 0..12 {
            times.push(bed.store.now().await.unwrap());
            jobs.push(bed.submit(n).await);
            bed.store.advance(Span::minutes(7));
        }
        let found = async |since, until| {
            let filter = JobFilter { since, until, ..JobFilter::default() };
            let (rows, _) = bed.store.jobs(&filter, None, 100).await.unwrap();
            rows.into_iter().rev().map(|row| row.id).collect::<Vec<_>>()
        };
        for n in 0..12 {
            assert_eq!(found(Some(times[n]), None).await, jobs[n..], "since {n}");
            assert_eq!(found(None, Some(times[n])).await, jobs[..n], "until {n}");
        }
        assert_eq!(found(Some(times[3]), Some(times[5])).await, jobs[3..5]);
        assert!(found(Some(bed.store.now().await.unwrap()), None).await.is_empty());
    }
}
