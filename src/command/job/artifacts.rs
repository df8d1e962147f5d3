//! `taskotron job artifacts`: the files that a job left, listed or fetched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use model::{Artifact, is_artifact_name};
use net::Client;
use sha2::{Digest as _, Sha256};

use crate::exit::{Exit, Failure};

use super::super::Session;
use super::super::output::{Column, Listed, Listing, column, maybe, wide};
use super::super::question::path;
use super::super::terminal::harmless;
use super::Named;

#[derive(Args, Debug)]
pub struct Artifacts {
    #[command(flatten)]
    job: Named,
    /// Only of this attempt
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Fetch this file; may be given several times
    #[arg(long, value_name = "NAME")]
    get: Vec<String>,
    /// Fetch every file, of several attempts the last one's
    #[arg(long, conflicts_with = "get")]
    all: bool,
    /// Where fetched files go, with the folders of their names
    #[arg(short = 'O', long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

impl Listed for Artifact {
    const COLUMNS: &'static [Column<Artifact>] = &[
        column("attempt", |a| a.attempt.to_string()),
        column("name", |a| a.name.clone()),
        column("size", |a| a.size.to_string()),
        column("stored_at", |a| a.stored_at.to_seconds()),
        column("removed_at", |a| maybe(&a.removed_at)),
        wide("sha256", |a| a.sha256.clone()),
    ];
}

impl Artifacts {
    pub async fn run(self, session: &Session, client: &Client) -> anyhow::Result<Exit> {
        let mut all: Vec<Artifact> = client.get(&path(&["jobs", &self.job.id, "artifacts"], &[])).await?;
        all.retain(|artifact| self.attempt.is_none_or(|n| n == artifact.attempt));
        if self.get.is_empty() && !self.all {
            let mut listing = Listing::new(session.format);
            listing.add(all)?;
            listing.finish()?;
            return Ok(Exit::Reached);
        }
        for artifact in self.chosen(all)? {
            let place = self.fetch(client, &artifact).await?;
            eprintln!("{}", harmless(&place.display().to_string()));
        }
        Ok(Exit::Reached)
    }

    /// Those to fetch: of each name the last attempt's.
    fn chosen(&self, all: Vec<Artifact>) -> anyhow::Result<Vec<Artifact>> {
        let mut chosen: Vec<Artifact> = Vec::new();
        for artifact in all {
            chosen.retain(|other| other.name != artifact.name);
            chosen.push(artifact);
        }
        if self.all {
            chosen.retain(|artifact| artifact.removed_at.is_none());
            return Ok(chosen);
        }
        if let Some(name) = self.get.iter().find(|name| !chosen.iter().any(|artifact| artifact.name == **name)) {
            let detail =
                format!("job {} left no '{name}'; taskotron job artifacts {0} lists what it left", self.job.id);
            return Err(Failure::error(Exit::Usage, detail));
        }
        chosen.retain(|artifact| self.get.contains(&artifact.name));
        Ok(chosen)
    }

    /// Fetches one under another name, on from where an earlier try broke off, and names it when it is what it should be.
    async fn fetch(&self, client: &Client, artifact: &Artifact) -> anyhow::Result<PathBuf> {
        // It comes from a server, and must lead nowhere but below the folder.
        if !is_artifact_name(&artifact.name) {
            let detail =
                format!("'{}' is no name for a file below {}", artifact.name.escape_debug(), self.out.display());
            return Err(Failure::error(Exit::NotReached, detail));
        }
        let place = self.out.join(&artifact.name);
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let part =
            PathBuf::from(format!("{}.{}.part", place.display(), &artifact.sha256[..artifact.sha256.len().min(12)]));
        let mut file = begun(&part, artifact.size).with_context(|| format!("cannot write {}", part.display()))?;
        let from = file.metadata()?.len();
        let query = [("attempt", artifact.attempt.to_string())];
        let mut segments = vec!["jobs", &self.job.id, "artifacts"];
        segments.extend(artifact.name.split('/'));
        if from < artifact.size
            && let Some(mut response) = client.get_part(&path(&segments, &query), from).await?
        {
            let broken = |e: reqwest::Error| {
                Failure::error(Exit::CannotTell, format!("'{}' broke off: {e}; the same again goes on", artifact.name))
            };
            while let Some(bytes) = response.chunk().await.map_err(broken)? {
                file.write_all(&bytes).with_context(|| format!("cannot write {}", part.display()))?;
            }
        }
        if digest(&mut file)? != artifact.sha256 {
            fs::remove_file(&part)?;
            let detail = format!("what came of '{}' is not what the master promised; try again", artifact.name);
            return Err(Failure::error(Exit::NotReached, detail));
        }
        fs::rename(&part, &place).with_context(|| format!("cannot write {}", place.display()))?;
        Ok(place)
    }
}

/// What there is of a file by now, at its end; nothing, where that is too much.
fn begun(part: &Path, size: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(part)?;
    if file.metadata()?.len() > size {
        file.set_len(0)?;
    }
    file.seek(io::SeekFrom::End(0))?;
    Ok(file)
}

fn digest(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let (mut sha256, mut buffer) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(sha256.finalize())),
            n => sha256.update(&buffer[..n]),
        }
    }
}
