//! What the model refuses, without a server.

use super::*;
use crate::program::How;

fn add(id: u8, by: i64) -> Node {
    Node::Do { statement: Statement::Add { id, by }, how: How::Drop, handled: false }
}

fn program(retry: bool, block: Vec<Node>) -> Program {
    Program { ledger: false, calls: vec![Call { retry, attributes: true, read_only: false, bodies: vec![block] }], fault: None }
}

fn done() -> Event {
    Event::Leaf(Told::Ok(None))
}

fn error(kind: ErrorKind) -> Told {
    Told::Err { kind, code: None, transient: false, message: String::new() }
}

fn with(balances: &[(u8, i64)]) -> World {
    let mut world = World::new();
    world.0[0].accounts.extend(balances.iter().copied());
    world
}

fn seen(events: Vec<Event>, told: Told, world: World) -> Seen {
    Seen { events, told, hooks: Vec::new(), fault: false, rival: false, left_open: false, late: None, world }
}

/// The rule that is broken, if one is.
fn broken(program: &Program, seen: Seen) -> Option<&'static str> {
    check(program, &[seen]).err().map(|broken| broken.rule)
}

#[test]
fn ok_is_all_of_the_work_once() {
    let program = program(false, vec![add(1, 5), add(2, 7)]);
    let after = |world| broken(&program, seen(vec![Event::Begin(0), done(), done()], Told::Ok(None), world));
    assert_eq!(after(with(&[(1, 105), (2, 107)])), None);
    assert_eq!(after(with(&[(2, 107)])), Some("state"));
    assert_eq!(after(with(&[(1, 110), (2, 107)])), Some("state"));
    assert_eq!(after(World::new()), Some("state"));
}

#[test]
fn an_error_is_none_of_the_work() {
    let program = program(false, vec![add(1, 5), Node::Fail { poisoned: false }]);
    let after = |told, world| broken(&program, seen(vec![Event::Begin(0), done()], told, world));
    assert_eq!(after(Told::Own, World::new()), None);
    assert_eq!(after(Told::Own, with(&[(1, 105)])), Some("state"));
    assert_eq!(after(Told::Ok(None), World::new()), Some("reply"));
}

#[test]
fn a_nested_call_that_fails_is_undone_alone() {
    let nested = Node::Nested { join: false, attributes: false, handled: true, block: vec![add(2, 7), Node::Fail { poisoned: false }] };
    let program = program(false, vec![add(1, 5), nested]);
    let events = vec![Event::Begin(0), done(), Event::Enter, done(), Event::Exit(Told::Own)];
    let after = |told, world| broken(&program, seen(events.clone(), told, world));
    assert_eq!(after(Told::Ok(None), with(&[(1, 105)])), None);
    assert_eq!(after(Told::Ok(None), with(&[(1, 105), (2, 107)])), Some("state"));
    assert_eq!(after(Told::Ok(None), World::new()), Some("state"));
}

#[test]
fn what_a_body_commits_is_said_and_is_not_repeated() {
    let ddl = Node::Do { statement: Statement::Ddl(Ddl::Drop), how: How::Drop, handled: false };
    let program = program(true, vec![add(1, 5), ddl, add(2, 7)]);
    let once = vec![Event::Begin(0), done(), done(), done()];
    let after = |events: &[Event], told, world| broken(&program, seen(events.to_vec(), told, world));
    assert_eq!(after(&once, error(ErrorKind::ImplicitCommit), with(&[(1, 105)])), None);
    assert_eq!(after(&once, error(ErrorKind::ImplicitCommit), World::new()), Some("state"));
    assert_eq!(after(&once, Told::Ok(None), with(&[(1, 105), (2, 107)])), Some("reply"));
    let lost = vec![Event::Begin(0), done(), done(), Event::Leaf(error(ErrorKind::ConnectionLost))];
    let twice = [lost, once].concat();
    let with_fault = Seen { fault: true, ..seen(twice, error(ErrorKind::ImplicitCommit), with(&[(1, 110)])) };
    assert_eq!(broken(&program, with_fault), Some("done twice"));
}

