use db_core::prelude::*;

#[transactional]
fn keep<'t>(tx: &'t mut Transaction<'_>, kept: &mut Vec<&'t mut Transaction<'_>>) -> db_core::Result<()> {
    kept.push(tx);
    Ok(())
}

#[transactional]
fn hand_out<'t, 'c>(tx: &'t mut Transaction<'c>) -> db_core::Result<&'t mut Transaction<'c>> {
    Ok(tx)
}

fn main() {}
