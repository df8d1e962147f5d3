//! `taskotron token`: makes tokens and lists whom a token file lets in. Servers read the file again when it changes.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use model::{Role, Span, Time};
use net::{Grant, Secret, Tokens, clock};
use serde::Serialize;

use crate::exit::{Exit, Failure, OrExit as _};

use super::output::{Column, Listed, column, maybe};
use super::{Session, output, question};

#[derive(Subcommand, Debug)]
pub enum Token {
    /// Make a token: its hash goes into the token file, the token itself to stdout or into a file
    Create(Create),
    /// List whom a token file lets in
    List(List),
}

#[derive(Args, Debug)]
pub struct Create {
    /// What its holder may do: operator, submitter, trigger, worker or reader
    #[arg(long)]
    role: Role,
    /// Who holds it; it stands beside every act
    #[arg(long)]
    name: String,
    /// How long it is good for: 30d, 1y
    #[arg(long, value_name = "SPAN")]
    expires: Option<Span>,
    /// The token file of the server; else the settings' [tokens] file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Write the token here, readable by its owner only, instead of to stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Why, for those who come after; it stands in the token file
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: String,
}

#[derive(Args, Debug)]
pub struct List {
    /// The token file of the server; else the settings' [tokens] file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// One grant as it is listed.
#[derive(Serialize)]
struct Line {
    name: String,
    role: Role,
    expires: Option<Time>,
}

impl Listed for Line {
    const COLUMNS: &'static [Column<Line>] = &[
        column("name", |l| l.name.clone()),
        column("role", |l| l.role.to_string()),
        column("expires", |l| maybe(&l.expires)),
    ];
}

impl Token {
    pub fn run(self, session: &Session) -> anyhow::Result<Exit> {
        match self {
            Token::Create(create) => create.run(session),
            Token::List(List { file }) => {
                let file = token_file(session, file)?;
                let mut grants = Tokens::from_file(&file, false).or_exit(Exit::Usage)?.grants();
                grants.sort_by(|a, b| a.name.cmp(&b.name));
                let lines = grants.into_iter().map(|Grant { name, role, expires }| Line { name, role, expires });
                output::list(session.format, lines.collect())?;
                Ok(Exit::Reached)
            }
        }
    }
}

fn token_file(session: &Session, named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match named {
        Some(file) => Ok(file),
        None => Ok(session.layers(Vec::new())?.settings()?.tokens.file),
    }
}

impl Create {
    fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let reason = question::reason(&self.reason)?.replace(char::is_control, " ");
        if self.name.is_empty() || self.name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Failure::error(Exit::Usage, "the name is one word without spaces"));
        }
        let file = token_file(session, self.file)?;
        let (secret, now) = (Secret::random(), clock::now());
        let grant = Grant { name: self.name, role: self.role, expires: self.expires.map(|span| now.plus(span)) };
        let line = Tokens::line(&secret, &grant).expect("a random secret is not empty");
        let token = secret.expose().expect("a random secret is not empty");
        // The holder has it before the server knows it: a failure between the two leaves nothing that works.
        match &self.out {
            Some(out) => write_secret(out, token)?,
            None => writeln!(std::io::stdout(), "{token}")?,
        }
        append(&file, &format!("# {now}: {reason}\n{line}\n"))?;
        eprintln!("added {} '{}' to {}", grant.role, grant.name, file.display());
        Ok(Exit::Reached)
    }
}

/// Writes a new file that only its owner reads.
fn write_secret(path: &Path, token: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot make {}", path.display())).or_exit(Exit::Usage)?;
    Ok(writeln!(file, "{token}")?)
}

fn append(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display())).or_exit(Exit::Usage)?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}
