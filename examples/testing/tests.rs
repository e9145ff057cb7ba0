//! Orders on a server of each test's own, on the days when something breaks.
//!
//! To be copied to `tests/orders.rs` of a crate with `db-testkit` among its dev-dependencies; `crate::orders` is then the crate's
//! name. Each test starts a server, which takes 0.15 s (MariaDB) or 0.8 s (MySQL), and so knows nothing of the others.

#![allow(clippy::unwrap_used, reason = "tests panic when something is not as it should be")]

use std::time::Duration;

use db_core::prelude::*;
use db_testkit::{Action, Fault, FaultProxy, Point, Server};

use crate::orders::{self, OrderError};

/// A shop with 10 boxes of tea, whose database is reached through a proxy that can be told to fail.
struct Shop {
    // First, so that the proxy and the server outlive the connection.
    db: Db,
    proxy: FaultProxy,
    server: Server,
}

fn shop(commit_ledger: bool) -> Shop {
    let server = Server::start().unwrap();
    let mut admin = server.connect().unwrap();
    for table in orders::SCHEMA {
        admin.query_drop(table).unwrap();
    }
    let proxy = server.proxy().unwrap();
    let url = proxy.url(&server.url()).unwrap();
    Db::connect(&url).unwrap().install_ledger().unwrap();
    let db = Db::builder(&url).commit_ledger(commit_ledger).connect().unwrap();
    orders::deliver(&db, "tea", 10).unwrap();
    Shop { db, proxy, server }
}

impl Shop {
    /// Orders, and boxes in stock. Asked beside the library and the proxy: what is committed, and nothing else.
    fn books(&self) -> (u32, u32) {
        let books = "SELECT COUNT(*), (SELECT pieces FROM shop_stock WHERE item = 'tea') FROM shop_order";
        self.server.connect().unwrap().query_first(books).unwrap().unwrap()
    }
}

#[test]
fn an_order_is_taken_from_the_stock() {
    let shop = shop(false);
    orders::place(&shop.db, "tea", 3).unwrap();
    assert_eq!(shop.books(), (1, 7));
}

#[test]
fn an_order_that_the_stock_does_not_suffice_for_leaves_nothing() {
    let shop = shop(false);
    let error = orders::place(&shop.db, "tea", 11).unwrap_err();
    assert!(matches!(error, OrderError::OutOfStock(10)), "{error}");
    assert_eq!(shop.books(), (0, 10));
}

#[test]
fn an_order_whose_connection_breaks_half_way_is_placed_once() {
    let shop = shop(false);
    let broken = shop.proxy.inject(Fault::new(Point::BeforeRequest, Action::Rst).matching("UPDATE shop_stock"));
    orders::place(&shop.db, "tea", 3).unwrap();
    // A fault that never happened would have tested nothing.
    broken.assert_fired();
    assert_eq!(shop.books(), (1, 7));
}

#[test]
fn an_order_whose_commit_gets_lost_is_placed_once() {
    let shop = shop(true);
    let lost = shop.proxy.inject(Fault::new(Point::BeforeRequest, Action::Rst).matching("COMMIT"));
    orders::place(&shop.db, "tea", 3).unwrap();
    lost.assert_fired();
    assert_eq!(shop.books(), (1, 7));
}

#[test]
fn an_order_whose_commit_is_done_and_not_answered_is_placed_once() {
    let shop = shop(true);
    let lost = shop.proxy.inject(Fault::new(Point::AfterRequest, Action::Rst).matching("COMMIT"));
    orders::place(&shop.db, "tea", 3).unwrap();
    lost.assert_fired();
    assert_eq!(shop.books(), (1, 7));
}

#[test]
fn without_the_ledger_a_commit_that_is_not_answered_is_reported_and_not_repeated() {
    let shop = shop(false);
    let lost = shop.proxy.inject(Fault::new(Point::AfterRequest, Action::Rst).matching("COMMIT"));
    let error = orders::place(&shop.db, "tea", 3).unwrap_err();
    lost.assert_fired();
    assert!(matches!(&error, OrderError::Database(error) if error.is_commit_unknown()), "{error}");
    assert_eq!(shop.books(), (1, 7), "here it was done; the caller could not know");
}

#[test]
fn an_outage_is_waited_for() {
    let shop = shop(true);
    let outage = Action::Refuse(Duration::from_millis(300));
    let refused = shop.proxy.inject(Fault::new(Point::BeforeRequest, outage).matching("UPDATE shop_stock"));
    orders::place(&shop.db, "tea", 3).unwrap();
    refused.assert_fired();
    assert_eq!(shop.books(), (1, 7));
}

#[test]
fn an_order_after_the_servers_crash_does_not_notice_it() {
    let shop = shop(false);
    shop.server.kill9().unwrap();
    shop.server.restart().unwrap();
    orders::place(&shop.db, "tea", 3).unwrap();
    assert_eq!(shop.books(), (1, 7));
}
