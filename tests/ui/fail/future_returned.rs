use std::future::Future;
use std::pin::Pin;

use db_core::prelude::*;

#[transactional]
fn boxed(tx: &mut Transaction<'_>) -> Pin<Box<dyn Future<Output = db_core::Result<()>> + Send>> {
    Box::pin(async { Ok(()) })
}

#[retry_on_disconnect]
#[transactional]
fn opaque(tx: &mut Transaction<'_>) -> impl Future<Output = db_core::Result<()>> {
    async { Ok(()) }
}

fn main() {}
