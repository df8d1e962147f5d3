//! The text that proves a right to one attempt.

use std::fmt;
use std::str::FromStr;

use db::on_read;
use model::JobId;

use super::number::small;
use super::{Result, Store};

/// Names a job and an attempt at it, and carries the secret of its lease: `<job uuid>.<attempt>.<32 hex digits>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    pub job: JobId,
    pub attempt: u32,
    pub secret: [u8; 16],
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.job, self.attempt, hex::encode(self.secret))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.…", self.job, self.attempt)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("not the token of a lease")]
pub struct NotAToken;

/// The job, where the token is of a lease that holds or of the one whose report ended the attempt: only that may add to
/// what an attempt leaves. $1 is the job's id, $2 the attempt, $3 the secret.
pub(super) const MAY_ADD: &str = "SELECT j.seq FROM jobs j
     WHERE j.id = $1 AND (
         EXISTS (SELECT 1 FROM leases l WHERE l.job = j.seq AND l.attempt = $2 AND l.secret = $3)
         OR EXISTS (SELECT 1 FROM attempts a WHERE a.job = j.seq AND a.attempt = $2 AND a.secret = $3))";

impl Store {
    /// Whether this is the token of a lease, or of one whose report ended its attempt: its log may still grow.
    pub async fn may_log(&self, token: &Token) -> Result<bool> {
        let job: Option<i64> = on_read!(self.db(), |pool| {
            sqlx::query_scalar(MAY_ADD)
                .bind(token.job.0)
                .bind(small(token.attempt))
                .bind(token.secret.as_slice())
                .fetch_optional(pool)
                .await?
        });
        Ok(job.is_some())
    }
}

impl FromStr for Token {
    type Err = NotAToken;

    fn from_str(text: &str) -> std::result::Result<Token, NotAToken> {
        let mut parts = text.split('.');
        let (Some(job), Some(attempt), Some(secret), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAToken);
        };
        let mut bytes = [0; 16];
        hex::decode_to_slice(secret, &mut bytes).map_err(|_| NotAToken)?;
        Ok(Token {
            job: job.parse().map_err(|_| NotAToken)?,
            attempt: attempt.parse().map_err(|_| NotAToken)?,
            secret: bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_written() {
        let token = Token { job: JobId::of("e", "t", "ty", "i", "noarch"), attempt: 3, secret: [7; 16] };
        assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        for text in ["", "a.b.c", "6f1d1c1e-8f0a-5b7e-9d5c-2f6f0e2b7a11.1.00", "..", "1.2.3.4"] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }
}
