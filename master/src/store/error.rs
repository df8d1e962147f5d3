//! What can go wrong in the store, sorted by what a caller can do about it.

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another site was made the active one since this store was opened: nothing was changed, and nothing will be
    /// until a person says so.
    #[error("this master was fenced: the site's epoch is {now}, and it serves epoch {mine}")]
    Fenced { mine: i64, now: i64 },
    #[error(transparent)]
    Db(#[from] db::Error),
}

impl From<sqlx::Error> for Error {
    fn from(e: sqlx::Error) -> Error {
        Error::Db(e.into())
    }
}

impl Error {
    /// Whether the same again may succeed later: the database cannot be reached, or asks for patience.
    pub fn is_temporary(&self) -> bool {
        match self {
            Error::Db(db::Error::Again(_) | db::Error::Unavailable(_)) => true,
            Error::Db(db::Error::Corrupt { .. } | db::Error::Schema(_) | db::Error::Other(_))
            | Error::Fenced { .. } => false,
        }
    }
}

/// A row that makes no sense.
pub(super) fn corrupt(
    table: &'static str,
    column: &'static str,
    key: impl ToString,
    value: impl std::fmt::Debug,
) -> Error {
    Error::Db(db::Error::Corrupt { table, column, key: key.to_string(), value: format!("{value:?}") })
}
