//! A job log through jobrunner, as after a long idle.

use std::path::Path;
use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use model::{JobId, Role, joblog};
use net::clock;

use super::Servers;
use super::figure::{Figure, Unit};
use super::limit::{self, per_second};
use super::site::{self, Site, TRUE};

#[derive(Args, Debug)]
pub struct Replay {
    /// How many rows
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    rows: usize,
}

impl Replay {
    pub async fn measure(&self, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
        site::on(servers.engine()?, TRUE, |_| {}, async |site| self.run(site).await).await
    }

    async fn run(&self, site: &mut Site) -> anyhow::Result<Vec<Figure>> {
        let bare = site.database("bare").await?;
        let copies = limit::rows(&bare).await?;
        let file = site.path("jobs.csv");
        write(&file, self.rows)?;
        site.start(&["master"]).await?;
        let file = file.display().to_string();
        let token = site.token_file(Role::Submitter).display().to_string();
        let url = site.settings.master.public_url.to_string();
        let begun = Instant::now();
        let jobrunner =
            site.spawn("jobrunner", "jobrunner", &[file, "--url".into(), url, "--token-file".into(), token])?;
        let status = jobrunner.wait().await?;
        let rate = per_second(self.rows, begun);
        ensure!(status.success(), "jobrunner failed ({status}): {}", jobrunner.last_words());
        let queued = site.status().await?.jobs.queued;
        ensure!(queued == self.rows as u64, "{} rows were submitted, and {queued} jobs are queued", self.rows);
        let figure = Figure::new(format!("replay of {} rows", self.rows), site.engine.name(), rate, Unit::PerSecond);
        Ok(vec![figure.budget(20_000.0, 50_000.0).limit("rows into a bare table", copies, Unit::PerSecond)])
    }
}

/// A job log as a trigger writes it, of one event and one job a row.
fn write(path: &Path, rows: usize) -> anyhow::Result<()> {
    let mut file = csv::Writer::from_path(path)?;
    file.write_record(joblog::COLUMNS)?;
    let now = clock::now().to_string();
    let topic = "org.fedoraproject.prod.buildsys.build.state.change";
    for n in 1..=rows {
        let (seq, event, item) = (n.to_string(), format!("bench-{n}"), format!("package-{n}-1.fc41"));
        let key = JobId::of(&event, "bench", "koji_build", &item, "noarch").to_string();
        file.write_record([
            &seq,
            "bench",
            &now,
            &event,
            &now,
            topic,
            "bench",
            "1",
            "bench",
            &item,
            "koji_build",
            "noarch",
            "0",
            "{}",
            "",
            "",
            "",
            &key,
        ])?;
    }
    Ok(file.flush()?)
}
