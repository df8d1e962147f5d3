//! A worker that comes under another's name is told whose it is.

use axum::http::StatusCode;
use model::lease::Worker;
use model::{Role, Span};
use serde_json::json;

use super::house::{House, worker};

#[tokio::test]
async fn a_second_worker_of_a_name_is_refused_in_words_until_the_first_is_gone() {
    let house = House::new().await;
    let owner = worker("w1", &[]);
    house.claim(&owner, 1, "0s").await;
    let other = Worker { identity: Some(net::clock::uuid()), ..worker("w1", &[]) };
    let claim = json!({"worker": other, "claim": net::clock::uuid(), "slots": 1, "wait": "30s"});
    let reply = house.post(Role::Worker, "/api/v1/claim", claim.clone()).await;
    assert_eq!(reply.status, StatusCode::CONFLICT);
    let detail = reply.detail();
    let begin = format!("another worker is called w1: incarnation {} on qa01, last seen at ", owner.incarnation);
    assert!(detail.starts_with(&begin), "{detail}");
    let end =
        "Give this one another `name` in [worker], or stop the other: its name is free when it was not seen for 1m";
    assert!(detail.ends_with(end), "{detail}");

    house.advance(Span::seconds(61));
    house.submit("noop", "foo-1-1").await;
    assert_eq!(house.post(Role::Worker, "/api/v1/claim", claim).await.status, StatusCode::OK);
}
