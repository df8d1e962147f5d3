//! What is published beside findings stands in the outbox with the move that it tells of, or not at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use master::store::{Announce, Moved, Publication, Step};
use model::intake::JobAnswer;
use model::{End, Span};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bed::{report, worker};
use crate::stories;

/// Announces all of the tasks whose definition asks for it.
#[derive(Default)]
struct Crier {
    known: Mutex<HashMap<i64, bool>>,
    learnt: Mutex<Vec<i64>>,
}

impl Announce for Crier {
    fn announces(&self, version: i64) -> Option<bool> {
        self.known.lock().unwrap().get(&version).copied()
    }

    fn learn(&self, version: i64, _: &str, definition: Option<&Value>) {
        self.learnt.lock().unwrap().push(version);
        self.known.lock().unwrap().insert(version, definition.is_some_and(|d| d["publish"] == true));
    }

    fn publication(&self, moved: &Moved<'_>) -> Option<Publication> {
        let what = match moved.step {
            Step::Queued => "queued".to_owned(),
            Step::Running => "running".to_owned(),
            Step::Unjudged { reason, attempts } => format!("unjudged after {attempts}: {reason}"),
        };
        let key = Uuid::new_v5(&moved.job.0, what.as_bytes());
        Some(Publication { key, body: json!(format!("{} {what}", moved.item)) })
    }
}

/// What the outbox holds, in its order.
async fn told(store: &master::store::Store) -> Vec<String> {
    let due = store.publications_due(100).await.unwrap();
    due.into_iter().map(|due| due.publication.body.as_str().unwrap().to_owned()).collect()
}

stories! {
    async fn each_move_is_told_once_and_only_where_a_task_asks_for_it(bed: Bed) {
        let loud = bed.store.task_version("loud", &json!({"publish": true})).await.unwrap();
        let crier = Arc::new(Crier::default());
        bed.store.announce_by(crier.clone());
        let candidate = |n: u32, version| {
            let mut admitted = bed.admitted(n);
            admitted.task_version = version;
            crate::bed::fit(admitted)
        };
        let batch = [candidate(1, loud), candidate(2, bed.task), candidate(1, loud), candidate(3, loud)];
        let answers = bed.store.submit(&batch).await.unwrap();
        assert!(matches!(answers[2], JobAnswer::Exists { .. }));
        assert_eq!(told(&bed.store).await, ["foo-1-1 queued", "foo-3-1 queued"]);
        bed.store.submit(&batch).await.unwrap();
        assert_eq!(told(&bed.store).await.len(), 2, "what exists is not told again");
        assert_eq!(*crier.learnt.lock().unwrap(), [loud, bed.task], "each version is read once");

        let w = worker("w1");
        let granted = bed.claim(&w, 2).await;
        assert_eq!(granted.len(), 2);
        assert_eq!(told(&bed.store).await[2..], ["foo-1-1 running"]);
        // A second attempt is no news.
        bed.finish(&w, report(&granted[0], End::Exited { code: 75 })).await;
        bed.store.advance(Span::minutes(5));
        bed.store.promote().await.unwrap();
        let again = bed.claim(&w, 1).await;
        assert_eq!(told(&bed.store).await.len(), 3);

        let JobAnswer::Submitted { job: third } = answers[3] else { panic!("{answers:?}") };
        assert_eq!((again[0].job, again[0].attempt), (granted[0].job, 2));
        bed.cancel(&[third]).await;
        let last = told(&bed.store).await.pop().unwrap();
        assert_eq!(last, "foo-3-1 unjudged after 0: cancelled by alice: tests");
        bed.sound().await;
    }

    async fn what_is_rolled_back_was_never_told_and_an_idle_system_stays_sound(bed: Bed) {
        let loud = bed.store.task_version("loud", &json!({"publish": true})).await.unwrap();
        bed.store.announce_by(Arc::new(Crier::default()));
        let mut admitted = bed.admitted(1);
        admitted.task_version = loud;
        bed.meddle("UPDATE site SET epoch = epoch + 1").await;
        assert!(bed.store.submit(&[crate::bed::fit(admitted.clone())]).await.is_err(), "it is fenced");
        assert!(told(&bed.store).await.is_empty());
        let another = bed.another(crate::bed::SITE).await;
        another.announce_by(Arc::new(Crier::default()));
        bed.meddle("UPDATE mode SET mode = 'idle'").await;
        another.submit(&[crate::bed::fit(admitted)]).await.unwrap();
        assert_eq!(told(&another).await, ["foo-1-1 queued"]);
        let wrong = another.invariants().await.unwrap();
        assert!(!wrong.iter().any(|what| what.contains("unsent")), "{wrong:?}");
    }
}
