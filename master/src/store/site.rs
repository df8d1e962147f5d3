//! Which site is active. A person's act; its epoch fences every master that has not noticed.

use std::sync::atomic::Ordering;

use db::{Db, on_read, on_write};

use super::tx::{on_tx, retrying};
use super::types::{Act, Site};
use super::{Result, Store, audit};

/// Reads the epoch to serve; the first master of a new database makes its site the active one.
pub(super) async fn enter(db: &Db, site: &str) -> Result<i64> {
    on_write!(db, |pool| {
        sqlx::query("INSERT INTO site (one, active, epoch) VALUES (1, $1, 1) ON CONFLICT (one) DO NOTHING")
            .bind(site)
            .execute(pool)
            .await?;
        Ok(sqlx::query_scalar("SELECT epoch FROM site").fetch_one(pool).await?)
    })
}

impl Store {
    pub async fn active_site(&self) -> Result<Site> {
        let (active, epoch) =
            on_read!(self.db(), |pool| { sqlx::query_as("SELECT active, epoch FROM site").fetch_one(pool).await? });
        Ok(Site { active, epoch })
    }

    /// Makes a site the active one, and fences every store that was opened before (but this one).
    pub async fn site_activate(&self, site: &str, act: &Act) -> Result<Site> {
        let epoch = retrying(async || {
            let mut work = self.begin_alone().await?;
            let epoch: i64 = on_tx!(&mut work.tx, |conn| {
                sqlx::query_scalar("UPDATE site SET active = $1, epoch = epoch + 1 RETURNING epoch")
                    .bind(site)
                    .fetch_one(conn)
                    .await?
            });
            audit::record(&mut work, act).await?;
            work.commit().await?;
            Ok(epoch)
        })
        .await?;
        self.inner.epoch.store(epoch, Ordering::Relaxed);
        self.ring();
        Ok(Site { active: site.to_owned(), epoch })
    }

    /// Serves the epoch that is the site's by now: a person's act for a master that was fenced and may come back.
    pub async fn rejoin(&self) -> Result<Site> {
        let site = self.active_site().await?;
        self.inner.epoch.store(site.epoch, Ordering::Relaxed);
        Ok(site)
    }
}
