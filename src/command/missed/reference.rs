//! What is compared with: the files of a recorder, or what a master has seen.

use std::path::PathBuf;

use model::missed::Seen;
use model::operator::Page;
use model::{Span, Time};
use net::{Client, Secret, clock};
use trigger::{Gap, Past, PastError, Place};
use url::Url;

use crate::command::question::path;
use crate::exit::{Exit, Failure, OrExit as _};

use super::here;

/// A reference that is read from its beginning to its end.
pub enum Reference {
    Files { path: PathBuf, past: Past, place: Place },
    Master { client: Client, name: String, since: Time, until: Time, cursor: Cursor },
}

/// Where the next page begins.
pub enum Cursor {
    Begin,
    At(String),
    End,
}

/// The span that is compared.
pub struct Scope {
    since: Time,
    /// Where one was given; else all that the reference has.
    until: Option<Time>,
    /// The time up to which the reference covers it, and this master has to.
    pub reaches: Time,
}

impl Scope {
    pub fn holds(&self, time: Time) -> bool {
        time >= self.since && self.until.is_none_or(|until| time < until)
    }
}

impl Reference {
    /// `own` is the master that is compared, and the reference where none is named; `token` is for another.
    pub fn open(against: Option<&str>, token: Secret, own: &Client) -> anyhow::Result<Reference> {
        let master = |client: Client, name: String| Reference::Master {
            client,
            name,
            since: Time::default(),
            until: Time::default(),
            cursor: Cursor::Begin,
        };
        match against {
            None => Ok(master(own.clone(), "this master with itself".into())),
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
                let base: Url =
                    url.parse().map_err(|e| Failure::error(Exit::Usage, format!("'{url}' is no address: {e}")))?;
                Ok(master(Client::new(base, token).or_exit(Exit::Usage)?, format!("this master with {url}")))
            }
            Some(file) => {
                let path = PathBuf::from(file);
                let past = Past::open(&path).map_err(|e| Failure::error(exit(&e), e.to_string()))?;
                Ok(Reference::Files { path, past, place: Place::default() })
            }
        }
    }

    pub fn name(&self) -> String {
        match self {
            Reference::Files { path, past, .. } => {
                format!("this master with {} of {}", path.display(), past.recorder())
            }
            Reference::Master { name, .. } => name.clone(),
        }
    }

    /// Sees to it that the reference covers the span.
    pub async fn scope(&mut self, from: Time, to: Option<Time>, wait: Span) -> anyhow::Result<Scope> {
        match self {
            Reference::Files { path, past, .. } => {
                let survey = past.survey().or_exit(Exit::CannotTell)?;
                let cannot = |why: String| Err(Failure::error(Exit::CannotTell, format!("cannot tell: {why}")));
                if let Some(damage) = survey.damage {
                    return cannot(damage);
                }
                let Some(end) = survey.coverage.until else {
                    return cannot(format!(
                        "{} does not say when it listened to a bus, so it may lack anything; \
                         'jobrunner' replays all of it, each job once",
                        path.display()
                    ));
                };
                let lacks = survey.lacks(from, to.unwrap_or(end));
                if !lacks.is_empty() {
                    return cannot(format!("{} lacks what the bus sent {}", path.display(), spans(&lacks)));
                }
                if from >= end {
                    return cannot(format!("{} ends at {end}, and --since is {from}", path.display()));
                }
                let reaches = to.unwrap_or_else(|| survey.last.map_or(end, |last| last.max(end)));
                Ok(Scope { since: from, until: to, reaches })
            }
            Reference::Master { client, name, since, until, .. } => {
                let reaches = to.unwrap_or_else(clock::now);
                let triggers = here::caught_up(client, reaches, wait).await?;
                if let Some(why) = here::lacks(&triggers, from) {
                    return Err(Failure::error(Exit::CannotTell, format!("cannot tell, comparing {name}: {why}")));
                }
                (*since, *until) = (from, reaches);
                Ok(Scope { since: from, until: Some(reaches), reaches })
            }
        }
    }

    /// The next events, about so many; none at the end.
    pub async fn next(&mut self, most: usize) -> anyhow::Result<Option<Vec<Seen>>> {
        match self {
            Reference::Files { past, place, .. } => {
                let records = past.read(place, most).or_exit(Exit::CannotTell)?;
                let seen = records.into_iter().map(|record| Seen::of(past.recorder(), record)).collect::<Vec<_>>();
                Ok(Some(seen).filter(|seen| !seen.is_empty()))
            }
            Reference::Master { client, since, until, cursor, .. } => {
                let mut query = vec![("since", since.to_string()), ("until", until.to_string())];
                match cursor {
                    Cursor::Begin => {}
                    Cursor::At(at) => query.push(("cursor", at.clone())),
                    Cursor::End => return Ok(None),
                }
                let page: Page<Seen> = client.get(&path(&["seen"], &query)).await.or_exit(Exit::CannotTell)?;
                *cursor = page.next.map_or(Cursor::End, Cursor::At);
                Ok(Some(page.items))
            }
        }
    }
}

fn exit(error: &PastError) -> Exit {
    match error {
        PastError::NoLog(_) | PastError::Io { .. } => Exit::Usage,
        PastError::Alone(_) => Exit::CannotTell,
    }
}

fn spans(gaps: &[Gap]) -> String {
    let spans: Vec<String> = gaps.iter().map(|gap| format!("from {} to {}", gap.from, gap.to)).collect();
    spans.join(" and ")
}
