//! A maintenance window: its sums, and the two lanes of what it leaves behind.

use master::store::{Candidate, NewEvent};
use model::intake::JobAnswer;
use model::operator::{IdleRequest, Mode, OnDeadline};
use model::{Span, Time};

use crate::bed::{SILENCE, act, batch, decide, event, fit, worker};
use crate::stories;

/// Jobs a minute: one in ten seconds, so that a slow machine changes nothing.
const RATE: u32 = 6;

fn idle() -> IdleRequest {
    IdleRequest { reason: "maintenance".into(), deadline: None, on_deadline: OnDeadline::Wait, finish_queue: false }
}

fn refused() -> Candidate {
    Candidate::Answered(JobAnswer::Refused { reason: "unknown task".into() })
}

impl crate::bed::Bed {
    async fn become_idle(&self) {
        self.store.drain(&idle(), &act("idle")).await.unwrap();
        assert_eq!(self.store.observe_idle(SILENCE).await.unwrap().mode.mode, Mode::Idle);
    }

    /// The numbers of the jobs that are given out now, in order; each is handed back.
    async fn given(&self, name: &str) -> Vec<String> {
        let w = worker(name);
        let granted = self.claim(&w, 100).await;
        granted.iter().map(|granted| granted.params["n"].to_string()).collect()
    }

    fn with_jobs(&self, mut event: NewEvent, jobs: Vec<Candidate>) -> NewEvent {
        event.jobs = jobs;
        event
    }
}

