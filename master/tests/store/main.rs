//! Every operation of the store, on both engines, as stories.
//!
//! PostgreSQL is the server that TASKOTRON_TEST_POSTGRES names; each test has a database of its own there.

mod acts;
mod announcements;
mod artifacts;
mod bed;
mod connections;
mod intake;
mod keys;
mod leases;
mod listings;
mod masters;
mod messages;
mod missed;
mod modes;
mod moves;
mod names;
mod oracle;
mod pairs;
mod searches;
mod sources;
mod storm;
mod supersede;
mod window;

/// Runs each story on both engines.
macro_rules! stories {
    ($($(#[$meta:meta])* async fn $name:ident($bed:ident: Bed) $body:block)*) => {
        $(async fn $name($bed: crate::bed::Bed) $body)*

        mod sqlite {
            $($(#[$meta])* #[tokio::test] async fn $name() {
                super::$name(crate::bed::Bed::sqlite().await).await;
            })*
        }

        mod postgres {
            $($(#[$meta])* #[tokio::test] async fn $name() {
                super::$name(crate::bed::Bed::postgres().await).await;
            })*
        }
    };
}
pub(crate) use stories;
