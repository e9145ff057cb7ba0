use db_core::prelude::*;

#[transactional]
fn argument<'a>(tx: &mut Transaction<'a>, work: &dyn Fn(&mut Transaction<'a>) -> db_core::Result<()>) -> db_core::Result<()> {
    work(tx)
}

#[transactional]
fn bound<'a, F: FnOnce(&mut Transaction<'a>) -> db_core::Result<()>>(tx: &mut Transaction<'a>, work: F) -> db_core::Result<()> {
    work(tx)
}

fn main() {}
