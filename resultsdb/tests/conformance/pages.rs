//! The pages for people.

use axum::http::Method;
use serde_json::{Value, json};

use crate::server::{Answer, Server, asking};

crate::on_both_engines!(
    pages_show_results_and_lead_on,
    a_matrix_tells_what_is_missing_and_what_runs,
    a_history_tells_how_steady_a_testcase_is,
    pages_take_the_parameters_of_the_api,
    names_with_everything_in_them_lead_to_their_pages,
);

async fn page(server: &Server, path: &str) -> Answer {
    let page = server.send(asking(Method::GET, path)).await;
    assert_eq!(page.status, 200, "{path}: {}", page.text);
    assert!(page.headers.contains_key("content-security-policy"));
    page
}

/// The text of a page without its tags, each run of blanks one.
fn text(page: &Answer) -> String {
    let mut text = String::new();
    for part in page.text.split('<') {
        text.push_str(part.split_once('>').map_or("", |(_, text)| text));
        text.push(' ');
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The `href`s of a page, as a browser reads them.
fn links(page: &Answer) -> Vec<String> {
    let links = page.text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    links.map(|link| link.replace("&#38;", "&").replace("&amp;", "&")).collect()
}

async fn pages_show_results_and_lead_on(server: Server) {
    let hostile = "<img src=x onerror=alert(1)>";
    let made = server
        .add(json!({"outcome": "FAILED", "testcase": {"name": hostile, "ref_url": "javascript:alert(1)"}, "note": hostile,
                    "ref_url": "https://log/1", "groups": [{"uuid": hostile, "description": hostile, "ref_url": hostile}],
                    "data": {"item": "pkg-1", "type": "koji_build", "arch": ["x86_64", "s390x"], "k": hostile,
                             "scenario": hostile}}))
        .await;
    let id = made["id"].as_i64().unwrap();
    let one = page(&server, &format!("/results/{id}")).await;
    let of = |start: &str| links(&one).into_iter().find(|link| link.starts_with(start)).unwrap();
    let (testcase, group) = (of("/testcases/"), of("/groups/"));
    for (path, has) in [
        ("/results".to_owned(), "/items?item=pkg-1&#38;type=koji_build"),
        ("/results?item=pkg-1&type=&outcome=&testcases:like=&since=".to_owned(), "FAILED"),
        ("/results?item=none".to_owned(), "No result matches."),
        (format!("/results/{id}"), "https://log/1"),
        ("/items?item=pkg-1&type=koji_build".to_owned(), "s390x · &#60;img"),
        ("/items?item=none".to_owned(), "There is no result of this item."),
        ("/items?item:like=none*".to_owned(), "No item matches."),
        ("/items".to_owned(), "pkg-1"),
        ("/items?type=koji_build".to_owned(), "<table class=\"matrix\">"),
        ("/testcases".to_owned(), &testcase),
        ("/testcases?name=none".to_owned(), "No testcase matches."),
        (testcase.clone(), "pass rate: 0 of 1"),
        ("/groups".to_owned(), &group),
        ("/groups?description=none".to_owned(), "No group matches."),
        (group.clone(), "pkg-1"),
    ] {
        let page = page(&server, &path).await;
        assert!(page.text.contains(has), "{path}: {}", page.text);
        assert!(!page.text.contains("<img") && !page.text.contains("href=\"javascript"), "{path}: {}", page.text);
    }
    for (path, status) in [
        ("/results/999", 404),
        ("/results/x", 404),
        ("/results?since=x", 400),
        ("/results?limit=x", 400),
        ("/items?since=x", 400),
        ("/testcases/none", 404),
        ("/testcases/a%00b", 404),
        ("/testcases/none?outcome=x", 400),
        ("/groups/none", 404),
        ("/groups/a%00b", 404),
        ("/groups?limit=x", 400),
    ] {
        let answer = server.send(asking(Method::GET, path)).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(answer.text.contains("<!doctype html>"), "{path}");
    }
    for _ in 0..50 {
        server.add_data("t", json!({})).await;
    }
    let first = page(&server, "/results").await.text;
    assert!(first.contains("href=\"?page=1\">Older") && !first.contains("Newer"));
}

/// Posts a result of an item at a second of 2020-01-01.
async fn at(server: &Server, second: u32, testcase: &str, outcome: &str, data: Value) -> i64 {
    let time = format!("2020-01-01T00:{:02}:{:02}.0", second / 60, second % 60);
    let body = json!({"outcome": outcome, "testcase": testcase, "data": data, "submit_time": time});
    server.add(body).await["id"].as_i64().unwrap()
}

async fn a_matrix_tells_what_is_missing_and_what_runs(server: Server) {
    let item = |more: Value| {
        let mut data = json!({"item": "pkg-1", "type": "koji_build"});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        data
    };
    let passed = at(&server, 1, "a", "PASSED", item(json!({"arch": "x86_64"}))).await;
    at(&server, 2, "a", "QUEUED", item(json!({"arch": "x86_64"}))).await;
    let running = at(&server, 3, "a", "RUNNING", item(json!({"arch": "x86_64"}))).await;
    let uefi = json!({"system_architecture": "x86_64", "scenario": "uefi", "system_variant": "Server"});
    at(&server, 1, "b", "FAILED", item(uefi.clone())).await;
    let newest = at(&server, 2, "b", "NEEDS_INSPECTION", item(uefi)).await;
    at(&server, 4, "b", "PASSED", json!({"item": "pkg-2", "type": "koji_build"})).await;

    let path = "/items?item=pkg-1&type=koji_build&testcases=a,b,never";
    let matrix = page(&server, path).await;
    assert!(matrix.text.contains("<th>Testcase</th><th>x86_64</th><th>x86_64 · uefi · Server</th>"), "{}", matrix.text);
    let text = text(&matrix);
    let running_cell = "a RUNNING 2020-01-01 00:00:03 before: PASSED missing";
    assert!(text.contains(running_cell), "{text}");
    assert!(text.contains("b missing NEEDS_INSPECTION 2020-01-01 00:00:02 never missing missing"), "{text}");
    assert!(text.contains("0 passed, 1 failed, 1 queued or running, 0 without a verdict, 4 missing"), "{text}");
    for id in [passed, running, newest] {
        assert!(links(&matrix).contains(&format!("/results/{id}")), "{id}");
    }
    // What stands in the cells is what the API calls the latest.
    let latest = server.ids("/results/latest?item=pkg-1&type=koji_build&_distinct_on=arch,scenario").await;
    assert_eq!(latest, [running, newest]);

    let earlier = page(&server, "/items?item=pkg-1&since=2020-01-01,2020-01-01T00:00:01").await;
    assert!(earlier.text.contains("PASSED") && earlier.text.contains("FAILED") && !earlier.text.contains("RUNNING"));
    let newest = page(&server, "/items?item=pkg-1&limit=1").await;
    assert!(newest.text.contains("there are older ones") && newest.text.contains("?item=pkg-1&#38;limit=1&#38;page=1"));
    let items = page(&server, "/items?type=koji_build").await;
    assert!(items.text.contains("/items?item=pkg-2"));
    assert!(self::text(&items).contains("pkg-1 koji_build 0 1 1 0 2020-01-01 00:00:03"), "{}", items.text);
}

async fn a_history_tells_how_steady_a_testcase_is(server: Server) {
    let data = |item: &str| json!({"item": item, "type": "koji_build", "arch": "x86_64"});
    for (second, item, outcome) in [
        (0, "one", "QUEUED"),
        (1, "one", "RUNNING"),
        (5, "three", "RUNNING"),
        (31, "one", "FAILED"),
        (40, "two", "PASSED"),
        (50, "one", "PASSED"),
        (60, "one", "INFO"),
        (70, "two", "ERROR"),
        (80, "two", "PASSED"),
    ] {
        at(&server, second, "dist.steady", outcome, data(item)).await;
    }
    at(&server, 90, "other", "FAILED", data("one")).await;
    let history = page(&server, "/testcases/dist.steady").await;
    let told = text(&history);
    assert!(told.contains("80.0 % pass rate: 4 of 5"), "{told}");
    assert!(told.contains("33.3 % flake rate: 1 of 3 repeats"), "{told}");
    assert!(told.contains("30 s usual duration"), "{told}");
    assert!(told.contains("1 without a verdict") && told.contains("1 still queued or running"), "{told}");
    assert!(told.contains("Items that changed their mind Item Flips one 1"), "{told}");
    assert!(told.contains("9 results from 2020-01-01 00:00:00 to 2020-01-01 00:01:20"), "{told}");
    assert_eq!(history.text.matches("<svg").count(), 3);
    assert!(
        history.text.contains("<rect class=\"failed\"") && history.text.contains("<path class=\"dots failed\" d=\"M")
    );

    // The window is stated, and leads on; its rates are its own.
    let window = page(&server, "/testcases/dist.steady?limit=3").await;
    assert!(text(&window).contains("The newest 3 results up to"), "{}", window.text);
    assert!(text(&window).contains("100.0 % pass rate: 2 of 2"), "{}", window.text);
    let older = links(&window).into_iter().find(|link| link.contains("page=1")).unwrap();
    let older = page(&server, &format!("/testcases/dist.steady{older}")).await;
    assert!(text(&older).contains("66.7 % pass rate: 2 of 3"), "{}", older.text);
    // Outcomes choose rows and leave the rates alone.
    let failed = page(&server, "/testcases/dist.steady?outcome=failed").await;
    assert!(text(&failed).contains("80.0 % pass rate") && failed.text.matches("<tr>").count() == 4, "{}", failed.text);
    let one = page(&server, "/testcases/dist.steady?item=two&arch=x86_64").await;
    assert!(text(&one).contains("100.0 % pass rate: 2 of 2"), "{}", one.text);
    assert!(!text(&one).contains("changed their mind"));
    let all = links(&one).into_iter().find(|link| link.starts_with("/results?testcases=")).unwrap();
    assert_eq!(page(&server, &all).await.text.matches("<tr>").count(), 4);
}

async fn pages_take_the_parameters_of_the_api(server: Server) {
    for i in 0..6 {
        let data = json!({"item": format!("pkg-{i}"), "type": "koji_build", "arch": if i % 2 == 0 { "x86_64" } else { "s390x" }});
        let outcome = if i < 3 { "PASSED" } else { "FAILED" };
        let body = json!({"outcome": outcome, "testcase": format!("dist.t{i}"), "data": data, "groups": [format!("g{}", i % 3)],
                          "submit_time": format!("2020-01-0{}T00:00:00.0", i + 1)});
        server.add(body).await;
    }
    for query in [
        "outcome=FAILED",
        "testcases=dist.t1,dist.t2",
        "testcases:like=*t3",
        "groups=g1,g2",
        "since=2020-01-03,2020-01-04",
        "arch=x86_64&outcome=PASSED",
        "item:like=pkg-*&limit=2",
        "limit=2&page=1&_sort=asc:submit_time",
        "unknown=1",
    ] {
        let ids = server.ids(&format!("/results?{query}")).await;
        for path in ["/results", "/groups/g1"] {
            let page = page(&server, &format!("{path}?{query}")).await;
            let ids = match path {
                "/results" => ids.clone(),
                _ => server.ids(&format!("/groups/g1/results?{query}")).await,
            };
            let shown: Vec<i64> =
                links(&page).iter().filter_map(|link| link.strip_prefix("/results/")?.parse().ok()).collect();
            assert_eq!(shown, ids, "{path}?{query}");
        }
    }
    // What the form does not show is kept by it.
    let kept = page(&server, "/results?uncommon=%22%3Ex&item=pkg-1&page=3").await.text;
    assert!(kept.contains("<input type=\"hidden\" name=\"uncommon\" value=\"&#34;&#62;x\">"), "{kept}");
    assert!(kept.contains("name=\"item\" value=\"pkg-1\"") && !kept.contains("name=\"page\""));
    let names = page(&server, "/testcases?name:like=*t1").await.text;
    assert!(names.contains("dist.t1") && !names.contains("dist.t2"));
    let groups = page(&server, "/groups?uuid=g1").await.text;
    assert!(groups.contains("/groups/g1") && !groups.contains("/groups/g2"));
}

async fn names_with_everything_in_them_lead_to_their_pages(server: Server) {
    let name = "a, b/c?d#e%f+g é/";
    let made = server
        .add(
            json!({"outcome": "PASSED", "testcase": name, "groups": ["x/y z?"], "data": {"item": name, "type": "a,b"}}),
        )
        .await;
    server.add_data("t", json!({"item": "a_ b/c?d#e%f+g é/", "type": "other"})).await;
    let one = page(&server, &format!("/results/{}", made["id"])).await;
    let mut followed = 0;
    for link in links(&one).iter().filter(|l| ["/testcases/", "/groups/", "/items?"].iter().any(|p| l.starts_with(p))) {
        let page = page(&server, link).await;
        assert!(page.text.contains(&format!("/results/{}", made["id"])), "{link}: {}", page.text);
        followed += 1;
    }
    assert_eq!(followed, 3);
}
