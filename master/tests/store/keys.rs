//! Keys: who may run at once with whom, and who is next.

use master::store::{Behind, Fresh, Place};
use model::intake::JobAnswer;
use model::operator::Mode;
use model::{End, JobId, JobState, Policy, Span};
use serde_json::json;

use crate::bed::{Bed, SILENCE, act, claim, decide, fit, limited, make, passed, report, serial, states, worker};
use crate::stories;

/// (of whom the first, how many others)
async fn behind(bed: &Bed, job: JobId) -> (Option<JobId>, u64) {
    let Behind { first, others } = bed.store.behind(job).await.unwrap().unwrap();
    (first, others)
}

use JobState::{Cancelled, Expired, Finished, Queued, Running, Waiting};

stories! {
    async fn jobs_of_a_serial_key_run_one_after_the_other_whatever_becomes_of_each(bed: Bed) {
        let w = worker("w1");
        let jobs = make(&bed.store, (0..6).map(|n| serial(bed.admitted(n), "foo"))).await;
        make(&bed.store, [serial(bed.admitted(6), "bar"), bed.admitted(7)]).await;
        assert_eq!(states(&bed, &jobs).await, [Queued, Waiting, Waiting, Waiting, Waiting, Waiting]);
        assert_eq!(behind(&bed, jobs[1]).await, (Some(jobs[0]), 0));
        assert_eq!(behind(&bed, jobs[3]).await, (Some(jobs[0]), 2));
        let Place::Waiting { until: None, key, reason } = bed.store.job(jobs[1]).await.unwrap().unwrap().place else {
            panic!("it waits for a key")
        };
        assert_eq!((key.is_some(), reason.as_str()), (true, "serial on foo"));
        assert!(bed.store.behind(jobs[0]).await.unwrap().is_none());

        // Another key and no key at all go on beside it.
        let granted = bed.claim(&w, 9).await;
        assert_eq!(granted.len(), 3);
        let of = |job: JobId| granted.iter().find(|g| g.job == job).unwrap();
        // It keeps its key while it waits for its next attempt, and while that is lost.
        bed.finish(&w, report(of(jobs[0]), End::Exited { code: 75 })).await;
        assert_eq!(states(&bed, &jobs).await[..2], [Waiting, Waiting]);
        assert!(bed.claim(&w, 9).await.is_empty());
        bed.store.advance(Span::minutes(2));
        bed.store.promote().await.unwrap();
        assert_eq!(bed.claim(&w, 9).await.pop().unwrap().job, jobs[0]);
        bed.store.advance(Span::minutes(2));
        bed.store.expire(&decide).await.unwrap();
        assert_eq!(states(&bed, &jobs).await[..2], [Queued, Waiting]);
        // Whoever ends gives it to the next: by a report, in the queue by a person, and in its line it holds up nobody.
        let again = bed.claim(&w, 9).await.into_iter().find(|g| g.job == jobs[0]).unwrap();
        let mut changed = bed.store.changed();
        changed.mark_unchanged();
        bed.finish(&w, passed(&again)).await;
        assert!(changed.has_changed().unwrap());
        assert_eq!(states(&bed, &jobs).await[..3], [Finished, Queued, Waiting]);
        bed.cancel(&[jobs[2], jobs[1]]).await;
        assert_eq!(states(&bed, &jobs).await[..4], [Finished, Cancelled, Cancelled, Queued]);
        // The same file again asks for nothing anew.
        let again: Vec<_> = (0..6).map(|n| fit(serial(bed.admitted(n), "foo"))).collect();
        let answers = bed.store.submit(&again).await.unwrap();
        assert_eq!(answers[4], JobAnswer::Exists { job: jobs[4], state: Waiting });
        assert_eq!(states(&bed, &jobs).await[3..], [Queued, Waiting, Waiting]);
    }

    async fn a_job_whose_time_passes_in_line_or_in_the_queue_makes_way(bed: Bed) {
        let soon = |n: u32| {
            let mut admitted = serial(bed.admitted(n), "foo");
            admitted.job.expires_at = Some(model::Time(1));
            admitted
        };
        let jobs = make(&bed.store, [soon(0), soon(1), serial(bed.admitted(2), "foo"), soon(3)]).await;
        assert_eq!(states(&bed, &jobs).await, [Queued, Waiting, Waiting, Waiting]);
        assert_eq!(bed.store.expire(&decide).await.unwrap().expired, 3);
        assert_eq!(states(&bed, &jobs).await, [Expired, Expired, Queued, Expired]);
        // A claim that meets such a job lets the next of its line on at once.
        let more = make(&bed.store, [soon(4), serial(bed.admitted(5), "bar")]).await;
        bed.claim(&worker("w1"), 9).await;
        let later = make(&bed.store, [{ let mut a = soon(6); a.job.supersede.as_mut().unwrap().key = "bar".into(); a }]).await;
        assert_eq!(states(&bed, &[more[1], later[0]]).await, [Running, Waiting]);
        let fresh = make(&bed.store, [{ let mut a = soon(7); a.job.supersede.as_mut().unwrap().key = "baz".into(); a },
                                      serial(bed.admitted(8), "baz")]).await;
        assert_eq!(states(&bed, &fresh).await, [Queued, Waiting]);
        let granted = bed.claim(&worker("w2"), 9).await;
        assert!(granted.is_empty() || granted[0].job == fresh[1], "{granted:?}");
        assert_eq!(bed.state(fresh[0]).await, Expired);
        assert_ne!(bed.state(fresh[1]).await, Waiting);
        bed.sound().await;
    }

    async fn so_many_of_a_task_or_of_one_of_its_keys_as_its_limit_says(bed: Bed) {
        let w = worker("w1");
        let jobs = make(&bed.store, (0..5).map(|n| limited(bed.admitted(n), "", 2))).await;
        let keyed = make(&bed.store, (5..8).map(|n| limited(bed.admitted(n), "foo", 1))).await;
        assert_eq!(states(&bed, &jobs).await, [Queued, Queued, Waiting, Waiting, Waiting]);
        assert_eq!(states(&bed, &keyed).await, [Queued, Waiting, Waiting]);
        assert_eq!(behind(&bed, jobs[3]).await, (Some(jobs[0]), 2));
        // The limit was raised: those before it in the line keep their own, and are not passed.
        let raised = make(&bed.store, (8..10).map(|n| limited(bed.admitted(n), "", 4))).await;
        assert_eq!(states(&bed, &raised).await, [Waiting, Waiting]);
        for _ in 0..9 {
            let granted = bed.claim(&w, 9).await;
            for g in &granted {
                bed.finish(&w, passed(g)).await;
                bed.sound().await;
            }
        }
        let all: Vec<JobId> = jobs.into_iter().chain(keyed).chain(raised).collect();
        assert_eq!(states(&bed, &all).await, [Finished; 10]);
    }

    async fn who_is_both_serial_and_limited_waits_for_one_key_at_a_time(bed: Bed) {
        let w = worker("w1");
        let first = make(&bed.store, [limited(bed.admitted(0), "", 1)]).await;
        let both = |n, key| limited(serial(bed.admitted(n), key), "", 1);
        let jobs = make(&bed.store, [both(1, "foo"), both(2, "foo"), both(3, "bar")]).await;
        let reason = async |job: JobId| match bed.store.job(job).await.unwrap().unwrap().place {
            Place::Waiting { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(jobs[0]).await, "at most 1 of rpmlint at once");
        assert_eq!(reason(jobs[1]).await, "serial on foo");
        let order = async || {
            let mut order = Vec::new();
            while let Some(g) = bed.claim(&w, 9).await.pop() {
                bed.finish(&w, passed(&g)).await;
                bed.sound().await;
                order.push(g.job);
            }
            order
        };
        // Two stands behind one on foo; when it comes to the limit's line, its rank puts it before three.
        assert_eq!(order().await, [first[0], jobs[0], jobs[1], jobs[2]]);
    }

    async fn a_line_goes_by_rank_and_priority_is_worth_minutes(bed: Bed) {
        let w = worker("w1");
        let with = |n, priority| {
            let mut admitted = serial(bed.admitted(n), "foo");
            admitted.job.priority = priority;
            admitted
        };
        let jobs = make(&bed.store, [with(0, 0), with(1, 0), with(2, 3)]).await;
        bed.store.advance(Span::minutes(4));
        // Four minutes younger: three steps do not bring a job before those, five do.
        let late = make(&bed.store, [with(3, 3), with(4, 5)]).await;
        let mut order = Vec::new();
        while let Some(g) = bed.claim(&w, 9).await.pop() {
            bed.finish(&w, passed(&g)).await;
            order.push(g.job);
        }
        assert_eq!(order, [jobs[2], late[1], jobs[0], jobs[1], late[0]]);
        bed.sound().await;
    }

    async fn nothing_starves_however_much_of_higher_priority_comes(bed: Bed) {
        let w = worker("w1");
        let mut low = bed.admitted(0);
        low.job.priority = -5;
        let low = make(&bed.store, [low]).await[0];
        // Two jobs of higher priority come for each that is run: it is overtaken by the ten of its first five minutes, and
        // by none that comes later.
        for minute in 0u32..11 {
            make(&bed.store, (1..3).map(|n| bed.admitted(minute * 10 + n))).await;
            let granted = bed.claim(&w, 1).await.pop().unwrap();
            assert_eq!(granted.job == low, minute == 10, "minute {minute}");
            bed.finish(&w, passed(&granted)).await;
            bed.store.advance(Span::minutes(1));
        }
    }

    async fn what_is_to_run_before_an_idle_is_not_kept_waiting_by_what_comes_later(bed: Bed) {
        let w = worker("w1");
        let jobs = make(&bed.store, (0..2).map(|n| serial(bed.admitted(n), "foo"))).await;
        let request = serde_json::from_value(json!({"reason": "update", "finish_queue": true})).unwrap();
        bed.store.drain(&request, &act("idle")).await.unwrap();
        let mut urgent = serial(bed.admitted(2), "foo");
        urgent.job.priority = 9;
        let late = make(&bed.store, [urgent, serial(bed.admitted(3), "bar")]).await;
        for job in &jobs {
            let granted = bed.claim(&w, 9).await.pop().unwrap();
            assert_eq!(granted.job, *job);
            bed.finish(&w, passed(&granted)).await;
        }
        assert_eq!(states(&bed, &late).await, [Waiting, Waiting]);
        assert_eq!(behind(&bed, late[0]).await, (None, 0));
        bed.store.delivered(&bed.store.publications_due(9).await.unwrap().iter().map(|d| d.seq).collect::<Vec<_>>()).await.unwrap();
        assert_eq!(bed.store.observe_idle(SILENCE).await.unwrap().mode.mode, Mode::Idle);
        bed.store.resume(&act("resume"), 0).await.unwrap();
        assert_eq!(states(&bed, &late).await, [Queued, Queued]);
    }

    async fn a_backlog_that_is_let_go_slowly_keeps_its_keys(bed: Bed) {
        let w = worker("w1");
        let jobs = make(&bed.store, (0..3).map(|n| serial(bed.admitted(n), &format!("k{}", n % 2)))).await;
        let request = serde_json::from_value(json!({"reason": "update"})).unwrap();
        bed.store.drain(&request, &act("idle")).await.unwrap();
        bed.store.resume(&act("resume"), 1).await.unwrap();
        assert_eq!(states(&bed, &jobs).await, [Queued, Waiting, Waiting]);
        let granted = bed.claim(&w, 9).await.pop().unwrap();
        bed.finish(&w, passed(&granted)).await;
        bed.store.advance(Span::minutes(5));
        bed.store.promote().await.unwrap();
        assert_eq!(states(&bed, &jobs).await, [Finished, Queued, Queued]);
    }

    async fn a_rerun_takes_its_turn(bed: Bed) {
        let w = worker("w1");
        let jobs = make(&bed.store, (0..2).map(|n| limited(serial(bed.admitted(n), "foo"), "x", 1))).await;
        let granted = bed.claim(&w, 9).await.pop().unwrap();
        bed.finish(&w, passed(&granted)).await;
        let job = bed.rerun(jobs[0], "again", None).await;
        assert_eq!(behind(&bed, job).await, (Some(jobs[1]), 0));
        // As its task is now, where that is known: without a limit.
        let fresh = Fresh { task_version: bed.task, needs: Vec::new(), source: None, limit: None, searches: false };
        let job = bed.rerun(jobs[0], "anew", Some(fresh)).await;
        let parts = bed.store.job(job).await.unwrap().unwrap();
        assert_eq!((parts.supersede.unwrap().policy, parts.limit), (Policy::Serial, None));
        assert_eq!(behind(&bed, job).await, (Some(jobs[1]), 1));
    }

    async fn a_key_that_no_index_takes_refuses_its_job_alone(bed: Bed) {
        let huge = "x".repeat(3000);
        let candidates = [
            fit(serial(bed.admitted(0), &huge)),
            fit(limited(bed.admitted(1), &huge, 1)),
            fit(serial(bed.admitted(2), " ")),
            fit(serial(bed.admitted(3), "nul\0nul")),
        ];
        let answers = bed.store.submit(&candidates).await.unwrap();
        let why = |n: usize| match &answers[n] {
            JobAnswer::Refused { reason } => reason.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(why(0), "its supersede key has 3000 bytes, which is more than can be stored");
        assert_eq!(why(1), "its concurrency key has 3000 bytes, which is more than can be stored");
        assert_eq!(why(2), "its supersede policy has no key");
        assert!(matches!(answers[3], JobAnswer::Submitted { .. }));
        bed.sound().await;
    }
}

/// Two transactions that meet at one key: the one that asks while the other gives it back must not be forgotten.
#[tokio::test]
async fn who_asks_while_a_key_is_given_back_is_not_forgotten() {
    let bed = Bed::postgres().await;
    let other = bed.another(crate::bed::SITE).await;
    let w = worker("w1");
    for round in 0..40u32 {
        let held = make(&bed.store, [serial(bed.admitted(round * 2), "foo")]).await[0];
        let granted = bed.claim(&w, 1).await.pop().unwrap();
        assert_eq!(granted.job, held);
        let reports = [passed(&granted)];
        let asks = [fit(serial(bed.admitted(round * 2 + 1), "foo"))];
        let (asked, given) = tokio::join!(other.submit(&asks), bed.store.finish(&w.name, &reports, &decide));
        given.unwrap();
        let [JobAnswer::Submitted { job }] = asked.unwrap()[..] else { panic!("it is made") };
        assert_eq!(bed.state(job).await, Queued, "round {round}");
        let granted = claim(&other, &w, 1).await.pop().unwrap();
        bed.finish(&w, passed(&granted)).await;
    }
    bed.sound().await;
}
