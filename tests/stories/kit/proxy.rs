//! A TCP proxy in front of any address, which fails in the ways that networks do: connections are cut or refused, what
//! is sent comes late, or it vanishes while both ends believe that they are connected.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use url::Url;

use super::{ports, secs, until};

/// Bytes that are passed on at once.
const PIECE: usize = 64 << 10;

/// Passes everything on until told otherwise. Dropping it cuts everything.
pub struct Proxy {
    at: SocketAddr,
    url: Url,
    weather: watch::Sender<Weather>,
    listens: Arc<AtomicBool>,
}

/// What happens to connections. The counts only grow, so that nobody who looks late misses a change.
#[derive(Clone, Copy, Default)]
struct Weather {
    refusing: bool,
    silent: bool,
    /// How much later each piece comes.
    delay: Duration,
    cuts: u64,
    silences: u64,
    /// How many of the silences are over for those who were in them: these are reset.
    healed: u64,
}

/// What a connection that was made in one weather meets in another.
#[derive(Debug, PartialEq)]
enum Fate {
    Passes,
    /// Whatever either end sends is lost, and neither is told.
    Deaf,
    Reset,
}

impl Weather {
    fn fate(&self, now: &Weather) -> Fate {
        // One that is made in a silence has missed nothing before it.
        let heard = self.silences - u64::from(self.silent);
        if now.cuts > self.cuts || now.healed > heard {
            Fate::Reset
        } else if now.silences > heard {
            Fate::Deaf
        } else {
            Fate::Passes
        }
    }
}

impl Proxy {
    /// In front of the server that a URL names, on a free port of loopback. The server may be down.
    #[track_caller]
    pub fn before(url: &str) -> Proxy {
        Proxy::at(SocketAddr::from(([127, 0, 0, 1], ports::free())), url)
    }

    /// The same at an address of its own: one that a network namespace reaches.
    #[track_caller]
    pub fn at(at: SocketAddr, url: &str) -> Proxy {
        let mut url = Url::parse(url).expect("a URL");
        let port = url.port_or_known_default().expect("a URL with a port");
        let to = format!("{}:{port}", url.host_str().expect("a URL with a host"));
        url.set_ip_host(at.ip())
            .or_else(|()| url.set_host(Some(&at.ip().to_string())).map_err(|_| ()))
            .expect("a host");
        url.set_port(Some(at.port())).expect("a URL that can have a port");
        let (weather, see) = watch::channel(Weather::default());
        let listens = Arc::<AtomicBool>::default();
        runtime().spawn(listen(at, to, see, listens.clone()));
        let proxy = Proxy { at, url, weather, listens };
        proxy.wait_until_it(true);
        proxy
    }

    /// The server's URL, by way of this proxy.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Resets every connection there is; new ones pass.
    pub fn cut(&self) {
        self.weather.send_modify(|now| now.cuts += 1);
    }

    /// Resets every connection, and refuses new ones until `let_through` or `heal`.
    #[track_caller]
    pub fn refuse(&self) {
        self.weather.send_modify(|now| (now.refusing, now.cuts) = (true, now.cuts + 1));
        self.wait_until_it(false);
    }

    #[track_caller]
    pub fn let_through(&self) {
        self.weather.send_modify(|now| now.refusing = false);
        self.wait_until_it(true);
    }

    /// From now on each piece of what either end sends comes so much later.
    pub fn delay(&self, by: Duration) {
        self.weather.send_modify(|now| now.delay = by);
    }

    /// From now on whatever either end sends is lost, over old connections and new ones, and neither end is told.
    pub fn half_open(&self) {
        self.weather.send_modify(|now| {
            now.silences += u64::from(!now.silent);
            now.silent = true;
        });
    }

    /// Good weather for new connections. Those that were in a silence stay deaf, as behind a firewall that has forgotten
    /// them: their ends have to find out.
    #[track_caller]
    pub fn forget(&self) {
        self.weather.send_modify(|now| {
            *now = Weather { healed: now.healed, cuts: now.cuts, silences: now.silences, ..Weather::default() };
        });
        self.wait_until_it(true);
    }

