//! The contract of ResultsDB's API v2.0, table by table, on both engines.

mod batch;
mod clients;
mod data;
mod described;
mod export;
mod groups;
mod import;
mod latest;
mod listing;
mod many;
mod messages;
mod pages;
mod patterns;
mod permissions;
mod posting;
mod protocol;
mod prune;
mod server;
mod tags;
mod testcases;
mod together;
mod typed;

/// Runs each story on PostgreSQL and on SQLite.
#[macro_export]
macro_rules! on_both_engines {
    ($($story:ident),* $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story($crate::server::Server::postgres().await).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story($crate::server::Server::sqlite().await).await;
            })*
        }
    };
}
