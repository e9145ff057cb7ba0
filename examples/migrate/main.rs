//! A program that uses the bare driver, `before.rs`, and the same program with the attributes, `after.rs`, in the same trouble.
//! `cargo run --package examples --example migrate`, on a throwaway server behind a proxy that breaks connections.

mod after;
mod before;

use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use db_core::mysql::prelude::Queryable;
use db_core::mysql::{self, Conn};
use db_testkit::{Action, Fault, FaultProxy, Injection, Point, Server};

const SCHEMA: [&str; 6] = [
    // No unique key: an order that was placed twice shall be seen twice.
    "CREATE TABLE purchase (entry BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL, item VARCHAR(50) NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE stock (item VARCHAR(50) PRIMARY KEY, pieces INT NOT NULL) ENGINE=InnoDB",
    "INSERT INTO stock VALUES ('tea', 1000)",
    "CREATE TABLE popularity (item VARCHAR(50) PRIMARY KEY, purchases INT NOT NULL) ENGINE=InnoDB",
    "INSERT INTO popularity VALUES ('tea', 0)",
    "CREATE TABLE ballast (n INT) ENGINE=InnoDB",
];

/// What happens to an order.
#[derive(Clone, Copy)]
enum Trouble {
    None,
    BetweenStatements,
    CommitLost,
    AnswerLost,
    Deadlock,
}

/// Each kind of trouble, and how often the order is in the database afterwards, before and after the change.
const EXPECTED: [(Trouble, &str, u32, u32); 5] = [
    (Trouble::None, "nothing goes wrong", 1, 1),
    (Trouble::BetweenStatements, "the connection breaks between two statements", 1, 1),
    (Trouble::CommitLost, "COMMIT is lost on its way to the server", 1, 1),
    (Trouble::AnswerLost, "the answer to COMMIT is lost on its way back", 2, 1),
    (Trouble::Deadlock, "the statement whose failure is ignored meets a deadlock", 0, 1),
];

fn main() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut admin = server.connect()?;
    SCHEMA.iter().try_for_each(|statement| admin.query_drop(statement))?;
    let proxy = server.proxy()?;
    // The driver would leave the address given for the server's Unix socket, and so reach around the proxy.
    let url = format!("{}?prefer_socket=false", proxy.url(&server.url())?);
    let before = before::Shop::open(&url)?;
    let after = after::Shop::open(&url)?;

    let mut number = 0;
    for (trouble, what_happens, expected_before, expected_after) in EXPECTED {
        println!("{what_happens}");
        let mut compare = |program, expected, order: &dyn Fn(u64, &str) -> mysql::Result<()>| {
            number += 1;
            let outcome = in_trouble(&server, &proxy, trouble, || order(number, "tea"))?;
            let placed: u32 = admin.exec_first("SELECT COUNT(*) FROM purchase WHERE number = ?", (number,))?.unwrap_or_default();
            let told = outcome.as_ref().map_or_else(|error| error.to_string(), |()| "Ok".into());
            let verdict = match placed {
                0 => "not in the database: LOST",
                1 => "in the database once",
                _ => "in the database twice: DOUBLED",
            };
            println!("  {program}  the caller is told {told}; the order is {verdict}");
            anyhow::ensure!(outcome.is_ok() && placed == expected, "{program}, {what_happens}: Ok and {expected} orders were expected");
            Ok(())
        };
        compare("before", expected_before, &|number, item| before.order(number, item))?;
        compare("after ", expected_after, &|number, item| after.order(number, item))?;
    }
    Ok(())
}

/// Places an order while that happens to it. An error of this function: it did not happen.
fn in_trouble(
    server: &Server,
    proxy: &FaultProxy,
    trouble: Trouble,
    order: impl FnOnce() -> mysql::Result<()>,
) -> anyhow::Result<mysql::Result<()>> {
    let fault = match trouble {
        Trouble::None => return Ok(order()),
        Trouble::BetweenStatements => Fault::new(Point::BeforeRequest, Action::Rst).matching("UPDATE stock"),
        Trouble::CommitLost => Fault::new(Point::BeforeRequest, Action::Rst).matching("COMMIT"),
        Trouble::AnswerLost => Fault::new(Point::AfterRequest, Action::Rst).matching("COMMIT"),
        // No harm in itself: it tells when the order has come to its last statement.
        Trouble::Deadlock => Fault::new(Point::BeforeRequest, Action::Delay(Duration::ZERO)).matching("UPDATE popularity"),
    };
    let injected = proxy.inject(fault);
    let rival = match trouble {
        Trouble::Deadlock => Some(rival(server.connect()?, injected.clone())?),
        _ => None,
    };
    let outcome = order();
    anyhow::ensure!(injected.fired() > 0, "the fault did not happen");
    if let Some(rival) = rival {
        rival.join().ok().context("the rival panicked")??;
    }
    Ok(outcome)
}

/// Another program's transaction: it has the statistic that the order wants last, and then wants the stock that the order has by then.
/// It has written more, so that the server undoes the order.
fn rival(mut conn: Conn, order_has_the_stock: Injection) -> mysql::Result<thread::JoinHandle<mysql::Result<()>>> {
    conn.query_drop("BEGIN")?;
    conn.query_drop(format!("INSERT INTO ballast VALUES {}", vec!["(1)"; 200].join(", ")))?;
    conn.query_drop("UPDATE popularity SET purchases = purchases + 1")?;
    Ok(thread::spawn(move || {
        let _ = order_has_the_stock.wait_fired(Duration::from_secs(10));
        conn.query_drop("UPDATE stock SET pieces = pieces - 1")?;
        conn.query_drop("ROLLBACK")
    }))
}
