//! What a check is told, and what the status says of jobs that nobody can run.

use model::operator::Why;
use model::vitals::Vitals;
use model::{Role, Span};

use super::house::{House, batch, record, worker};
use crate::duty::Leases;

#[tokio::test]
async fn vitals_are_all_that_a_check_judges() {
    let house = House::new().await;
    let vitals = async || house.get("/api/v1/vitals").await.json::<Vitals>();
    let empty = vitals().await;
    assert!(empty.triggers.is_empty() && empty.workers.is_empty() && empty.oldest_queued.is_none());
    assert!(empty.master_ahead_ms.abs() < 1000);

    let mut sent = batch(vec![record(1, "noop")]);
    sent["counts"]["recorded"] = 4.into();
    sent["troubles"] = serde_json::json!([{"what": "cannot write its event log", "since": net::clock::now()}]);
    house.post(Role::Trigger, "/api/v1/intake", sent).await;
    house.advance(Span::seconds(90));
    let full = vitals().await;
    let trigger = &full.triggers[0];
    assert_eq!((trigger.recorder.as_str(), trigger.behind), ("t1", 3));
    assert_eq!(trigger.troubles, ["cannot write its event log"]);
    assert!(full.now.since(trigger.last_event.unwrap()).0.as_secs() >= 90);
    assert!(full.now.since(full.oldest_queued.unwrap()).0.as_secs() >= 90);
    assert_eq!((full.unserved.len(), full.unserved[0].queued), (1, 1));

    house.run_one(&worker("w1", &[])).await;
    house.advance(Span::seconds(30));
    let done = vitals().await;
    assert!(done.unserved.is_empty() && done.oldest_queued.is_none());
    assert!(done.now.since(done.oldest_result.unwrap()).0.as_secs() >= 30);
}

#[tokio::test]
async fn b13_a_label_that_lost_its_workers_is_named_wherever_somebody_looks() {
    let house = House::new().await;
    let (s390x, x86_64) = (worker("w1", &["arch:s390x"]), worker("w2", &["arch:x86_64"]));
    for item in ["foo", "bar"] {
        let row = format!("item,item_type,task,arch\n{item},koji_build,rpmlint,s390x\n");
        house.csv("/api/v1/jobs", &row).await;
    }
    let running = house.claim(&s390x, 1, "0s").await;
    let mut leases = Leases::default();
    leases.tick(house.app()).await.unwrap();
    for _ in 0..4 {
        house.advance(Span::seconds(50));
        house.claim(&x86_64, 1, "0s").await;
    }
    assert_eq!(leases.tick(house.app()).await.unwrap().lost, 1);

    let status = house.status().await;
    let says = "2 queued jobs: needs arch:s390x; no connected worker offers it";
    assert_eq!(status.stopped_by.iter().map(|stop| stop.what.as_str()).collect::<Vec<_>>(), [says]);
    assert_eq!(status.workers.lost, 1);
    let unserved = house.get("/api/v1/vitals").await.json::<Vitals>().unserved;
    assert_eq!((unserved[0].needs.as_slice(), unserved[0].queued), (&["arch:s390x".to_owned()][..], 2));
    let why: Why = house.get(&format!("/api/v1/why/job/{}", running[0].job)).await.json();
    assert_eq!(why.why, "needs arch:s390x; no connected worker offers it");
    assert_eq!(why.facts["last_end"], "its worker was lost");

    // One of that label comes back, and nothing is left to say.
    assert_eq!(house.claim(&s390x, 2, "0s").await.len(), 2);
    assert!(house.status().await.stopped_by.is_empty());
}
