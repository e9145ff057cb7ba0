//! What each operation does, and what goes wrong meanwhile: decided from the seed and the operation's number alone.

use std::time::Duration;

use db_testkit::{Action, Fault, Point};
use fastrand::Rng;

use crate::bank::{Kind, Order};

/// A server is killed less often where it takes longer to come back.
pub(crate) const KILL_MARIADB_EVERY: usize = 350;
pub(crate) const KILL_MYSQL_EVERY: usize = 1_000;

/// Few, so that transfers conflict with each other.
pub(crate) const ACCOUNTS: u32 = 48;

/// So few that most transfers conflict, on whatever node.
pub(crate) const FEW_ACCOUNTS: u32 = 10;

/// The compare-and-swap on the ledger's row, which goes before a COMMIT in its packet.
const RECORDED_COMMIT: &str = "seq + 18446744073709551615 + 1) WHERE";

/// What a fault is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// The operation's first COMMIT.
    Commit,
    /// The one after it: of a retry, or of the fence.
    CommitAgain,
    /// The fence, for certain: the COMMIT before it has not reached the server.
    Fence,
    /// The look at the ledger's row.
    Resolution,
    /// The connection that is opened after a loss.
    Reconnect,
    Statement,
    Rollback,
}

pub(crate) const TARGETS: [Target; 7] =
    [Target::Commit, Target::CommitAgain, Target::Fence, Target::Resolution, Target::Reconnect, Target::Statement, Target::Rollback];

/// A fault, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannedFault {
    pub(crate) target: Target,
    pub(crate) point: Point,
    pub(crate) action: Action,
    nth: usize,
}

/// What happens apart from the requests of the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    None,
    /// All connections of this operation's proxy are cut, before it begins.
    Reset,
    Close,
    /// They are cut, and new ones refused for a while.
    Refuse(Duration),
    /// The next connection goes to another node.
    MoveOn,
    /// The operation runs on a connection that has just been opened.
    Fork,
}

/// What happens to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerFault {
    KillServer,
    Freeze(Duration),
    /// One of the sessions is killed, after a while. Which one depends on those that are open then.
    KillSession {
        after: Duration,
        pick: usize,
    },
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) order: Order,
    pub(crate) faults: Vec<PlannedFault>,
    pub(crate) event: Event,
    pub(crate) server_faults: Vec<ServerFault>,
}

