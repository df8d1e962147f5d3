//! Events, jobs, and the cursor.

use master::store::{Candidate, Deed, Intake, Obeyed};
use model::intake::JobAnswer;
use model::{JobState, Time};

use crate::bed::{act, act_on, batch, event, fit, passed, request_named, worker};
use crate::stories;

stories! {
    async fn a_batch_is_stored_once_and_the_cursor_moves_with_it(bed: Bed) {
        assert_eq!(bed.store.cursor("r").await.unwrap(), 1);
        let mut first = batch("r", 1, vec![event("a", 1), event("b", 2)]);
        first.events[0].matched = vec!["rpmlint-on-build".into()];
        first.events[0].jobs = vec![
            bed.candidate(1),
            Candidate::Answered(JobAnswer::Refused { reason: "no such task".into() }),
            bed.candidate(2),
        ];
        let Intake::Stored { next, jobs } = bed.store.intake(&first).await.unwrap() else { panic!() };
        assert_eq!(next, 3);
        assert!(matches!(
            jobs[..],
            [JobAnswer::Submitted { .. }, JobAnswer::Refused { .. }, JobAnswer::Submitted { .. }]
        ));
        // The answer was lost, and it comes again.
        assert_eq!(bed.store.intake(&first).await.unwrap(), Intake::Elsewhere { next: 3 });
        assert_eq!(bed.store.intake(&batch("r", 9, vec![event("z", 1)])).await.unwrap(), Intake::Elsewhere { next: 3 });
        assert_eq!(bed.store.cursor("r").await.unwrap(), 3);

        let stored = bed.store.event("a").await.unwrap().unwrap();
        assert_eq!(stored.event, event("a", 1));
        assert_eq!((stored.recorder.as_str(), stored.generation, stored.matched.len()), ("r", 7, 1));
        assert_eq!(bed.store.jobs_of_event("a").await.unwrap().len(), 2);
        assert!(bed.store.jobs_of_event("b").await.unwrap().is_empty());
        let granted = bed.claim(&worker("w1"), 1).await.pop().unwrap();
        assert_eq!(granted.event, Some(event("a", 1)));
        bed.sound().await;
    }

    async fn a_batch_without_events_says_that_its_trigger_is_there(bed: Bed) {
        let mut empty = batch("r", 1, vec![event("a", 1)]);
        empty.events.clear();
        empty.counts.recorded = 5;
        assert_eq!(bed.store.intake(&empty).await.unwrap(), Intake::Stored { next: 1, jobs: vec![] });
        let triggers = bed.store.triggers().await.unwrap();
        assert_eq!((triggers.len(), triggers[0].next, triggers[0].counts.recorded), (1, 1, 5));
        assert_eq!(bed.store.intake_counts().await.unwrap().recorded, 5);
        assert!(bed.store.forget_trigger("r", &act("trigger.forget")).await.unwrap());
        assert!(bed.store.triggers().await.unwrap().is_empty());
    }

    async fn an_event_is_kept_once_and_one_of_the_same_id_is_kept_beside_it(bed: Bed) {
        bed.store.intake(&batch("r", 1, vec![event("a", 1), event("a", 1), event("a", 2)])).await.unwrap();
        let mut again = event("a", 1);
        again.sent_at = Some("2026-11-22T00:00:00Z".into());
        bed.store.intake(&batch("other", 1, vec![again, event("a", 2), event("c", 3)])).await.unwrap();
        let (events, _) = bed.store.events(&Default::default(), None, 10).await.unwrap();
        let mut ids: Vec<_> = events.into_iter().map(|e| e.id).collect();
        ids.sort();
        assert_eq!(ids, ["a".to_owned(), event("a", 2).id_beside_another(), "c".to_owned()]);
        let repeated: Vec<_> = bed.store.triggers().await.unwrap().iter().map(|t| t.repeated).collect();
        assert_eq!(repeated, [2, 1]);
        bed.sound().await;
    }

    async fn texts_that_an_engine_cannot_hold_do_not_block_the_stream(bed: Bed) {
        let mut odd = event("nul\0id", 1);
        odd.topic = "a\0b".into();
        odd.source = "s\0".into();
        odd.sent_at = Some("never\0".into());
        odd.body.insert("text".into(), "x\0y".into());
        let long = event(&incompressible(9000), 2);
        let mut both = batch("r", 1, vec![odd, long]);
        both.events[0].jobs = vec![fit(with_item(bed.admitted(1), "foo\0-1")), fit(with_item(bed.admitted(2), &incompressible(9000)))];
        let Intake::Stored { next, jobs } = bed.store.intake(&both).await.unwrap() else { panic!() };
        assert_eq!(next, 3);
        assert!(matches!(jobs[0], JobAnswer::Submitted { .. }), "{jobs:?}");
        assert!(matches!(jobs[1], JobAnswer::Refused { .. }), "{jobs:?}");
        let (events, _) = bed.store.events(&Default::default(), None, 10).await.unwrap();
        assert_eq!(events.len(), 2);
        let granted = bed.claim(&worker("w1"), 1).await.pop().unwrap();
        assert_eq!(granted.item, "foo\u{fffd}-1");
        assert_eq!(granted.event.unwrap().body["text"], "x\0y");
        bed.sound().await;
    }

    async fn a_job_with_labels_that_no_index_takes_is_refused_and_the_others_are_made(bed: Bed) {
        let with_labels = |n, labels| {
            let mut admitted = bed.admitted(n);
            admitted.needs = labels;
            fit(admitted)
        };
        let mut one = batch("r", 1, vec![event("a", 1)]);
        one.events[0].jobs = vec![with_labels(1, vec![incompressible(9000)]), with_labels(2, vec!["kvm".into()])];
        let Intake::Stored { next, jobs } = bed.store.intake(&one).await.unwrap() else { panic!() };
        assert_eq!(next, 2);
        let [JobAnswer::Refused { reason }, JobAnswer::Submitted { .. }] = &jobs[..] else { panic!("{jobs:?}") };
        assert!(reason.starts_with("its labels have 9004 bytes"), "{reason}");
        bed.sound().await;
    }

    async fn the_same_rows_again_exist_also_within_a_batch(bed: Bed) {
        let mut rows = bed.candidates(0..3);
        rows.push(bed.candidate(0));
        let answers = bed.store.submit(&rows).await.unwrap();
        assert!(matches!(answers[..3], [JobAnswer::Submitted { .. }, JobAnswer::Submitted { .. }, JobAnswer::Submitted { .. }]));
        assert!(matches!(answers[3], JobAnswer::Exists { state: JobState::Queued, .. }));
        let w = worker("w1");
        let granted = bed.claim(&w, 2).await;
        bed.finish(&w, passed(&granted[0])).await;
        let mut states: Vec<_> = bed.store.submit(&rows[..3]).await.unwrap().into_iter().map(|answer| match answer {
            JobAnswer::Exists { state, .. } => state,
            other => panic!("{other:?}"),
        }).collect();
        states.sort();
        assert_eq!(states, [JobState::Queued, JobState::Running, JobState::Finished]);
        bed.sound().await;
    }

    async fn a_row_may_come_before_its_event_and_after_it(bed: Bed) {
        bed.store.intake(&batch("r", 1, vec![event("known", 1)])).await.unwrap();
        for (n, cause) in [(1, "known"), (2, "unknown")] {
            let mut admitted = bed.admitted(n);
            admitted.event = Some(cause.into());
            bed.store.submit(&[fit(admitted)]).await.unwrap();
        }
        let ids = |jobs: Vec<model::operator::JobSummary>| jobs.into_iter().map(|j| j.event_id.unwrap()).collect::<Vec<_>>();
        assert_eq!(ids(bed.store.jobs_of_event("known").await.unwrap()), ["known"]);
        assert_eq!(ids(bed.store.jobs_of_event("unknown").await.unwrap()), ["unknown"]);
        bed.store.intake(&batch("r", 2, vec![event("unknown", 2)])).await.unwrap();
        assert_eq!(ids(bed.store.jobs_of_event("unknown").await.unwrap()), ["unknown"]);
        bed.sound().await;
    }

    async fn rows_submitted_twice_at_once_are_made_by_exactly_one(bed: Bed) {
        let rows = bed.candidates(0..400);
        let submits = (0..4).map(|n| {
            let (store, mut rows) = (bed.store.clone(), rows.clone());
            rows.rotate_left(n * 100);
            tokio::spawn(async move { store.submit(&rows).await.unwrap() })
        });
        let mut made = 0;
        for submit in submits.collect::<Vec<_>>() {
            let answers = submit.await.unwrap();
            assert_eq!(answers.len(), 400);
            made += answers.iter().filter(|a| matches!(a, JobAnswer::Submitted { .. })).count();
        }
        assert_eq!(made, 400);
        assert_eq!(bed.store.counts().await.unwrap().queued, 400);
        bed.sound().await;
    }

    async fn two_triggers_that_see_the_same_events_make_the_same_jobs_once(bed: Bed) {
        let batches = ["r1", "r2", "r3"].map(|recorder| {
            let mut all = batch(recorder, 1, (0..50).map(|n| event(&format!("e{n}"), n)).collect());
            for (n, event) in (0..).zip(&mut all.events) {
                event.jobs = vec![bed.candidate(n)];
            }
            let store = bed.store.clone();
            tokio::spawn(async move { store.intake(&all).await.unwrap() })
        });
        let mut made = 0;
        for batch in batches {
            let Intake::Stored { next: 51, jobs } = batch.await.unwrap() else { panic!() };
            made += jobs.iter().filter(|a| matches!(a, JobAnswer::Submitted { .. })).count();
        }
        assert_eq!(made, 50);
        assert_eq!(bed.store.events(&Default::default(), None, 1000).await.unwrap().0.len(), 50);
        bed.sound().await;
    }

    async fn asking_to_run_again_makes_one_new_job_a_request(bed: Bed) {
        let w = worker("w1");
        let granted = bed.run(1, &w).await;
        bed.finish(&w, passed(&granted)).await;
        let job = bed.rerun(granted.job, "r1", None).await;
        assert_eq!(bed.rerun(granted.job, "r1", None).await, job);
        assert_ne!(bed.rerun(granted.job, "r2", None).await, job);
        let parts = bed.store.job(job).await.unwrap().unwrap();
        assert_eq!(parts.rerun_of, Some(granted.job));
        assert_eq!(parts.params["n"], 1);
        assert_eq!(bed.store.audit(None, 10).await.unwrap().0.len(), 2);
        let unknown = model::JobId::of("x", "x", "x", "x", "x");
        let refused = act_on(&bed.store, Deed::Rerun, &[unknown], &request_named("r3"), false).await;
        assert_eq!(refused, Obeyed::Unknown(unknown));
        bed.sound().await;
    }

    async fn a_version_of_a_task_is_stored_once(bed: Bed) {
        let definition = serde_json::json!({"run": ["x"], "labels": []});
        let first = bed.store.task_version("x", &definition).await.unwrap();
        assert_eq!(bed.store.task_version("x", &serde_json::json!({"labels": [], "run": ["x"]})).await.unwrap(), first);
        assert_ne!(bed.store.task_version("y", &definition).await.unwrap(), first);
        let all = bed.store.task_definitions().await.unwrap();
        assert_eq!(bed.store.task_versions().await.unwrap(), all.len() as u64);
        assert!(all.contains(&(first, "x".to_owned(), Some(definition))), "{all:?}");
    }

    async fn whoever_waits_is_woken_by_new_work(bed: Bed) {
        let mut changed = bed.store.changed();
        changed.mark_unchanged();
        bed.submit(1).await;
        assert!(changed.has_changed().unwrap());
        changed.mark_unchanged();
        bed.store.submit(&[bed.candidate(1)]).await.unwrap();
        assert!(!changed.has_changed().unwrap(), "nothing new was made");
    }
}

/// Hex digits that no page compression makes short.
fn incompressible(length: usize) -> String {
    let mut text = String::new();
    for n in 0u32.. {
        if text.len() >= length {
            break;
        }
        text += &model::JobId::of(&n.to_string(), "", "", "", "").to_string();
    }
    text
}

fn with_item(mut admitted: master::store::Admitted, item: &str) -> master::store::Admitted {
    admitted.job.item = item.into();
    admitted.recorded_at = Time(5);
    admitted
}
