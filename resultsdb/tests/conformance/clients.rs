//! Section 17 of the contract: the requests that the clients send, as they send them, and what they read of the answers.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use crate::server::{Answer, Server};

crate::on_both_engines!(
    greenwave_decides_by_the_newest_of_each_scenario,
    waiverdb_reads_a_result_by_its_id,
    resultsdb_updater_finds_its_group_and_posts_into_it,
    bodhi_shows_the_newest_of_an_items_testcases,
    avocado_posts_into_a_group_of_its_own,
    the_frontend_walks_from_page_to_page,
);

/// A GET with `Content-Type`, as greenwave's and waiverdb's sessions have it for everything.
async fn get(server: &Server, target: &str) -> Answer {
    let request = Request::get(format!("/api/v2.0{target}")).header(header::HOST, "h");
    server.send(request.header(header::CONTENT_TYPE, "application/json").body(Body::empty()).unwrap()).await
}

fn result(testcase: &str, outcome: &str, day: u32, data: Value) -> Value {
    json!({"testcase": testcase, "outcome": outcome, "submit_time": format!("2021-03-{day:02}T10:00:00.5"),
           "ref_url": format!("https://r/{day}"), "data": data})
}

/// What greenwave makes of the answer: id, testcase, outcome, and the first value of each key.
fn verdicts(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let first = |result: &Value, key: &str| result["data"][key][0].as_str().unwrap_or("-").to_owned();
    let of = |result: &Value| {
        format!(
            "{} {} {}",
            result["testcase"]["name"].as_str().unwrap(),
            result["outcome"].as_str().unwrap(),
            first(result, "scenario")
        )
    };
    answer.json()["data"].as_array().unwrap().iter().map(of).collect()
}

async fn greenwave_decides_by_the_newest_of_each_scenario(server: Server) {
    let data = |scenario: &str, kind: &str| {
        let mut data = json!({"item": ["glibc-1.0-1.fc34"], "type": kind, "system_architecture": "x86_64"});
        if !scenario.is_empty() {
            data["scenario"] = json!(scenario);
        }
        data
    };
    for (testcase, outcome, day, data) in [
        ("dist.depcheck", "FAILED", 1, data("bios", "koji_build")),
        ("dist.depcheck", "PASSED", 2, data("bios", "koji_build")),
        ("dist.depcheck", "FAILED", 3, data("uefi", "koji_build")),
        ("dist.depcheck", "INFO", 4, data("", "bodhi_update")),
        ("dist.rpmlint", "NEEDS_INSPECTION", 5, data("bios", "koji_build")),
        ("dist.rpmlint", "QUEUED", 6, data("uefi", "koji_build")),
    ] {
        server.add(result(testcase, outcome, day, data)).await;
    }
    server.add(result("dist.depcheck", "FAILED", 9, json!({"item": "other-1-1", "type": "koji_build"}))).await;
    const DISTINCT: &str = "_distinct_on=scenario%2Csystem_architecture%2Csystem_variant";
    let all = [
        "dist.rpmlint QUEUED uefi",
        "dist.rpmlint NEEDS_INSPECTION bios",
        "dist.depcheck INFO -",
        "dist.depcheck FAILED uefi",
        "dist.depcheck PASSED bios",
    ];
    for (more, want) in [
        ("type=koji_build%2Cbodhi_update", &all[..]),
        ("type=koji_build", &[all[0], all[1], all[3], all[4]][..]),
        ("type=koji_build&testcases=dist.rpmlint", &all[..2]),
        (
            "type=koji_build&testcases=dist.rpmlint%2Cdist.depcheck&since=1900-01-01T00%3A00%3A00.000000%2C2021-03-02T12%3A00%3A00",
            &all[4..],
        ),
        (
            "type=koji_build&since=1900-01-01T00%3A00%3A00.000000%2C2021-03-01T12%3A00%3A00.000000",
            &["dist.depcheck FAILED bios"][..],
        ),
        ("type=brew-build", &[][..]),
    ] {
        let answer = get(&server, &format!("/results/latest?{DISTINCT}&item=glibc-1.0-1.fc34&{more}")).await;
        assert_eq!(verdicts(&answer), want, "{more}");
    }
    let newest = &get(&server, &format!("/results/latest?{DISTINCT}&item=glibc-1.0-1.fc34&type=koji_build"))
        .await
        .json()["data"][0];
    assert_eq!(
        (&newest["submit_time"], &newest["ref_url"]),
        (&json!("2021-03-06T10:00:00.500000"), &json!("https://r/6"))
    );
    assert!(newest["id"].is_i64());
}

async fn waiverdb_reads_a_result_by_its_id(server: Server) {
    let data = json!({"item": "glibc-1.0-1.fc34", "original_spec_nvr": "glibc-1.0-1.fc34", "type": "koji_build", "scenario": "s"});
    let made = server.add(result("dist.depcheck", "FAILED", 1, data)).await;
    let read = get(&server, &format!("/results/{}", made["id"])).await;
    assert_eq!(read.status, 200);
    let read = read.json();
    for (key, want) in [
        ("original_spec_nvr", "glibc-1.0-1.fc34"),
        ("type", "koji_build"),
        ("item", "glibc-1.0-1.fc34"),
        ("scenario", "s"),
    ] {
        assert_eq!(read["data"][key][0], want);
    }
    assert_eq!(read["testcase"]["name"], "dist.depcheck");
    assert_eq!(get(&server, "/results/99999").await.status, 404);
}

