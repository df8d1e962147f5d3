//! The description of the API: schemathesis asks whatever it allows, and more, and nothing is a fault of the server.

use std::net::SocketAddr;
use std::process::Stdio;

use axum::http::Method;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::server::{Server, asking};

crate::on_both_engines!(nothing_that_is_asked_is_the_servers_fault);

async fn nothing_that_is_asked_is_the_servers_fault(server: Server) {
    for n in 0..30 {
        let body = json!({"outcome": "PASSED", "testcase": format!("dist.t{}", n % 3), "groups": ["g"], "data": {"item": "x"}});
        server.add(body).await;
    }
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let root = format!("http://{}/api", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(net::serve(listener, server.router.clone(), stop.clone()));
    for version in ["v2.0", "v3"] {
        let said = schemathesis(&format!("{root}/{version}/openapi.json")).await;
        let described = server.send(asking(Method::GET, &format!("/api/{version}/openapi.json"))).await.json();
        let paths = described["paths"].as_object().unwrap().values();
        let operations: usize = paths.map(|path| path.as_object().unwrap().len()).sum();
        assert!(said.contains(&format!("Tested: {operations}")), "{said}");
    }
    stop.cancel();
    serving.await.unwrap().unwrap();
    let stored = server.get("/results?ci_name:like=*").await.json();
    assert_ne!(stored["data"].as_array().unwrap().len(), 0, "API v3 stored none of what was posted");
}

/// What it says of the API described at `url` when nothing was a fault of the server.
async fn schemathesis(url: &str) -> String {
    let python = std::env::var("TASKOTRON_TEST_PYTHON").expect("TASKOTRON_TEST_PYTHON is not set: run ./test");
    let folder = tempfile::tempdir().unwrap();
    let asked = Command::new(python)
        .args(["-m", "schemathesis.cli", "run", url, "--checks", "not_a_server_error", "--max-examples", "40"])
        .args(["--header", "Authorization: Bearer submit", "--seed", "1", "--generation-database", "none"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(asked.status.success(), "{said}\n{}", String::from_utf8_lossy(&asked.stderr));
    said
}
