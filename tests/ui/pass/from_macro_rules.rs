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

fn calls(db: &Db) -> db_core::Result<()> {
    set_name(db, "name", 1)?;
    set_age(db, 1, 2)?;
    let store = Store { db: db.clone() };
    store.first()?;
    store.second()
}

fn main() {
    let _ = calls;
}
