//! What a person sees in a browser.

use axum::http::{StatusCode, header};
use model::Role;
use serde_json::json;

use super::house::{House, batch, record, worker};

#[tokio::test]
async fn every_id_leads_on_from_the_event_to_its_job_and_back() {
    let house = House::new().await;
    let mut hostile = record(1, "noop");
    hostile["event"]["id"] = json!("a/b <i>");
    hostile["event"]["body"]["nvr"] = json!("<script>alert(1)</script>");
    hostile["jobs"][0]["item"] = json!("<script>alert(1)</script>");
    house.post(Role::Trigger, "/api/v1/intake", batch(vec![hostile])).await;
    let job = house.run_one(&worker("w1", &[])).await;

    let overview = house.get("/").await;
    assert_eq!(overview.status, StatusCode::OK, "{}", overview.text());
    assert!(overview.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("default-src 'none'"));
    let event = "/events/a%2Fb%20%3Ci%3E";
    assert!(overview.text().contains(&format!("href=\"{event}\"")), "{}", overview.text());
    assert!(overview.text().contains(&format!("href=\"/jobs/{job}\"")));
    let event_page = house.get(event).await.text();
    assert!(event_page.contains(&format!("href=\"/jobs/{job}\"")) && event_page.contains("on-build"), "{event_page}");
    let job_page = house.get(&format!("/jobs/{job}")).await.text();
    assert!(job_page.contains(&format!("href=\"{event}\"")), "{job_page}");
    assert!(job_page.contains("/items?item=%3Cscript%3E") && job_page.contains("PASSED"), "{job_page}");
    for path in ["/", "/jobs", "/jobs?state=finished&task=&item=", "/events", "/workers", event] {
        let page = house.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text());
        assert!(!page.text().contains("<script>alert"), "{path}");
    }
}

#[tokio::test]
async fn a_person_is_told_what_is_wrong_on_a_page() {
    let house = House::new().await;
    let missing = house.get("/jobs/6f1d1c1e-8f0a-5b7e-9d5c-2f6f0e2b7a11").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.text().contains("<h1>Not Found</h1>"), "{}", missing.text());
}