    /// Good weather: no delay, everybody is let through, and connections that lost anything are reset.
    #[track_caller]
    pub fn heal(&self) {
        self.weather.send_modify(|now| {
            *now = Weather { healed: now.silences, cuts: now.cuts, silences: now.silences, ..Weather::default() };
        });
        self.wait_until_it(true);
    }

    #[track_caller]
    fn wait_until_it(&self, listens: bool) {
        let what = if listens { "to listen" } else { "to refuse" };
        until(secs(30), &format!("the proxy at {} {what}", self.at), || {
            self.listens.load(Ordering::Acquire) == listens
        });
    }
}

/// All proxies share two threads.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime can be made")
    })
}

/// Ends with its proxy.
async fn listen(at: SocketAddr, to: String, mut weather: watch::Receiver<Weather>, listens: Arc<AtomicBool>) {
    while weather.wait_for(|now| !now.refusing).await.is_ok() {
        let listener = bind(at).unwrap_or_else(|error| panic!("a proxy cannot listen at {at}: {error}"));
        listens.store(true, Ordering::Release);
        let mut bad = weather.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((client, _)) = accepted {
                    tokio::spawn(carry(client, to.clone(), weather.clone()));
                },
                refusing = bad.wait_for(|now| now.refusing) => match refusing {
                    Ok(_) => break,
                    Err(_) => return,
                },
            }
        }
        drop(listener);
        listens.store(false, Ordering::Release);
    }
}

fn bind(at: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(1024)
}

/// One connection, to its end.
async fn carry(mut client: TcpStream, to: String, mut weather: watch::Receiver<Weather>) {
    let born = *weather.borrow_and_update();
    let mut bad = weather.clone();
    let over = bad.wait_for(|now| born.fate(now) == Fate::Reset);
    tokio::pin!(over);
    let connect = async { if born.silent { std::future::pending().await } else { TcpStream::connect(&to).await.ok() } };
    let server = tokio::select! {
        server = connect => server,
        _ = &mut over => None,
    };
    let Some(mut server) = server else { return reset(&client) };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ended = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let up = pass(from_client, to_server, born, &weather);
        let down = pass(from_server, to_client, born, &weather);
        tokio::select! {
            both = async { tokio::try_join!(async { up.await.ok_or(()) }, async { down.await.ok_or(()) }) } => both.ok(),
            _ = &mut over => None,
        }
    };
    if ended.is_none() {
        reset(&client);
        reset(&server);
    }
}

/// One direction, to its end; none where it broke off.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    born: Weather,
    weather: &watch::Receiver<Weather>,
) -> Option<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await;
        let now = *weather.borrow();
        match born.fate(&now) {
            Fate::Passes => {}
            Fate::Reset => return None,
            Fate::Deaf if matches!(read, Ok(1..)) => continue,
            // That an end is gone is not told either.
            Fate::Deaf => return std::future::pending().await,
        }
        let read = read.ok()?;
        if !now.delay.is_zero() {
            tokio::time::sleep(now.delay).await;
        }
        if read == 0 {
            return to.shutdown().await.ok();
        }
        to.write_all(&piece[..read]).await.ok()?;
    }
}

/// Its end will be a reset, and not a farewell.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_deaf_from_a_silence_to_its_healing() {
        let clear = Weather::default();
        let silent = Weather { silent: true, silences: 1, ..clear };
        let forgotten = Weather { silent: false, ..silent };
        let healed = Weather { healed: 1, ..forgotten };
        assert_eq!(clear.fate(&clear), Fate::Passes);
        for born in [clear, silent] {
            assert_eq!(born.fate(&silent), Fate::Deaf);
            assert_eq!(born.fate(&forgotten), Fate::Deaf);
            assert_eq!(born.fate(&healed), Fate::Reset);
        }
        for born in [forgotten, healed] {
            assert_eq!(born.fate(&forgotten), Fate::Passes);
            assert_eq!(born.fate(&healed), Fate::Passes);
            assert_eq!(born.fate(&Weather { cuts: 1, ..healed }), Fate::Reset);
        }
    }
}
