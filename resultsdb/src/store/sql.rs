//! SQL texts that are put together from parts, with what is bound to them, for either engine.
//!
//! A list is always one bound value, so that the number of different texts stays small. It is the only thing that the
//! two engines say differently throughout: an array for PostgreSQL, a JSON list for SQLite.

use db::{Db, Result};
use futures_util::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, FromRow, Postgres, Sqlite};
use uuid::Uuid;

use crate::pattern::Pattern;
use crate::term;

pub struct Sql {
    text: String,
    binds: Vec<Bind>,
    lite: bool,
}

enum Bind {
    Int(i64),
    Text(String),
    Id(Uuid),
    Ints(Vec<i64>),
    Texts(Vec<String>),
    Ids(Vec<Uuid>),
}

impl Sql {
    pub fn new(db: &Db, text: &str) -> Sql {
        let lite = match db {
            Db::Pg(_) => false,
            Db::Lite { .. } => true,
        };
        Sql { text: text.to_owned(), binds: Vec::new(), lite }
    }

    /// Appends a part of the text, which is never a client's.
    pub fn push(&mut self, text: &str) -> &mut Sql {
        self.text.push_str(text);
        self
    }

    /// Appends the part that the engine understands, where the two differ.
    pub fn either(&mut self, postgres: &str, sqlite: &str) -> &mut Sql {
        let text = if self.lite { sqlite } else { postgres };
        self.push(text)
    }