stories! {
    async fn what_came_in_during_a_window_adds_up(bed: Bed) {
        let mut first = batch("r", 1, vec![event("before", 1)]);
        first.counts.duplicates = 3;
        bed.store.intake(&first).await.unwrap();
        assert_eq!(bed.store.sums().await.unwrap(), None, "there was no window yet");
        bed.become_idle().await;

        let mut inside = batch("r", 2, vec![event("a", 1), event("b", 2), event("c", 3), event("d", 4)]);
        let jobs = [vec![fit(bed.admitted(1)), refused()], vec![refused()], vec![], vec![fit(bed.admitted(1))]];
        inside.events = inside.events.into_iter().zip(jobs).map(|(e, jobs)| bed.with_jobs(e, jobs)).collect();
        (inside.counts.duplicates, inside.counts.quarantined) = (5, 1);
        bed.store.intake(&inside).await.unwrap();
        // Another trigger sends one of them too, and one of its own.
        bed.store.intake(&batch("s", 1, vec![event("a", 1), event("e", 5)])).await.unwrap();
        let (window, so_far) = bed.store.sums().await.unwrap().unwrap();
        assert_eq!(window.positions_at_resume.unwrap()["r"].next, 6);
        bed.store.resume(&act("resume"), 0).await.unwrap();
        bed.store.intake(&batch("s", 3, vec![event("after", 6)])).await.unwrap();

        let (window, sums) = bed.store.sums().await.unwrap().unwrap();
        assert_eq!(sums, so_far);
        assert_eq!((window.positions_at_idle["r"].next, window.positions_at_resume.unwrap()["s"].next), (2, 3));
        // Four events of one log and two of the other, two repeated and one unreadable delivery.
        assert_eq!(sums.seen, 4 + 2 + 2 + 1);
        assert_eq!((sums.made, sums.nothing, sums.refused), (2, 2, 1));
        assert_eq!((sums.duplicates, sums.quarantined), (3, 1));
        assert_eq!(sums.seen, sums.made + sums.nothing + sums.refused + sums.duplicates + sums.quarantined);
        bed.sound().await;
    }

    async fn a_backlog_is_let_go_at_a_rate_and_behind_what_comes_meanwhile(bed: Bed) {
        bed.become_idle().await;
        bed.store.submit(&bed.candidates(1..11)).await.unwrap();
        let (_, release) = bed.store.resume(&act("resume"), RATE).await.unwrap();
        assert_eq!(release.held, 9);
        let now = bed.store.now().await.unwrap();
        assert!(release.until.since(now) > Span::seconds(60) && release.until.since(now) <= Span::seconds(90));
        bed.sound().await;
        assert_eq!(bed.given("w1").await, ["1"], "what a second lets go goes at once");

        bed.store.advance(Span::seconds(41));
        assert_eq!(bed.store.promote().await.unwrap(), 4);
        bed.submit(50).await;
        bed.sound().await;
        assert_eq!(bed.given("w2").await, ["50", "2", "3", "4", "5"], "a live event's job is not behind the backlog");
        bed.store.advance(Span::seconds(100));
        assert_eq!(bed.store.promote().await.unwrap(), 5);
        assert_eq!(bed.given("w3").await, ["6", "7", "8", "9", "10"]);
        bed.sound().await;
    }

    async fn a_backlog_is_let_go_whatever_the_priorities_in_it(bed: Bed) {
        bed.become_idle().await;
        for (n, priority) in [(1, i32::MIN), (2, i32::MAX)] {
            let mut admitted = bed.admitted(n);
            admitted.job.priority = priority;
            bed.store.submit(&[fit(admitted)]).await.unwrap();
        }
        let (_, release) = bed.store.resume(&act("resume"), RATE).await.unwrap();
        assert_eq!(release.held, 1);
        assert_eq!(bed.given("w").await, ["2"]);
        bed.store.advance(Span::minutes(1));
        assert_eq!(bed.store.promote().await.unwrap(), 1);
        assert_eq!(bed.given("w").await, ["1"]);
        bed.sound().await;
    }

    async fn a_backlog_does_not_starve_for_ever(bed: Bed) {
        bed.become_idle().await;
        bed.store.submit(&bed.candidates(1..5)).await.unwrap();
        bed.store.resume(&act("resume"), RATE).await.unwrap();
        bed.store.advance(Span::seconds(100));
        bed.store.promote().await.unwrap();
        bed.store.advance(Span::minutes(61));
        bed.submit(50).await;
        assert_eq!(bed.given("w").await, ["1", "2", "3", "4", "50"]);
    }

    async fn what_is_held_back_survives_a_restart_another_idle_and_a_cancel(bed: Bed) {
        bed.become_idle().await;
        bed.store.submit(&bed.candidates(1..11)).await.unwrap();
        bed.store.resume(&act("resume"), RATE).await.unwrap();
        // Idle again in the middle: nothing is given out, and what is let go meanwhile stays.
        bed.become_idle().await;
        let store = bed.another(crate::bed::SITE).await;
        store.advance(Span::seconds(41));
        store.expire(&decide).await.unwrap();
        assert_eq!(store.promote().await.unwrap(), 4);
        assert!(bed.given("w1").await.is_empty());
        let jobs: u64 = bed.store.backlog().await.unwrap().iter().map(|row| row.jobs).sum();
        assert_eq!(jobs, 10);
        bed.store.submit(&bed.candidates(11..13)).await.unwrap();
        bed.sound().await;
        // The whole of it is lined up anew, in its order.
        let (_, release) = bed.store.resume(&act("resume"), RATE).await.unwrap();
        assert_eq!(release.held, 11);
        assert_eq!(bed.given("w2").await, ["1"]);
        let held = bed.candidate(5);
        let Candidate::Admitted(held) = held else { unreachable!() };
        bed.cancel(&[held.job.key]).await;
        bed.sound().await;
        bed.become_idle_again().await;
        bed.store.resume(&act("resume"), 0).await.unwrap();
        assert_eq!(bed.given("w3").await, ["1", "2", "3", "4", "6", "7", "8", "9", "10", "11", "12"]);
        bed.sound().await;
    }

    async fn what_became_pointless_while_it_waited_is_told_and_does_not_run(bed: Bed) {
        bed.become_idle().await;
        let now = bed.store.now().await.unwrap();
        for n in 1..4 {
            let mut admitted = bed.admitted(n);
            admitted.job.expires_at = (n < 3).then(|| now.plus(Span::minutes(5)));
            bed.store.submit(&[fit(admitted)]).await.unwrap();
        }
        bed.store.advance(Span::minutes(6));
        bed.store.expire(&decide).await.unwrap();
        let backlog = bed.store.backlog().await.unwrap();
        assert_eq!((backlog.len(), backlog[0].jobs, backlog[0].stale), (1, 1, 2));
        bed.store.resume(&act("resume"), RATE).await.unwrap();
        assert_eq!(bed.given("w").await, ["3"]);
        assert!(bed.store.backlog().await.unwrap().is_empty(), "what was pointless before is of no later resume");
    }

    async fn a_window_of_an_earlier_version_has_no_sums_and_is_still_read(bed: Bed) {
        bed.become_idle().await;
        bed.meddle("UPDATE windows SET positions_at_idle = '{\"r\":7}', events_at_idle = NULL").await;
        assert_eq!(bed.store.windows(1).await.unwrap()[0].positions_at_idle["r"].next, 7);
        assert_eq!(bed.store.sums().await.unwrap(), None);
        assert_eq!(bed.store.resume(&act("resume"), 0).await.unwrap().0.mode, Mode::Active);
        assert!(bed.store.windows(1).await.unwrap()[0].resumed_at > Some(Time(0)));
    }
}

impl crate::bed::Bed {
    /// As `become_idle`, with jobs that run given up first.
    async fn become_idle_again(&self) {
        let w = worker("w2");
        // A new incarnation gives up the leases of the one before, and hands back what it gets.
        self.claim(&w, 0).await;
        self.store.expire(&decide).await.unwrap();
        self.store.drain(&idle(), &act("idle")).await.unwrap();
        let ends = self.store.observe_idle(SILENCE).await.unwrap();
        assert_eq!(ends.mode.mode, Mode::Idle, "{:?}", ends.waiting_for);
    }
}
