//! `taskotron`: the tree of commands, and where each goes.

mod audit;
mod bench;
mod check;
mod config;
mod configuration;
mod event;
mod help;
mod idle;
mod job;
mod mirrors;
mod missed;
mod output;
mod question;
mod record;
mod report;
mod results;
mod resume;
mod role;
mod rules;
mod run;
mod secret;
mod status;
mod terminal;
mod token;
mod trigger;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use net::Client;

use crate::exit::{self, Exit};
use crate::settings::{Flag, Layers};
use crate::{logging, place, up};

pub use configuration::{files, read as read_configuration};
pub use output::Format;
pub use role::VIGIL;

/// Event-driven task trigger and job executor
///
/// A trigger turns events of a message bus into jobs, a master gives the jobs to workers, and a results store keeps what
/// they found. 'taskotron up' is all of them in one process; 'taskotron up --demo' shows it at work.
#[derive(Parser, Debug)]
#[command(name = "taskotron", version, disable_help_subcommand = true, propagate_version = false)]
#[command(after_help = "'taskotron help exit-codes' lists what scripts may rely on.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    options: Options,
}

/// What every command understands.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// How data is printed on stdout; everything else goes to stderr
    #[arg(short, long, value_name = "FORMAT", default_value = "table", global = true)]
    output: Format,
    /// The settings to use instead of /etc/taskotron/taskotron.toml
    #[arg(long, value_name = "FILE", global = true)]
    settings: Option<PathBuf>,
    #[command(flatten)]
    place: place::Options,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run everything in one process: trigger, master, worker, results store and pages
    Up(up::Arguments),
    /// Run a trigger, or look at the triggers
    Trigger(trigger::Trigger),
    /// Run a master: jobs in, leases out
    Master(role::Master),
    /// Run a worker, or look at the workers
    Worker(worker::Worker),
    /// Run a results store that speaks ResultsDB's API
    Resultsdb(role::Resultsdb),
    /// Export results, bring in those of another ResultsDB, and let old ones go
    #[command(subcommand)]
    Results(results::Results),
    /// Write the jobs that events call for to a file, without a master
    Record(record::Record),
    /// What a reference has seen that has no finished job here
    Missed(missed::Missed),
    /// What runs, what waits, and whatever stops work
    Status,
    /// Whether all is well, as a Nagios plugin
    Check(check::Check),
    /// Stop giving out work, and wait until nothing runs
    Idle(idle::Idle),
    /// Give out work again
    Resume(resume::Resume),
    /// Look at jobs, and change their course
    #[command(subcommand)]
    Job(job::Job),
    /// Look at events, and why they made jobs or none
    #[command(subcommand)]
    Event(event::Event),
    /// Run a task on this machine, with no server
    Run(run::Run),
    /// Check rules, and try them on events
    #[command(subcommand)]
    Rules(rules::Rules),
    /// Look at the repositories of tasks, and fetch them
    #[command(subcommand)]
    Mirrors(mirrors::Mirrors),
    /// What operators should know of the installation as a whole
    #[command(subcommand)]
    Report(report::Report),
    /// Make tokens, and list them
    #[command(subcommand)]
    Token(token::Token),
    /// The settings, and where each came from
    #[command(subcommand)]
    Config(config::Config),
    /// Which secrets jobs may have, from whom
    #[command(subcommand)]
    Secret(secret::Secret),
    /// Who changed what, when and why
    Audit(audit::Audit),
    /// Measure how fast this machine runs Taskotron
    Bench(bench::Bench),
    /// Print the completion script of a shell
    Completion(help::Completion),
    /// Write the manual pages into a folder
    Man(help::Man),
    /// Explain a command, or 'exit-codes'
    Help(help::Help),
}

/// What a command has at hand.
pub struct Session {
    pub format: Format,
    options: Options,
}

impl Session {
    /// The settings, with `flags` over them.
    pub fn layers(&self, flags: Vec<Flag>) -> anyhow::Result<Layers> {
        Layers::load(self.options.settings.as_deref(), flags)
    }

