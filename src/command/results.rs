//! `taskotron results`: what the results store has, as a whole.

mod export;
mod import;
mod prune;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::exit::{Exit, Failure};
use crate::place;

use super::Session;

#[derive(Subcommand, Debug)]
pub enum Results {
    /// Write results as JSON lines, however many they are
    Export(export::Export),
    /// Bring in what another ResultsDB has, with its ids and times
    Import(import::Import),
    /// Remove results that are older than [resultsdb] retention says
    Prune(prune::Prune),
}

/// Which store's database.
#[derive(Args, Debug)]
struct Place {
    /// The store's database; else [resultsdb] database of the settings
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    database: Option<String>,
    /// The data folder of a 'taskotron up'
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Place {
    /// The address of the database.
    fn database(&self, settings: &resultsdb::Settings) -> anyhow::Result<String> {
        if let Some(url) = &self.database {
            return Ok(url.clone());
        }
        if let (None, Some(url)) = (&self.data, &settings.database) {
            return Ok(url.clone());
        }
        let folder = self.data.clone().unwrap_or_else(|| PathBuf::from(place::DATA));
        let file = folder.join(place::RESULTS);
        if !folder.is_dir() {
            let text = format!(
                "no database is named: give --database, [resultsdb] database or --data ({} is no folder)",
                folder.display()
            );
            return Err(Failure::error(Exit::Usage, text));
        }
        Ok(format!("sqlite:{}", file.display()))
    }
}

impl Results {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        match self {
            Results::Export(export) => export.run(session).await,
            Results::Import(import) => import.run(session).await,
            Results::Prune(prune) => prune.run(session).await,
        }
    }
}
