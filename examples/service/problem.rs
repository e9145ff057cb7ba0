//! What is a client told when something went wrong? Problem details for HTTP APIs, RFC 9457.

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use db_core::ErrorKind;
use problem_details::ProblemDetails;
use serde::Serialize;

use crate::bank::BankError;

/// With `kind`, which programs can act on. After any of them nothing was done, except that after `CommitUnknown` it may have been.
pub(crate) struct Problem(Box<ProblemDetails<Kind>>);

#[derive(Serialize)]
struct Kind {
    kind: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: impl Into<String>, detail: impl Into<String>) -> Self {
        Self(ProblemDetails::from_status_code(status).with_detail(detail).with_extensions(Kind { kind: kind.into() }).boxed())
    }
}

impl From<BankError> for Problem {
    fn from(error: BankError) -> Self {
        match &error {
            BankError::NoSuchAccount(_) => Self::new(StatusCode::NOT_FOUND, "NoSuchAccount", error.to_string()),
            BankError::InsufficientFunds => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "InsufficientFunds", error.to_string()),
            BankError::Database(error) => error.into(),
        }
    }
}

impl From<&db_core::Error> for Problem {
    fn from(error: &db_core::Error) -> Self {
        let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let status = match error.kind() {
            // The client's mistake, by the draft of the header `Idempotency-Key`.
            ErrorKind::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            _ => status,
        };
        let detail = match error.kind() {
            ErrorKind::IdempotencyKeyReused => "the idempotency key was used for another request".into(),
            ErrorKind::UniqueViolation => {
                let key = error.constraint().and_then(|broken| broken.name()).unwrap_or("a key");
                format!("{key} has this value already")
            }
            ErrorKind::CommitUnknown => "whether it was done is not known".into(),
            // The server's words are for the operator, to whom the library's metrics and events bring them.
            _ => "the database could not do it".into(),
        };
        Self::new(status, format!("{:?}", error.kind()), detail)
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "BadRequest", rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), "BadRequest", rejection.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}
