//! What is said of jobs that others have a say in: by the API, and by the page of a job.

use model::JobId;
use model::operator::Why;
use serde_json::{Value, json};

use super::house::{House, batch, exited, record, worker};

impl House {
    async fn why(&self, job: JobId) -> Why {
        self.get(&format!("/api/v1/why/job/{job}")).await.json()
    }

    /// Submits one job of `noop` with these further columns; its id.
    async fn keyed(&self, item: &str, columns: &str, values: &str) -> JobId {
        let log = format!("item,item_type,task,{columns}\n{item},koji_build,noop,{values}\n");
        let reply = self.csv("/api/v1/jobs", &log).await;
        reply.json::<Value>()["rows"][0]["job"].as_str().unwrap_or_else(|| panic!("{}", reply.text())).parse().unwrap()
    }
}

const KEY: &str = "supersede_key,supersede_policy";

#[tokio::test]
async fn a_job_in_line_says_behind_whom() {
    let house = House::new().await;
    let first = house.keyed("a", KEY, "foo,serial").await;
    let second = house.keyed("b", KEY, "foo,serial").await;
    let third = house.keyed("c", KEY, "foo,serial").await;
    let why = house.why(second).await;
    assert_eq!(why.why, format!("behind job {first} (serial on foo)"));
    assert_eq!(why.facts["supersede"], "serial on foo");
    assert_eq!(house.why(third).await.why, format!("behind job {first} and 1 other (serial on foo)"));
    let page = house.get(&format!("/jobs/{third}")).await.text();
    assert!(page.contains(&format!("behind job {first} and 1 other (serial on foo)")), "{page}");
    let w = worker("w1", &[]);
    assert_eq!(house.run_one(&w).await, first);
    assert!(house.why(second).await.why.starts_with("next in the queue"));

    let one = house.submit("single", "x").await;
    let two = house.submit("single", "y").await;
    let why = house.why(two).await;
    assert_eq!(why.why, format!("behind job {one} (at most 1 of single at once for koji_build)"));
    assert_eq!(why.facts["concurrency"], "at most 1 of single at once for koji_build");
}

#[tokio::test]
async fn a_job_that_is_not_wanted_any_more_says_what_is() {
    let house = House::new().await;
    // Its event was sent before that of the job which came first.
    let columns = format!("{KEY},event_time,expires_at");
    let newer = house.keyed("b", &columns, "foo,cancel-previous,2026-01-01T00:00:10Z,").await;
    let older = house.keyed("a", &columns, "foo,cancel-previous,2026-01-01T00:00:09Z,").await;
    let why = house.why(older).await;
    let says = format!(": a newer job of its key came before it could run; {newer} takes its place");
    assert!(why.why.starts_with("superseded at ") && why.why.ends_with(&says), "{}", why.why);
    assert_eq!(why.facts["successor"], newer.to_string());

    let w = worker("w1", &[]);
    let leases = house.claim(&w, 1, "0s").await;
    let newest = house.keyed("c", &columns, "foo,cancel-previous,2026-01-01T00:00:11Z,").await;
    assert_eq!(house.why(newer).await.why, format!("is being stopped on w1: superseded by job {newest}"));
    house.finish(&w, &leases[0].token, exited(1), json!([{"outcome": "FAILED"}])).await;
    let says = format!(": a newer job of its key came while it ran; {newest} takes its place");
    assert!(house.why(newer).await.why.ends_with(&says));
    // A refused row says what it lacks.
    let log = format!("item,item_type,task,{KEY}\nx,koji_build,noop,,serial\n");
    let answer: Value = house.csv("/api/v1/jobs", &log).await.json();
    assert_eq!(answer["rows"][0]["reason"], "its supersede policy has no key");

    let late = house.keyed("d", &columns, ",,,2026-01-01T00:00:00Z").await;
    house.app().store.expire(&|_| unreachable!("nothing runs")).await.unwrap();
    let why = house.why(late).await;
    assert!(why.why.starts_with("expired at ") && why.why.ends_with(": its time had passed before it could run"));
    assert_eq!(why.facts["expires_at"], "2026-01-01T00:00:00Z");
}

#[tokio::test]
async fn a_job_that_waits_for_quiet_says_until_when() {
    let house = House::new().await;
    let records = [(1, "05"), (2, "04"), (3, "06")].map(|(seq, second)| {
        let mut record = record(seq, "noop");
        record["event"]["sent_at"] = format!("2026-01-02T03:04:{second}Z").into();
        record["jobs"][0]["supersede"] = json!({"key": "foo", "policy": "keep-latest-queued", "quiet": "30s"});
        record
    });
    let ids = records.clone().map(|record| record["jobs"][0]["key"].as_str().unwrap().parse::<JobId>().unwrap());
    let reply = house.post(model::Role::Trigger, "/api/v1/intake", batch(records.to_vec())).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let why = house.why(ids[2]).await.why;
    assert!(
        why.starts_with("quiet until ") && why.ends_with(" (keep-latest-queued on foo: unless another comes)"),
        "{why}"
    );
    for job in &ids[..2] {
        assert!(house.why(*job).await.why.ends_with(&format!("; {} takes its place", ids[2])));
    }
    assert_eq!(house.status().await.jobs.superseded, 2);
}
