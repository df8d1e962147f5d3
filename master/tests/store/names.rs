//! A name is one worker's: the next process of its folder takes over at once, anybody else has to wait.

use master::store::{NameTaken, Served};
use model::Span;
use model::lease::{Hold, Worker};
use uuid::Uuid;

use crate::bed::{Bed, TERM, decide, request, worker};
use crate::stories;

/// A worker of that name in a folder of its own.
fn stranger(name: &str) -> Worker {
    Worker { identity: Some(net::clock::uuid()), host: "qa02".into(), ..worker(name) }
}

async fn ask(bed: &Bed, worker: &Worker) -> Served {
    bed.store.claim(&[request(worker, 1)], TERM).await.unwrap().pop().unwrap()
}

stories! {
    async fn another_worker_of_a_name_in_use_gets_nothing_and_takes_nothing(bed: Bed) {
        let (owner, other) = (worker("w1"), stranger("w1"));
        let granted = bed.run(1, &owner).await;
        let waits = bed.submit(2).await;
        let Err(NameTaken { host, incarnation, .. }) = ask(&bed, &other).await else { panic!("it was let in") };
        assert_eq!((host.as_str(), incarnation), ("qa01", owner.incarnation));
        let tokens = [granted.token];
        assert_eq!(bed.store.renew(&owner, &tokens, TERM).await.unwrap(), [Hold::Held]);

        // As long as the owner is seen, by a claim or by a renewal, the name stays its own.
        for _ in 0..3 {
            bed.store.advance(Span::seconds(50));
            assert_eq!(bed.store.renew(&owner, &tokens, TERM).await.unwrap(), [Hold::Held]);
            assert!(ask(&bed, &other).await.is_err());
        }
        let seen = bed.store.workers(TERM).await.unwrap();
        assert_eq!((seen.len(), seen[0].host.as_str()), (1, "qa01"));

        // A whole batch is not held up by it.
        let mut served = bed.store.claim(&[request(&other, 1), request(&worker("w2"), 1)], TERM).await.unwrap();
        assert_eq!(served.pop().unwrap().unwrap()[0].job, waits);
        assert!(served.pop().unwrap().is_err());
        bed.sound().await;
    }

    async fn a_name_is_free_when_its_worker_was_not_seen_for_a_term(bed: Bed) {
        let (owner, other) = (worker("w1"), stranger("w1"));
        let granted = bed.run(1, &owner).await;
        bed.store.advance(Span(TERM.0 + std::time::Duration::from_secs(1)));
        assert!(ask(&bed, &other).await.unwrap().is_empty());
        // Its leases are those of another incarnation, and so the job runs again; the old owner is the stranger now.
        assert_eq!(bed.store.expire(&decide).await.unwrap().lost, [(granted.job, 1)]);
        assert!(ask(&bed, &owner).await.is_err());
        assert_eq!(ask(&bed, &other).await.unwrap()[0].attempt, 2);
        bed.sound().await;
    }

    async fn a_claim_of_a_dead_process_that_is_still_held_takes_nothing_from_the_next(bed: Bed) {
        let processes: Vec<Worker> = (0..3).map(|_| worker("w1")).collect();
        for process in &processes {
            assert!(ask(&bed, process).await.unwrap().is_empty());
        }
        let granted = bed.run(1, &processes[2]).await;
        bed.submit(2).await;
        // Both are looked at again as soon as there is work, since nobody has told the master that they are gone.
        for dead in &processes[..2] {
            assert!(ask(&bed, dead).await.unwrap().is_empty());
        }
        assert!(bed.store.expire(&decide).await.unwrap().lost.is_empty());
        assert_eq!(bed.store.renew(&processes[2], &[granted.token], TERM).await.unwrap(), [Hold::Held]);
        assert_eq!(ask(&bed, &processes[2]).await.unwrap().len(), 1);
        bed.sound().await;
    }

    async fn a_worker_that_keeps_no_identity_is_known_by_its_name(bed: Bed) {
        let old = Worker { identity: None, ..worker("w1") };
        assert!(ask(&bed, &old).await.is_ok());
        assert!(ask(&bed, &Worker { incarnation: Uuid::nil(), ..old }).await.is_ok());
        // Its successor is of a version that keeps one, and need not wait.
        assert!(ask(&bed, &worker("w1")).await.is_ok());
        assert!(ask(&bed, &stranger("w1")).await.is_err());
    }

    async fn b10_a_workers_clock_is_shown_and_nothing_goes_by_it(bed: Bed) {
        let now = bed.store.now().await.unwrap();
        let mut w = Worker { clock: Some(now.plus(Span::minutes(120))), ..worker("w1") };
        let granted = bed.run(1, &w).await;
        let ahead = async || bed.store.workers(TERM).await.unwrap()[0].clock_ahead_ms.unwrap();
        assert!((7_140_000..=7_200_000).contains(&ahead().await), "{}", ahead().await);
        // Stepped by four hours while the job runs: the lease is judged by the database's clock alone.
        w.clock = Some(now.minus(Span::minutes(120)));
        assert_eq!(bed.store.renew(&w, std::slice::from_ref(&granted.token), TERM).await.unwrap(), [Hold::Held]);
        assert!((-7_260_000..=-7_200_000).contains(&ahead().await), "{}", ahead().await);
        assert!(bed.store.expire(&decide).await.unwrap().lost.is_empty());
        bed.sound().await;
    }
}
