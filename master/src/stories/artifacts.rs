//! What a job leaves comes piece by piece, is given out again as nothing but bytes, and goes when it is too old.

use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::lease::LEASE_TOKEN;
use model::{Role, Span};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::house::{House, Reply, exited, worker};
use crate::retention::Retention;

async fn put(house: &House, token: &str, name: &str, whole: &[u8], offset: usize, bytes: &[u8]) -> Reply {
    let digest = hex::encode(Sha256::digest(whole));
    let path = format!("/api/v1/artifact?name={name}&size={}&sha256={digest}&offset={offset}", whole.len());
    let request = Request::put(path)
        .header(header::AUTHORIZATION, "Bearer worker")
        .header(LEASE_TOKEN, token)
        .body(Body::from(bytes.to_vec()));
    house.send(request.unwrap()).await
}

fn stored(size: usize, stored: bool) -> Value {
    json!({ "size": size, "stored": stored })
}

#[tokio::test]
async fn a_file_comes_in_pieces_and_is_given_out_as_bytes_and_nothing_else() {
    let house = House::new().await;
    let job = house.submit("noop", "foo").await;
    let w1 = worker("w1", &[]);
    let token = house.claim(&w1, 1, "0s").await.remove(0).token;
    let page = b"<script>alert(1)</script>";
    let answers = [
        (0, &page[..0], stored(0, false)),
        (0, &page[..10], stored(10, false)),
        // A hole, a repetition, and the rest with what overlaps it.
        (20, &page[20..], stored(10, false)),
        (0, &page[..10], stored(10, false)),
        (5, &page[5..], stored(25, true)),
        (0, &page[..0], stored(25, true)),
    ];
    for (offset, bytes, want) in answers {
        let reply = put(&house, &token, "web/index.html", page, offset, bytes).await;
        assert_eq!(reply.json::<Value>(), want, "from {offset}");
    }
    assert_eq!(put(&house, &token, "empty", b"", 0, b"").await.json::<Value>(), stored(0, true));
    // The same bytes under another name do not come again.
    assert_eq!(put(&house, &token, "copy", page, 0, b"").await.json::<Value>(), stored(25, true));

    let base = format!("/api/v1/jobs/{job}/artifacts");
    let list: Value = house.get(&base).await.json();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|a| (a["name"].clone(), a["size"].clone())).collect();
    assert_eq!(names, [(json!("copy"), json!(25)), (json!("empty"), json!(0)), (json!("web/index.html"), json!(25))]);
    let file = house.get(&format!("{base}/web/index.html")).await;
    assert_eq!((file.status, &file.body[..]), (StatusCode::OK, &page[..]));
    for (name, value) in [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment; filename*=UTF-8''index.html"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
    ] {
        assert_eq!(file.headers[&name], value, "{name}");
    }
    let part = Request::get(format!("{base}/web/index.html"))
        .header(header::AUTHORIZATION, "Bearer reader")
        .header(header::RANGE, "bytes=1-6");
    let part = house.send(part.body(Body::empty()).unwrap()).await;
    assert_eq!((part.status, part.text().as_str()), (StatusCode::PARTIAL_CONTENT, "script"));
    assert_eq!(part.headers[header::CONTENT_RANGE], "bytes 1-6/25");
    let page = house.get(&format!("/jobs/{job}")).await.text();
    assert!(page.contains("web/index.html?attempt=1\" download>"), "{page}");
    house.finish(&w1, &token, exited(0), json!([{"outcome": "PASSED"}])).await;
}

