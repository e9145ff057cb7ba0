use db_core::prelude::*;

#[transactional]
fn wrong_tail(tx: &mut Transaction<'_>) -> db_core::Result<u64> {
    tx.query_drop("DO 1")
}

#[retry_on_disconnect]
#[transactional]
fn no_tail(tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (id,))?;
}

#[transactional]
fn wrong_return(tx: &mut Transaction<'_>, id: u64) -> db_core::Result<()> {
    if id == 0 {
        return Ok(id);
    }
    tx.query_drop("DO 1")
}

#[transactional]
fn wrong_question_mark(tx: &mut Transaction<'_>, id: &str) -> db_core::Result<()> {
    let id: u64 = id.parse()?;
    tx.exec_drop("DO ?", (id,))
}

#[transactional]
fn break_outside(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")?;
    if true {
        break;
    }
    Ok(())
}

fn main() {}
