//! Several masters over one database: PostgreSQL's part of the promises. SQLite has one master.

use std::collections::BTreeSet;
use std::time::Duration;

use master::store::{Deed, Error, Store};
use model::Span;
use model::intake::JobAnswer;
use model::lease::Receipt;
use sqlx::Connection as _;

use crate::bed::{Bed, SITE, TERM, act, act_on, acted, claim, decide, fit, passed, request_named, worker, worker_with};

/// Returns once so many connections to this database wait for a lock.
async fn waiting_for_the_lock(bed: &Bed, n: i64) {
    let mut observer = bed.raw().await;
    for _ in 0..500 {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut observer)
        .await
        .unwrap();
        if waiting >= n {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody waits for the lock");
}

#[tokio::test]
async fn the_schema_is_made_once_by_many_at_once_and_again_by_nobody() {
    let bed = Bed::postgres().await;
    bed.meddle("DROP SCHEMA public CASCADE").await;
    bed.meddle("CREATE SCHEMA public").await;
    let opens = (0..4).map(|_| {
        let url = bed.url.clone();
        tokio::spawn(async move { Store::open(&url, SITE).await.unwrap() })
    });
    for open in opens.collect::<Vec<_>>() {
        let store = open.await.unwrap();
        assert_eq!(store.active_site().await.unwrap().epoch, 1);
        store.close().await;
    }
    let lite = Bed::sqlite().await;
    lite.store.close().await;
    lite.another(SITE).await.mode().await.unwrap();
}

#[tokio::test]
async fn two_masters_give_each_job_to_one_worker() {
    let bed = Bed::postgres().await;
    let other = bed.another(SITE).await;
    bed.store.submit(&bed.candidates(0..400)).await.unwrap();
    let tasks = (0..8).map(|n| {
        let store = if n % 2 == 0 { bed.store.clone() } else { other.clone() };
        tokio::spawn(async move {
            let w = worker(&format!("w{n}"));
            let mut jobs = Vec::new();
            loop {
                let granted = claim(&store, &w, 7).await;
                if granted.is_empty() {
                    return jobs;
                }
                let reports: Vec<_> = granted.iter().map(passed).collect();
                let receipts = store.finish(&w.name, &reports, &decide).await.unwrap();
                assert!(receipts.iter().all(|r| *r == Receipt::Accepted));
                jobs.extend(granted.into_iter().map(|g| g.job));
            }
        })
    });
    let mut all = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        all.extend(task.await.unwrap());
    }
    assert_eq!(all.len(), 400);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 400);
    bed.sound().await;
}

#[tokio::test]
async fn a_master_knows_the_label_sets_that_another_has_met() {
    let bed = Bed::postgres().await;
    let other = bed.another(SITE).await;
    let w = worker_with("w1", &["kvm"]);
    assert!(claim(&other, &w, 1).await.is_empty());
    let mut admitted = bed.admitted(1);
    admitted.needs = vec!["kvm".into()];
    bed.store.submit(&[fit(admitted)]).await.unwrap();
    assert_eq!(claim(&other, &w, 1).await.len(), 1);
    bed.sound().await;
}

