//! Many at once, in an order that nobody chose: whatever happened, everything adds up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use master::store::Deed;
use model::{End, Span};

use crate::bed::{Bed, SILENCE, SITE, TERM, act, act_on, claim, decide, passed, report, request_named, worker};
use crate::stories;

const JOBS: u32 = 300;

stories! {
    async fn everything_adds_up_after_a_storm(bed: Bed) {
        let bed = Arc::new(bed);
        let other = if bed.is_postgres() { bed.another(SITE).await } else { bed.store.clone() };
        let submitted = Arc::new(AtomicU32::new(0));
        let mut tasks = Vec::new();
        for n in 0..6 {
            let (bed, submitted) = (bed.clone(), submitted.clone());
            let store = if n % 2 == 0 { bed.store.clone() } else { other.clone() };
            tasks.push(tokio::spawn(async move { one(&bed, &store, n, &submitted).await }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        bed.sound().await;
        // What is left can all be brought to an end.
        let w = worker("last");
        loop {
            bed.store.advance(Span::minutes(2));
            bed.store.expire(&decide).await.unwrap();
            bed.store.promote().await.unwrap();
            let granted = claim(&bed.store, &w, 50).await;
            let reports: Vec<_> = granted.iter().map(passed).collect();
            bed.store.finish("last", &reports, &decide).await.unwrap();
            let counts = bed.store.counts().await.unwrap();
            if counts.waiting + counts.queued + counts.running == 0 {
                assert_eq!(counts.finished + counts.cancelled, u64::from(JOBS));
                break;
            }
        }
        bed.sound().await;
    }
}

/// A worker that does a bit of everything: it is told what by its number and its turn.
async fn one(bed: &Bed, store: &master::store::Store, n: u32, submitted: &AtomicU32) {
    let mut w = worker(&format!("w{n}"));
    for turn in 0..40u32 {
        match (turn * 7 + n * 3) % 10 {
            0..=2 => {
                let from = submitted.fetch_add(10, Ordering::Relaxed);
                if from < JOBS {
                    store.submit(&bed.candidates(from..from + 10)).await.unwrap();
                    store.submit(&bed.candidates(from.saturating_sub(5)..from + 10)).await.unwrap();
                }
            }
            3 => store.advance(Span::seconds(25)),
            4 => drop(store.expire(&decide).await.unwrap()),
            5 => drop(store.promote().await.unwrap()),
            6 => w.incarnation = net::clock::uuid(),
            7 => {
                let (page, _) = store.jobs(&Default::default(), None, 3).await.unwrap();
                let jobs: Vec<_> = page.iter().map(|job| job.id).collect();
                if turn % 3 == 0 {
                    let request = request_named(&net::clock::uuid().to_string());
                    act_on(store, Deed::Cancel, &jobs, &request, false).await;
                }
            }
            8 => store.tidy(Span::days(1)).await.unwrap(),
            _ => {
                store
                    .drain(&serde_json::from_value(serde_json::json!({"reason": "x"})).unwrap(), &act("idle"))
                    .await
                    .unwrap();
                store.observe_idle(SILENCE).await.unwrap();
                store.resume(&act("resume"), 0).await.unwrap();
            }
        }
        let granted = claim(store, &w, 5).await;
        let tokens: Vec<_> = granted.iter().map(|g| g.token.clone()).collect();
        store.renew(&w, &tokens, TERM).await.unwrap();
        let reports: Vec<_> = granted
            .iter()
            .enumerate()
            .filter_map(|(i, g)| match (i as u32 + turn) % 5 {
                0 => None,
                1 => Some(report(g, End::Exited { code: 75 })),
                2 => Some(report(g, End::HandedBack)),
                _ => Some(passed(g)),
            })
            .collect();
        store.finish(&w.name, &reports, &decide).await.unwrap();
        store.finish(&w.name, &reports, &decide).await.unwrap();
    }
}
