//! A dump's rows, laid out so that a result is found with all that belongs to it: a dump names tables one after the other,
//! and their rows in no order.

use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, FromRow, SqliteConnection};

/// The tables of ResultsDB that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Testcase,
    Group,
    Result,
    Data,
    Link,
}

impl Table {
    pub const ALL: [Table; 5] = [Table::Testcase, Table::Group, Table::Result, Table::Data, Table::Link];

    /// Its name in ResultsDB.
    pub fn name(self) -> &'static str {
        match self {
            Table::Testcase => "testcase",
            Table::Group => "group",
            Table::Result => "result",
            Table::Data => "result_data",
            Table::Link => "groups_to_results",
        }
    }

    /// The columns that are read, in the order in which they are kept.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Table::Testcase => &["id", "name", "ref_url"],
            Table::Group => &["id", "uuid", "description", "ref_url"],
            Table::Result => &["id", "testcase_name", "submit_time", "outcome", "note", "ref_url"],
            Table::Data => &["id", "result_id", "key", "value"],
            Table::Link => &["id", "result_id", "group_uuid"],
        }
    }

    fn definition(self) -> &'static str {
        match self {
            Table::Testcase => "CREATE TABLE testcase (id INTEGER PRIMARY KEY, name TEXT UNIQUE, ref_url TEXT)",
            Table::Group => {
                "CREATE TABLE \"group\" (id INTEGER PRIMARY KEY, uuid TEXT, description TEXT, ref_url TEXT)"
            }
            Table::Result => {
                "CREATE TABLE result (id INTEGER PRIMARY KEY, testcase_name TEXT, submit_time INTEGER, outcome TEXT,
                     note TEXT, ref_url TEXT)"
            }
            Table::Data => {
                "CREATE TABLE result_data (id INTEGER, result_id INTEGER, key TEXT, value TEXT,
                     PRIMARY KEY (result_id, id)) WITHOUT ROWID"
            }
            Table::Link => {
                "CREATE TABLE groups_to_results (id INTEGER, result_id INTEGER, group_uuid TEXT,
                     PRIMARY KEY (result_id, id)) WITHOUT ROWID"
            }
        }
    }
}

/// How many rows are written or read at once.
const ROWS: usize = 2000;

pub struct Scratch {
    connection: SqliteConnection,
    waiting: Vec<Value>,
    table: Table,
}

/// A result with its testcase's `ref_url`.
#[derive(FromRow)]
pub struct Row {
    pub id: i64,
    pub testcase_name: String,
    pub testcase_ref_url: Option<String>,
    pub submit_time: i64,
    pub outcome: String,
    pub note: Option<String>,
    pub ref_url: Option<String>,
}

#[derive(FromRow)]
pub struct Named {
    pub id: i64,
    pub name: String,
    pub description: Option<String>,
    pub ref_url: Option<String>,
}

impl Scratch {
    /// Makes an empty file in a folder; nothing of it need survive.
    pub async fn make(folder: &Path) -> anyhow::Result<Scratch> {
        let options = SqliteConnectOptions::new()
            .filename(folder.join("dump.sqlite"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Off)
            .synchronous(SqliteSynchronous::Off)
            .locking_mode(SqliteLockingMode::Exclusive)
            .pragma("cache_size", "-65536");
        let make = async {
            let mut connection = options.connect().await?;
            for table in Table::ALL {
                sqlx::query(table.definition()).execute(&mut connection).await?;
            }
            Ok::<_, sqlx::Error>(connection)
        };
        let connection = make.await.with_context(|| format!("cannot make a scratch file in {}", folder.display()))?;
        Ok(Scratch { connection, waiting: Vec::new(), table: Table::Testcase })
    }

    /// Keeps a row of these values; numbers stand where the columns are numbers.
    pub async fn keep(&mut self, table: Table, values: Vec<Value>) -> anyhow::Result<()> {
        if table != self.table || self.waiting.len() >= ROWS {
            self.write().await?;
            self.table = table;
        }
        self.waiting.push(Value::from(values));
        Ok(())
    }

    async fn write(&mut self) -> anyhow::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let values: Vec<String> = (0..self.table.columns().len()).map(|i| format!("j.value ->> {i}")).collect();
        let text = format!("INSERT INTO \"{}\" SELECT {} FROM json_each($1) j", self.table.name(), values.join(", "));
        let rows = Value::from(std::mem::take(&mut self.waiting)).to_string();
        let query = sqlx::query(AssertSqlSafe(text)).bind(rows);
        query.execute(&mut self.connection).await.with_context(|| {
            format!("cannot keep rows of {} (is there room for the scratch file?)", self.table.name())
        })?;
        Ok(())
    }

    /// Nothing more comes.
    pub async fn finish(&mut self) -> anyhow::Result<()> {
        self.write().await
    }

    /// Testcases or groups behind an id, in its order.
    pub async fn named(&mut self, table: Table, after: i64) -> anyhow::Result<Vec<Named>> {
        let columns = match table {
            Table::Group => "id, uuid AS name, description, ref_url",
            _ => "id, name, NULL AS description, ref_url",
        };
        let text = format!("SELECT {columns} FROM \"{}\" WHERE id > $1 ORDER BY id LIMIT {ROWS}", table.name());
        Ok(sqlx::query_as(AssertSqlSafe(text)).bind(after).fetch_all(&mut self.connection).await?)
    }

    /// Results behind an id, in its order.
    pub async fn results(&mut self, after: i64) -> anyhow::Result<Vec<Row>> {
        let text = format!(
            "SELECT r.id, r.testcase_name, t.ref_url AS testcase_ref_url, r.submit_time, r.outcome, r.note, r.ref_url
             FROM result r LEFT JOIN testcase t ON t.name = r.testcase_name
             WHERE r.id > $1 ORDER BY r.id LIMIT {ROWS}"
        );
        Ok(sqlx::query_as(AssertSqlSafe(text)).bind(after).fetch_all(&mut self.connection).await?)
    }

    /// Keys and values of results, from one id to another with both, in the order in which they were made.
    pub async fn data(&mut self, from: i64, until: i64) -> anyhow::Result<Vec<(i64, String, String)>> {
        let text =
            "SELECT result_id, key, value FROM result_data WHERE result_id BETWEEN $1 AND $2 ORDER BY result_id, id";
        Ok(sqlx::query_as(text).bind(from).bind(until).fetch_all(&mut self.connection).await?)
    }

    /// Uuids of results' groups.
    pub async fn links(&mut self, from: i64, until: i64) -> anyhow::Result<Vec<(i64, String)>> {
        let text = "SELECT result_id, group_uuid FROM groups_to_results WHERE result_id BETWEEN $1 AND $2
                    ORDER BY result_id, id";
        Ok(sqlx::query_as(text).bind(from).bind(until).fetch_all(&mut self.connection).await?)
    }

    /// How many rows name a result that is not there.
    pub async fn strays(&mut self, table: Table) -> anyhow::Result<i64> {
        let text = format!(
            "SELECT count(*) FROM \"{}\" x WHERE NOT EXISTS (SELECT 1 FROM result r WHERE r.id = x.result_id)",
            table.name()
        );
        Ok(sqlx::query_scalar(AssertSqlSafe(text)).fetch_one(&mut self.connection).await?)
    }
}
