//! Another ResultsDB over its API v2.0, which knows no order of ids and pages that shift: results are read in the order of
//! their times, each page from the last time of the one before on.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use model::Time;
use net::{Backoff, Client, ClientError};
use url::form_urlencoded;

use super::line::{self, Line};
use super::{Done, Importer};
use crate::json::Json;
use crate::moment;
use crate::result::{Change, NewGroup};
use crate::store::Store;

/// How often the same is asked for before the import gives up; it can be run again.
const TRIES: u32 = 8;

/// Before all results, as clients say it.
const BEGINNING: &str = "1900-01-01T00:00:00.000000";

/// The smallest page that is asked for from an origin that does not bring larger ones.
const LEAST: u64 = 20;

/// A ResultsDB that is read over HTTP, one request at a time.
pub struct Origin {
    client: Client,
    /// What it is known by in this store.
    name: String,
    /// Results of a page.
    limit: u64,
    backoff: Backoff,
    /// Said of each request that has to be made again.
    complain: Box<dyn FnMut(&str) + Send>,
}

/// Where an import begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Where the last one of this origin stopped.
    On,
    /// At the first result, whatever is here.
    Anew,
}

impl Origin {
    /// `client` stands at the address below which `api/v2.0` is, and `name` is that address.
    pub fn new(client: Client, name: &str, limit: u64, complain: Box<dyn FnMut(&str) + Send>) -> Origin {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        Origin { client, name: name.to_owned(), limit: limit.max(LEAST), backoff, complain }
    }

    /// Takes in everything that the origin has, and counts what is here afterwards against what is there.
    pub async fn read(mut self, store: &Store, mut importer: Importer<'_>, reading: Reading) -> anyhow::Result<Done> {
        let known = match reading {
            Reading::On => store.imported_until(&self.name).await?,
            Reading::Anew => None,
        };
        let begin = match known {
            Some(time) => time,
            None => {
                self.testcases(&mut importer).await?;
                self.groups(&mut importer).await?;
                importer.flush().await?;
                moment::stored(BEGINNING).context("the beginning is a time")?.0
            }
        };
        store.set_imported_until(&self.name, begin).await?;
        let until = self.results(store, &mut importer, begin).await?;
        let done = importer.finish().await?;
        let there = self.count(until).await?;
        let (here, ..) = store.counts(Some(until)).await?;
        if here < there {
            let time = moment::text(Time(until));
            bail!(
                "{} has {there} results up to {time}, and this store {here}: some came with older times while they were \
                 read, which another run with --anew brings, or have been removed here by 'results prune', which it would \
                 bring back",
                self.name
            );
        }
        Ok(done)
    }

