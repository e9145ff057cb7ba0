use db_core::prelude::*;

macro_rules! insert {
    ($name:ident, $attempts:literal, $level:expr, $delay:expr) => {
        #[retry_on_disconnect(max_attempts = $attempts, base_delay = $delay)]
        #[transactional(isolation = $level)]
        fn $name(tx: &mut Transaction<'_>) -> db_core::Result<()> {
            tx.query_drop("DO 1")
        }
    };
}

insert!(wrong, 0, Committed, 10);

fn main() {}
