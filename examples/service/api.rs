//! The HTTP routes, and the way of annotated functions, which block, into an asynchronous server.

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use db_core::prelude::*;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::bank::{self, Account, BankError, NewAccount, Transfer};
use crate::problem::Problem;

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) pool: Pool,
    /// Beside the pool: it is asked while all connections of the pool are in use.
    pub(crate) for_health: Db,
    pub(crate) metrics: PrometheusHandle,
}

impl App {
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/accounts", post(open_account))
            .route("/accounts/{id}", get(account))
            .route("/transfers", post(transfer))
            .route("/health", get(health))
            .route("/metrics", get(metrics))
            .fallback(async || Problem::new(StatusCode::NOT_FOUND, "NoSuchPath", "there is nothing here"))
            .layer(middleware::from_fn(count))
            .with_state(self)
    }

    /// Does what blocks on a thread for such work. It goes on to its end even if the client is gone.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Pool) -> Result<T, BankError> + Send + 'static) -> Result<T, Problem> {
        let panicked = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Bug", "nothing was done"); // a panic rolls back
        let pool = self.pool.clone();
        Ok(tokio::task::spawn_blocking(move || work(&pool)).await.map_err(panicked)??)
    }
}

async fn open_account(
    State(app): State<App>,
    new: Result<Json<NewAccount>, JsonRejection>,
) -> Result<(StatusCode, Json<Account>), Problem> {
    let Json(new) = new?;
    let account = app.run(move |pool| bank::open_account(pool, &new)).await?;
    Ok((StatusCode::CREATED, Json(account)))
}

async fn account(State(app): State<App>, id: Result<Path<u64>, PathRejection>) -> Result<Json<Account>, Problem> {
    let Path(id) = id?;
    Ok(Json(app.run(move |pool| bank::account(pool, id)).await?))
}

/// With the header `Idempotency-Key` a request may be repeated: its transfer is made once, and each repetition gets the same reply.
async fn transfer(
    State(app): State<App>,
    headers: HeaderMap,
    order: Result<Json<Transfer>, JsonRejection>,
) -> Result<(StatusCode, Json<u64>), Problem> {
    let Json(order) = order?;
    let key = headers.get("Idempotency-Key").map(|key| key.as_bytes().to_vec());
    if key.as_ref().is_some_and(|key| !(1..=255).contains(&key.len())) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "BadRequest", "an idempotency key has from 1 to 255 bytes"));
    }
    let transfer = move |pool: &Pool| match key {
        Some(key) => bank::transfer_once(pool, &key, &order),
        None => bank::transfer(pool, &order),
    };
    let number = app.run(transfer).await?;
    Ok((StatusCode::CREATED, Json(number)))
}

/// Is there a database that answers? Whoever asks wants to know whether to send requests here.
async fn health(State(app): State<App>) -> Result<&'static str, Problem> {
    match tokio::task::spawn_blocking(move || app.for_health.ping()).await {
        Ok(Ok(())) => Ok("ok\n"),
        _ => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Unhealthy", "the database does not answer")),
    }
}

/// Those of this service, and those of the library, which come by its feature `metrics`.
async fn metrics(State(app): State<App>) -> impl IntoResponse {
    app.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render())
}

async fn count(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    metrics::counter!("service_responses_total", "status" => response.status().as_str().to_owned()).increment(1);
    response
}
