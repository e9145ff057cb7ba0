//! Constants, statics and unit structs are patterns, whatever they are called: the generated code's names are none of theirs.

#![allow(non_upper_case_globals, non_camel_case_types, dead_code)]

use db_core::prelude::*;

const error: u8 = 1;
const tx: u8 = 2;
static policy: u8 = 3;
static argument2: u8 = 4;
struct this;
struct body;
struct scope;
const attempt: Option<u8> = None;
static options: u8 = 5;
const inspect: () = ();

#[derive(Clone)]
struct Store(u8);

impl Store {
    #[retry_on_disconnect(max_attempts = 2)]
    #[transactional(isolation = ReadCommitted)]
    fn retried(self, _: &mut Transaction<'_>, (a, b): (u8, u8), _: Attempt, _unused: String) -> db_core::Result<u8> {
        Ok(self.0 + a + b + error + policy)
    }
}

#[transactional]
fn once(_: &mut Transaction<'_>) -> db_core::Result<u8> {
    Ok(tx)
}

#[retry_on_disconnect]
fn alone(_: &Db, [first, _]: [u8; 2]) -> db_core::Result<u8> {
    Ok(first)
}

fn calls(db: &Db) -> db_core::Result<()> {
    Store(1).retried(db, (1, 2), String::new())?;
    once(db)?;
    alone(db, [1, 2])?;
    Ok(())
}

fn main() {
    let _ = calls;
}