#[tokio::test]
async fn who_has_logged_in_reads_what_a_job_printed_and_left_from_its_page() {
    let house = House::with(|settings| settings.public_read = false).await;
    let job = house.submit("noop", "foo").await;
    let w1 = worker("w1", &[]);
    let token = house.claim(&w1, 1, "0s").await.remove(0).token;
    put(&house, &token, "out.txt", b"left", 0, b"left").await;
    let report = json!({
        "token": token, "end": exited(0), "ran": "1s", "findings": [{"outcome": "PASSED"}],
        "log_size": 8, "log": {"offset": 0, "bytes": BASE64_STANDARD.encode("printed\n")},
    });
    house.post(Role::Worker, "/api/v1/finish", json!({"worker": w1, "reports": [report]})).await;

    let login = Request::post("/login").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let login = house.send(login.body(Body::from("token=reader")).unwrap()).await;
    let cookie = login.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap();
    let get = async |path: &str, cookie: Option<&str>| {
        let request = Request::get(path);
        let request = cookie.into_iter().fold(request, |request, cookie| request.header(header::COOKIE, cookie));
        house.send(request.body(Body::empty()).unwrap()).await
    };
    let page = get(&format!("/jobs/{job}"), Some(cookie)).await.text();
    for (path, says) in [("log?", "printed\n"), ("log/follow?", "printed\n"), ("artifacts/out.txt?", "left")] {
        let path = format!("/jobs/{job}/{path}attempt=1");
        assert!(page.contains(&format!("\"{path}\"")), "{path}: {page}");
        let read = get(&path, Some(cookie)).await;
        assert_eq!((read.status, read.text().as_str()), (StatusCode::OK, says), "{path}");
        assert_eq!(read.headers[header::CONTENT_SECURITY_POLICY], "sandbox; default-src 'none'", "{path}");
        let asked = get(&path, None).await;
        assert_eq!(asked.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(asked.text().contains("action=\"/login\""), "{path}: {}", asked.text());
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_refused_and_nothing_of_it_stays() {
    let house = House::with(|settings| settings.artifacts.largest = 100).await;
    house.submit("noop", "foo").await;
    let lease = house.claim(&worker("w1", &[]), 1, "0s").await.remove(0);
    for name in ["..%2Fx", "%2Fetc%2Fpasswd", "a%2F..%2Fb", "a%0Ab", ""] {
        let reply = put(&house, &lease.token, name, b"x", 0, b"x").await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{name}: {}", reply.text());
    }
    let large = put(&house, &lease.token, "x", &[0; 101], 0, b"").await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(large.detail(), "101 bytes; the master keeps 100 of one file ([master.artifacts] largest)");
    let changed = put(&house, &lease.token, "x", b"promised", 0, b"and not.").await;
    assert_eq!(changed.status, StatusCode::CONFLICT, "{}", changed.text());
    let longer = put(&house, &lease.token, "x", b"short", 0, b"and not.").await;
    assert_eq!(longer.status, StatusCode::CONFLICT, "{}", longer.text());
    let other = format!("{}0", &lease.token[..lease.token.len() - 1]);
    let gone = if other == lease.token { "x.1.y".to_owned() } else { other };
    assert_eq!(put(&house, &gone, "x", b"x", 0, b"x").await.status, StatusCode::GONE);
    let list: Value = house.get(&format!("/api/v1/jobs/{}/artifacts", lease.job)).await.json();
    assert_eq!(list, json!([]));
    let folder = house.app().settings.data.join("artifacts/incoming");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    // And after all that the right one is taken.
    assert_eq!(put(&house, &lease.token, "x", b"x", 0, b"x").await.json::<Value>(), stored(1, true));
}

/// Everything that lies on the shelf.
fn lying(house: &House) -> usize {
    let folders = std::fs::read_dir(house.app().settings.data.join("artifacts/kept"));
    folders.into_iter().flatten().map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

#[tokio::test]
async fn the_oldest_go_when_there_is_no_room_and_all_when_they_are_old() {
    let house = House::with(|settings| settings.artifacts.space = 25).await;
    let job = house.submit("noop", "foo").await;
    let token = house.claim(&worker("w1", &[]), 1, "0s").await.remove(0).token;
    for n in 0..3 {
        let bytes = [n; 10];
        assert_eq!(put(&house, &token, &format!("{n}"), &bytes, 0, &bytes).await.json::<Value>(), stored(10, true));
        house.advance(Span::seconds(1));
    }
    let mut keeper = Retention::default();
    assert_eq!(keeper.tick(house.app()).await.unwrap().artifacts_removed, 1, "the oldest, and no more than is needed");
    let of = |n: u8| format!("/api/v1/jobs/{job}/artifacts/{n}");
    let gone = house.get(&of(0)).await;
    assert_eq!(gone.status, StatusCode::GONE);
    assert!(gone.detail().starts_with("'0' was removed at "), "{}", gone.text());
    assert_eq!((lying(&house), house.get(&of(1)).await.status), (2, StatusCode::OK));

    put(&house, &token, "new", b"new", 0, b"new").await;
    house.advance(Span::days(31));
    keeper.tick(house.app()).await.unwrap();
    assert_eq!(
        (lying(&house), house.get(&format!("/api/v1/jobs/{job}/artifacts/new")).await.status),
        (0, StatusCode::GONE)
    );
}

#[tokio::test]
async fn a_log_is_compressed_when_its_attempt_has_ended_and_reads_the_same() {
    let house = House::with(|settings| settings.logs.compress_after = Span(Duration::ZERO)).await;
    let job = house.submit("noop", "foo").await;
    let w1 = worker("w1", &[]);
    let token = house.claim(&w1, 1, "0s").await.remove(0).token;
    let line = b"what a job prints, over and over\n";
    let log: Vec<u8> = line.iter().copied().cycle().take(700_000).collect();
    let logs = &house.app().logs;
    logs.append(job, 1, 0, &log).await.unwrap();
    let mut keeper = Retention::default();
    assert_eq!(keeper.tick(house.app()).await.unwrap().logs_rested, 0, "it may still grow");
    let report = json!({"token": token, "end": exited(0), "ran": "1s", "findings": [], "log_size": log.len()});
    house.post(Role::Worker, "/api/v1/finish", json!({"worker": w1, "reports": [report]})).await;
    assert_eq!(keeper.tick(house.app()).await.unwrap().logs_rested, 1);
    let folder = house.app().settings.data.join("logs").join(&job.to_string()[..2]);
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(files.len(), 1);
    assert!(files[0].metadata().unwrap().len() < 10_000);

    let path = format!("/api/v1/jobs/{job}/log");
    assert!(house.get(&path).await.body == log);
    let part =
        Request::get(&path).header(header::AUTHORIZATION, "Bearer reader").header(header::RANGE, "bytes=262140-262149");
    let part = house.send(part.body(Body::empty()).unwrap()).await;
    assert_eq!(&part.body[..], &log[262_140..262_150]);
    let follow = house.get(&format!("{path}/follow?from=699990&wait=9s")).await;
    assert_eq!((&follow.body[..], &follow.headers["log-more"]), (&log[699_990..], &"false".parse().unwrap()));
    // A repeated piece changes nothing.
    assert_eq!(logs.append(job, 1, 0, &log[..9]).await.unwrap(), 700_000);
    assert!(house.get(&format!("/jobs/{job}")).await.text().contains("what a job prints"));

    // A crash between the two steps leaves both, and one moment later only a draft is there: the next time mends it.
    let plain = folder.join(format!("{job}.1.log"));
    std::fs::write(&plain, &log).unwrap();
    std::fs::write(folder.join(format!("{job}.1.log.zst.x.draft")), &log[..9]).unwrap();
    assert!(house.get(&path).await.body == log);
    assert_eq!(keeper.tick(house.app()).await.unwrap().logs_rested, 1);
    assert!(!plain.exists() && house.get(&path).await.body == log);

    // Long ago.
    let rested = std::fs::File::options().write(true).open(plain.with_extension("log.zst")).unwrap();
    rested.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    assert_eq!(keeper.tick(house.app()).await.unwrap().logs_removed, 1);
    let gone = house.get(&path).await;
    assert_eq!(gone.status, StatusCode::GONE);
    let want = "its 700000 bytes are not here any more: logs are kept for 180d ([master.logs] keep)";
    assert_eq!(gone.detail(), want);
}
