//! Section 15 of the contract: API v3.

use axum::body::Body;
use axum::http::{Method, Request, header};
use model::Role;
use net::{Grant, Secret, Tokens};
use resultsdb::{Settings, WriteAccess};
use serde_json::{Value, json};

use crate::server::{Answer, BASE, Server, asking, send};

crate::on_both_engines!(
    each_kind_is_stored_as_its_data,
    a_compose_has_two_items,
    what_is_wrong_is_said_all_at_once,
    a_token_and_a_permission_are_asked_for,
    a_testcase_keeps_its_link,
    a_key_makes_a_repetition_harmless,
    schemas_permissions_and_documentation_are_there_to_read,
);

async fn ask(server: &Server, settings: &Settings, request: Request<Body>) -> Answer {
    let grant = |name: &str, role| Grant { name: name.into(), role, expires: None };
    let tokens = [
        (Secret::new("rpm"), grant("rpm-ci", Role::Submitter)),
        (Secret::new("other"), grant("other-ci", Role::Submitter)),
        (Secret::new("read"), grant("somebody", Role::Reader)),
    ];
    send(resultsdb::router(server.store.clone(), settings, &Tokens::fixed(tokens, true)), request).await
}

fn posting(kind: &str, token: &str, body: &Value) -> Request<Body> {
    let mut request = Request::post(format!("/api/v3/results/{kind}s")).header(header::HOST, "h");
    if !token.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap()
}

async fn post(server: &Server, kind: &str, body: &Value) -> Answer {
    ask(server, &Settings::default(), posting(kind, "rpm", body)).await
}

