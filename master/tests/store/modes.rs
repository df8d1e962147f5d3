//! Draining, idle, resume.

use model::lease::Hold;
use model::operator::{IdleRequest, Mode, OnDeadline};
use model::{End, JobState, Span};

use crate::bed::{SILENCE, TERM, act, batch, decide, event, fit, make, passed, report, serial, worker};
use crate::stories;

fn idle() -> IdleRequest {
    IdleRequest { reason: "maintenance".into(), deadline: None, on_deadline: OnDeadline::Wait, finish_queue: false }
}

stories! {
    async fn idle_is_reached_when_nothing_runs_and_nothing_is_unsent(bed: Bed) {
        let w = worker("w1");
        let granted = bed.run(1, &w).await;
        bed.submit(2).await;
        let row = bed.store.drain(&idle(), &act("idle")).await.unwrap();
        assert_eq!((row.mode, row.by.as_str(), row.reason.as_str()), (Mode::Draining, "alice", "maintenance"));
        assert!(bed.claim(&w, 4).await.is_empty());

        let waiting_for = async || bed.store.observe_idle(SILENCE).await.unwrap().waiting_for;
        assert_eq!(waiting_for().await, ["1 job runs"]);
        bed.finish(&w, passed(&granted)).await;
        assert_eq!(waiting_for().await, ["1 result is not yet delivered"]);
        let due = bed.store.publications_due(10).await.unwrap();
        bed.store.delivered(&[due[0].seq]).await.unwrap();
        assert!(waiting_for().await.is_empty());
        assert_eq!(bed.store.mode().await.unwrap().mode, Mode::Idle);
        // Somebody asks again: it stays whose it is.
        let mut other = act("idle");
        other.actor = "bob".into();
        assert_eq!(bed.store.drain(&idle(), &other).await.unwrap().by, "alice");
        // Intake goes on, and nothing of it runs.
        bed.submit(3).await;
        assert!(bed.claim(&w, 4).await.is_empty());
        let backlog = bed.store.backlog().await.unwrap();
        assert_eq!((backlog.len(), backlog[0].rule.as_str(), backlog[0].jobs), (1, "rpmlint-on-build", 2));
        bed.sound().await;

        let mut changed = bed.store.changed();
        changed.mark_unchanged();
        assert_eq!(bed.store.resume(&act("resume"), 0).await.unwrap().0.mode, Mode::Active);
        assert!(changed.has_changed().unwrap());
        assert_eq!(bed.claim(&w, 4).await.len(), 2);
        bed.sound().await;
    }

    async fn a_window_holds_the_position_of_every_source_at_both_edges(bed: Bed) {
        let first = batch("r", 1, vec![event("a", 1), event("b", 2)]);
        bed.store.intake(&first).await.unwrap();
        bed.store.drain(&idle(), &act("idle")).await.unwrap();
        assert_eq!(bed.store.observe_idle(SILENCE).await.unwrap().mode.mode, Mode::Idle);
        bed.store.intake(&batch("r", 3, vec![event("c", 3)])).await.unwrap();
        bed.store.resume(&act("resume"), 0).await.unwrap();
        let windows = bed.store.windows(10).await.unwrap();
        assert_eq!(windows.len(), 1);
        assert_eq!(windows[0].positions_at_idle["r"].next, 3);
        assert_eq!(windows[0].positions_at_resume.as_ref().unwrap()["r"].next, 4);
        assert!(windows[0].resumed_at.unwrap() >= windows[0].idle_at);
        // A drain that was resumed before it was idle is no window.
        bed.store.drain(&idle(), &act("idle")).await.unwrap();
        bed.store.resume(&act("resume"), 0).await.unwrap();
        assert_eq!(bed.store.windows(10).await.unwrap().len(), 1);
        bed.sound().await;
    }

    async fn a_trigger_that_has_something_left_or_is_silent_keeps_it_from_idle(bed: Bed) {
        let mut first = batch("r", 1, vec![event("a", 1)]);
        first.counts.recorded = 4;
        bed.store.intake(&first).await.unwrap();
        bed.store.drain(&idle(), &act("idle")).await.unwrap();
        let waiting_for = async || bed.store.observe_idle(SILENCE).await.unwrap().waiting_for;
        assert_eq!(waiting_for().await, ["trigger r has 3 events that are not yet here"]);
        bed.store.advance(Span::seconds(90));
        let silent = waiting_for().await;
        assert!(silent[0].starts_with("trigger r was last heard from at"), "{silent:?}");
        let patient = bed.store.observe_idle(Span::minutes(2)).await.unwrap().waiting_for;
        assert_eq!(patient, ["trigger r has 3 events that are not yet here"]);
        bed.store.intake(&batch("r", 2, vec![event("b", 1), event("c", 1), event("d", 1)])).await.unwrap();
        bed.store.advance(Span::seconds(90));
        assert_eq!(waiting_for().await.len(), 1);
        // One that was taken away long ago is not waited for.
        bed.store.advance(Span::days(2));
        assert!(waiting_for().await.is_empty());
        assert_eq!(bed.store.mode().await.unwrap().mode, Mode::Idle);
    }

    async fn with_finish_queue_what_was_queued_before_still_runs(bed: Bed) {
        let w = worker("w1");
        bed.submit(1).await;
        let retried = bed.run_again_later(&w, 2).await;
        bed.store.drain(&IdleRequest { finish_queue: true, ..idle() }, &act("idle")).await.unwrap();
        bed.submit(3).await;
        let waiting_for = bed.store.observe_idle(SILENCE).await.unwrap().waiting_for;
        assert_eq!(waiting_for, ["2 jobs that were queued before are still to run"]);
        bed.store.advance(Span::minutes(2));
        bed.store.promote().await.unwrap();
        let granted = bed.claim(&w, 4).await;
        let mut items: Vec<_> = granted.iter().map(|g| g.item.as_str()).collect();
        items.sort_unstable();
        assert_eq!(items, ["foo-1-1", "foo-2-1"]);
        assert!(granted.iter().any(|g| g.job == retried));
        for g in &granted {
            bed.finish(&w, report(g, End::Exited { code: 0 })).await;
        }
        let due: Vec<_> = bed.store.publications_due(10).await.unwrap().iter().map(|d| d.seq).collect();
        bed.store.delivered(&due).await.unwrap();
        assert_eq!(bed.store.observe_idle(SILENCE).await.unwrap().mode.mode, Mode::Idle);
        assert_eq!(bed.store.counts().await.unwrap().queued, 1);
        bed.sound().await;
    }

    async fn asked_for_again_a_drain_lets_those_on_who_came_since_the_first_time(bed: Bed) {
        let w = worker("w1");
        let finish_queue = IdleRequest { finish_queue: true, ..idle() };
        make(&bed.store, [serial(bed.admitted(1), "foo")]).await;
        let first = bed.claim(&w, 1).await.pop().unwrap();
        bed.store.drain(&finish_queue, &act("idle")).await.unwrap();
        let next = make(&bed.store, [serial(bed.admitted(2), "foo")]).await[0];
        bed.finish(&w, passed(&first)).await;
        assert!(bed.claim(&w, 1).await.is_empty(), "it came after what is still to run");

        bed.store.drain(&finish_queue, &act("idle")).await.unwrap();
        let granted = bed.claim(&w, 1).await;
        assert_eq!(granted.iter().map(|g| g.job).collect::<Vec<_>>(), [next]);
        bed.finish(&w, passed(&granted[0])).await;
        let due: Vec<_> = bed.store.publications_due(10).await.unwrap().iter().map(|d| d.seq).collect();
        bed.store.delivered(&due).await.unwrap();
        assert_eq!(bed.store.observe_idle(SILENCE).await.unwrap().mode.mode, Mode::Idle);
        bed.sound().await;
    }

    async fn after_a_deadline_that_stops_what_runs_nothing_more_of_the_queue_begins(bed: Bed) {
        for (n, on_deadline) in [(1, OnDeadline::Requeue), (3, OnDeadline::Kill)] {
            let w = worker("w1");
            let running = bed.run(n, &w).await;
            let waiting = bed.submit(n + 1).await;
            let request = IdleRequest { deadline: Some(Span::minutes(5)), on_deadline, finish_queue: true, ..idle() };
            bed.store.drain(&request, &act("idle")).await.unwrap();
            bed.store.advance(Span::minutes(5));
            let stopped = match on_deadline {
                OnDeadline::Kill => bed.store.kill_running("late").await,
                OnDeadline::Requeue | OnDeadline::Wait => bed.store.requeue_running("late", &|_| true).await,
            };
            assert_eq!(stopped.unwrap(), 1);
            bed.finish(&w, report(&running, End::Cancelled)).await;
            assert!(bed.claim(&w, 4).await.is_empty(), "it would only be stopped again");
            let due: Vec<_> = bed.store.publications_due(10).await.unwrap().iter().map(|d| d.seq).collect();
            bed.store.delivered(&due).await.unwrap();
            let observed = bed.store.observe_idle(SILENCE).await.unwrap();
            assert_eq!((observed.mode.mode, observed.waiting_for), (Mode::Idle, Vec::<String>::new()));
            assert_eq!(bed.state(waiting).await, JobState::Queued);
            bed.store.resume(&act("resume"), 0).await.unwrap();
            for granted in bed.claim(&w, 4).await {
                bed.finish(&w, passed(&granted)).await;
            }
            bed.sound().await;
        }
    }

    async fn at_the_deadline_what_runs_is_stopped_and_queued_again_or_ends(bed: Bed) {
        let w = worker("w1");
        let deadline = Some(Span::minutes(5));
        let request = IdleRequest { deadline, on_deadline: OnDeadline::Requeue, ..idle() };
        let first = bed.run(1, &w).await;
        let row = bed.store.drain(&request, &act("idle")).await.unwrap();
        assert_eq!(row.deadline.unwrap().since(row.since), Span::minutes(5));
        assert_eq!(row.on_deadline, OnDeadline::Requeue);
        assert_eq!(bed.store.requeue_running("the deadline of an idle", &|_| true).await.unwrap(), 0, "it has not passed");
        bed.store.advance(Span::minutes(5));
        assert_eq!(bed.store.kill_running("the deadline of an idle").await.unwrap(), 0, "nobody asked for that");
        assert_eq!(bed.store.requeue_running("the deadline of an idle", &|_| true).await.unwrap(), 1);
        assert_eq!(bed.store.requeue_running("the deadline of an idle", &|_| true).await.unwrap(), 0);
        let held = bed.store.renew(&w, std::slice::from_ref(&first.token), TERM).await.unwrap();
        assert!(matches!(held[0], Hold::Cancel { .. }));
        bed.finish(&w, report(&first, End::Cancelled)).await;
        assert_eq!(bed.state(first.job).await, JobState::Queued);
        assert_eq!(bed.store.attempts(first.job).await.unwrap()[0].end, Some(End::HandedBack));

        bed.store.resume(&act("resume"), 0).await.unwrap();
        let again = bed.claim(&w, 1).await.pop().unwrap();
        for stopped in [bed.store.requeue_running("too late", &|_| true).await, bed.store.kill_running("too late").await] {
            assert_eq!(stopped.unwrap(), 0, "what began after a resume is not stopped");
        }
        let request = IdleRequest { deadline, on_deadline: OnDeadline::Kill, ..idle() };
        bed.store.drain(&request, &act("idle")).await.unwrap();
        bed.store.advance(Span::minutes(5));
        assert_eq!(bed.store.kill_running("the deadline of an idle").await.unwrap(), 1);
        bed.finish(&w, report(&again, End::Cancelled)).await;
        assert_eq!(bed.state(first.job).await, JobState::Cancelled);
        bed.sound().await;
    }

    async fn a_deadline_queues_again_only_what_may_be_interrupted(bed: Bed) {
        let w = worker("w1");
        let first = bed.run(1, &w).await;
        let other = bed.store.task_version("rpmlint", &serde_json::json!({"run": ["other"]})).await.unwrap();
        let admitted = master::store::Admitted { task_version: other, ..bed.admitted(2) };
        bed.store.submit(&[fit(admitted)]).await.unwrap();
        let second = bed.claim(&w, 1).await.pop().unwrap();
        let mine = bed.task;
        let request = IdleRequest { deadline: Some(Span::minutes(5)), on_deadline: OnDeadline::Requeue, ..idle() };
        bed.store.drain(&request, &act("idle")).await.unwrap();
        bed.store.advance(Span::minutes(5));
        assert_eq!(bed.store.running_by_task().await.unwrap(), [(mine, 1), (other, 1)]);
        assert_eq!(bed.store.requeue_running("late", &|task| task == mine).await.unwrap(), 1);
        let tokens = [first.token.clone(), second.token.clone()];
        let held = bed.store.renew(&w, &tokens, TERM).await.unwrap();
        assert_eq!(held, [Hold::Cancel { reason: "late".into() }, Hold::Held]);
        bed.finish(&w, report(&first, End::Cancelled)).await;
        assert_eq!(bed.state(first.job).await, JobState::Queued);
        assert_eq!(bed.store.observe_idle(SILENCE).await.unwrap().waiting_for, ["1 job runs"]);
        bed.sound().await;
    }

    async fn a_mode_is_there_after_a_restart(bed: Bed) {
        bed.store.drain(&idle(), &act("idle")).await.unwrap();
        bed.store.observe_idle(SILENCE).await.unwrap();
        let url = bed.url.clone();
        bed.store.close().await;
        let store = master::store::Store::open(&url, crate::bed::SITE).await.unwrap();
        let row = store.mode().await.unwrap();
        assert_eq!((row.mode, row.by.as_str(), row.reason.as_str()), (Mode::Idle, "alice", "maintenance"));
        store.expire(&decide).await.unwrap();
    }

    async fn every_act_is_in_the_audit_table(bed: Bed) {
        bed.store.drain(&idle(), &act("idle")).await.unwrap();
        bed.store.resume(&act("resume"), 0).await.unwrap();
        bed.store.note(&act("token.create")).await.unwrap();
        let (page, next) = bed.store.audit(None, 2).await.unwrap();
        assert_eq!(page.iter().map(|a| a.action.as_str()).collect::<Vec<_>>(), ["token.create", "resume"]);
        assert_eq!((page[0].actor.as_str(), &page[0].after["done"]), ("alice", &true.into()));
        let (page, next) = bed.store.audit(next, 2).await.unwrap();
        assert_eq!(page.iter().map(|a| a.action.as_str()).collect::<Vec<_>>(), ["idle"]);
        assert_eq!(next, None);
    }
}

impl crate::bed::Bed {
    /// A job that waits for its second attempt.
    async fn run_again_later(&self, w: &model::lease::Worker, n: u32) -> model::JobId {
        let job = self.submit(n).await;
        for granted in self.claim(w, 10).await {
            let code = if granted.job == job { 75 } else { 0 };
            if code == 75 {
                self.finish(w, report(&granted, End::Exited { code })).await;
            } else {
                self.finish(w, report(&granted, End::HandedBack)).await;
            }
        }
        job
    }
}
