//! Any pattern that a parameter may have.

use db_core::prelude::*;

#[derive(Clone)]
struct Point {
    x: i64,
    y: i64,
}

#[transactional]
fn once(
    tx: &mut Transaction<'_>,
    (from, mut to): (u64, u64),
    Point { x, .. }: Point,
    &[first, _]: &[u8; 2],
    _: String,
    mut count: u64,
) -> db_core::Result<u64> {
    to += 1;
    count += from + to + u64::from(first);
    tx.exec_drop("DO ?", (x,))?;
    Ok(count)
}

#[retry_on_disconnect]
#[transactional]
fn retried(
    tx: &mut Transaction<'_>,
    (from, mut to): (u64, u64),
    Point { x, .. }: Point,
    &[first, _]: &[u8; 2],
    _: NotClone,
    mut count: u64,
    Point { y, .. }: &mut Point,
    mut rest: &str,
    r#type: u64,
    _unused: u64,
    ref named: String,
) -> db_core::Result<u64> {
    to += 1;
    *y += 1;
    rest = &rest[1..];
    count += from + to + u64::from(first) + r#type + u64::try_from(named.len()).unwrap_or(0);
    tx.exec_drop("DO ?", (x, rest))?;
    Ok(count)
}

struct NotClone;

fn calls(db: &Db) -> db_core::Result<()> {
    once(db, (1, 2), Point { x: 1, y: 2 }, &[1, 2], String::new(), 3)?;
    retried(
        db,
        (1, 2),
        Point { x: 1, y: 2 },
        &[1, 2],
        NotClone,
        3,
        &mut Point { x: 1, y: 2 },
        "rest",
        4,
        5,
        String::new(),
    )?;
    Ok(())
}

fn main() {
    let _ = calls;
}