    async fn testcases(&mut self, importer: &mut Importer<'_>) -> anyhow::Result<()> {
        for page in 0.. {
            let (testcases, more) = self.page("testcases", &[("page", page.to_string())]).await?;
            for testcase in testcases {
                match line::of(testcase).context("a testcase of the origin")? {
                    Line::Testcase(testcase) => importer.testcase(testcase).await?,
                    Line::Group(_) | Line::Result(_) => bail!("{} lists among testcases what is none", self.name),
                }
            }
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// The newest are listed first, and have to be made last: pages are put aside and taken from the end.
    async fn groups(&mut self, importer: &mut Importer<'_>) -> anyhow::Result<()> {
        let mut aside = tempfile::tempfile().context("cannot make a temporary file")?;
        let mut sizes: Vec<u64> = Vec::new();
        for page in 0.. {
            let (groups, more) = self.page("groups", &[("page", page.to_string())]).await?;
            let mut text = String::new();
            Json::List(groups).write(&mut text);
            aside.write_all(text.as_bytes()).context("cannot write to a temporary file")?;
            sizes.push(text.len() as u64);
            if !more {
                break;
            }
        }
        let mut end: u64 = sizes.iter().sum();
        for size in sizes.into_iter().rev() {
            end -= size;
            let mut text = vec![0; usize::try_from(size).unwrap_or_default()];
            aside.seek(SeekFrom::Start(end)).and_then(|_| aside.read_exact(&mut text)).context("a temporary file")?;
            let Some(Json::List(groups)) = Json::parse(&text) else { bail!("a temporary file has changed") };
            for group in groups.into_iter().rev() {
                match line::of(group).context("a group of the origin")? {
                    Line::Group(group) => importer.group(group).await?,
                    Line::Testcase(_) | Line::Result(_) => bail!("{} lists among groups what is none", self.name),
                }
            }
        }
        Ok(())
    }

    /// Reads from a time on to the end; the time of the newest.
    async fn results(&mut self, store: &Store, importer: &mut Importer<'_>, begin: i64) -> anyhow::Result<i64> {
        let mut from = begin;
        // A page must reach beyond one moment, however much was submitted at once.
        let mut least = 0;
        loop {
            let since = moment::text(Time(from));
            let asked = [("since", since), ("_sort", "asc:submit_time".to_owned())];
            let (results, more) = self.page_of("results", &asked, least).await?;
            let count = results.len() as u64;
            let mut last = from;
            let mut batch = Vec::with_capacity(results.len());
            for result in results {
                match line::of(result).context("a result of the origin")? {
                    Line::Result(result) => {
                        last = last.max(result.submit_time.0);
                        batch.push(*result);
                    }
                    Line::Testcase(_) | Line::Group(_) => bail!("{} lists among results what is none", self.name),
                }
            }
            self.describe_groups(store, &mut batch).await?;
            for result in batch {
                importer.result(format!("result {}", result.id.unwrap_or_default()), result).await?;
            }
            importer.flush().await?;
            store.set_imported_until(&self.name, last).await?;
            if !more {
                return Ok(last);
            }
            least = if last > from { 0 } else { count.max(self.limit) * 2 };
            from = last;
        }
    }

    /// Asks for what groups say of themselves that nobody here knows yet.
    async fn describe_groups(&mut self, store: &Store, batch: &mut [crate::NewResult]) -> anyhow::Result<()> {
        let mut uuids: Vec<String> = batch.iter().flat_map(|r| &r.groups).map(|group| group.uuid.clone()).collect();
        uuids.sort_unstable();
        uuids.dedup();
        let known = store.groups_named(&uuids).await?;
        let mut found: Vec<NewGroup> = Vec::new();
        for uuid in uuids.iter().filter(|uuid| !known.contains_key(*uuid)) {
            let path =
                format!("groups/{}", percent_encoding::utf8_percent_encode(uuid, percent_encoding::NON_ALPHANUMERIC));
            match self.ask(&path, TRIES).await {
                Ok(group) => {
                    if let Line::Group(group) = line::of(group).context("a group of the origin")? {
                        found.push(group);
                    }
                }
                // One whose uuid no path can name.
                Err(ClientError::Refused { status: 404, .. }) => {}
                Err(e) => return Err(e).with_context(|| format!("failed to ask {} for group {uuid}", self.name)),
            }
        }
        for group in batch.iter_mut().flat_map(|result| &mut result.groups) {
            if let Some(known) = found.iter().find(|known| known.uuid == group.uuid) {
                group.clone_from(known);
            } else {
                (group.description, group.ref_url) = (Change::Keep, Change::Keep);
            }
        }
        Ok(())
    }

    /// How many results the origin has up to a time. It does not count, but tells whether a page has any.
    async fn count(&mut self, until: i64) -> anyhow::Result<i64> {
        let until = format!("{BEGINNING},{}", moment::text(Time(until)));
        let (mut least, mut most) = (0i64, 1i64);
        while self.has(most - 1, &until).await? {
            least = most;
            most *= 2;
        }
        // The first `least` are there, and `most` are not.
        while most - least > 1 {
            let middle = least + (most - least) / 2;
            if self.has(middle - 1, &until).await? {
                least = middle;
            } else {
                most = middle;
            }
        }
        Ok(least)
    }

    async fn has(&mut self, place: i64, until: &str) -> anyhow::Result<bool> {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("since", until)
            .append_pair("limit", "1")
            .append_pair("page", &place.to_string())
            .finish();
        let answer = self.ask(&format!("results?{query}"), TRIES).await;
        let answer = answer.with_context(|| format!("failed to count the results of {}", self.name))?;
        Ok(matches!(answer.get("data"), Some(Json::List(data)) if !data.is_empty()))
    }

    async fn page(&mut self, what: &str, asked: &[(&str, String)]) -> anyhow::Result<(Vec<Json>, bool)> {
        // Pages of one list must all be of one size.
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(asked)
            .append_pair("limit", &self.limit.to_string())
            .finish();
        let answer = self.ask(&format!("{what}?{query}"), TRIES).await;
        self.elements(what, answer.with_context(|| format!("failed to read the {what} of {}", self.name))?)
    }

    /// A page of at least so many, and smaller ones from an origin that does not bring them in time.
    async fn page_of(&mut self, what: &str, asked: &[(&str, String)], least: u64) -> anyhow::Result<(Vec<Json>, bool)> {
        loop {
            let limit = self.limit.max(least);
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(asked)
                .append_pair("limit", &limit.to_string())
                .finish();
            let smaller = self.limit > LEAST && limit > least;
            match self.ask(&format!("{what}?{query}"), if smaller { 2 } else { TRIES }).await {
                Ok(answer) => return self.elements(what, answer),
                Err(ClientError::Unavailable(_)) if smaller => {
                    self.limit = (self.limit / 4).max(LEAST);
                }
                Err(e) => return Err(e).with_context(|| format!("failed to read the {what} of {}", self.name)),
            }
        }
    }

    /// The elements of a listing's page, and whether there is another.
    fn elements(&self, what: &str, answer: Json) -> anyhow::Result<(Vec<Json>, bool)> {
        let more = matches!(answer.get("next"), Some(Json::Text(_)));
        let Json::Object(members) = answer else { bail!("{} answers for {what} what is no object", self.name) };
        match members.into_iter().find(|(name, _)| name == "data") {
            Some((_, Json::List(elements))) => Ok((elements, more)),
            _ => bail!("{} answers for {what} without a list of data: is it a ResultsDB?", self.name),
        }
    }

    /// Asks again, and waits longer each time, as long as the origin says that it may be asked later.
    async fn ask(&mut self, path: &str, tries: u32) -> Result<Json, ClientError> {
        for attempt in 1.. {
            match self.client.get::<Json>(&format!("api/v2.0/{path}")).await {
                Err(ClientError::Unavailable(why)) if attempt < tries => {
                    (self.complain)(&why);
                    self.backoff.wait().await;
                }
                other => {
                    self.backoff.reset();
                    return other;
                }
            }
        }
        unreachable!("the loop returns")
    }
}
