//! What the pool does with connections that come back to it.

use std::collections::BTreeSet;
use std::time::Duration;

use db::Db;
use sqlx::PgPool;

use super::bed::Bed;

fn pool(bed: &Bed) -> &PgPool {
    match bed.store.db() {
        Db::Pg(pool) => pool,
        Db::Lite { .. } => unreachable!("a bed on PostgreSQL"),
    }
}

async fn backend(pool: &PgPool) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let bed = Bed::postgres().await;
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        seen.insert(backend(pool(&bed)).await);
    }
    let most = pool(&bed).options().get_max_connections() as usize;
    assert!(seen.len() <= most, "{} connections were made for 100 queries, one after another", seen.len());
}

#[tokio::test]
async fn a_connection_that_is_in_a_transaction_is_not() {
    let bed = Bed::postgres().await;
    let mut left = pool(&bed).acquire().await.unwrap();
    // Behind the pool's back, as by an operation that was given up after its BEGIN.
    sqlx::raw_sql("BEGIN").execute(&mut *left).await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *left).await.unwrap();
    drop(left);
    let gone = async {
        while sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = $1)")
            .bind(pid)
            .fetch_one(pool(&bed))
            .await
            .unwrap()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the pool closes it");
}