impl Plan {
    pub(crate) fn of(seed: u64, op: usize, ledger: bool, kill_every: usize) -> Self {
        // Neighbours must not have similar generators.
        let mut rng = Rng::with_seed(seed ^ (op as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let order = order(&mut rng, ACCOUNTS);
        let mut server_faults = Vec::new();
        match op % kill_every {
            0 if op > 0 => server_faults.push(ServerFault::KillServer),
            half if half == kill_every / 2 => server_faults.push(ServerFault::Freeze(millis(&mut rng, 100, 1_500))),
            _ => {}
        }
        let event = match rng.u32(0..100) {
            0..3 => {
                server_faults.push(ServerFault::KillSession { after: millis(&mut rng, 1, 40), pick: rng.usize(..) });
                Event::None
            }
            3 => Event::Reset,
            4 => Event::Close,
            5 => Event::Refuse(millis(&mut rng, 20, 600)),
            6 => Event::Fork,
            _ => Event::None,
        };
        let faults = faults(&mut rng, order.kind, ledger);
        Self { order, faults, event, server_faults }
    }

    /// The nodes fail by themselves.
    pub(crate) fn on_cluster(seed: u64, op: usize, ledger: bool, harm: bool) -> Self {
        let mut rng = Rng::with_seed(seed ^ (op as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let order = order(&mut rng, FEW_ACCOUNTS);
        if !harm {
            return Self::unharmed(order);
        }
        let event = if rng.u32(0..4) == 0 { Event::MoveOn } else { Event::None };
        let faults = if rng.u32(0..4) == 0 { faults(&mut rng, order.kind, ledger) } else { Vec::new() };
        Self { order, faults, event, server_faults: Vec::new() }
    }

    /// Without faults of its own.
    pub(crate) fn unharmed(order: Order) -> Self {
        Self { order, faults: Vec::new(), event: Event::None, server_faults: Vec::new() }
    }
}

fn order(rng: &mut Rng, accounts: u32) -> Order {
    let kind = match rng.u32(0..100) {
        0..25 => Kind::Plain,
        25..40 => Kind::Once,
        40..55 => Kind::RefusesSecond,
        55..80 => Kind::ReadModifyWrite { half_read: rng.bool() },
        _ => Kind::Nested { undone_first: rng.bool() },
    };
    Order::random(kind, accounts, 100, rng)
}

fn faults(rng: &mut Rng, kind: Kind, ledger: bool) -> Vec<PlannedFault> {
    let mut fault = |target| fault(rng, target, ledger);
    let commit = fault(Target::Commit);
    let again = fault(Target::CommitAgain);
    let statement = fault(Target::Statement);
    let rolls_back = matches!(kind, Kind::Nested { .. } | Kind::RefusesSecond);
    // What cuts the connection, at once, before the server has heard of the request.
    let not_sent = |fault: PlannedFault| PlannedFault { point: Point::BeforeRequest, action: Action::Rst, ..fault };
    match rng.u32(0..100) {
        0..32 => vec![commit],
        // Without the ledger there is nothing to be looked up after a lost COMMIT, and no retry.
        32..56 if !ledger => vec![commit],
        32..40 => vec![commit, again],
        40..43 => vec![commit, again, PlannedFault { nth: 3, ..again }],
        43..48 => vec![not_sent(commit), self::fault(rng, Target::Fence, ledger)],
        48..52 => vec![commit, self::fault(rng, Target::Resolution, ledger)],
        52..56 => {
            let look = self::fault(rng, Target::Resolution, ledger);
            vec![commit, look, PlannedFault { nth: 2, ..look }, not_sent(again)]
        }
        56..60 if ledger => vec![not_sent(commit), self::fault(rng, Target::Reconnect, ledger)],
        56..60 => vec![not_sent(statement), self::fault(rng, Target::Reconnect, ledger)],
        60..70 => vec![statement],
        70..85 if rolls_back => vec![statement, self::fault(rng, Target::Rollback, ledger)],
        85..90 if rolls_back => vec![self::fault(rng, Target::Rollback, ledger)],
        _ => Vec::new(),
    }
}

fn fault(rng: &mut Rng, target: Target, ledger: bool) -> PlannedFault {
    let point = match (target, rng.u32(0..4)) {
        (Target::Reconnect, _) => Point::Connect,
        (_, 0) => Point::BeforeRequest,
        (_, 1) => Point::RequestSent,
        (_, 2) => Point::AfterRequest,
        // The reply to a COMMIT that is recorded is that to the UPDATE, too.
        (Target::Commit | Target::CommitAgain | Target::Fence, _) if ledger => Point::MidReply(rng.usize(1..60)),
        _ => Point::MidReply(rng.usize(1..10)),
    };
    let late = millis(rng, 20, 1_800);
    let action = match rng.u32(0..20) {
        0..7 => Action::Fin,
        7..14 => Action::Rst,
        14 => Action::BlackHole,
        15..18 => Action::Delay(late),
        _ => Action::Refuse(late / 4),
    };
    // Only a request that is still in the proxy's hands can be late.
    let action = if point == Point::BeforeRequest && rng.u32(0..10) < 4 { Action::DelayAndAbandon(late) } else { action };
    let nth = match target {
        Target::CommitAgain | Target::Fence => 2,
        Target::Statement => rng.usize(1..=4),
        _ => 1,
    };
    PlannedFault { target, point, action, nth }
}

/// Short times are as likely as long ones.
fn millis(rng: &mut Rng, from: u32, to: u32) -> Duration {
    let (low, high) = (f64::from(from.max(1)).ln(), f64::from(to).ln());
    Duration::from_secs_f64((low + (high - low) * rng.f64()).exp() / 1_000.0)
}

impl PlannedFault {
    /// `connection`: the number of the proxy's newest one.
    pub(crate) fn fault(&self, ledger: bool, connection: usize) -> Fault {
        let fault = Fault::new(self.point, self.action).nth(self.nth);
        match self.target {
            Target::Commit | Target::CommitAgain | Target::Fence if ledger => fault.matching(RECORDED_COMMIT),
            // A new connection is set up with `autocommit = 0`, which must not be taken for a COMMIT.
            Target::Commit => fault.matching("COMMIT").on_connection(connection),
            Target::CommitAgain | Target::Fence => fault.matching("COMMIT"),
            Target::Resolution => fault.matching("SELECT seq FROM"),
            Target::Reconnect => fault,
            Target::Statement => fault.matching("db_core_bank_"),
            Target::Rollback => fault.matching("ROLLBACK"),
        }
    }

    /// The client is not told that its connection is dead.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.action, Action::BlackHole | Action::Delay(_))
    }

    pub(crate) fn point_name(&self) -> &'static str {
        match self.point {
            Point::Connect => "connect",
            Point::BeforeRequest => "before request",
            Point::RequestSent => "request sent",
            Point::AfterRequest => "after request",
            Point::MidReply(_) => "mid reply",
            _ => "elsewhere",
        }
    }

    pub(crate) fn action_name(&self) -> &'static str {
        match self.action {
            Action::Fin => "FIN",
            Action::Rst => "RST",
            Action::BlackHole => "black hole",
            Action::Delay(_) => "delay",
            Action::DelayAndAbandon(_) => "late packet",
            Action::Refuse(_) => "outage",
            _ => "other",
        }
    }
}

impl Target {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Target::Commit => "COMMIT",
            Target::CommitAgain => "the next COMMIT",
            Target::Fence => "the fence",
            Target::Resolution => "the look at the ledger",
            Target::Reconnect => "the next connection",
            Target::Statement => "a statement",
            Target::Rollback => "ROLLBACK",
        }
    }
}
