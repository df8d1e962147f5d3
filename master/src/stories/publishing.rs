//! Results reach the results store: each once, whatever the store says, and whichever store it is.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use model::Span;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::house::{House, exited, worker};
use crate::Results;
use crate::outbox::{Courier, Summary};

/// A results store that does as it is told.
#[derive(Clone, Default)]
struct Shelf {
    taken: Arc<Mutex<Vec<Value>>>,
    /// The items whose results it refuses.
    refuses: Arc<Mutex<Vec<String>>>,
    /// The item over which it stumbles, whatever else is in the batch.
    stumbles: Arc<Mutex<Option<&'static str>>>,
    down: Arc<Mutex<bool>>,
    foreign: bool,
}

impl Shelf {
    /// Its address, and what stops it.
    async fn serve(&self) -> (url::Url, CancellationToken) {
        let listener = net::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let mut router = Router::new().route("/api/v2.0/results", post(Shelf::one));
        if !self.foreign {
            router = router.route("/api/v2.0/batch", post(Shelf::batch));
        }
        let stop = CancellationToken::new();
        tokio::spawn(net::serve(listener, router.with_state(self.clone()), stop.clone()));
        (url, stop)
    }

    async fn batch(State(shelf): State<Shelf>, Json(body): Json<Value>) -> Response {
        if *shelf.down.lock().unwrap() {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let item_of = |result: &Value| result["data"]["item"][0].as_str().unwrap().to_owned();
        let bad = *shelf.stumbles.lock().unwrap();
        if body["results"].as_array().unwrap().iter().any(|result| Some(item_of(result).as_str()) == bad) {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let answer = |result: &Value| {
            let item = item_of(result);
            if shelf.refuses.lock().unwrap().contains(&item) {
                return json!({"error": {"message": "no such item"}});
            }
            shelf.taken.lock().unwrap().push(result.clone());
            json!({"id": 1, "created": true})
        };
        Json(json!({"answers": body["results"].as_array().unwrap().iter().map(answer).collect::<Vec<_>>()}))
            .into_response()
    }

    async fn one(State(shelf): State<Shelf>, Json(body): Json<Value>) -> Response {
        if body["outcome"] == "ERROR" {
            return (StatusCode::BAD_REQUEST, "outcome is not one of these").into_response();
        }
        shelf.taken.lock().unwrap().push(body);
        (StatusCode::CREATED, Json(json!({"id": 1}))).into_response()
    }
}

async fn house(shelf: &Shelf) -> (House, CancellationToken) {
    let (url, stop) = shelf.serve().await;
    (House::with(|settings| settings.results = Some(Results { url, token_file: None })).await, stop)
}

#[tokio::test]
async fn what_the_store_refuses_is_kept_and_shown_and_the_rest_goes_through() {
    let shelf = Shelf::default();
    let (house, _stop) = house(&shelf).await;
    let w1 = worker("w1", &[]);
    for item in ["good", "bad"] {
        house.submit("noop", item).await;
        house.run_one(&w1).await;
    }
    shelf.refuses.lock().unwrap().push("bad".into());
    let mut courier = Courier::default();
    let summary = courier.tick(house.app()).await.unwrap();
    assert_eq!(summary, Summary { delivered: 1, refused: 1, unavailable: false });
    let status = house.status().await;
    assert_eq!(status.outbox, 1);
    assert_eq!(status.stopped_by[0].reason.as_deref(), Some("no such item"));
    assert_eq!(courier.tick(house.app()).await.unwrap(), Summary::default(), "it rests for a while");

    shelf.refuses.lock().unwrap().clear();
    house.advance(Span::minutes(3));
    assert_eq!(courier.tick(house.app()).await.unwrap().delivered, 1);
    let status = house.status().await;
    assert_eq!((status.outbox, status.stopped_by.len()), (0, 0), "{:?}", status.stopped_by);
    assert_eq!(shelf.taken.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn while_the_store_is_away_everything_waits_and_says_why() {
    let shelf = Shelf::default();
    let (house, _stop) = house(&shelf).await;
    house.submit("noop", "foo").await;
    house.run_one(&worker("w1", &[])).await;
    *shelf.down.lock().unwrap() = true;
    let mut courier = Courier::default();
    assert!(courier.tick(house.app()).await.unwrap().unavailable);
    let status = house.status().await;
    assert_eq!(status.stopped_by[0].what, "1 results wait: the results store does not take them");
    *shelf.down.lock().unwrap() = false;
    assert_eq!(courier.tick(house.app()).await.unwrap().delivered, 1);
    assert!(house.status().await.stopped_by.is_empty());
}

#[tokio::test]
async fn a_result_over_which_the_store_stumbles_does_not_hold_up_the_others() {
    let shelf = Shelf::default();
    let (house, _stop) = house(&shelf).await;
    let w1 = worker("w1", &[]);
    for item in ["a", "bad", "b", "c"] {
        house.submit("noop", item).await;
        house.run_one(&w1).await;
    }
    let mut courier = Courier::default();
    *shelf.down.lock().unwrap() = true;
    for _ in 0..20 {
        assert!(courier.tick(house.app()).await.unwrap().unavailable);
    }
    assert!(house.app().store.outbox_error().await.unwrap().is_none(), "while it is away nothing is postponed");
    *shelf.stumbles.lock().unwrap() = Some("bad");
    *shelf.down.lock().unwrap() = false;
    let mut delivered = 0;
    for _ in 0..20 {
        delivered += courier.tick(house.app()).await.unwrap().delivered;
    }
    assert_eq!((delivered, house.status().await.outbox), (3, 1));
    let (tries, error) = house.app().store.outbox_error().await.unwrap().unwrap();
    assert!(tries == 1 && error.starts_with("it fails while others are taken: "), "{tries} {error}");
    *shelf.stumbles.lock().unwrap() = None;
    house.advance(Span::minutes(3));
    assert_eq!(courier.tick(house.app()).await.unwrap(), Summary { delivered: 1, refused: 0, unavailable: false });
}

#[tokio::test]
async fn a_store_without_batches_gets_one_result_at_a_time_in_words_it_knows() {
    let shelf = Shelf { foreign: true, ..Shelf::default() };
    let (house, _stop) = house(&shelf).await;
    let w1 = worker("w1", &[]);
    house.submit("noop", "foo").await;
    house.run_one(&w1).await;
    house.submit("noop", "bar").await;
    let leases = house.claim(&w1, 1, "0s").await;
    house.finish(&w1, &leases[0].token, exited(0), json!([])).await;
    assert_eq!(Courier::default().tick(house.app()).await.unwrap().delivered, 2);
    let taken = shelf.taken.lock().unwrap();
    assert_eq!(taken[0]["outcome"], "PASSED");
    assert_eq!(taken[1]["outcome"], "NEEDS_INSPECTION", "a foreign store does not know ERROR");
    assert!(taken.iter().all(|result| result.get("idempotency_key").is_none()));
}
