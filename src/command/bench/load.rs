//! Ended jobs by the million, in the master's tables as if they had run: copies of one that did, under other names.

use anyhow::ensure;
use db::sqlx::{self, Connection as _, PgConnection, SqliteConnection};

/// The statements, with the engine's word for a new id: $1 is how many, $2 the greatest number of a job before.
macro_rules! statements {
    ($id:literal) => {
        [
            concat!(
                "WITH RECURSIVE numbers (n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
                 INSERT INTO jobs (id, task, item, item_type, arch, rule, priority, needs, rank, task_version, params,
                     recorder, recorded_at, generation, created_at)
                 SELECT ",
                $id,
                ", j.task, 'old-' || n, j.item_type, j.arch, j.rule, j.priority, j.needs, j.rank, j.task_version,
                     j.params, j.recorder, j.recorded_at, j.generation, j.created_at
                 FROM numbers, (SELECT * FROM jobs WHERE seq <= $2 ORDER BY seq LIMIT 1) j"
            ),
            "INSERT INTO attempts (job, attempt, worker, started_at, finished_at, ran, how, outcome, log_size, secret)
             SELECT j.seq, 1, a.worker, a.started_at, a.finished_at, a.ran, a.how, a.outcome, a.log_size, a.secret
             FROM jobs j, (SELECT * FROM attempts ORDER BY job LIMIT $1) a WHERE j.seq > $2",
            "INSERT INTO ended (job, state, reason, outcome, attempts, ended_at)
             SELECT j.seq, e.state, e.reason, e.outcome, 1, e.ended_at
             FROM jobs j, (SELECT * FROM ended ORDER BY job LIMIT $1) e WHERE j.seq > $2",
            "INSERT INTO tally (name, delta)
             SELECT name, $1 FROM (SELECT 'state:' || state AS name FROM ended WHERE job > $2
                 UNION SELECT 'outcome:' || outcome FROM ended WHERE job > $2) t",
        ]
    };
}

/// Adds ended jobs to a master's database in which at least one job has finished, and has the engine tidy up.
pub async fn ended(database: &str, jobs: u64) -> anyhow::Result<()> {
    macro_rules! load {
        ($connection:expr, $id:literal, $tidy:expr) => {{
            let mut connection = $connection;
            let last: i64 =
                sqlx::query_scalar("SELECT COALESCE(max(seq), 0) FROM jobs").fetch_one(&mut connection).await?;
            ensure!(last > 0, "no job has run yet of which copies could be made");
            for (n, text) in statements!($id).into_iter().enumerate() {
                // Copies are made of one row.
                let count = if n == 1 || n == 2 { 1 } else { i64::try_from(jobs)? };
                sqlx::query(text).bind(count).bind(last).execute(&mut connection).await?;
            }
            for text in $tidy {
                sqlx::raw_sql(text).execute(&mut connection).await?;
            }
        }};
    }
    match database.starts_with("sqlite:") {
        true => load!(SqliteConnection::connect(database).await?, "randomblob(16)", ["ANALYZE"]),
        // What was loaded is written out now, or its checkpoint falls into what is measured.
        false => load!(PgConnection::connect(database).await?, "gen_random_uuid()", ["VACUUM ANALYZE", "CHECKPOINT"]),
    }
    Ok(())
}
