//! Which requests are answered, and how do annotated functions, which block, get into an asynchronous server?

use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use db_core::prelude::*;
use deadpool::Runtime;
use deadpool::unmanaged::{Pool, PoolConfig};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::bank::{self, Account, BankError, NewAccount, Transfer};
use crate::problem::Problem;

/// How long a request waits for a database that is free.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct App {
    /// Forks: each request has one for itself. They need no looking after, since a `Db` heals itself.
    databases: Pool<Db>,
    /// Beside the pool: to be asked while all others are busy.
    for_health: Db,
    metrics: PrometheusHandle,
}

impl App {
    pub(crate) fn new(db: Db, connections: usize, metrics: PrometheusHandle) -> anyhow::Result<Self> {
        let config = PoolConfig { max_size: connections, timeout: Some(PATIENCE), runtime: Some(Runtime::Tokio1) };
        let databases = Pool::from_config(&config);
        for _ in 0..connections {
            databases.try_add(db.fork()?).map_err(|(_, error)| error)?;
        }
        Ok(Self { databases, for_health: db, metrics })
    }

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

    /// Does what blocks with one of the databases, on a thread for such work. Neither is let go before the work has ended, though the
    /// client be gone.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Db) -> Result<T, BankError> + Send + 'static) -> Result<T, Problem> {
        let busy = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Busy", "all connections to the database are in use");
        let panicked = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Bug", "nothing was done"); // a panic rolls back
        let db = self.databases.get().await.map_err(busy)?;
        Ok(tokio::task::spawn_blocking(move || work(&db)).await.map_err(panicked)??)
    }
}

async fn open_account(
    State(app): State<App>,
    new: Result<Json<NewAccount>, JsonRejection>,
) -> Result<(StatusCode, Json<Account>), Problem> {
    let Json(new) = new?;
    let account = app.run(move |db| bank::open_account(db, &new)).await?;
    Ok((StatusCode::CREATED, Json(account)))
}

async fn account(State(app): State<App>, id: Result<Path<u64>, PathRejection>) -> Result<Json<Account>, Problem> {
    let Path(id) = id?;
    Ok(Json(app.run(move |db| bank::account(db, id)).await?))
}

async fn transfer(State(app): State<App>, order: Result<Json<Transfer>, JsonRejection>) -> Result<(StatusCode, Json<u64>), Problem> {
    let Json(order) = order?;
    let number = app.run(move |db| bank::transfer(db, &order)).await?;
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
    metrics::gauge!("service_free_databases").set(app.databases.status().available as f64);
    app.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render())
}

async fn count(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    metrics::counter!("service_responses_total", "status" => response.status().as_str().to_owned()).increment(1);
    response
}
