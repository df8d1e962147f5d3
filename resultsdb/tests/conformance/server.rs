//! A results store in the test's own process, on a database of its own.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use db::sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};
use model::Role;
use net::{Grant, Secret, Tokens};
use resultsdb::{Settings, Store, WriteAccess};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub const BASE: &str = "http://h/api/v2.0";

pub struct Server {
    pub router: Router,
    pub store: Store,
    pub url: String,
    _folder: Option<tempfile::TempDir>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("no JSON ({e}): {} {}", self.status, self.text))
    }

    /// The ids of a listing.
    pub fn ids(&self) -> Vec<i64> {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()["data"].as_array().unwrap().iter().map(|r| r["id"].as_i64().unwrap()).collect()
    }

    /// A member of each element of a listing.
    pub fn column(&self, name: &str) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()["data"].as_array().unwrap().iter().map(|r| r[name].as_str().unwrap().to_owned()).collect()
    }
}

impl Server {
    pub async fn postgres() -> Server {
        let admin = std::env::var("TASKOTRON_TEST_POSTGRES")
            .expect("TASKOTRON_TEST_POSTGRES names no PostgreSQL to test with: run ./test");
        let name = format!("resultsdb_{}", net::clock::uuid().simple());
        let mut connection = PgConnection::connect(&admin).await.unwrap();
        connection.execute(db::sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let (server, _) = admin.rsplit_once('/').unwrap();
        Server::open(format!("{server}/{name}"), None).await
    }

    pub async fn sqlite() -> Server {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("results.db").display());
        Server::open(url, Some(folder)).await
    }

    async fn open(url: String, folder: Option<tempfile::TempDir>) -> Server {
        let store = Store::open(&url).await.unwrap();
        let router = Server::router(&store, WriteAccess::Open, true);
        Server { router, store, url, _folder: folder }
    }

    /// Another router over the same store.
    pub fn router(store: &Store, write_access: WriteAccess, public_read: bool) -> Router {
        Server::router_of(store, &Settings { write_access, ..Settings::default() }, public_read)
    }

    /// Another router over the same store, with these settings.
    pub fn router_of(store: &Store, settings: &Settings, public_read: bool) -> Router {
        let grant = |role| Grant { name: "t".into(), role, expires: None };
        let tokens = [(Secret::new("submit"), grant(Role::Submitter)), (Secret::new("read"), grant(Role::Reader))];
        resultsdb::behind_proxy(resultsdb::router(store.clone(), settings, &Tokens::fixed(tokens, public_read)))
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        send(self.router.clone(), request).await
    }

    /// GET of a path below the API's base, or of a whole link.
    pub async fn get(&self, path: &str) -> Answer {
        let uri = path.strip_prefix("http://h").map_or_else(|| format!("/api/v2.0{path}"), String::from);
        self.send(Request::get(uri).header("host", "h").body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(posting(path, &body.to_string())).await
    }

    /// Posts a result that must be taken.
    pub async fn add(&self, body: Value) -> Value {
        let answer = self.post("/results", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()
    }

    /// Posts a result of these data that must be taken, for its id.
    pub async fn add_data(&self, testcase: &str, data: Value) -> i64 {
        self.add(json!({"outcome": "PASSED", "testcase": testcase, "data": data})).await["id"].as_i64().unwrap()
    }

    /// Posts a result at a second of 2020-01-01, for its id.
    pub async fn add_at(&self, testcase: &str, outcome: &str, second: u32) -> i64 {
        let time = format!("2020-01-01T00:{:02}:{:02}.0", second / 60, second % 60);
        let body = json!({"outcome": outcome, "testcase": testcase, "submit_time": time});
        self.add(body).await["id"].as_i64().unwrap()
    }

    /// Says a statement to the database behind the store's back.
    pub async fn execute(&self, text: &'static str) {
        if self.url.starts_with("sqlite:") {
            SqliteConnection::connect(&self.url).await.unwrap().execute(text).await.unwrap();
        } else {
            PgConnection::connect(&self.url).await.unwrap().execute(text).await.unwrap();
        }
    }

    pub async fn ids(&self, path: &str) -> Vec<i64> {
        self.get(path).await.ids()
    }
}

pub fn posting(path: &str, body: &str) -> Request<Body> {
    let request = Request::post(format!("/api/v2.0{path}")).header("host", "h");
    request.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap()
}

pub fn asking(method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).header("host", "h").body(Body::empty()).unwrap()
}

pub async fn send(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}
