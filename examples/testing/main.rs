//! How a crate tests its own annotated functions: `tests.rs` is there to be copied, `orders.rs` stands for the crate.
//! `cargo test --package examples --example testing` runs the tests; `cargo run --package examples --example testing` places one order.

mod orders;
#[cfg(test)]
mod tests;

use db_core::prelude::*;
use db_testkit::Server;

fn main() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut admin = server.connect()?;
    orders::SCHEMA.iter().try_for_each(|table| admin.query_drop(table))?;
    let db = Db::connect(&server.url())?;
    orders::deliver(&db, "tea", 10)?;
    let number = orders::place(&db, "tea", 3)?;
    let left = orders::in_stock(&db, "tea")?;
    println!("order {number}: 3 of 10 boxes of tea; {left} are left");
    anyhow::ensure!(left == 7, "3 of 10 were ordered");
    Ok(())
}