/// What every kind asks for, and `more`; a null takes a member out.
fn body(more: Value) -> Value {
    let mut body = json!({"outcome": "PASSED", "testcase": "dist.rpmlint", "ci_name": "CI", "ci_team": "QA",
        "ci_docs": "https://ci.example.org/docs", "ci_email": "ci@example.org"});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn each_kind_is_stored_as_its_data(server: Server) {
    let common = json!({"ci_name": ["CI"], "ci_team": ["QA"], "ci_docs": ["https://ci.example.org/docs"],
        "ci_email": ["ci@example.org"], "username": ["rpm-ci"]});
    let image = json!({"item": "img-1-1", "id": "sha256:1", "issuer": "jdoe", "component": "img",
        "full_names": ["r/a:1", "r/a:2"], "brew_build_id": "17", "tag": "1", "namespace": null});
    for (kind, more, data) in [
        (
            "brew-build",
            json!({"item": "glibc-1-1", "brew_task_id": 5}),
            json!({"item": ["glibc-1-1"], "brew_task_id": ["5"]}),
        ),
        ("redhat-module", json!({"item": "m-1-1", "scenario": "s"}), json!({"item": ["m-1-1"], "scenario": ["s"]})),
        (
            "redhat-container-image",
            image,
            json!({"item": ["img-1-1"], "id": ["sha256:1"], "issuer": ["jdoe"],
            "component": ["img"], "full_names": ["r/a:1", "r/a:2"], "brew_build_id": ["17"], "tag": ["1"]}),
        ),
    ] {
        let mut want = common.clone();
        want["type"] = json!([kind]);
        for (name, value) in data.as_object().unwrap() {
            want[name] = value.clone();
        }
        let made = post(&server, kind, &body(more)).await;
        assert_eq!(made.status, 201, "{kind} {}", made.text);
        let made = made.json();
        assert_eq!(made["data"], want, "{kind}");
        assert_eq!((&made["groups"], &made["note"], &made["ref_url"]), (&json!([]), &Value::Null, &Value::Null));
        assert_eq!(server.get(&format!("/results/{}", made["id"])).await.json(), made);
        assert_eq!(made["href"], format!("{BASE}/results/{}", made["id"]));
    }
    let full = json!({"item": "x-1-1", "brew_task_id": 5, "scratch": true, "note": "n", "ref_url": "https://r",
        "testcase_ref_url": "https://t", "log": "https://l/1", "_other": 1, "type": "mine", "username": "mine",
        "submit_time": 5, "groups": ["g"]});
    let made = post(&server, "brew-build", &body(full)).await.json();
    assert_eq!(
        (&made["data"]["type"], &made["data"]["username"]),
        (&json!(["brew-build_scratch"]), &json!(["rpm-ci"]))
    );
    assert_eq!((&made["note"], &made["ref_url"]), (&json!("n"), &json!("https://r")));
    assert_eq!((&made["testcase"]["ref_url"], &made["groups"]), (&json!("https://t"), &json!([])));
    assert_eq!(made["data"]["log"], json!(["https://l/1"]));
    for gone in ["scratch", "note", "ref_url", "testcase_ref_url", "_other"] {
        assert_eq!(made["data"].get(gone), None, "{gone}");
    }
}

async fn a_compose_has_two_items(server: Server) {
    for (more, item) in [
        (json!({}), "C-1/unknown/"),
        (json!({"system_variant": "Server", "system_architecture": "x86_64"}), "C-1/Server/x86_64"),
    ] {
        let mut more = more;
        more["id"] = json!("C-1");
        let made = post(&server, "productmd-compose", &body(more)).await.json();
        assert_eq!(made["data"]["item"], json!([item, "C-1"]));
        assert_eq!((made["data"].get("id"), &made["data"]["type"]), (None, &json!(["productmd-compose"])));
    }
}

async fn what_is_wrong_is_said_all_at_once(server: Server) {
    let good = json!({"item": "x-1-1", "brew_task_id": 5});
    let faulty = |more: Value| {
        let mut all = good.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body(all)
    };
    let answer = post(&server, "brew-build", &json!({"outcome": "passed", "ci_docs": "nowhere"})).await;
    assert_eq!(answer.status, 400);
    let said = answer.json();
    let mut said: Vec<String> = said["validation_error"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| format!("{} {}", fault["loc"][0].as_str().unwrap(), fault["type"].as_str().unwrap()))
        .collect();
    said.sort();
    assert_eq!(
        said,
        [
            "brew_task_id missing",
            "ci_docs url_parsing",
            "ci_email missing",
            "ci_name missing",
            "ci_team missing",
            "item missing",
            "outcome value_error",
            "testcase missing"
        ]
    );
    for (more, loc, kind) in [
        (json!({"outcome": "GOOD"}), "outcome", "value_error"),
        (json!({"testcase": ""}), "testcase", "string_too_short"),
        (json!({"item": ""}), "item", "string_too_short"),
        (json!({"item": null}), "item", "string_type"),
        (json!({"ci_team": 5}), "ci_team", "string_type"),
        (json!({"ci_email": "nobody"}), "ci_email", "value_error"),
        (json!({"brew_task_id": "x"}), "brew_task_id", "int_parsing"),
        (json!({"scratch": "perhaps"}), "scratch", "bool_parsing"),
        (json!({"ref_url": "ftp://x"}), "ref_url", "url_parsing"),
        (json!({"note": "x".repeat(8193)}), "note", "string_too_long"),
        (json!({"note": "a\u{0}b"}), "note", "value_error"),
        (json!({"error_reason": "it broke"}), "error_reason", "value_error"),
        (json!({"issue_url": "https://i"}), "issue_url", "value_error"),
    ] {
        let answer = post(&server, "brew-build", &faulty(more.clone())).await;
        assert_eq!(answer.status, 400, "{more}");
        let fault = &answer.json()["validation_error"][0];
        assert_eq!((&fault["loc"], &fault["type"]), (&json!([loc]), &json!(kind)), "{more}");
    }
    assert!(server.ids("/results").await.is_empty());
    for good in [
        json!({"outcome": "ERROR", "error_reason": "it broke", "issue_url": "https://i"}),
        json!({"outcome": "QUEUED"}),
        json!({"outcome": "RUNNING", "error_reason": null}),
        json!({"note": "x".repeat(8192), "brew_task_id": "7", "scratch": "no"}),
    ] {
        let answer = post(&server, "brew-build", &faulty(good.clone())).await;
        assert_eq!(answer.status, 201, "{good} {}", answer.text);
    }
    assert_eq!(post(&server, "brew-build", &json!([])).await.status, 400);
    let mut plain = posting("brew-build", "rpm", &body(good));
    plain.headers_mut().remove(header::CONTENT_TYPE);
    assert_eq!(ask(&server, &Settings::default(), plain).await.status, 415);
}

async fn a_token_and_a_permission_are_asked_for(server: Server) {
    let permissions: resultsdb::Permissions =
        serde_json::from_value(json!([{"users": ["rpm-ci"], "testcases": ["dist.*"]}])).unwrap();
    let good = body(json!({"item": "x-1-1"}));
    for write_access in [WriteAccess::Token, WriteAccess::Open] {
        let settings = Settings { write_access, permissions: permissions.clone(), ..Settings::default() };
        for (token, status, said) in [
            ("", 401, "401 Unauthorized: "),
            ("unknown", 401, "401 Unauthorized: "),
            ("read", 403, "403 Forbidden: "),
            (
                "other",
                403,
                "403 Forbidden: User other-ci is not authorized to submit results for the test case dist.rpmlint",
            ),
        ] {
            let answer = ask(&server, &settings, posting("redhat-module", token, &good)).await;
            assert_eq!(answer.status, status, "{token}");
            assert!(answer.json()["message"].as_str().unwrap().starts_with(said), "{}", answer.text);
        }
        assert_eq!(ask(&server, &settings, posting("redhat-module", "rpm", &good)).await.status, 201);
    }
}

async fn a_testcase_keeps_its_link(server: Server) {
    for (url, want) in
        [(json!("https://t"), "https://t"), (Value::Null, "https://t"), (json!("https://u"), "https://u")]
    {
        let made = post(&server, "redhat-module", &body(json!({"item": "i", "testcase_ref_url": url}))).await.json();
        assert_eq!(made["testcase"]["ref_url"], want);
    }
}

async fn a_key_makes_a_repetition_harmless(server: Server) {
    let keyed = || {
        let mut request = posting("redhat-module", "rpm", &body(json!({"item": "i"})));
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        request
    };
    let first = ask(&server, &Settings::default(), keyed()).await.json();
    assert_eq!(ask(&server, &Settings::default(), keyed()).await.json(), first);
    assert_eq!(server.ids("/results").await.len(), 1);
}

async fn schemas_permissions_and_documentation_are_there_to_read(server: Server) {
    let permissions = json!([{"testcases": ["dist.*"], "users": ["rpm-ci"]}, {"testcases": ["é"], "users": ["*"]}]);
    let settings =
        Settings { permissions: serde_json::from_value(permissions.clone()).unwrap(), ..Settings::default() };
    let get = async |path: &str| ask(&server, &settings, asking(Method::GET, path)).await;
    let all = get("/api/v3/permissions").await;
    assert_eq!(all.json(), permissions);
    assert!(all.text.is_ascii() && all.text.ends_with("]\n"), "{}", all.text);
    assert_eq!(get("/api/v3/permissions?testcase=dist.x").await.json(), json!([permissions[0]]));
    assert_eq!(get("/api/v3/permissions?testcase=none").await.json(), json!([]));
    for kind in ["brew-build", "redhat-container-image", "redhat-module", "productmd-compose"] {
        let schema = get(&format!("/api/v3/schemas/{kind}s")).await.json();
        assert_eq!((&schema["type"], &schema["title"]), (&json!("object"), &json!(kind)));
        let required: Vec<&str> = schema["required"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        for name in ["outcome", "testcase", "ci_name", "ci_team", "ci_docs", "ci_email"] {
            assert!(required.contains(&name) && schema["properties"][name].is_object(), "{kind} {name}");
        }
        assert_eq!(required.contains(&"item"), kind != "productmd-compose");
        let documented = get("/api/v3/").await;
        assert_eq!(
            (documented.status.as_u16(), &documented.headers["content-type"]),
            (200, &"text/html; charset=utf-8".parse().unwrap())
        );
        assert!(documented.text.contains(&format!("POST /api/v3/results/{kind}s")), "{}", documented.text);
        let allowed = get(&format!("/api/v3/results/{kind}s")).await;
        assert_eq!((allowed.status.as_u16(), &allowed.headers["allow"]), (405, &"OPTIONS, POST".parse().unwrap()));
    }
    assert_eq!(get("/api/v3/results/strange-things").await.json(), json!({"message": "Not found"}));
    assert_eq!(
        get("/api/v3/schemas/brew-builds").await.json()["properties"]["outcome"]["enum"].as_array().unwrap().len(),
        7
    );
}
