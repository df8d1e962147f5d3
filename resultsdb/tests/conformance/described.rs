//! The description of the API: schemathesis asks whatever it allows, and more, and nothing is a fault of the server.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::server::Server;

crate::on_both_engines!(nothing_that_is_asked_is_the_servers_fault);

async fn nothing_that_is_asked_is_the_servers_fault(server: Server) {
    for n in 0..30 {
        let body = json!({"outcome": "PASSED", "testcase": format!("dist.t{}", n % 3), "groups": ["g"], "data": {"item": "x"}});
        server.add(body).await;
    }
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("http://{}/api/v2.0/openapi.json", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(net::serve(listener, server.router.clone(), stop.clone()));
    let python = std::env::var("TASKOTRON_TEST_PYTHON").expect("TASKOTRON_TEST_PYTHON is not set: run ./test");
    let folder = tempfile::tempdir().unwrap();
    let asked = Command::new(python)
        .args(["-m", "schemathesis.cli", "run", &url, "--checks", "not_a_server_error", "--max-examples", "40"])
        .args(["--seed", "1", "--generation-database", "none"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    stop.cancel();
    serving.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&asked.stdout);
    assert!(asked.status.success(), "{said}\n{}", String::from_utf8_lossy(&asked.stderr));
    let described = server.get("/openapi.json").await.json();
    let operations: usize =
        described["paths"].as_object().unwrap().values().map(|p| p.as_object().unwrap().len()).sum();
    assert!(said.contains(&format!("Tested: {operations}")), "{said}");
}
