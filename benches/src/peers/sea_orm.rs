//! `sea-orm`: its connection, which is sqlx's pool, at its defaults, on tokio. Raw statements: the cheapest it has.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement, TransactionTrait,
};
use tokio::runtime::Runtime;

use super::sqlx::runtime;
use crate::error::Outcome;
use crate::peer::{Client, Midway, Peer, Session};
use crate::work::{DEPTH, SELECT, UPDATE, Work};

pub(super) struct SeaOrm;

#[derive(Clone)]
struct Connected {
    runtime: Arc<Runtime>,
    db: DatabaseConnection,
}

impl Peer for SeaOrm {
    fn name(&self) -> &'static str {
        "sea-orm"
    }

    fn client(&self, url: &str, sessions: usize) -> Outcome<Box<dyn Client>> {
        let runtime = runtime(sessions)?;
        let mut options = ConnectOptions::new(url);
        options.max_connections(u32::try_from(sessions.max(10))?);
        let db = runtime.block_on(Database::connect(options))?;
        Ok(Box::new(Connected { runtime, db }))
    }
}

impl Client for Connected {
    fn session(&self) -> Outcome<Box<dyn Session>> {
        Ok(Box::new(self.clone()))
    }
}

impl Session for Connected {
    fn once(&mut self, work: Work, row: u32, midway: Midway<'_>) -> Outcome<()> {
        Ok(self.runtime.block_on(transaction(&self.db, work, row, midway))?)
    }

    fn run(&mut self, work: Work, row: u32, count: u32) -> Outcome<Duration> {
        let db = self.db.clone();
        let task = self.runtime.spawn(async move {
            let began = Instant::now();
            for _ in 0..count {
                transaction(&db, work, row, &|| {}).await?;
            }
            Ok::<_, DbErr>(began.elapsed())
        });
        Ok(self.runtime.block_on(task)??)
    }
}

async fn transaction(db: &DatabaseConnection, work: Work, row: u32, midway: Midway<'_>) -> Result<(), DbErr> {
    let tx = db.begin().await?;
    match work {
        Work::Update => add(&tx, 1, row).await?,
        Work::Transfer => {
            read(&tx, row).await?;
            add(&tx, -1, row).await?;
            add(&tx, 1, row + 1).await?;
        }
        Work::Ten => {
            for row in row..row + 10 {
                add(&tx, 1, row).await?;
            }
        }
        Work::Read => drop(read(&tx, row).await?),
        Work::Empty => {}
        Work::Nested => {
            add(&tx, 1, row).await?;
            nested(&tx, row + 1, DEPTH - 1).await?;
        }
        Work::Interrupted => {
            add(&tx, 1, row).await?;
            midway();
            add(&tx, 1, row + 1).await?;
        }
    }
    tx.commit().await
}

async fn add(tx: &DatabaseTransaction, cents: i64, row: u32) -> Result<(), DbErr> {
    tx.execute_raw(Statement::from_sql_and_values(DbBackend::MySql, UPDATE, [cents.into(), row.into()])).await.map(drop)
}

async fn read(tx: &DatabaseTransaction, row: u32) -> Result<Option<i64>, DbErr> {
    let found = tx.query_one_raw(Statement::from_sql_and_values(DbBackend::MySql, SELECT, [row.into()])).await?;
    found.map(|found| found.try_get_by_index(0)).transpose()
}

fn nested(outer: &DatabaseTransaction, row: u32, depth: u32) -> Pin<Box<dyn Future<Output = Result<(), DbErr>> + Send + '_>> {
    Box::pin(async move {
        let tx = outer.begin().await?;
        add(&tx, 1, row).await?;
        if depth > 1 {
            nested(&tx, row + 1, depth - 1).await?;
        }
        tx.commit().await
    })
}
