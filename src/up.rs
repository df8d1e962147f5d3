//! `taskotron up`: every room in one process, on one listener, over loopback HTTP.
//!
//! The rooms talk as they would from machine to machine; only where they find each other is decided here. Started in the
//! order in which they need each other, stopped in the order in which they hand things on.

mod demo;
mod home;
mod rooms;
mod stages;

use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use model::Role;
use net::Client;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use toml::Value;
use url::Url;

use crate::command::{Session, read_configuration};
use crate::exit::{Exit, Failure};
use crate::place;
use crate::service::Service;
use crate::settings::{Layers, Origin, Settings};

pub use home::Home;
pub use rooms::{live, master, resultsdb, telling};
pub use stages::Stages;

use demo::Pipe;
use rooms::Running;

/// How long the outbox may take to drain once nothing runs any more.
const DRAIN: Duration = Duration::from_secs(3);

const AFTER: &str = "\
The pages are at / of the listener, the API at /api/v1, the results API at /api/v2.0. Tokens are written to
DATA/operator.token and its siblings and stay the same over restarts; on this machine 'taskotron status', 'jobrunner' and
the other commands find this process by themselves. With --demo it runs the example configuration over a set of real bus
messages, and without --data in a fresh folder that is removed at the end.

SIGTERM or SIGINT once: nothing new is taken in, and what runs is seen to its end. Twice: running jobs are stopped and
handed back. A third time, or SIGQUIT: at once. Nothing is lost in any case.";

#[derive(Args, Debug)]
#[command(after_long_help = AFTER)]
pub struct Arguments {
    /// Show it at work, with example rules and real messages
    #[arg(long)]
    demo: bool,
    /// Where everything is kept; made where it is missing [default: taskotron-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The folder with rules, kinds and tasks; else the settings' [configuration] dir
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Where to listen; port 0 is any free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

impl Arguments {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let stages = Stages::on_signals()?;
        let _service = Service::begin(stages.graceful.clone());
        let layers = session.layers(self.flags())?;
        let mut settings = layers.settings()?;
        let (data, scratch) = self.data_folder()?;
        let mut home = Home::open(&data)?;
        let configuration = self.configuration(&home, &layers, &settings)?;

        let listener = bind(settings.master.listen).await?;
        let url = url_of(listener.local_addr()?)?;
        settle(&mut settings, &layers, &home, &url);
        let pipe = if self.demo { Some(Pipe::make(home.path("demo"))?) } else { None };
        if let Some(pipe) = &pipe {
            settings.trigger.file = Some(pipe.path.display().to_string());
        } else if settings.trigger.has_no_source() {
            tracing::info!("no source of events: there is no [trigger.amqp]; jobs come from jobrunner only");
        }

        let running = Running::start(&settings, configuration, &home, listener).await?;
        home.announce(url.clone());
        let feeding = CancellationToken::new();
        if let Some(pipe) = pipe {
            let feeding = feeding.clone();
            tokio::spawn(async move {
                if let Err(e) = pipe.feed(feeding).await {
                    tracing::error!(error = %e, "the demo sends no more messages");
                }
            });
        }
        net::life::ready();
        // Only for whoever sits at this machine: elsewhere a token is pasted.
        let login = match settings.master.listen.ip().is_loopback() {
            true => Some(running.login_address(&url, &home).await?),
            false => None,
        };
        self.welcome(&url, login.as_ref(), &home, scratch.is_some());
        let client = Client::new(url, home.token(Role::Operator)?)?;
        let ended = running.until_stopped(&stages, &feeding, &client, DRAIN).await;
        drop(home);
        if let Some(scratch) = scratch {
            scratch.close().context("cannot remove the demo's folder")?;
        }
        ended.map(|()| Exit::Reached)
    }

    fn flags(&self) -> Vec<crate::settings::Flag> {
        let listen = self.listen.map(|listen| ("--listen", "master.listen", Value::String(listen.to_string())));
        listen.into_iter().collect()
    }