#[test]
fn a_deadlock_that_a_body_ignores_ends_the_transaction() {
    let ten = Node::Do { statement: Statement::Ten { by: 1 }, how: How::Drop, handled: true };
    let program = program(false, vec![add(1, 5), ten, add(2, 7)]);
    let deadlock = Event::Leaf(error(ErrorKind::Deadlock));
    let after = |last: Event, told, world| {
        let events = vec![Event::Begin(0), done(), deadlock.clone(), last];
        broken(&program, Seen { rival: true, ..seen(events, told, world) })
    };
    assert_eq!(after(deadlock.clone(), error(ErrorKind::Deadlock), World::new()), None);
    assert_eq!(after(done(), Told::Ok(None), with(&[(2, 107)])), Some("reply"));
}

#[test]
fn a_deadlock_that_nobody_saw_is_no_ok() {
    let ten = Node::Do { statement: Statement::TenLocking, how: How::Raw, handled: false };
    let program = program(false, vec![add(1, 5), ten, add(2, 7)]);
    let after = |told, world| {
        let events = vec![Event::Begin(0), done(), done(), done()];
        broken(&program, Seen { rival: true, ..seen(events, told, world) })
    };
    assert_eq!(after(error(ErrorKind::Deadlock), World::new()), None);
    assert_eq!(after(Told::Ok(None), with(&[(1, 105), (2, 107)])), None);
    assert_eq!(after(Told::Ok(None), with(&[(2, 107)])), Some("state"));
}

#[test]
fn commit_unknown_is_all_or_nothing_and_not_with_the_ledger() {
    let mut program = program(false, vec![add(1, 5), add(2, 7)]);
    let after = |program: &Program, world| {
        let events = vec![Event::Begin(0), done(), done()];
        broken(program, Seen { fault: true, ..seen(events, error(ErrorKind::CommitUnknown), world) })
    };
    assert_eq!(after(&program, World::new()), None);
    assert_eq!(after(&program, with(&[(1, 105), (2, 107)])), None);
    assert_eq!(after(&program, with(&[(1, 105)])), Some("state"));
    program.ledger = true;
    assert_eq!(after(&program, World::new()), Some("reply"));
}

#[test]
fn what_a_body_sets_ends_with_its_call() {
    let set = Node::Do { statement: Statement::Use { archive: true }, how: How::Drop, handled: false };
    let mut program = program(false, vec![set, add(1, 5)]);
    program.calls.push(Call { bodies: vec![vec![add(2, 7)]], ..program.calls[0].clone() });
    let mut first = World::new();
    first.0[1].accounts.insert(1, 105);
    let mut right = first.clone();
    right.0[0].accounts.insert(2, 107);
    let mut wrong = first.clone();
    wrong.0[1].accounts.insert(2, 107);
    for (last, rule) in [(right, None), (wrong, Some("state"))] {
        let calls = [
            seen(vec![Event::Begin(0), done(), done()], Told::Ok(None), first.clone()),
            seen(vec![Event::Begin(0), done()], Told::Ok(None), last),
        ];
        assert_eq!(check(&program, &calls).err().map(|broken| broken.rule), rule);
    }
}

#[test]
fn hooks_run_once_and_for_the_right_end() {
    let nested =
        Node::Nested { join: false, attributes: false, handled: true, block: vec![Node::AfterCommit(2), Node::Fail { poisoned: false }] };
    let program = program(false, vec![Node::AfterCommit(1), Node::AfterRollback(3), nested, add(1, 5)]);
    let events = vec![Event::Begin(0), Event::Enter, Event::Exit(Told::Own), done()];
    let after =
        |hooks: &[(On, u32)]| broken(&program, Seen { hooks: hooks.to_vec(), ..seen(events.clone(), Told::Ok(None), with(&[(1, 105)])) });
    assert_eq!(after(&[(On::Commit, 1)]), None);
    assert_eq!(after(&[]), Some("hooks"));
    assert_eq!(after(&[(On::Commit, 1), (On::Commit, 1)]), Some("hooks"));
    assert_eq!(after(&[(On::Commit, 1), (On::Commit, 2)]), Some("hooks"));
    assert_eq!(after(&[(On::Rollback, 3)]), Some("hooks"));
}
