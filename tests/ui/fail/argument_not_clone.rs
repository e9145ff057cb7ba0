use db_core::prelude::*;

struct Ticket(u64);

#[retry_on_disconnect]
#[transactional]
fn redeem(tx: &mut Transaction<'_>, at: u64, tickets: Vec<Ticket>) -> db_core::Result<()> {
    for ticket in tickets {
        tx.exec_drop("DO ?", (at, ticket.0))?;
    }
    Ok(())
}

#[retry_on_disconnect]
#[transactional]
fn redeem_with(tx: &mut Transaction<'_>, with: impl Fn(u64) -> u64) -> db_core::Result<()> {
    tx.exec_drop("DO ?", (with(1),))
}

impl Ticket {
    #[retry_on_disconnect]
    #[transactional]
    fn consume(self, tx: &mut Transaction<'_>) -> db_core::Result<Self> {
        tx.exec_drop("DO ?", (self.0,))?;
        Ok(self)
    }
}

fn main() {}
