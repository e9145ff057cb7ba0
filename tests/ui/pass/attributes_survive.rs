//! Attributes, visibility and qualifiers stay, on the item and on its parameters.

#![deny(warnings)]
#![allow(clippy::all)]

use db_core::prelude::*;

/// Documented.
#[transactional]
#[must_use = "it may have failed"]
#[inline]
#[cfg(not(any()))]
#[cfg_attr(any(), deprecated)]
pub(crate) fn kept(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    #![allow(unused_variables)]
    let unused = 1;
    tx.query_drop("DO 1")
}

#[cfg(any())]
#[retry_on_disconnect]
#[transactional]
fn never_compiled(tx: &mut NoSuchType) -> db_core::Result<()> {}

#[retry_on_disconnect]
#[allow(clippy::too_many_arguments)]
#[transactional]
fn parameters(
    #[allow(unused_variables)] tx: &mut Transaction<'_>,
    #[expect(unused_variables)] name: String,
    #[cfg(any())] absent: NoSuchType,
    #[cfg(not(any()))] present: u64,
    #[allow(unused_mut)] mut count: u64,
    #[allow(unused_variables)] attempt: Attempt,
) -> db_core::Result<u64> {
    Ok(present + count)
}

#[deprecated = "use `kept`"]
#[transactional]
fn old(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

struct Raw(*mut u8);

impl Raw {
    /// # Safety
    /// The pointer must be valid.
    #[transactional]
    unsafe fn read(&self, tx: &mut Transaction<'_>) -> db_core::Result<u8> {
        tx.query_drop("DO 1")?;
        Ok(unsafe { *self.0 })
    }
}

/// Takes a name.
#[cfg_attr(not(any()), transactional)]
fn conditional(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

/// Both behind the same condition.
#[cfg_attr(not(any()), retry_on_disconnect(max_attempts = 2), transactional)]
fn conditional_again(tx: &mut Transaction<'_>, attempt: Attempt) -> db_core::Result<u32> {
    tx.query_drop("DO 1")?;
    Ok(attempt.number())
}

#[retry_on_disconnect]
#[cfg_attr(not(any()), transactional)]
fn conditional_below(tx: &mut Transaction<'_>) -> db_core::Result<()> {
    tx.query_drop("DO 1")
}

fn calls(db: &Db) -> db_core::Result<()> {
    kept(db)?;
    parameters(db, String::new(), 1, 2)?;
    #[allow(deprecated)]
    old(db)?;
    unsafe { Raw(&mut 1).read(db) }?;
    conditional_again(db)?;
    conditional_below(db)?;
    conditional(db)
}

fn main() {
    let _ = calls;
}
