//! `taskotron secret`: which secrets jobs may have, from whom, and when they last had them. No value is ever shown.

use clap::Subcommand;
use model::operator::{Page, SecretView};

use crate::exit::Exit;

use super::output::{Column, Listed, column};
use super::{Session, output};

#[derive(Subcommand, Debug)]
pub enum Secret {
    /// List names, holders, and the tasks that may have them; 'audit' tells each use
    List,
}

impl Listed for SecretView {
    const COLUMNS: &'static [Column<SecretView>] = &[
        column("name", |s| s.name.clone()),
        column("holder", |s| s.holder.clone()),
        column("tasks", |s| s.tasks.join(" ")),
        column("last_used", |s| s.last_used.map_or_else(String::new, |at| at.to_seconds())),
    ];
}

impl Secret {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let Secret::List = self;
        let secrets: Page<SecretView> = session.client()?.get("/api/v1/secrets").await?;
        output::list(session.format, secrets.items)?;
        Ok(Exit::Reached)
    }
}
