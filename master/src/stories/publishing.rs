//! Results reach the results store: each once, whatever the store says, and whichever store it is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use model::Span;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::house::{House, exited, until, worker};
use crate::outbox::{Courier, Summary};
use crate::store::Act;
use crate::{Contact, Messages, Results};

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
    /// An outcome that it does not know.
    unknown: Arc<Mutex<Option<&'static str>>>,
    /// The most results that it takes at once.
    most: Option<usize>,
    /// It answers no more once it has so many results.
    hangs_at: Option<usize>,
    /// Rings when somebody waits in vain for an answer.
    hangs: Arc<Notify>,
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

    async fn answer_or_hang(&self) {
        let has = self.taken.lock().unwrap().len();
        if self.hangs_at.is_some_and(|at| has >= at) {
            self.hangs.notify_one();
            std::future::pending().await
        }
    }

    async fn batch(State(shelf): State<Shelf>, Json(body): Json<Value>) -> Response {
        shelf.answer_or_hang().await;
        if shelf.most.is_some_and(|most| body["results"].as_array().unwrap().len() > most) {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        }
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
            if shelf.unknown.lock().unwrap().is_some_and(|unknown| result["outcome"] == unknown) {
                return json!({"error": {"message": "outcome is not one of these"}});
            }
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
        shelf.answer_or_hang().await;
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

/// Delivers all that is due; how many.
async fn deliver(courier: &mut Courier, house: &House) -> usize {
    let mut delivered = 0;
    loop {
        let did = courier.tick(house.app()).await.unwrap();
        delivered += did.delivered;
        if did.unavailable || !did.more {
            return delivered;
        }
    }
}

/// So many jobs that are announced.
async fn announced(house: &House, jobs: usize) {
    let rows: String = (0..jobs).map(|n| format!("item-{n},koji_build,gated,\n")).collect();
    house.csv("/api/v1/jobs", &format!("item,item_type,task,arch\n{rows}")).await;
    assert_eq!(house.status().await.outbox, jobs as u64);
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
    assert_eq!(summary, Summary { delivered: 1, refused: 1, ..Summary::default() });
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
    assert_eq!(courier.tick(house.app()).await.unwrap(), Summary { delivered: 1, ..Summary::default() });
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
    assert_eq!(deliver(&mut Courier::default(), &house).await, 2);
    let taken = shelf.taken.lock().unwrap();
    assert_eq!(taken[0]["outcome"], "PASSED");
    assert_eq!(taken[1]["outcome"], "NEEDS_INSPECTION", "a foreign store does not know ERROR");
    assert!(taken.iter().all(|result| result.get("idempotency_key").is_none()));
}

#[tokio::test]
async fn what_a_store_without_batches_took_before_it_hung_is_not_sent_again() {
    let shelf = Shelf { foreign: true, hangs_at: Some(3), ..Shelf::default() };
    let (house, _stop) = house(&shelf).await;
    announced(&house, 10).await;
    let mut courier = Courier::default();
    tokio::select! {
        delivered = deliver(&mut courier, &house) => panic!("{delivered} were delivered"),
        () = shelf.hangs.notified() => {}
    }
    assert_eq!((house.status().await.outbox, shelf.taken.lock().unwrap().len()), (7, 3));
}

#[tokio::test]
async fn a_store_that_hangs_is_told_of() {
    let shelf = Shelf { hangs_at: Some(0), ..Shelf::default() };
    let (house, _stop) = house(&shelf).await;
    announced(&house, 3).await;
    assert!(Courier::within(Duration::from_millis(200)).tick(house.app()).await.unwrap().unavailable);
    let told = house.status().await.stopped_by;
    let wait = "3 results wait: the results store does not take them";
    assert!(told.iter().any(|stop| stop.what == wait), "{told:?}");
}

#[tokio::test]
async fn a_master_that_delivers_no_more_tells_no_more_what_it_saw() {
    let shelf = Shelf::default();
    *shelf.down.lock().unwrap() = true;
    let (url, _stop) = shelf.serve().await;
    let nobody = net::bind(([127, 0, 0, 1], 0).into()).await.unwrap().local_addr().unwrap();
    let house = House::with(|settings| {
        settings.results = Some(Results { url, token_file: None });
        let set = || "set@example.org".to_owned();
        settings.messages = Some(Messages {
            broker: bus::Broker { urls: vec![format!("amqp://{nobody}")], ..bus::Broker::default() },
            contact: Contact { name: set(), team: set(), docs: set(), email: set() },
            ..Messages::default()
        });
    })
    .await;
    let rows = "item,item_type,task,arch\nfoo,koji_build,gated,\n";
    house.csv("/api/v1/jobs", rows).await;
    let stop = CancellationToken::new();
    let duties = tokio::spawn(house.master.duties(stop.clone()));
    let app = house.app();
    let seen = || [app.outbox.trouble().unavailable.is_some(), app.messages.unavailable().is_some()];
    until("both to be seen", async || seen() == [true, true]).await;
    let act = Act {
        actor: "kath".into(),
        action: "site.activate",
        object: "there".into(),
        reason: "this one burns".into(),
        before: Value::Null,
        after: Value::Null,
    };
    app.store.site_activate("there", &act).await.unwrap();
    until("both to be forgotten", async || seen() == [false, false]).await;
    stop.cancel();
    duties.await.unwrap();
}

#[tokio::test]
async fn a_backlog_is_delivered_in_as_large_parts_as_the_store_takes() {
    let shelf = Shelf { most: Some(60), ..Shelf::default() };
    let (house, _stop) = house(&shelf).await;
    announced(&house, 201).await;
    let mut courier = Courier::default();
    assert_eq!(courier.tick(house.app()).await.unwrap(), Summary { more: true, ..Summary::default() });
    assert_eq!(courier.tick(house.app()).await.unwrap(), Summary { more: true, ..Summary::default() });
    let fifty = Summary { delivered: 50, more: true, ..Summary::default() };
    assert_eq!(courier.tick(house.app()).await.unwrap(), fifty, "one batch, and its end is kept");
    assert_eq!(house.status().await.outbox, 151);
    assert_eq!(deliver(&mut courier, &house).await, 151);
    assert_eq!((house.status().await.outbox, shelf.taken.lock().unwrap().len()), (0, 201));
}

/// The outcomes that the store has, in their order: `item OUTCOME`.
fn told(shelf: &Shelf) -> Vec<String> {
    let line = |result: &Value| {
        format!("{} {}", result["data"]["item"][0].as_str().unwrap(), result["outcome"].as_str().unwrap())
    };
    shelf.taken.lock().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn a_gate_can_tell_waiting_from_missing_and_gets_a_last_word() {
    let shelf = Shelf::default();
    let (house, _stop) = house(&shelf).await;
    let (w1, mut courier) = (worker("w1", &[]), Courier::default());
    let mut deliver = async || courier.tick(house.app()).await.unwrap();
    house.submit("noop", "quiet").await;
    assert_eq!(deliver().await, Summary::default(), "whoever does not ask for it says nothing");
    house.run_one(&w1).await;
    house.submit("gated", "foo").await;
    let twice = house.csv("/api/v1/jobs", "item,item_type,task,arch\nfoo,koji_build,gated,\n").await;
    assert!(twice.text().contains("exists"), "{}", twice.text());
    assert_eq!(deliver().await.delivered, 2);
    let leases = house.claim(&w1, 1, "0s").await;
    house.finish(&w1, &leases[0].token, exited(75), json!([])).await;
    let again = house.claim(&w1, 1, "0s").await;
    assert_eq!(again[0].attempt, 2);
    let cases = json!([{"outcome": "PASSED", "testcase": "gated.a"}, {"outcome": "FAILED", "testcase": "gated.b"}]);
    house.finish(&w1, &again[0].token, exited(1), cases).await;
    deliver().await;
    let foo = ["foo QUEUED", "foo RUNNING", "foo PASSED", "foo FAILED", "foo FAILED"];
    assert_eq!(told(&shelf)[1..], foo);
    let (own, group) = (
        |n: usize| shelf.taken.lock().unwrap()[n]["testcase"].clone(),
        |n: usize| shelf.taken.lock().unwrap()[n]["groups"][0]["uuid"].clone(),
    );
    assert_eq!((own(1), own(2), own(5)), ("gated".into(), "gated".into(), "gated".into()));
    assert!((1..6).all(|n| group(n) == json!(leases[0].job)), "all of one job are one group");

    let cancelled = house.submit("gated", "bar").await;
    let path = format!("/api/v1/jobs/{cancelled}/cancel");
    house.post(model::Role::Operator, &path, json!({"reason": "a mistake"})).await;
    deliver().await;
    assert_eq!(told(&shelf)[6..], ["bar QUEUED", "bar ERROR"]);
    assert_eq!(shelf.taken.lock().unwrap()[7]["note"], "did not judge its item: cancelled by the-operator: a mistake");
}

#[tokio::test]
async fn an_announcement_that_the_store_does_not_know_is_dropped_and_holds_nothing_up() {
    let shelf = Shelf::default();
    *shelf.unknown.lock().unwrap() = Some("RUNNING");
    let (house, _stop) = house(&shelf).await;
    house.submit("gated", "foo").await;
    house.run_one(&worker("w1", &[])).await;
    Courier::default().tick(house.app()).await.unwrap();
    assert_eq!(told(&shelf), ["foo QUEUED", "foo PASSED"]);
    let status = house.status().await;
    assert_eq!((status.outbox, status.stopped_by.len()), (0, 0), "{:?}", status.stopped_by);
}

#[tokio::test]
async fn no_infrastructure_end_is_published_as_failed() {
    let shelf = Shelf::default();
    let (house, _stop) = house(&shelf).await;
    let w1 = worker("w1", &[]);
    let ends = [
        json!({"how": "signalled", "signal": 9}),
        json!({"how": "timed_out", "quota": "total"}),
        json!({"how": "lost"}),
        json!({"how": "not_started", "reason": "no disk"}),
        json!({"how": "handed_back"}),
    ];
    for (n, end) in ends.iter().enumerate() {
        house.submit("noop", &format!("item-{n}")).await;
        for _ in 0..12 {
            house.advance(Span::minutes(2));
            house.app().store.promote().await.unwrap();
            for lease in house.claim(&w1, 1, "0s").await {
                // Whatever it claims to have found.
                house.finish(&w1, &lease.token, end.clone(), json!([{"outcome": "FAILED"}])).await;
            }
        }
        let left = house.claim(&w1, 1, "0s").await;
        for lease in &left {
            house.finish(&w1, &lease.token, exited(0), json!([{"outcome": "PASSED"}])).await;
        }
    }
    Courier::default().tick(house.app()).await.unwrap();
    let told = told(&shelf);
    assert_eq!(told, ["item-0 ERROR", "item-1 ERROR", "item-2 ERROR", "item-3 ERROR", "item-4 PASSED"]);
}
