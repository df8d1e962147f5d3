//! What readers are told, and what is wrong with what they ask.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use model::Role;
use model::operator::{JobSummary, Page, Why};
use serde_json::{Value, json};

use super::house::{House, worker};

#[tokio::test]
async fn the_status_has_the_names_that_scripts_rely_on() {
    let house = House::new().await;
    let status: Value = house.get("/api/v1/status").await.json();
    insta::assert_snapshot!(status, @r#"{"divergences":{"decided":0,"unseen":0},"generation":1,"intake":{"forwarded":0,"quarantined":0,"recorded":0},"jobs":{"cancelled":0,"expired":0,"finished":0,"queued":0,"running":0,"superseded":0,"waiting":0},"messages":0,"mode":"active","outbox":0,"site":"main","stopped_by":[],"warnings":[],"workers":{"busy":0,"drained":0,"draining":0,"lost":0,"masked":0,"quarantined":0,"ready":0}}"#);
    house.submit("noop", "foo").await;
    let status = house.status().await;
    assert_eq!(status.stopped_by[0].what, "no worker is connected, and 1 jobs are queued");
}

#[tokio::test]
async fn a_listing_is_filtered_and_goes_on_where_it_ended() {
    let house = House::new().await;
    for n in 0..5 {
        house.submit("noop", &format!("foo-{n}")).await;
    }
    house.submit("rpmlint", "bar").await;
    let first: Page<JobSummary> = house.get("/api/v1/jobs?task=noop&limit=3&state=queued,running").await.json();
    assert_eq!(first.items.iter().map(|job| job.item.as_str()).collect::<Vec<_>>(), ["foo-4", "foo-3", "foo-2"]);
    let rest = format!("/api/v1/jobs?task=noop&limit=3&cursor={}", first.next.unwrap());
    let second: Page<JobSummary> = house.get(&rest).await.json();
    assert_eq!((second.items.len(), second.next), (2, None));

    for (query, says) in [
        ("colour=red", "unknown field `colour`"),
        ("state=done", "unknown state 'done'"),
        ("outcome=MAYBE", "unknown outcome 'MAYBE'"),
        ("cursor=x", "cursor 'x'"),
        ("limit=0", "limit is 1 to 1000"),
    ] {
        let reply = house.get(&format!("/api/v1/jobs?{query}")).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(reply.detail().contains(says), "{query}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_waiting_job_says_what_it_needs() {
    let house = House::new().await;
    let log = "item,item_type,task,arch\nfoo,koji_build,rpmlint,s390x\n";
    let answer: Value = house.csv("/api/v1/jobs", log).await.json();
    let job = answer["rows"][0]["job"].as_str().unwrap();
    let why = async || house.get(&format!("/api/v1/why/job/{job}")).await.json::<Why>().why;
    assert_eq!(why().await, "no worker is connected");
    assert!(house.claim(&worker("w1", &["arch:x86_64"]), 1, "0s").await.is_empty());
    assert_eq!(why().await, "needs arch:s390x; no connected worker offers it");
    // The beginning of an id is enough.
    assert_eq!(house.get(&format!("/api/v1/jobs/{}", &job[..8])).await.json::<Value>()["id"], job);
}

#[tokio::test]
async fn whatever_is_wrong_is_told_as_a_problem() {
    let house = House::new().await;
    assert_eq!(house.get("/api/v1/nonsense").await.status, StatusCode::NOT_FOUND);
    assert!(house.get("/api/v1/nonsense").await.detail().contains("openapi.json"));
    assert!(house.get("/api/v1/jobs/6f1d1c1e-8f0a-5b7e-9d5c-2f6f0e2b7a11").await.detail().contains("there is no job"));
    let wrong = house.call(Some(Role::Reader), Method::DELETE, "/api/v1/status", None).await;
    assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED);
    wrong.detail();
    let request = Request::post("/api/v1/claim")
        .header(header::AUTHORIZATION, "Bearer worker")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from("{\"worker\": "));
    let broken = house.send(request.unwrap()).await;
    assert_eq!(broken.status, StatusCode::BAD_REQUEST);
    broken.detail();
    let large = json!({"reason": "x".repeat(2 << 20)});
    let large = house.post(Role::Operator, "/api/v1/idle", large).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    large.detail();
}

#[tokio::test]
async fn the_api_describes_itself_and_its_numbers_can_be_read() {
    let house = House::new().await;
    house.submit("noop", "foo").await;
    house.run_one(&worker("w1", &[])).await;
    let description: Value = house.get("/api/v1/openapi.json").await.json();
    for path in ["/api/v1/status", "/api/v1/claim", "/api/v1/jobs", "/api/v1/jobs/{job}/log", "/api/v1/intake"] {
        assert!(description["paths"][path].is_object(), "{path}");
    }
    assert!(description["paths"]["/api/v1/jobs"]["post"].is_object());
    let metrics = house.get("/metrics").await.text();
    for line in ["taskotron_jobs{state=\"finished\"} 1", "taskotron_leases_granted_total 1", "taskotron_outbox 1"] {
        assert!(metrics.contains(line), "{line} is missing: {metrics}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(house.call(None, Method::GET, path, None).await.status, StatusCode::OK, "{path}");
    }
}
