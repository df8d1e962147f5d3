//! `taskotron results`: what the results store has, as a whole.

mod export;
mod import;

use clap::Subcommand;

use crate::exit::Exit;

use super::Session;

#[derive(Subcommand, Debug)]
pub enum Results {
    /// Write results as JSON lines, however many they are
    Export(export::Export),
    /// Bring in what another ResultsDB has, with its ids and times
    Import(import::Import),
}

impl Results {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        match self {
            Results::Export(export) => export.run(session).await,
            Results::Import(import) => import.run(session).await,
        }
    }
}
