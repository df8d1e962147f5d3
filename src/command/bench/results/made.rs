//! The database of which the original's figures are known: items with 50 results each, 40 testcases, 6 keys of data,
//! groups of 10, one year. Everything follows from the number of a result, so that requests know what is there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use db::sqlx::{self, Connection as _, PgConnection, SqliteConnection};
use model::Time;
use resultsdb::{Change, NewGroup, NewResult, NewTestcase, Store};
use serde_json::{Value, json};

const TESTCASES: u64 = 40;
const OF_AN_ITEM: u64 = 50;
const OF_A_GROUP: u64 = 10;

/// 2025-01-01, and how long the results go on from there, in microseconds.
const BEGIN: i64 = 1_735_689_600_000_000;
const YEAR: i64 = 365 * DAY;
const DAY: i64 = 86_400_000_000;

/// How many results share a transaction when they are loaded.
const BATCH: u64 = 5_000;

/// How many such transactions are under way.
const WRITERS: u64 = 2;

#[derive(Clone, Copy, Debug)]
pub struct Made {
    pub results: u64,
}

/// Numbers that look as if drawn by chance, and are the same each time.
pub fn chance(n: u64) -> u64 {
    let mut x = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Made {
    fn items(self) -> u64 {
        (self.results / OF_AN_ITEM).max(1)
    }

    pub fn item(self, chance: u64) -> String {
        format!("package{:05}-1.0-1.fc41", chance % self.items())
    }

    pub fn testcase(chance: u64) -> String {
        let n = chance % TESTCASES;
        format!("{}.check{n:02}", if n.is_multiple_of(2) { "dist" } else { "update" })
    }

    /// A day of the year, and the next one, as `since` takes them.
    pub fn day(chance: u64) -> String {
        let day = |n| date(BEGIN + DAY * n);
        let n = i64::try_from(chance % 363).unwrap_or_default();
        format!("{},{}", day(n), day(n + 1))
    }

    /// Some weeks before the end.
    pub fn weeks(chance: u64) -> String {
        date(BEGIN + YEAR - 7 * DAY * i64::try_from(1 + chance % 4).unwrap_or_default())
    }

    fn data(self, n: u64) -> BTreeMap<String, Vec<String>> {
        let (item, by_chance) = (n % self.items(), chance(n));
        let data = [
            ("item", self.item(item)),
            ("type", "koji_build".to_owned()),
            ("arch", ["x86_64", "aarch64"][(by_chance & 1) as usize].to_owned()),
            ("scenario", ["uefi", "bios"][(by_chance >> 1 & 1) as usize].to_owned()),
            ("system_variant", ["server", "workstation", "iot"][(by_chance >> 8) as usize % 3].to_owned()),
            ("brew_task_id", (10_000_000 + item).to_string()),
        ];
        data.map(|(key, value)| (key.to_owned(), vec![value])).into()
    }

    fn outcome(n: u64) -> &'static str {
        if chance(n) >> 20 & 7 == 0 { "FAILED" } else { "PASSED" }
    }

    /// Over the year an item comes by 50 times, each time with another testcase until all 40 were there.
    fn testcase_of(self, n: u64) -> String {
        Made::testcase(n % self.items() + n / self.items())
    }

    pub fn result(self, n: u64) -> NewResult {
        let step = YEAR / i64::try_from(self.results).unwrap_or(1).max(1);
        let time = Time(BEGIN + step * i64::try_from(n).unwrap_or_default());
        NewResult {
            id: None,
            outcome: Made::outcome(n).to_owned(),
            testcase: NewTestcase { name: self.testcase_of(n), ref_url: Change::Keep },
            groups: vec![NewGroup {
                uuid: format!("00000000-0000-4000-8000-{:012}", n / OF_A_GROUP),
                description: Change::Set(Some(format!("run {}", n / OF_A_GROUP))),
                ref_url: Change::Keep,
            }],
            data: self.data(n),
            note: None,
            ref_url: Some(format!("https://ci.example.org/jobs/{n}")),
            submit_time: time,
            received: time,
            key: None,
            told_at: None,
        }
    }

    /// The body of one more result, as a client posts it: a testcase object, six keys of data, a group of its own.
    pub fn body(self, chance: u64) -> String {
        let data: serde_json::Map<String, Value> =
            self.data(chance).into_iter().map(|(k, v)| (k, v.into_iter().next().into())).collect();
        let body = json!({
            "outcome": Made::outcome(chance),
            "testcase": {"name": self.testcase_of(chance % self.results), "ref_url": null},
            "groups": [{"uuid": net::clock::uuid().to_string(), "description": "one more"}],
            "ref_url": "https://ci.example.org/jobs/more",
            "data": data,
        });
        body.to_string()
    }

    /// Fills an empty database through the store's own code and has the engine tidy up; how long the results took.
    pub async fn load(self, database: &str) -> anyhow::Result<Duration> {
        self.load_as(database, Made::result).await
    }

    /// As [`Made::load`], with results that are made in another way.
    pub async fn load_as(self, database: &str, make: fn(Made, u64) -> NewResult) -> anyhow::Result<Duration> {
        let store = Store::open(database).await.context("cannot open the database")?;
        let begun = Instant::now();
        let writers = (0..WRITERS).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for first in (writer * BATCH..self.results).step_by((WRITERS * BATCH).try_into()?) {
                    let batch = (first..self.results.min(first + BATCH)).map(|n| make(self, n)).collect();
                    store.post_all(batch).await.into_iter().collect::<Result<Vec<_>, _>>()?;
                }
                anyhow::Ok(())
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await??;
        }
        let took = begun.elapsed();
        store.close().await;
        // What was loaded is written out now, or its checkpoint falls into what is measured.
        if database.starts_with("sqlite:") {
            sqlx::raw_sql("ANALYZE").execute(&mut SqliteConnection::connect(database).await?).await?;
        } else {
            let mut connection = PgConnection::connect(database).await?;
            for text in ["VACUUM ANALYZE", "CHECKPOINT"] {
                sqlx::raw_sql(text).execute(&mut connection).await?;
            }
        }
        Ok(took)
    }
}

fn date(micros: i64) -> String {
    Time(micros).to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_item_has_fifty_results_in_all_testcases() {
        let made = Made { results: 100_000 };
        let of_item: Vec<NewResult> =
            (0..made.results).map(|n| made.result(n)).filter(|r| r.data["item"] == [made.item(7)]).collect();
        assert_eq!(of_item.len(), 50);
        assert_eq!(of_item.iter().map(|r| r.testcase.name.as_str()).collect::<BTreeSet<_>>().len(), 40);
        assert!(of_item.iter().all(|r| r.data.len() == 6));
    }

    #[test]
    fn days_are_days_of_the_year() {
        assert_eq!(Made::day(0), "2025-01-01,2025-01-02");
        assert_eq!(Made::weeks(0), "2025-12-25");
    }
}
