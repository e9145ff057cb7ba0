//! Functions that a macro of the user's writes: types arrive in invisible parentheses, names with their own hygiene.

use db_core::prelude::*;

macro_rules! setter {
    ($name:ident, $transaction:ty, $value:ty, $error:ty, $body:expr) => {
        #[retry_on_disconnect(max_attempts = 2)]
        #[transactional(isolation = ReadCommitted)]
        fn $name(tx: $transaction, value: $value, extra: u64, attempt: Attempt) -> Result<u64, $error> {
            tx.exec_drop("DO ?", (value.to_string(), extra))?;
            let body: fn(u64) -> u64 = $body;
            Ok(body(u64::from(attempt.number())))
        }
    };
}

setter!(set_name, &mut Transaction<'_>, &str, db_core::Error, |value| value + 1);
setter!(set_age, &mut db_core::Transaction<'_>, u64, db_core::Error, |value| value + 2);

macro_rules! store {
    ($store:ident { $($method:ident)* }) => {
        struct $store {
            db: Db,
        }
        impl $store {
            $(
                #[transactional(on = self.db)]
                fn $method(&self, tx: &mut Transaction<'_>) -> db_core::Result<()> {
                    tx.query_drop(stringify!($method))
                }
            )*
        }
    };
}

store!(Store { first second });

static DB: std::sync::OnceLock<Db> = std::sync::OnceLock::new();
const LEVEL: db_core::Isolation = db_core::Isolation::Serializable;

macro_rules! work {
    ($name:ident ($tx:ident) $body:block) => {
        #[transactional]
        fn $name($tx: &mut Transaction<'_>) -> db_core::Result<u8> $body
    };
    ($name:ident ($tx:ident, $argument:pat, $level:path, $attempts:expr, $delay:expr) $body:block) => {
        #[retry_on_disconnect(max_attempts = $attempts, base_delay = $delay, timeout = $delay * 100)]
        #[transactional(isolation = $level)]
        fn $name($tx: &mut Transaction<'_>, $argument: String) -> db_core::Result<u8> $body
    };
    ($name:ident ($tx:ident, $level:expr, $on:expr) $body:block) => {
        #[transactional(isolation = $level, on = $on)]
        fn $name($tx: &mut Transaction<'_>) -> db_core::Result<u8> $body
    };
}

work!(block(tx) {
    tx.query_drop("DO 1")?;
    Ok(1)
});
work!(values(tx, name, crate::LEVEL, 3, std::time::Duration::from_millis(1)) { tx.exec_drop("DO ?", (name,)).map(|()| 1) });
work!(named_level(tx, mut name, Serializable, 3, std::time::Duration::from_millis(1)) {
    name.push('x');
    tx.exec_drop("DO ?", (name,))?;
    Ok(1)
});
work!(level_as_an_expression(tx, ReadCommitted, DB.get().expect("a database")) { tx.query_drop("DO 1").map(|()| 1) });

fn calls(db: &Db) -> db_core::Result<()> {
    set_name(db, "name", 1)?;
    set_age(db, 1, 2)?;
    block(db)?;
    level_as_an_expression()?;
    values(db, String::new())?;
    named_level(db, String::new())?;
    let store = Store { db: db.clone() };
    store.first()?;
    store.second()
}

fn main() {
    let _ = calls;
}
