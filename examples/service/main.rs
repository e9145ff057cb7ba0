//! An HTTP service over annotated functions: axum, a pool, problem details, health, metrics, graceful shutdown.
//! `cargo run --package examples --example service` serves a throwaway server, until it is told to stop; with `-- --url mysql://…`, a
//! database of your own.

mod api;
mod bank;
mod problem;

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use db_core::prelude::*;
use db_testkit::Server;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{SignalKind, signal};

use crate::api::App;

/// How long a request waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Parser)]
struct Options {
    /// A database of your own. Four tables are made in it: service_account, service_transfer, db_core_ledger and db_core_idempotency.
    #[arg(long)]
    url: Option<String>,
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Connections to the database.
    #[arg(long, default_value_t = 4)]
    connections: u32,
    /// For how many seconds a request is retried.
    #[arg(long, default_value_t = 10)]
    retry_for: u64,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let metrics = PrometheusBuilder::new().with_recommended_naming(true).install_recorder()?;
    let throwaway;
    let url = match options.url {
        Some(url) => url,
        None => {
            throwaway = Server::start()?;
            throwaway.url()
        }
    };
    let policy = RetryPolicy::default().max_elapsed(Duration::from_secs(options.retry_for));
    let app = prepare(&url, policy, options.connections, metrics.clone())?;

    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = interrupted.recv() => println!("interrupted"),
            _ = terminated.recv() => println!("terminated"),
        }
    };
    tokio::spawn(keep_up(metrics));
    let listener = tokio::net::TcpListener::bind(options.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app.router()).with_graceful_shutdown(stop).await?)
}

/// The tables, and the service on them.
fn prepare(url: &str, retry: RetryPolicy, connections: u32, metrics: PrometheusHandle) -> anyhow::Result<App> {
    let for_health = Db::connect(url)?;
    for_health.install_ledger()?;
    for_health.install_idempotency()?;
    bank::SCHEMA.iter().try_for_each(|table| for_health.transaction(|tx| tx.query_drop(table)))?;
    let builder = Db::builder(url).commit_ledger(true).retry(retry).max_connections(connections).acquire_timeout(PATIENCE);
    Ok(App { pool: builder.connect_pool()?, for_health, metrics })
}

/// Histograms wait to be added up, should nobody ask for them.
async fn keep_up(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        metrics.run_upkeep();
    }
}
