//! Every route lets in the role it is for, and no other.

use axum::http::{Method, StatusCode};
use model::Role;
use serde_json::json;

use super::house::House;

#[tokio::test]
async fn every_route_is_for_one_role() {
    let house = House::new().await;
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let routes = [
        (&get, "/api/v1/intake/t1", Role::Trigger),
        (&post, "/api/v1/intake", Role::Trigger),
        (&post, "/api/v1/claim", Role::Worker),
        (&post, "/api/v1/renew", Role::Worker),
        (&post, "/api/v1/finish", Role::Worker),
        (&put, "/api/v1/log?offset=0", Role::Worker),
        (&post, "/api/v1/jobs", Role::Submitter),
        (&post, "/api/v1/idle", Role::Operator),
        (&post, "/api/v1/resume", Role::Operator),
        (&post, "/api/v1/jobs/0123/cancel", Role::Operator),
        (&post, "/api/v1/jobs/0123/rerun", Role::Operator),
        (&post, "/api/v1/jobs/cancel", Role::Operator),
        (&post, "/api/v1/jobs/rerun", Role::Operator),
        (&post, "/api/v1/jobs/priority", Role::Operator),
        (&post, "/api/v1/jobs/retry", Role::Operator),
        (&post, "/api/v1/jobs/settle", Role::Operator),
        (&get, "/api/v1/status", Role::Reader),
        (&get, "/api/v1/mode", Role::Reader),
        (&get, "/api/v1/jobs", Role::Reader),
        (&get, "/api/v1/jobs/0123", Role::Reader),
        (&get, "/api/v1/jobs/0123/log", Role::Reader),
        (&get, "/api/v1/events", Role::Reader),
        (&get, "/api/v1/events/e", Role::Reader),
        (&get, "/api/v1/workers", Role::Reader),
        (&get, "/api/v1/tasks", Role::Reader),
        (&get, "/api/v1/why/job/0123", Role::Reader),
        (&get, "/api/v1/why/event/e", Role::Reader),
        (&get, "/api/v1/audit", Role::Reader),
        (&get, "/metrics", Role::Reader),
        (&get, "/", Role::Reader),
        (&get, "/jobs", Role::Reader),
        (&get, "/jobs/0123", Role::Reader),
        (&get, "/events", Role::Reader),
        (&get, "/events/e", Role::Reader),
        (&get, "/workers", Role::Reader),
    ];
    for (method, path, role) in routes {
        let body = || (*method == Method::POST).then(|| json!({}));
        let nobody = house.call(None, method.clone(), path, body()).await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{method} {path} without a token");
        assert!(nobody.headers.contains_key("www-authenticate"));
        for caller in Role::ALL {
            let reply = house.call(Some(caller), method.clone(), path, body()).await;
            let refused = reply.status == StatusCode::FORBIDDEN;
            assert_eq!(!refused, caller.includes(role), "{method} {path} by {caller}: {}", reply.status);
        }
    }
}

#[tokio::test]
async fn where_reading_is_open_nothing_else_is() {
    let house = House::with(|settings| settings.public_read = true).await;
    let status = async |method, path, body| house.call(None, method, path, body).await.status;
    assert_eq!(status(Method::GET, "/", None).await, StatusCode::OK);
    assert_eq!(status(Method::GET, "/api/v1/status", None).await, StatusCode::OK);
    assert_eq!(status(Method::POST, "/api/v1/jobs", None).await, StatusCode::UNAUTHORIZED);
    let idle = Some(json!({"reason": "x"}));
    assert_eq!(status(Method::POST, "/api/v1/idle", idle).await, StatusCode::UNAUTHORIZED);
}