#[tokio::test]
async fn work_made_by_one_master_wakes_the_waiters_of_another() {
    let bed = Bed::postgres().await;
    let other = bed.another(SITE).await;
    let mut changed = other.changed();
    // It rings once when it has begun to listen.
    tokio::time::timeout(Duration::from_secs(10), changed.changed()).await.unwrap().unwrap();
    changed.mark_unchanged();
    bed.submit(1).await;
    tokio::time::timeout(Duration::from_secs(10), changed.changed()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_takeover_waits_for_open_transactions_and_then_the_old_master_writes_nothing() {
    let bed = Bed::postgres().await;
    let new = bed.another("there").await;
    // The old master stands in the middle of a transaction.
    let mut old = bed.raw().await;
    sqlx::raw_sql("BEGIN; SELECT pg_advisory_xact_lock_shared(7450231)").execute(&mut old).await.unwrap();
    let takeover = tokio::spawn({
        let new = new.clone();
        async move { new.site_activate("there", &act("site.activate")).await.unwrap() }
    });
    waiting_for_the_lock(&bed, 1).await;
    assert!(!takeover.is_finished());
    assert_eq!(bed.store.active_site().await.unwrap().active, SITE);
    sqlx::raw_sql("COMMIT").execute(&mut old).await.unwrap();
    let site = takeover.await.unwrap();
    assert_eq!((site.active.as_str(), site.epoch), ("there", 2));

    let fenced = bed.store.submit(&[bed.candidate(1)]).await;
    assert!(matches!(fenced, Err(Error::Fenced { mine: 1, now: 2 })), "{fenced:?}");
    for result in [
        bed.store.expire(&decide).await.map(drop),
        bed.store.promote().await.map(drop),
        bed.store.delivered(&[1]).await,
        bed.store.resume(&act("resume"), 0).await.map(drop),
        bed.store.take_duty("expire", "old", TERM).await.map(drop),
        bed.store.renew(&worker("w"), &[], TERM).await.map(drop),
    ] {
        assert!(matches!(result, Err(Error::Fenced { .. })), "{result:?}");
    }
    assert!(new.submit(&[bed.candidate(1)]).await.is_ok());
    // A person brings the old one back: as the passive site that it is now.
    bed.store.rejoin().await.unwrap();
    assert!(bed.claim(&worker("w1"), 1).await.is_empty());
    assert_eq!(claim(&new, &worker("w2"), 1).await.len(), 1);
    bed.sound().await;
}

#[tokio::test]
async fn a_transaction_that_waited_for_a_takeover_sees_it() {
    let bed = Bed::postgres().await;
    let mut taker = bed.raw().await;
    let sql = "BEGIN; SELECT pg_advisory_xact_lock(7450231); UPDATE site SET active = 'there', epoch = 2";
    sqlx::raw_sql(sql).execute(&mut taker).await.unwrap();
    let stale = tokio::spawn({
        let (store, row) = (bed.store.clone(), bed.candidate(1));
        async move { store.submit(&[row]).await }
    });
    waiting_for_the_lock(&bed, 1).await;
    sqlx::raw_sql("COMMIT").execute(&mut taker).await.unwrap();
    let stale = stale.await.unwrap();
    assert!(matches!(stale, Err(Error::Fenced { mine: 1, now: 2 })), "{stale:?}");
    let jobs: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs").fetch_one(&mut taker).await.unwrap();
    assert_eq!(jobs, 0);
}

#[tokio::test]
async fn a_drain_waits_for_the_claims_that_saw_the_mode_before() {
    let bed = Bed::postgres().await;
    let mut claiming = bed.raw().await;
    sqlx::raw_sql("BEGIN; SELECT pg_advisory_xact_lock_shared(7450231)").execute(&mut claiming).await.unwrap();
    let drain = tokio::spawn({
        let store = bed.store.clone();
        let request = serde_json::from_value(serde_json::json!({"reason": "x"})).unwrap();
        async move { store.drain(&request, &act("idle")).await.unwrap() }
    });
    waiting_for_the_lock(&bed, 1).await;
    assert!(!drain.is_finished());
    claiming.close().await.unwrap();
    drain.await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_lost_a_deadlock_is_run_again() {
    let bed = Bed::postgres().await;
    let mut jobs = vec![bed.submit(1).await, bed.submit(2).await];
    jobs.sort();
    let mut other = bed.raw().await;
    let lock = "SELECT 1 FROM queued WHERE job = (SELECT seq FROM jobs WHERE id = $1) FOR UPDATE";
    sqlx::raw_sql("BEGIN; SET LOCAL deadlock_timeout = '60s'").execute(&mut other).await.unwrap();
    sqlx::query(lock).bind(jobs[1].0).execute(&mut other).await.unwrap();
    let cancel = tokio::spawn({
        let (store, jobs) = (bed.store.clone(), jobs.clone());
        async move { act_on(&store, Deed::Cancel, &jobs, &request_named("c"), false).await }
    });
    waiting_for_the_lock(&bed, 1).await;
    // Each now waits for the other; the store notices first, gives way, and tries again.
    sqlx::query(lock).bind(jobs[0].0).execute(&mut other).await.unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(acted(cancel.await.unwrap()).done, 2);
    assert_eq!(bed.store.audit(None, 10).await.unwrap().0.len(), 2);
    bed.sound().await;
}

#[tokio::test]
async fn a_duty_has_one_holder_at_a_time() {
    for bed in [Bed::postgres().await, Bed::sqlite().await] {
        let take = async |holder: &str| bed.store.take_duty("expire", holder, Span::seconds(10)).await.unwrap();
        assert!(take("m1").await);
        assert!(!take("m2").await);
        assert!(take("m1").await);
        bed.store.advance(Span::seconds(11));
        assert!(take("m2").await);
        assert!(!take("m1").await);
        bed.store.leave_duty("expire", "m2").await.unwrap();
        assert!(take("m1").await);
    }
}

#[tokio::test]
async fn a_passive_site_gets_nothing_and_expires_nothing() {
    let bed = Bed::postgres().await;
    let there = bed.another("there").await;
    bed.submit(1).await;
    assert!(claim(&there, &worker("w9"), 1).await.is_empty());
    let granted = bed.claim(&worker("w1"), 1).await;
    assert_eq!(granted.len(), 1);
    there.advance(Span::minutes(10));
    assert!(there.expire(&decide).await.unwrap().lost.is_empty());
    let answer = there.submit(&[bed.candidate(1)]).await.unwrap();
    assert!(matches!(answer[..], [JobAnswer::Exists { .. }]));
}

#[tokio::test]
async fn a_master_of_a_passive_site_takes_no_duty_and_keeps_none() {
    let bed = Bed::postgres().await;
    let there = bed.another("there").await;
    assert!(!there.take_duty("leases", "theirs", TERM).await.unwrap());
    assert!(bed.store.take_duty("leases", "ours", TERM).await.unwrap());
    there.site_activate("there", &act("site.activate")).await.unwrap();
    bed.store.rejoin().await.unwrap();
    // What was held under the epoch before is free, and is not taken back.
    assert!(!bed.store.take_duty("leases", "ours", TERM).await.unwrap());
    assert!(there.take_duty("leases", "theirs", TERM).await.unwrap());
    assert!(!bed.store.take_duty("leases", "ours", TERM).await.unwrap());
    assert!(there.take_duty("leases", "theirs", TERM).await.unwrap());
}