async fn resultsdb_updater_finds_its_group_and_posts_into_it(server: Server) {
    const URL: &str = "https://ci.example.org/job/a/1/console";
    let find = || get(&server, "/groups?description=https://ci.example.org/job/a/1/console");
    assert_eq!(find().await.json()["data"], json!([]));
    // The name and password of Basic are for a proxy, or hold a token; an open store lets them be.
    let post = async |body: Value| {
        let request = Request::post("/api/v2.0/results")
            .header(header::HOST, "h")
            .header(header::AUTHORIZATION, "Basic dXNlcjpwdw==");
        let request =
            request.header(header::CONTENT_TYPE, "application/json").header("user-agent", "resultsdb-updater");
        server.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let body = |group: Value| {
        json!({"testcase": {"name": "osci.brew-build.tier0.functional", "ref_url": "https://docs"}, "groups": [group],
            "outcome": "PASSED", "ref_url": URL, "note": "",
            "data": {"item": "glibc-1.0-1.fc34", "type": "brew-build_scratch", "scratch": true, "brew_task_id": 123, "rebuild": null,
                     "ci_irc": "#osci", "system_provider": "beaker", "recipients": ["a", "b"]}})
    };
    let first =
        post(body(json!({"uuid": "8a0c3a8c-9f6e-4d0b-9d5e-3c9a2f1b7e11", "description": URL, "ref_url": URL}))).await;
    assert_eq!(first.status, 201, "{}", first.text);
    let found = find().await.json();
    let group = found["data"][0].clone();
    assert_eq!((&group["description"], &group["uuid"]), (&json!(URL), &json!("8a0c3a8c-9f6e-4d0b-9d5e-3c9a2f1b7e11")));
    // It sends the group back as it was read.
    let second = post(body(group.clone())).await;
    assert_eq!(second.status, 201);
    assert_eq!(second.json()["groups"], first.json()["groups"]);
    let data = &second.json()["data"];
    assert_eq!(
        (&data["scratch"], &data["brew_task_id"], &data["rebuild"]),
        (&json!(["True"]), &json!(["123"]), &json!(["None"]))
    );
    assert_eq!(find().await.json()["data"][0]["results_count"], 2);
    let mut wrong = body(group);
    wrong["data"]["a:b"] = json!("c");
    let refused = post(wrong).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["message"]),
        (400, &json!("Colon not allowed in key name: ['a:b']"))
    );
}

async fn bodhi_shows_the_newest_of_an_items_testcases(server: Server) {
    let data = |arch: &str| json!({"item": "glibc-1.0-1.fc34", "type": "koji_build", "arch": arch});
    server.add(result("dist.depcheck", "FAILED", 1, data("x86_64"))).await;
    let newest = server.add(result("dist.depcheck", "PASSED", 2, data("x86_64"))).await;
    let other = server.add(result("dist.rpmlint.sub", "PASSED", 1, data("noarch"))).await;
    server.add(result("other.test", "PASSED", 3, data("x86_64"))).await;
    let answer = server.get("/results/latest?item=glibc-1.0-1.fc34&type=koji_build&testcases:like=dist.*").await;
    assert_eq!(answer.json()["data"], json!([newest, other]));
    assert_eq!(answer.json().as_object().unwrap().len(), 1, "there is no next page");
}

async fn avocado_posts_into_a_group_of_its_own(server: Server) {
    let group = json!({"uuid": "5f2a0e5e2c7c4f0a8b1d3c4e5f6a7b8c9d0e", "ref_url": "https://logs/job-1", "description": "Avocado job 1", "_auth_token": null});
    assert_eq!(server.post("/groups", group).await.status, 201);
    let test = json!({"outcome": "PASSED", "testcase": "1-tests/boot.py:Boot.test;run-a b", "groups": ["5f2a0e5e2c7c4f0a8b1d3c4e5f6a7b8c9d0e"],
        "note": null, "ref_url": "https://logs/job-1/1", "_auth_token": null,
        "data": {"time_elapsed": "0.25 s", "fail reason": "none", "params of it": "{}", "item": "boot", "logdir": "/var/l"}});
    assert_eq!(server.post("/results", test).await.status, 201);
    let listed = server.get("/results?fail%20reason=none&groups=5f2a0e5e2c7c4f0a8b1d3c4e5f6a7b8c9d0e").await.json();
    assert_eq!(listed["data"][0]["testcase"]["name"], "1-tests/boot.py:Boot.test;run-a b");
    assert_eq!(listed["data"][0]["data"]["time_elapsed"], json!(["0.25 s"]));
}

async fn the_frontend_walks_from_page_to_page(server: Server) {
    for day in 1..=5 {
        server.add(result("dist.rpmlint", "PASSED", day, json!({"item": format!("i-{day}")}))).await;
    }
    let mut link = String::from("/results?testcases:like=dist.*&outcome=PASSED,FAILED&limit=2");
    let mut seen = Vec::new();
    loop {
        let page = server.get(&link).await.json();
        seen.extend(page["data"].as_array().unwrap().iter().map(|r| r["data"]["item"][0].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => link = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["i-5", "i-4", "i-3", "i-2", "i-1"]);
}
