//! What was seen here in a span, and what became of what somebody else has seen.

use std::collections::BTreeSet;

use model::missed::{Asked, Fate, Known};
use model::{End, JobId, JobState, Time};

use crate::bed::{act, batch, event, fit, passed, report, worker};
use crate::stories;

fn asked(id: &str, jobs: &[JobId]) -> Asked {
    Asked { id: id.into(), jobs: jobs.to_vec() }
}

stories! {
    async fn each_event_and_job_is_answered_for(bed: Bed) {
        let w = worker("w");
        let done = bed.run(1, &w).await;
        bed.finish(&w, passed(&done)).await;
        let due = bed.store.publications_due(10).await.unwrap();
        bed.store.delivered(&[due[0].seq]).await.unwrap();
        let unsent = bed.run(2, &w).await;
        bed.finish(&w, passed(&unsent)).await;
        let stuck = bed.run(3, &w).await;
        bed.finish(&w, report(&stuck, End::Exited { code: 0 })).await;
        let due = bed.store.publications_due(10).await.unwrap();
        bed.store.postpone(&[due[1].seq], bed.store.now().await.unwrap(), "the store says no").await.unwrap();
        let running = bed.run(4, &w).await;
        let cancelled = bed.submit(5).await;
        bed.cancel(&[cancelled]).await;
        let queued = bed.submit(6).await;
        bed.store.intake(&batch("r", 1, vec![event("here", 1)])).await.unwrap();

        let nowhere = JobId::of("x", "t", "i", "i", "noarch");
        let jobs = [done.job, unsent.job, stuck.job, running.job, cancelled, queued, nowhere, done.job];
        let answers = bed.store.known(&[asked("here", &jobs), asked("elsewhere", &[])]).await.unwrap();
        assert_eq!(answers.iter().map(|known| known.here).collect::<Vec<_>>(), [true, false]);
        let open = |state| Fate::Open { state };
        assert_eq!(
            answers[0].jobs,
            [
                Fate::Done,
                open(JobState::Finished),
                Fate::Undelivered { error: "the store says no".into() },
                open(JobState::Running),
                Fate::Ended { state: JobState::Cancelled, reason: "cancelled by alice: tests".into() },
                open(JobState::Queued),
                Fate::Missing,
                Fate::Done,
            ]
        );
        assert_eq!(bed.store.known(&[]).await.unwrap(), Vec::<Known>::new());
    }

    async fn the_events_of_a_span_are_seen_in_pages_with_their_jobs(bed: Bed) {
        let mut all = batch("r", 1, (1..10).map(|n| event(&format!("e{n}"), n)).collect());
        for (n, event) in (1..).zip(&mut all.events) {
            // Two by two at one moment, and not in the order in which they came.
            event.recorded_at = Time(100 - i64::from(n / 2));
            if n != 4 {
                event.jobs = vec![fit(bed.admitted(n))];
            }
        }
        bed.store.intake(&all).await.unwrap();
        // A job may be there before its event, from a job log.
        let mut early = bed.admitted(70);
        early.event = Some("late".into());
        bed.store.submit(&[fit(early)]).await.unwrap();
        let mut late = batch("r", 10, vec![event("late", 70)]);
        late.events[0].recorded_at = Time(98);
        late.events[0].jobs = vec![fit(bed.admitted(70))];
        bed.store.intake(&late).await.unwrap();

        let (mut place, mut seen) = ((Time(96), 0), Vec::new());
        loop {
            let (items, next) = bed.store.seen(place, Time(100), 2).await.unwrap();
            seen.extend(items);
            match next {
                Some(next) => place = next,
                None => break,
            }
        }
        let ids: BTreeSet<&str> = seen.iter().map(|seen| seen.id.as_str()).collect();
        assert_eq!(ids.len(), seen.len());
        assert_eq!(ids, ["e2", "e3", "e4", "e5", "e6", "e7", "e8", "e9", "late"].into());
        assert!(seen.is_sorted_by_key(|seen| seen.recorded_at));
        for seen in &seen {
            let n: u32 = seen.id.trim_start_matches('e').parse().unwrap_or(70);
            let jobs: Vec<_> = if n == 4 { vec![] } else { vec![bed.admitted(n).job] };
            assert_eq!(seen.jobs, jobs, "{}", seen.id);
            assert_eq!(seen.event_time, Some("2026-11-21T04:33:00Z".parse().unwrap()));
        }
    }

    async fn a_trigger_is_forgotten_once_and_its_log_may_come_again(bed: Bed) {
        let first = batch("r", 1, vec![event("a", 1)]);
        bed.store.intake(&first).await.unwrap();
        assert!(bed.store.forget_trigger("r", &act("trigger.forget")).await.unwrap());
        assert!(!bed.store.forget_trigger("r", &act("trigger.forget")).await.unwrap());
        assert_eq!(bed.store.audit(None, 9).await.unwrap().0.len(), 1, "only what was done is an act");
        assert_eq!(bed.store.cursor("r").await.unwrap(), 1);
        bed.store.intake(&first).await.unwrap();
        assert_eq!(bed.store.triggers().await.unwrap()[0].repeated, 1);
    }
}
