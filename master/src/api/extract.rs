//! Bodies and queries, whose faults are told as problems.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use net::Problem;
use serde::de::DeserializeOwned;

use super::ApiError;

/// A JSON body.
pub struct Json<T>(pub T);

/// The part of an address after `?`. A type that denies unknown fields refuses unknown parameters.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Json<T>, ApiError> {
        let axum::Json(body) = axum::Json::<T>::from_request(request, state).await.map_err(not_json)?;
        Ok(Json(body))
    }
}

fn not_json(rejection: JsonRejection) -> ApiError {
    Problem::new(rejection.status(), rejection.body_text()).into()
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, ApiError> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await.map_err(not_a_query)?;
        Ok(Query(query.0))
    }
}

fn not_a_query(rejection: QueryRejection) -> ApiError {
    Problem::bad_request(rejection.body_text()).into()
}
