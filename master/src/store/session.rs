//! Who is logged in to the pages, and the addresses that log somebody in once. Of every secret only its hash is here.

use db::on_read;
use model::Time;

use super::tx::{on_tx, retrying};
use super::types::Act;
use super::{Result, Store, audit};

/// SHA-256 of a secret, or of the token that a session stands for.
pub type Hash = [u8; 32];

impl Store {
    /// From now on this secret stands for that token, until it expires.
    pub async fn begin_session(&self, secret: &Hash, token: &Hash, until: Time, act: &Act) -> Result<()> {
        retrying(async || {
            let mut work = self.begin().await?;
            on_tx!(&mut work.tx, |conn| {
                sqlx::query("INSERT INTO sessions (secret, token, expires_at) VALUES ($1, $2, $3)")
                    .bind(secret.as_slice())
                    .bind(token.as_slice())
                    .bind(until.0)
                    .execute(conn)
                    .await?;
            });
            audit::record(&mut work, act).await?;
            work.commit().await
        })
        .await
    }

    /// The token that a session stands for.
    pub async fn session(&self, secret: &Hash) -> Result<Option<Hash>> {
        let now = self.now().await?.0;
        let token: Option<Vec<u8>> = on_read!(self.db(), |pool| {
            sqlx::query_scalar("SELECT token FROM sessions WHERE secret = $1 AND expires_at > $2")
                .bind(secret.as_slice())
                .bind(now)
                .fetch_optional(pool)
                .await?
        });
        Ok(token.and_then(|token| token.try_into().ok()))
    }

    pub async fn end_session(&self, secret: &Hash, act: &Act) -> Result<()> {
        retrying(async || {
            let mut work = self.begin().await?;
            let ended = on_tx!(&mut work.tx, |conn| {
                sqlx::query("DELETE FROM sessions WHERE secret = $1")
                    .bind(secret.as_slice())
                    .execute(conn)
                    .await?
                    .rows_affected()
            });
            if ended > 0 {
                audit::record(&mut work, act).await?;
            }
            work.commit().await
        })
        .await
    }

    /// Whoever brings this secret first is given that token's session.
    pub async fn offer_login(&self, secret: &Hash, token: &Hash, until: Time) -> Result<()> {
        retrying(async || {
            let mut work = self.begin().await?;
            on_tx!(&mut work.tx, |conn| {
                sqlx::query("INSERT INTO logins (secret, token, expires_at) VALUES ($1, $2, $3)")
                    .bind(secret.as_slice())
                    .bind(token.as_slice())
                    .bind(until.0)
                    .execute(conn)
                    .await?;
            });
            work.commit().await
        })
        .await
    }

    /// The token behind the secret of a login; the second who asks is given none.
    pub async fn take_login(&self, secret: &Hash) -> Result<Option<Hash>> {
        retrying(async || {
            let mut work = self.begin().await?;
            let now = work.now.0;
            let row: Option<(Vec<u8>, i64)> = on_tx!(&mut work.tx, |conn| {
                sqlx::query_as("DELETE FROM logins WHERE secret = $1 RETURNING token, expires_at")
                    .bind(secret.as_slice())
                    .fetch_optional(conn)
                    .await?
            });
            work.commit().await?;
            Ok(row.filter(|(_, until)| *until > now).and_then(|(token, _)| token.try_into().ok()))
        })
        .await
    }

    /// Forgets sessions and logins that have expired.
    pub async fn tidy_sessions(&self) -> Result<()> {
        retrying(async || {
            let mut work = self.begin().await?;
            let now = work.now.0;
            for sql in ["DELETE FROM sessions WHERE expires_at <= $1", "DELETE FROM logins WHERE expires_at <= $1"] {
                on_tx!(&mut work.tx, |conn| {
                    sqlx::query(sql).bind(now).execute(conn).await?;
                });
            }
            work.commit().await
        })
        .await
    }
}
