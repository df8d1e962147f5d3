//! What the bus is to be told: noted with each move, in order, and kept until it is told.

use master::store::{Announced, Deed, Message, Stage};
use model::operator::{IdleRequest, OnDeadline};
use model::{End, JobId, JobState, Outcome, Span};

use crate::bed::{Bed, SILENCE, act, act_on, decide, fit, passed, report, request_named, worker};
use crate::stories;

/// One word for each message of a job that is due, in order.
async fn due(bed: &Bed, job: JobId) -> Vec<String> {
    let all = bed.store.messages_due(100).await.unwrap();
    all.iter().filter(|message| message.job == job).map(said).collect()
}

fn said(message: &Message) -> String {
    match &message.stage {
        Stage::Queued => "queued".into(),
        Stage::Running { attempt } => format!("running {attempt}"),
        Stage::Ended { state, outcome, attempts, .. } => {
            format!("{state} {} {attempts}", outcome.map_or("-", Outcome::name))
        }
    }
}

stories! {
    async fn each_move_is_told_once_and_in_order(bed: Bed) {
        bed.store.announce(Announced::default());
        let w = worker("w1");
        let first = bed.run(1, &w).await;
        assert_eq!(bed.store.submit(&[bed.candidate(1)]).await.unwrap().len(), 1, "asked for again, it is told once");
        bed.store.advance(Span::minutes(2));
        bed.store.expire(&decide).await.unwrap();
        let again = bed.claim(&w, 1).await.pop().unwrap();
        bed.finish(&w, passed(&again)).await;
        let told = ["queued", "running 1", "running 2", "finished PASSED 2"];
        assert_eq!(due(&bed, first.job).await, told);

        // Ended by a person, before and while it runs; and because its time has passed.
        let waits = bed.submit(2).await;
        bed.cancel(&[waits]).await;
        assert_eq!(due(&bed, waits).await, ["queued", "cancelled - 0"]);
        let runs = bed.run(3, &w).await;
        bed.cancel(&[runs.job]).await;
        bed.finish(&w, report(&runs, End::Cancelled)).await;
        assert_eq!(due(&bed, runs.job).await, ["queued", "running 1", "cancelled - 1"]);
        let mut late = bed.admitted(4);
        late.job.expires_at = Some(bed.store.now().await.unwrap().plus(Span::seconds(1)));
        let job = late.job.key;
        bed.store.submit(&[fit(late)]).await.unwrap();
        bed.store.advance(Span::minutes(1));
        bed.store.expire(&decide).await.unwrap();
        assert_eq!(due(&bed, job).await, ["queued", "expired - 0"]);
        bed.sound().await;
    }

    async fn an_earlier_message_that_rests_holds_the_later_ones_of_its_job(bed: Bed) {
        bed.store.announce(Announced::default());
        let w = worker("w1");
        let (one, two) = (bed.run(1, &w).await, bed.run(2, &w).await);
        let head = bed.store.messages_due(1).await.unwrap().remove(0);
        let later = bed.store.now().await.unwrap().plus(Span::seconds(30));
        bed.store.postpone_message(head.seq, later, "no queue").await.unwrap();
        bed.finish(&w, passed(&one)).await;
        assert_eq!(due(&bed, one.job).await, Vec::<String>::new());
        assert_eq!(due(&bed, two.job).await, ["queued", "running 1"]);
        let untold = bed.store.untold().await.unwrap();
        assert_eq!((untold.messages, untold.refused, untold.error.as_deref()), (5, 1, Some("no queue")));
        assert_eq!(untold.since, Some(head.at));
        bed.store.advance(Span::seconds(31));
        assert_eq!(due(&bed, one.job).await, ["queued", "running 1", "finished PASSED 1"]);
        assert_eq!(bed.store.messages_due(1).await.unwrap()[0].tries, 1);

        let seqs: Vec<i64> = bed.store.messages_due(100).await.unwrap().iter().map(|message| message.seq).collect();
        bed.store.messages_sent(&seqs[..2]).await.unwrap();
        bed.store.messages_sent(&seqs).await.unwrap();
        assert_eq!(bed.store.untold().await.unwrap(), Default::default());
        bed.finish(&w, passed(&two)).await;
        assert_eq!(due(&bed, two.job).await, ["finished PASSED 1"], "what began to be told is told to its end");
        bed.sound().await;
    }

    async fn only_what_is_named_is_told_and_an_end_that_nobody_noted_is_noted_later(bed: Bed) {
        let w = worker("w1");
        let before = bed.run(1, &w).await;
        bed.store.announce(Announced { tasks: vec!["rpmlint".into()], item_types: vec!["koji_build".into()] });
        bed.finish(&w, passed(&before)).await;
        let mut other = bed.admitted(2);
        other.job.item_type = "compose".into();
        bed.store.submit(&[fit(other)]).await.unwrap();
        assert_eq!(bed.store.untold().await.unwrap().messages, 0, "neither was announced when it was made");

        let told = bed.submit(3).await;
        // As by a master that announces nothing.
        let silent = master::store::Store::open(&bed.url, crate::bed::SITE).await.unwrap();
        act_on(&silent, Deed::Cancel, &[told], &request_named("silent"), false).await;
        assert_eq!(due(&bed, told).await, ["queued"]);
        assert_eq!(bed.store.announce_ends().await.unwrap(), 1);
        assert_eq!(bed.store.announce_ends().await.unwrap(), 0);
        assert_eq!(due(&bed, told).await, ["queued", "cancelled - 0"]);
        assert_eq!(bed.state(told).await, JobState::Cancelled);
        bed.sound().await;
    }

    async fn idle_waits_for_the_bus_to_be_told(bed: Bed) {
        bed.store.announce(Announced::default());
        let w = worker("w1");
        let granted = bed.run(1, &w).await;
        bed.finish(&w, passed(&granted)).await;
        let seqs: Vec<i64> = bed.store.publications_due(9).await.unwrap().iter().map(|due| due.seq).collect();
        bed.store.delivered(&seqs).await.unwrap();
        let reason = "maintenance".to_owned();
        let request = IdleRequest { reason, deadline: None, on_deadline: OnDeadline::Wait, finish_queue: false };
        bed.store.drain(&request, &act("idle")).await.unwrap();
        let observed = bed.store.observe_idle(SILENCE).await.unwrap();
        assert_eq!(observed.waiting_for, ["3 messages are not yet on the bus"]);
        let seqs: Vec<i64> = bed.store.messages_due(9).await.unwrap().iter().map(|message| message.seq).collect();
        bed.store.messages_sent(&seqs).await.unwrap();
        assert!(bed.store.observe_idle(SILENCE).await.unwrap().waiting_for.is_empty());
        bed.sound().await;
    }
}
