//! `sqlx`: its pool at its defaults, on tokio.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnection, MySqlPool, MySqlPoolOptions};
use sqlx::{Acquire, Executor};
use tokio::runtime::Runtime;

use crate::error::Outcome;
use crate::peer::{Client, Midway, Peer, Session};
use crate::work::{DEPTH, SELECT, UPDATE, Work};

pub(super) struct Sqlx;

#[derive(Clone)]
struct Pooled {
    runtime: Arc<Runtime>,
    pool: MySqlPool,
}

/// One thread, where one transaction runs at a time: none is woken from another thread then.
pub(super) fn runtime(sessions: usize) -> Outcome<Arc<Runtime>> {
    let mut builder =
        if sessions == 1 { tokio::runtime::Builder::new_current_thread() } else { tokio::runtime::Builder::new_multi_thread() };
    Ok(Arc::new(builder.enable_all().build()?))
}

impl Peer for Sqlx {
    fn name(&self) -> &'static str {
        "sqlx"
    }

    fn client(&self, url: &str, sessions: usize) -> Outcome<Box<dyn Client>> {
        let runtime = runtime(sessions)?;
        let size = u32::try_from(sessions.max(10))?;
        let pool = runtime.block_on(MySqlPoolOptions::new().max_connections(size).connect(url))?;
        Ok(Box::new(Pooled { runtime, pool }))
    }
}

impl Client for Pooled {
    fn session(&self) -> Outcome<Box<dyn Session>> {
        Ok(Box::new(self.clone()))
    }
}

impl Session for Pooled {
    fn once(&mut self, work: Work, row: u32, midway: Midway<'_>) -> Outcome<()> {
        Ok(self.runtime.block_on(transaction(&self.pool, work, row, midway))?)
    }

    /// As one task: its transactions are not handed from thread to thread.
    fn run(&mut self, work: Work, row: u32, count: u32) -> Outcome<Duration> {
        let pool = self.pool.clone();
        let task = self.runtime.spawn(async move {
            let began = Instant::now();
            for _ in 0..count {
                transaction(&pool, work, row, &|| {}).await?;
            }
            Ok::<_, sqlx::Error>(began.elapsed())
        });
        Ok(self.runtime.block_on(task)??)
    }
}

async fn transaction(pool: &MySqlPool, work: Work, row: u32, midway: Midway<'_>) -> sqlx::Result<()> {
    let mut tx = pool.begin().await?;
    match work {
        Work::Update => add(&mut tx, 1, row).await?,
        Work::Transfer => {
            read(&mut tx, row).await?;
            add(&mut tx, -1, row).await?;
            add(&mut tx, 1, row + 1).await?;
        }
        Work::Ten => {
            for row in row..row + 10 {
                add(&mut tx, 1, row).await?;
            }
        }
        Work::Read => drop(read(&mut tx, row).await?),
        Work::Empty => {}
        Work::Nested => {
            add(&mut tx, 1, row).await?;
            nested(&mut tx, row + 1, DEPTH - 1).await?;
        }
        Work::Interrupted => {
            add(&mut tx, 1, row).await?;
            midway();
            add(&mut tx, 1, row + 1).await?;
        }
    }
    tx.commit().await
}

async fn add(conn: &mut MySqlConnection, cents: i64, row: u32) -> sqlx::Result<()> {
    conn.execute(sqlx::query(UPDATE).bind(cents).bind(row)).await.map(drop)
}

async fn read(conn: &mut MySqlConnection, row: u32) -> sqlx::Result<i64> {
    sqlx::query_scalar(SELECT).bind(row).fetch_one(conn).await
}

fn nested(conn: &mut MySqlConnection, row: u32, depth: u32) -> Pin<Box<dyn Future<Output = sqlx::Result<()>> + Send + '_>> {
    Box::pin(async move {
        let mut tx = conn.begin().await?;
        add(&mut tx, 1, row).await?;
        if depth > 1 {
            nested(&mut tx, row + 1, depth - 1).await?;
        }
        tx.commit().await
    })
}
