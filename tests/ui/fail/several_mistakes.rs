use db_core::prelude::*;

#[retry_on_disconnect(max_attempts = 0)]
#[transactional(isolation = "serializable", jion)]
async fn insert(id: u64) -> Option<u64> {
    Some(id)
}

fn main() {}
