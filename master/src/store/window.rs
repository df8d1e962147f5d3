//! The windows of idle: where every source stood at both edges, and what came in between.

use std::collections::BTreeMap;

use db::on_read;
use model::Time;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::corrupt;
use super::number::nat;
use super::tx::{Work, on_tx};
use super::types::{Position, Sums, Window};
use super::{Result, Store};

/// The edge of a window, as it is stored.
pub(super) struct Edge {
    pub positions: String,
    /// The number of the last event.
    pub events: i64,
}

/// Earlier versions stored only the number of the next event.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Position(Position),
    Next(u64),
}

impl From<Stored> for Position {
    fn from(stored: Stored) -> Position {
        match stored {
            Stored::Position(position) => position,
            Stored::Next(next) => Position { next, ..Position::default() },
        }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    set_by: String,
    reason: String,
    idle_at: i64,
    resumed_at: Option<i64>,
    positions_at_idle: String,
    positions_at_resume: Option<String>,
    events_at_idle: Option<i64>,
    events_at_resume: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Window> {
        let map = |text: &str| -> Result<BTreeMap<String, Position>> {
            let stored: BTreeMap<String, Stored> =
                serde_json::from_str(text).map_err(|_| corrupt("windows", "positions", self.seq, text))?;
            Ok(stored.into_iter().map(|(recorder, stored)| (recorder, stored.into())).collect())
        };
        Ok(Window {
            seq: self.seq,
            idle_at: Time(self.idle_at),
            resumed_at: self.resumed_at.map(Time),
            positions_at_idle: map(&self.positions_at_idle)?,
            positions_at_resume: self.positions_at_resume.as_deref().map(map).transpose()?,
            events_at_idle: self.events_at_idle,
            events_at_resume: self.events_at_resume,
            by: self.set_by,
            reason: self.reason,
        })
    }
}

impl Store {
    /// Newest first.
    pub async fn windows(&self, limit: u32) -> Result<Vec<Window>> {
        let rows: Vec<Row> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT seq, set_by, reason, idle_at, resumed_at, positions_at_idle, positions_at_resume,
                        events_at_idle, events_at_resume
                 FROM windows ORDER BY seq DESC LIMIT $1",
            )
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(Row::read).collect()
    }

    /// The newest window with its sums; one that is still open is taken to end now. None before the first idle, and for
    /// a window of a version that did not count.
    pub async fn sums(&self) -> Result<Option<(Window, Sums)>> {
        let Some(mut window) = self.windows(1).await?.pop() else { return Ok(None) };
        if window.resumed_at.is_none() {
            // Alone, so that the positions and the events are of one moment.
            let mut work = self.begin_alone().await?;
            let edge = edge(&mut work).await?;
            let row = Row {
                resumed_at: Some(work.now.0),
                positions_at_resume: Some(edge.positions),
                events_at_resume: Some(edge.events),
                seq: window.seq,
                set_by: window.by,
                reason: window.reason,
                idle_at: window.idle_at.0,
                positions_at_idle: json!(window.positions_at_idle).to_string(),
                events_at_idle: window.events_at_idle,
            };
            window = row.read()?;
        }
        let (Some(first), Some(last)) = (window.events_at_idle, window.events_at_resume) else { return Ok(None) };
        let (asked, nothing, refused): (i64, i64, i64) = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT count(CASE WHEN asked > refused THEN 1 END), count(CASE WHEN asked = 0 THEN 1 END),
                        count(CASE WHEN asked > 0 AND asked = refused THEN 1 END)
                 FROM events WHERE seq > $1 AND seq <= $2",
            )
            .bind(first)
            .bind(last)
            .fetch_one(pool)
            .await?
        });
        let between = window.between();
        let sums = Sums {
            seen: between.next + between.duplicates + between.quarantined,
            made: nat(asked),
            nothing: nat(nothing),
            refused: nat(refused),
            duplicates: between.repeated + between.duplicates,
            quarantined: between.quarantined,
        };
        Ok(Some((window, sums)))
    }
}

impl Window {
    /// How far all sources went between the edges.
    fn between(&self) -> Position {
        let none = BTreeMap::new();
        let (before, after) = (&self.positions_at_idle, self.positions_at_resume.as_ref().unwrap_or(&none));
        let mut sum = Position::default();
        for (recorder, right) in after {
            // A log begins with event 1.
            let left = before.get(recorder).copied().unwrap_or(Position { next: 1, ..Position::default() });
            sum.next += right.next.saturating_sub(left.next);
            sum.repeated += right.repeated.saturating_sub(left.repeated);
            sum.duplicates += right.duplicates.saturating_sub(left.duplicates);
            sum.quarantined += right.quarantined.saturating_sub(left.quarantined);
        }
        sum
    }
}

/// Where everything stands now. The transaction has to be alone.
pub(super) async fn edge(work: &mut Work) -> Result<Edge> {
    type Row = (String, i64, i64, i64, i64, Option<i64>);
    let (rows, events): (Vec<Row>, i64) = on_tx!(&mut work.tx, |conn| {
        let rows = sqlx::query_as("SELECT recorder, next, repeated, duplicates, quarantined, caught_up FROM triggers")
            .fetch_all(&mut *conn)
            .await?;
        let events = sqlx::query_scalar("SELECT COALESCE(max(seq), 0) FROM events").fetch_one(conn).await?;
        (rows, events)
    });
    let position = |(recorder, next, repeated, duplicates, quarantined, caught_up): Row| {
        let position = Position {
            next: nat(next),
            repeated: nat(repeated),
            duplicates: nat(duplicates),
            quarantined: nat(quarantined),
            caught_up: caught_up.map(Time),
        };
        (recorder, position)
    };
    let positions: BTreeMap<String, Position> = rows.into_iter().map(position).collect();
    Ok(Edge { positions: json!(positions).to_string(), events })
}
