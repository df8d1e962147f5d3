//! What went wrong, as a client is told it.

use std::io;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use net::Problem;

use crate::store;

pub type ApiResult<T> = Result<T, ApiError>;

/// Becomes one problem body. What is ours to mend is logged here, and not told.
#[derive(Debug)]
pub enum ApiError {
    /// For the client to mend.
    Problem(Problem),
    Store(Arc<store::Error>),
    /// A log could not be read or written.
    Disk(io::Error),
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> ApiError {
        ApiError::Problem(problem)
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> ApiError {
        ApiError::Store(Arc::new(error))
    }
}

impl From<Arc<store::Error>> for ApiError {
    fn from(error: Arc<store::Error>) -> ApiError {
        ApiError::Store(error)
    }
}

impl From<io::Error> for ApiError {
    fn from(error: io::Error) -> ApiError {
        ApiError::Disk(error)
    }
}

impl ApiError {
    pub fn problem(self) -> Problem {
        match self {
            ApiError::Problem(problem) => problem,
            ApiError::Store(error) if error.is_temporary() => {
                tracing::warn!(%error, "the database does not answer");
                Problem::unavailable("the master's database does not answer at the moment; try again")
            }
            ApiError::Store(error) => match &*error {
                store::Error::Fenced { .. } => {
                    tracing::error!(%error, "this master may not write");
                    Problem::unavailable("another site is the active one: this master changes nothing")
                }
                store::Error::Db(_) => {
                    tracing::error!(%error, "the database failed");
                    Problem::internal()
                }
            },
            ApiError::Disk(error) => {
                tracing::error!(%error, "a log cannot be read or written");
                Problem::unavailable("the master's disk does not take or give the log at the moment; try again")
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.problem().into_response()
    }
}
