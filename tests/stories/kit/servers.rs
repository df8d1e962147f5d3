//! Real servers: private ones that a story may kill and restart, by the scripts
//! in tests/servers, and the two that `./test` has started for everybody.

use std::env;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::story::keep;

/// A server in a folder of its own. The URL stays the same over restarts.
struct Server {
    script: &'static str,
    folder: TempDir,
    url: String,
}

impl Server {
    #[track_caller]
    fn start(script: &'static str) -> Server {
        // PostgreSQL runs under another account when the tests run as root.
        let folder = tempfile::Builder::new()
            .prefix("taskotron-")
            .permissions(Permissions::from_mode(0o711))
            .tempdir()
            .expect("a temporary folder can be made");
        let mut server = Server { script, folder, url: String::new() };
        server.url = server.call("start");
        server
    }

    #[track_caller]
    fn call(&self, verb: &str) -> String {
        self.call_with(verb, &[])
    }

    #[track_caller]
    fn call_with(&self, verb: &str, arguments: &[&str]) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(self.script);
        let done = Command::new(&path)
            .arg(verb)
            .arg(self.folder.path())
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("failed to run {}: {error}", path.display()));
        assert!(done.status.success(), "{} {verb} failed: {}", self.script, String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A second panic would hide the first; what is left shows up in `ps`.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(self.script);
        let _ = Command::new(path).arg("kill").arg(self.folder.path()).output();
        if keep() {
            self.folder.disable_cleanup(true);
            eprintln!("kept: {}", self.folder.path().display());
        }
    }
}

macro_rules! private_server {
    ($(#[$doc:meta])* $name:ident, $script:literal) => {
        $(#[$doc])*
        pub struct $name(Server);

        impl $name {
            /// Starts a new one; it is ready when this returns.
            #[track_caller]
            pub fn start() -> Self {
                Self(Server::start($script))
            }

            pub fn url(&self) -> &str {
                &self.0.url
            }

            /// Its folder, for its log and its configuration file.
            pub fn folder(&self) -> &Path {
                self.0.folder.path()
            }

            /// SIGKILL to all of it. It stays down until `start_again`.
            #[track_caller]
            pub fn kill(&self) {
                self.0.call("kill");
            }

            /// Stops it in order. It stays down until `start_again`.
            #[track_caller]
            pub fn stop(&self) {
                self.0.call("stop");
            }

            /// Starts it after `kill` or `stop`, on the same port, with what it had
            /// on disk.
            #[track_caller]
            pub fn start_again(&self) {
                self.0.call("start");
            }

            /// `stop` and `start_again` in one.
            #[track_caller]
            pub fn restart(&self) {
                self.0.call("restart");
            }
        }
    };
}

private_server! {
    /// A private PostgreSQL cluster; its URL is the superuser's, to database `postgres`.
    Postgres, "postgres"
}

private_server! {
    /// A private RabbitMQ node; its URL is guest's, to virtual host `/`. It takes
    /// some seconds to boot, so a story that does not kill it uses `shared_amqp`.
    Rabbit, "rabbitmq"
}

impl Rabbit {
    /// Makes every queue, exchange and binding declared so far survive a kill.
    /// RabbitMQ says "declared" up to 2 s before that is so; a story that kills
    /// it sooner than that proves nothing about us without this. (Confirmed
    /// messages in a queue that survives need no such help.)
    #[track_caller]
    pub fn settle(&self) {
        self.0.call("settle");
    }

    /// How many messages a queue holds, also those that a consumer has in hand. Takes about a second.
    #[track_caller]
    pub fn held(&self, queue: &str) -> u64 {
        let list = self.0.call_with("ctl", &["list_queues", "--quiet", "--no-table-headers", "name", "messages"]);
        let held = list.lines().find_map(|line| line.strip_prefix(queue)?.trim().parse().ok());
        held.unwrap_or_else(|| panic!("there is no queue {queue}: {list}"))
    }
}

/// The URL of the RabbitMQ node that `./test` has started. Stories share it, so
/// each makes queues and exchanges of its own name.
pub fn shared_amqp() -> String {
    from_test("TASKOTRON_TEST_AMQP")
}

/// The URL of the PostgreSQL cluster that `./test` has started.
pub fn shared_postgres() -> String {
    from_test("TASKOTRON_TEST_POSTGRES")
}

/// An empty database of its own in a cluster; dropped with this value, whoever is
/// still connected. Not for use within a tokio runtime: the `postgres` crate
/// brings its own.
pub struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    /// In the cluster that `./test` has started.
    pub fn new() -> Database {
        Database::within(&shared_postgres())
    }

    /// In the cluster that a superuser's URL names.
    pub fn within(server: &str) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("story_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut url = url::Url::parse(server).expect("a cluster's URL");
        url.set_path(&name);
        superuser(server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            .and_then(|()| superuser(server, &format!("CREATE DATABASE {name}")))
            .expect("the superuser makes a database");
        Database { server: server.into(), name, url: url.into() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection to look at it from outside.
    #[track_caller]
    pub fn connect(&self) -> postgres::Client {
        postgres::Client::connect(&self.url, postgres::NoTls).expect("the database is up")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = superuser(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

fn superuser(server: &str, statement: &str) -> Result<(), postgres::Error> {
    postgres::Client::connect(server, postgres::NoTls)?.batch_execute(statement)
}

fn from_test(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests through ./test"))
}
