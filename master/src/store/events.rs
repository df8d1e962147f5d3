//! Looking at events.

use db::on_read;
use model::operator::EventSummary;
use model::{Event, Time};
use serde_json::{Map, Value};

use super::error::corrupt;
use super::listing::Listing;
use super::number::nat;
use super::types::{Cursor, EventFilter, StoredEvent};
use super::{Result, Store};

#[derive(sqlx::FromRow)]
struct SummaryRow {
    seq: i64,
    id: String,
    topic: String,
    sent_at: Option<String>,
    recorded_at: i64,
    source: String,
    recorder: String,
    jobs: i64,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    id: String,
    topic: String,
    sent_at: Option<String>,
    recorded_at: i64,
    source: String,
    recorder: String,
    generation: i64,
    matched: String,
    document: String,
}

/// What a stored event keeps as JSON.
#[derive(serde::Deserialize)]
pub(super) struct Document {
    pub headers: Map<String, Value>,
    pub body: Map<String, Value>,
}

impl Document {
    pub(super) fn read(event: &str, text: &str) -> Result<Document> {
        serde_json::from_str(text).map_err(|_| corrupt("events", "document", event, text))
    }
}

impl Store {
    /// Newest first, with the place at which to go on.
    pub async fn events(&self, filter: &EventFilter, after: Cursor, limit: u32) -> Result<(Vec<EventSummary>, Cursor)> {
        let mut listing = Listing::new(
            "SELECT e.seq, e.id, e.topic, e.sent_at, e.recorded_at, e.source, e.recorder,
                    (SELECT count(*) FROM jobs j WHERE j.event = e.seq) AS jobs
             FROM events e WHERE TRUE",
        );
        listing.number("e.seq < ?", after.unwrap_or(i64::MAX));
        if let Some(topic) = &filter.topic {
            match topic.strip_suffix('*') {
                None => listing.text("e.topic = ?", topic),
                Some(prefix) => {
                    listing.text("e.topic >= ?", prefix);
                    listing.text("e.topic < ?", &format!("{prefix}{}", char::MAX));
                }
            }
        }
        if let Some(recorder) = &filter.recorder {
            listing.text("e.recorder = ?", recorder);
        }
        match filter.with_jobs {
            Some(true) => listing.and("EXISTS (SELECT 1 FROM jobs j WHERE j.event = e.seq)"),
            Some(false) => listing.and("NOT EXISTS (SELECT 1 FROM jobs j WHERE j.event = e.seq)"),
            None => {}
        }
        let rows: Vec<SummaryRow> = listing.rows(self.db(), "e.seq DESC", limit).await?;
        let next = if rows.len() == limit as usize { rows.last().map(|row| row.seq) } else { None };
        let summary = |row: SummaryRow| EventSummary {
            id: row.id,
            topic: row.topic,
            sent_at: row.sent_at,
            recorded_at: Time(row.recorded_at),
            source: row.source,
            recorder: row.recorder,
            jobs: nat(row.jobs),
        };
        Ok((rows.into_iter().map(summary).collect(), next))
    }

    pub async fn event(&self, id: &str) -> Result<Option<StoredEvent>> {
        let row: Option<EventRow> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT id, topic, sent_at, recorded_at, source, recorder, generation, matched, document
                 FROM events WHERE id = $1",
            )
            .bind(id)
            .fetch_optional(pool)
            .await?
        });
        let Some(row) = row else { return Ok(None) };
        let Document { headers, body } = Document::read(&row.id, &row.document)?;
        Ok(Some(StoredEvent {
            matched: serde_json::from_str(&row.matched).map_err(|_| corrupt("events", "matched", id, &row.matched))?,
            recorded_at: Time(row.recorded_at),
            recorder: row.recorder,
            generation: nat(row.generation),
            event: Event { id: row.id, topic: row.topic, sent_at: row.sent_at, headers, body, source: row.source },
        }))
    }

    pub(super) async fn event_seq(&self, id: &str) -> Result<Option<i64>> {
        Ok(on_read!(self.db(), |pool| {
            sqlx::query_scalar("SELECT seq FROM events WHERE id = $1").bind(id).fetch_optional(pool).await?
        }))
    }
}
