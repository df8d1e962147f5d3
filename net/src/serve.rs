//! The listener.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::Problem;

/// How long requests under way may take after the stop before they are cut off.
const LINGER: Duration = Duration::from_secs(5);

/// Listens on `address`; the error names it.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))
}

/// A client that is gone without a word, behind a cable that was pulled out, is asked whether it is there, and after a
/// minute its connection ends: else it would stay for ever.
fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let ask = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    socket.set_tcp_keepalive(&ask.with_retries(3))?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(60)))
}

/// Serves until `stop`, then lets requests under way end for a while.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    let router = router.layer(CatchPanicLayer::custom(|_| {
        tracing::error!("a request handler panicked");
        axum::response::IntoResponse::into_response(Problem::internal())
    }));
    let listener = listener.tap_io(|stream| {
        // A socket that refuses is none the worse. Small answers must not wait for the next packet.
        let _ = stream.set_nodelay(true);
        let _ = notice_silence(stream);
    });
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        ended = async { server.await } => ended,
        () = async { stop.cancelled().await; tokio::time::sleep(LINGER).await } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_client_that_says_nothing_is_asked_whether_it_is_there() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, Router::new(), stop.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        client.read_exact(&mut [0; 12]).await.unwrap();
        // As the kernel shows it (proc(5), `tcp`): ports in hexadecimal; 02 is the timer of such questions.
        let ports = [address.port(), client.local_addr().unwrap().port()].map(|port| format!(":{port:04X}"));
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let mut line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = line.find(|line| line[1].ends_with(&ports[0]) && line[2].ends_with(&ports[1])).unwrap();
        assert!(line[5].starts_with("02:"), "{line:?}");
        drop(client);
        stop.cancel();
        serving.await.unwrap().unwrap();
    }
}