    /// The data folder, and what removes it where it is only the demo's.
    fn data_folder(&self) -> anyhow::Result<(PathBuf, Option<TempDir>)> {
        match &self.data {
            Some(data) => Ok((data.clone(), None)),
            None if self.demo => {
                let scratch = tempfile::Builder::new().prefix("taskotron-demo-").tempdir();
                let scratch = scratch.context("cannot make a folder for the demo")?;
                Ok((scratch.path().to_owned(), Some(scratch)))
            }
            None => Ok((PathBuf::from(place::DATA), None)),
        }
    }

    fn configuration(&self, home: &Home, layers: &Layers, settings: &Settings) -> anyhow::Result<rules::Configuration> {
        let named = *layers.origin("configuration.dir") != Origin::Default;
        let dir = match &self.config {
            Some(dir) => dir.clone(),
            None if self.demo => {
                let dir = home.path("config");
                demo::unpack(&dir)?;
                dir
            }
            None if named || settings.configuration.dir.exists() => settings.configuration.dir.clone(),
            None => {
                tracing::warn!("no configuration: there are no rules and no tasks; name a folder with --config DIR");
                return rules::Configuration::parse(&[]).context("the shipped kinds are wrong");
            }
        };
        read_configuration(&dir)
    }

    /// Says on a terminal, and in any log, where to look.
    fn welcome(&self, url: &Url, login: Option<&Url>, home: &Home, scratch: bool) {
        if !std::io::stderr().is_terminal() && !self.demo {
            tracing::info!(url = %url, data = %home.dir().display(), "ready at {url}");
            if let Some(login) = login {
                tracing::info!("log in as the operator, once and within ten minutes: {login}");
            }
            return;
        }
        eprintln!("Taskotron is ready: open {url}");
        if let Some(login) = login {
            eprintln!("  to change things there, log in once within ten minutes: {login}");
        }
        if self.demo {
            eprintln!("  events arrive once a second; each leads to what every rule said of it, and to its jobs");
            eprintln!(
                "  try: taskotron status · taskotron job list · taskotron event why ID · taskotron idle -m lunch"
            );
            let gone = if scratch { ", removed at the end" } else { "" };
            eprintln!("  everything is in {}{gone}; Ctrl-C stops it", home.dir().display());
        } else {
            eprintln!("  data and tokens: {}", home.dir().display());
        }
    }
}

/// Listens, or says what to do about it.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    net::bind(address).await.map_err(|e| {
        let what = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                "; stop what listens there, or give --listen 127.0.0.1:0 for any free port"
            }
            std::io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege: choose another with --listen",
            _ => "; choose another address with --listen",
        };
        Failure::error(Exit::Refused, format!("{e}{what}"))
    })
}

/// The address under which this machine reaches its own listener.
fn url_of(address: SocketAddr) -> anyhow::Result<Url> {
    let mut reached = address;
    if address.ip().is_unspecified() {
        reached.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Ok(Url::parse(&format!("http://{reached}/"))?)
}

/// Fills in what is known only here: where the rooms find each other. What a person set stays.
fn settle(settings: &mut Settings, layers: &Layers, home: &Home, url: &Url) {
    let open = |path: &str| *layers.origin(path) == Origin::Default;
    let Settings { master, trigger, worker, resultsdb, .. } = settings;
    if open("master.public_read") {
        master.public_read = master.listen.ip().is_loopback();
    }
    if open("master.public_url") {
        master.public_url = url.clone();
    }
    if open("master.data") {
        master.data = home.path("master");
    }
    if master.results.is_none() {
        let token_file = Some(home.token_file(Role::Submitter));
        master.results = Some(::master::Results { url: url.clone(), token_file });
    }
    rooms::settle_resultsdb(resultsdb, &home.path(place::RESULTS));
    if open("trigger.dir") {
        trigger.dir = home.path("trigger");
    }
    trigger.master = Some(url.clone().into());
    if open("worker.dir") {
        worker.dir = home.path("worker");
    }
    worker.master = url.clone().into();
}