    /// As [`Sql::either`], without appending it.
    pub fn choose(&self, postgres: &'static str, sqlite: &'static str) -> &'static str {
        if self.lite { sqlite } else { postgres }
    }

    pub fn int(&mut self, value: i64) -> &mut Sql {
        self.bind(Bind::Int(value), "")
    }

    pub fn text(&mut self, value: impl Into<String>) -> &mut Sql {
        self.bind(Bind::Text(value.into()), "")
    }

    pub fn id(&mut self, value: Uuid) -> &mut Sql {
        self.bind(Bind::Id(value), "")
    }

    /// `COLUMN = …` for one value of several; a single one as plain equality, which keeps an index's order.
    pub fn one_of_ints(&mut self, column: &str, values: &[i64]) -> &mut Sql {
        match values {
            [one] => self.push(column).push(" = ").int(*one),
            _ => self.member(column, "j.value", Bind::Ints(values.to_vec())),
        }
    }

    pub fn one_of_ids(&mut self, column: &str, values: &[Uuid]) -> &mut Sql {
        match values {
            [one] => self.push(column).push(" = ").id(*one),
            _ => self.member(column, "unhex(j.value)", Bind::Ids(values.to_vec())),
        }
    }

    pub fn one_of_texts(&mut self, column: &str, values: &[String]) -> &mut Sql {
        match values {
            [one] => self.push(column).push(" = ").text(one),
            _ => self.member(column, "j.value", Bind::Texts(values.to_vec())),
        }
    }

    fn member(&mut self, column: &str, element: &str, values: Bind) -> &mut Sql {
        self.push(column);
        if self.lite {
            self.push(" IN (SELECT ").push(element).push(" FROM json_each(").bind(values, ") j)")
        } else {
            self.push(" = ANY(").bind(values, ")")
        }
    }

    /// A table of one column, `name(value)`, that holds the ids.
    pub fn ids_as_table(&mut self, name: &str, values: &[Uuid]) -> &mut Sql {
        let values = Bind::Ids(values.to_vec());
        if self.lite {
            self.push("(SELECT unhex(j.value) AS value FROM json_each(").bind(values, ") j) ").push(name)
        } else {
            self.push("unnest(").bind(values, ") AS ").push(name).push("(value)")
        }
    }

    /// A table of one column, `name(value)`, that holds the numbers.
    pub fn ints_as_table(&mut self, name: &str, values: &[i64]) -> &mut Sql {
        let values = Bind::Ints(values.to_vec());
        if self.lite {
            self.push("json_each(").bind(values, ") ").push(name)
        } else {
            self.push("unnest(").bind(values, ") AS ").push(name).push("(value)")
        }
    }

    /// A table of columns `id`, `submit_time` and `term`.
    pub fn facts_as_table(&mut self, name: &str, facts: Vec<(i64, i64, Uuid)>) -> &mut Sql {
        if self.lite {
            let facts: Vec<_> = facts.iter().map(|(id, time, term)| (id, time, term.simple().to_string())).collect();
            self.push("(SELECT j.value ->> 0 AS id, j.value ->> 1 AS submit_time, unhex(j.value ->> 2) AS term");
            return self.push(" FROM json_each(").text(list(&facts)).push(") j) ").push(name);
        }
        let (mut ids, mut times, mut terms) = (Vec::new(), Vec::new(), Vec::new());
        for (id, time, term) in facts {
            ids.push(id);
            times.push(time);
            terms.push(term);
        }
        self.push("unnest(").bind(Bind::Ints(ids), ", ").bind(Bind::Ints(times), ", ").bind(Bind::Ids(terms), ") AS ");
        self.push(name).push("(id, submit_time, term)")
    }

    /// Whether `column` begins with a text, as a range that an index can be searched by.
    pub fn within(&mut self, column: &str, prefix: &str) -> &mut Sql {
        self.push(column).push(" >= ").text(prefix);
        if let Some(end) = term::after(prefix) {
            self.push(" AND ").push(column).push(" < ").text(end);
        }
        self
    }

    /// Whether the whole of `column` is like one of the patterns, case-sensitively.
    pub fn like(&mut self, column: &str, patterns: &[Pattern]) -> &mut Sql {
        self.push("(");
        for (i, pattern) in patterns.iter().enumerate() {
            self.push(if i == 0 { "" } else { " OR " }).push(column);
            if self.lite {
                self.push(" GLOB ").text(pattern.glob());
            } else {
                self.push(" LIKE ").text(pattern.like());
            }
        }
        self.push(")")
    }

    fn bind(&mut self, value: Bind, after: &str) -> &mut Sql {
        self.binds.push(value);
        let place = format!("${}", self.binds.len());
        self.push(&place).push(after)
    }

    /// Runs it for all its rows.
    pub async fn rows<T: Row>(self, db: &Db) -> Result<Vec<T>> {
        let mut rows = Vec::new();
        self.each(db, |row| rows.push(row)).await?;
        Ok(rows)
    }

    /// Runs it for one row after the other, however many there are.
    pub async fn each<T: Row>(self, db: &Db, mut take: impl FnMut(T)) -> Result<()> {
        let text = AssertSqlSafe(self.text);
        match db {
            Db::Pg(pool) => {
                let mut query = sqlx::query_as::<Postgres, T>(text);
                for bind in self.binds {
                    query = match bind {
                        Bind::Int(v) => query.bind(v),
                        Bind::Text(v) => query.bind(v),
                        Bind::Id(v) => query.bind(v),
                        Bind::Ints(v) => query.bind(v),
                        Bind::Texts(v) => query.bind(v),
                        Bind::Ids(v) => query.bind(v),
                    };
                }
                let mut rows = query.fetch(pool);
                while let Some(row) = rows.try_next().await? {
                    take(row);
                }
            }
            Db::Lite { read, .. } => {
                let mut query = sqlx::query_as::<Sqlite, T>(text);
                for bind in self.binds {
                    query = match bind {
                        Bind::Int(v) => query.bind(v),
                        Bind::Text(v) => query.bind(v),
                        Bind::Id(v) => query.bind(v),
                        Bind::Ints(v) => query.bind(list(&v)),
                        Bind::Texts(v) => query.bind(list(&v)),
                        Bind::Ids(v) => {
                            query.bind(list(&v.iter().map(|id| id.simple().to_string()).collect::<Vec<_>>()))
                        }
                    };
                }
                let mut rows = query.fetch(read);
                while let Some(row) = rows.try_next().await? {
                    take(row);
                }
            }
        }
        Ok(())
    }
}

/// What both engines can make a row of.
pub trait Row: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}
impl<T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin> Row for T {}

fn list<T: serde::Serialize>(values: &[T]) -> String {
    serde_json::to_string(values).expect("numbers and texts are plain JSON")
}