    /// A client for the master.
    pub fn client(&self) -> anyhow::Result<Client> {
        self.options.place.client(&self.layers(Vec::new())?.settings()?.client)
    }
}

/// The program.
pub fn main() -> ExitCode {
    if let Some(dir) = role::guarded() {
        return exit::finish("taskotron", ::worker::keep_vigil(&dir).map(|()| Exit::Reached));
    }
    let Cli { command, options } = Cli::try_parse().unwrap_or_else(|e| exit_by(&e));
    logging::begin(if command.is_service() { "info" } else { "warn" });
    let session = Session { format: options.output, options };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            if let Command::Check(check) = command {
                let code = runtime.block_on(check.run(session));
                runtime.shutdown_background();
                return code;
            }
            let result = runtime.block_on(command.run(&session));
            // A blocking read of stdin would keep the process from ending.
            runtime.shutdown_background();
            result
        }
        Err(e) => Err(e.into()),
    };
    exit::finish("taskotron", result)
}

/// Says what is wrong with the command line, or what was asked of it, and ends. To whoever watches by 'check' a wrong
/// usage means that nothing can be told, and not the code by which others say it.
fn exit_by(error: &clap::Error) -> ! {
    let checking = || {
        let matches = Cli::command().ignore_errors(true).try_get_matches();
        matches.is_ok_and(|matches| matches.subcommand_name() == Some("check"))
    };
    if error.use_stderr() && checking() {
        let _ = error.print();
        std::process::exit(3);
    }
    error.exit()
}

impl Command {
    /// Whether it runs until it is stopped, and so has something to log.
    fn is_service(&self) -> bool {
        match self {
            Command::Up(_) | Command::Master(_) | Command::Resultsdb(_) | Command::Record(_) => true,
            Command::Trigger(trigger) => trigger.is_service(),
            Command::Worker(worker) => worker.is_service(),
            Command::Missed(_)
            | Command::Status
            | Command::Check(_)
            | Command::Idle(_)
            | Command::Resume(_)
            | Command::Job(_)
            | Command::Event(_)
            | Command::Rules(_)
            | Command::Run(_)
            | Command::Mirrors(_)
            | Command::Report(_)
            | Command::Results(_)
            | Command::Token(_)
            | Command::Config(_)
            | Command::Secret(_)
            | Command::Audit(_)
            | Command::Bench(_)
            | Command::Completion(_)
            | Command::Man(_)
            | Command::Help(_) => false,
        }
    }

    async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        match self {
            Command::Up(up) => up.run(session).await,
            Command::Trigger(trigger) => trigger.run(session).await,
            Command::Master(master) => master.run(session).await,
            Command::Worker(worker) => worker.run(session).await,
            Command::Resultsdb(resultsdb) => resultsdb.run(session).await,
            Command::Results(results) => results.run(session).await,
            Command::Record(record) => record.run(session).await,
            Command::Missed(missed) => missed.run(session).await,
            Command::Status => status::run(session).await,
            // It has exit codes of its own, and so a way of its own.
            Command::Check(_) => unreachable!("a check is not run among the others"),
            Command::Idle(idle) => idle.run(session).await,
            Command::Resume(resume) => resume.run(session).await,
            Command::Job(job) => job.run(session).await,
            Command::Event(event) => event.run(session).await,
            Command::Rules(rules) => rules.run(session).await,
            Command::Run(run) => run.run(session).await,
            Command::Mirrors(mirrors) => mirrors.run(session).await,
            Command::Report(report) => report.run(session).await,
            Command::Token(token) => token.run(session),
            Command::Config(config) => config.run(session),
            Command::Secret(secret) => secret.run(session).await,
            Command::Audit(audit) => audit.run(session).await,
            Command::Bench(bench) => bench.run(session).await,
            Command::Completion(completion) => completion.run(),
            Command::Man(man) => man.run(),
            Command::Help(help) => help.run(),
        }
    }
}
