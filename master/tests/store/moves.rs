//! Retries, expiry, cancelling, the outbox.

use master::store::Place;
use model::{End, JobState, Span};

use crate::bed::{decide, fit, passed, report, worker};
use crate::stories;

stories! {
    async fn what_is_tried_again_later_waits_and_then_queues(bed: Bed) {
        let w = worker("w1");
        let granted = bed.run(1, &w).await;
        bed.finish(&w, report(&granted, End::Exited { code: 75 })).await;
        let parts = bed.store.job(granted.job).await.unwrap().unwrap();
        assert_eq!(parts.summary.state, JobState::Waiting);
        assert_eq!((parts.summary.attempts, parts.summary.end), (1, Some(End::Exited { code: 75 })));
        assert!(matches!(parts.place, Place::Waiting { until: Some(_), ref reason, .. } if reason.contains("75")));
        assert_eq!(bed.store.promote().await.unwrap(), 0);
        assert!(bed.claim(&w, 1).await.is_empty());
        bed.store.advance(Span::seconds(61));
        assert_eq!(bed.store.promote().await.unwrap(), 1);
        assert_eq!(bed.store.promote().await.unwrap(), 0);
        let again = bed.claim(&w, 1).await.pop().unwrap();
        assert_eq!(again.attempt, 2);
        // The second decision sees both ends, the last one last.
        let seen = std::sync::Mutex::new(Vec::new());
        let judge = |ending: &master::store::Ending| {
            seen.lock().unwrap().push(ending.ends.clone());
            decide(ending)
        };
        bed.store.finish("w1", &[passed(&again)], &judge).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [[End::Exited { code: 75 }, End::Exited { code: 0 }]]);
        bed.sound().await;
    }

    async fn what_is_pointless_by_now_ends_without_running(bed: Bed) {
        let now = bed.store.now().await.unwrap();
        let until = |n, span| {
            let mut admitted = bed.admitted(n);
            admitted.job.expires_at = Some(now.plus(span));
            fit(admitted)
        };
        let w = worker("w1");
        bed.store.submit(&[until(1, Span::minutes(1)), until(2, Span::minutes(5)), bed.candidate(3)]).await.unwrap();
        bed.store.advance(Span::minutes(2));
        // A claim does not give it out, and goes on to the next.
        let granted = bed.claim(&w, 1).await;
        assert_eq!(granted.len(), 1);
        assert_eq!(granted[0].item, "foo-2-1");
        assert_eq!(bed.store.counts().await.unwrap().expired, 1);
        // One that waits for its next attempt is found by the clock.
        bed.finish(&w, report(&granted[0], End::Exited { code: 75 })).await;
        bed.store.advance(Span::minutes(10));
        assert_eq!(bed.store.expire(&decide).await.unwrap().expired, 1);
        assert_eq!(bed.state(granted[0].job).await, JobState::Expired);
        assert_eq!(bed.store.counts().await.unwrap().queued, 1);
        bed.sound().await;
    }

    async fn many_pointless_jobs_end_in_slices(bed: Bed) {
        let now = bed.store.now().await.unwrap();
        let rows: Vec<_> = (0..1200).map(|n| {
            let mut admitted = bed.admitted(n);
            admitted.job.expires_at = Some(now);
            fit(admitted)
        }).collect();
        bed.store.submit(&rows).await.unwrap();
        assert_eq!(bed.store.expire(&decide).await.unwrap().expired, 1200);
        assert_eq!(bed.store.counts().await.unwrap().expired, 1200);
        bed.sound().await;
    }

    async fn the_outbox_holds_each_thing_until_it_is_delivered(bed: Bed) {
        let w = worker("w1");
        for n in 0..3 {
            let granted = bed.run(n, &w).await;
            bed.finish(&w, passed(&granted)).await;
        }
        let due = bed.store.publications_due(10).await.unwrap();
        assert_eq!(due.len(), 3);
        assert_eq!(due[0].publication.body["item"], "foo-0-1");
        assert_eq!(due[0].tries, 0);
        // Whoever reads it again before it is delivered reads the same, with the same key.
        assert_eq!(bed.store.publications_due(1).await.unwrap()[0].publication, due[0].publication);
        bed.store.delivered(&[due[0].seq]).await.unwrap();
        bed.store.delivered(&[due[0].seq]).await.unwrap();
        let later = bed.store.now().await.unwrap().plus(Span::minutes(1));
        bed.store.postpone(&[due[1].seq], later, "connection refused").await.unwrap();
        let rest = bed.store.publications_due(10).await.unwrap();
        assert_eq!(rest.iter().map(|d| d.seq).collect::<Vec<_>>(), [due[2].seq]);
        assert_eq!(bed.store.outbox_len().await.unwrap(), 2);
        assert_eq!(bed.store.outbox_error().await.unwrap(), Some((1, "connection refused".to_owned())));
        bed.store.advance(Span::minutes(2));
        let rest = bed.store.publications_due(10).await.unwrap();
        assert_eq!(rest.iter().map(|d| (d.seq, d.tries)).collect::<Vec<_>>(), [(due[2].seq, 0), (due[1].seq, 1)]);
        bed.sound().await;
    }

    async fn totals_are_the_same_after_tidying(bed: Bed) {
        let w = worker("w1");
        for n in 0..5 {
            let granted = bed.run(n, &w).await;
            bed.finish(&w, passed(&granted)).await;
        }
        let before = (bed.store.counts().await.unwrap(), bed.store.outcome_counts().await.unwrap());
        bed.store.tidy(Span::days(1)).await.unwrap();
        bed.store.tidy(Span::days(1)).await.unwrap();
        assert_eq!((bed.store.counts().await.unwrap(), bed.store.outcome_counts().await.unwrap()), before);
        assert_eq!(before.1, [(model::Outcome::Passed, 5)]);
        bed.sound().await;
    }

    async fn what_does_not_add_up_is_found(bed: Bed) {
        bed.submit(1).await;
        bed.meddle("INSERT INTO ended (job, state, reason, attempts, ended_at) SELECT job, 'cancelled', 'x', 0, 0 FROM queued").await;
        let wrong = bed.store.invariants().await.unwrap();
        assert_eq!(wrong, [
            "1 jobs are not in exactly one of waiting, queued, leases and ended",
            "1 totals of states differ from the jobs that ended so",
        ]);
        bed.meddle("DELETE FROM queued").await;
        bed.meddle("DELETE FROM ended").await;
        assert!(bed.store.invariants().await.unwrap()[0].starts_with("1 jobs are not in exactly one"));
    }
}
