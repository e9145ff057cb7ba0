//! The examples, and the demo, do what they say on a server of their own.

#![allow(clippy::unwrap_used, reason = "tests panic when something is not as it should be")]

use std::process::Command;
use std::time::Duration;

use db_core::mysql::prelude::Queryable as _;
use db_testkit::{Cluster, Topology};
use tests::{can_form, example, program};

/// The output of an example that succeeds.
fn run(name: &str) -> String {
    output(example(name))
}

fn output(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The demo, with these options.
fn demo(options: &[&str]) -> String {
    let mut command = program("torture");
    command.args(["--", "demo"]).args(options);
    output(command)
}

#[test]
fn the_bank_moves_money_and_does_not_notice_a_killed_connection() {
    let said = run("bank");
    for line in ["5000 cents more: insufficient funds", "[(1, 700), (2, 1300)]", "closed our connection", "[(1, 800), (2, 1200)]"] {
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn the_demo_keeps_every_promise_under_fire() {
    let said = demo(&["--seconds", "6", "--threads", "4"]);
    assert!(said.contains("kept: ") && said.contains("0 of unknown outcome"), "{said}");
}

#[test]
fn the_demo_spares_other_sessions_of_a_users_server_and_drops_its_tables() {
    let server = db_testkit::Server::start().unwrap();
    let mut other = server.connect().unwrap();
    let said = demo(&["--seconds", "3", "--threads", "2", "--url", &server.url()]);
    assert!(said.contains("kept: "), "{said}");
    let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name LIKE 'db\\_core\\_%'";
    assert_eq!(other.query_first(tables).unwrap(), Some(0), "in the session from before");
}

#[test]
fn the_demo_goes_on_when_the_first_of_its_hosts_is_killed() {
    if !can_form(Topology::Galera) {
        return;
    }
    let cluster = Cluster::galera().unwrap();
    let hosts = cluster.nodes()[..2].iter().map(|node| node.address().to_string()).collect::<Vec<_>>().join(",");
    let url = format!("mysql://app@{hosts}/test");
    let said = std::thread::scope(|threads| {
        let demo = threads.spawn(|| demo(&["--seconds", "20", "--threads", "4", "--url", &url]));
        // Not before its tables are there.
        let mut admin = cluster.node(1).connect().unwrap();
        let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name LIKE 'db\\_core\\_bank%'";
        while !demo.is_finished() && admin.query_first(tables).unwrap() == Some(0) {
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_secs(5));
        cluster.node(0).kill9().unwrap();
        demo.join().unwrap()
    });
    println!("{said}");
    assert!(said.contains("kept: "), "{said}");
}

#[test]
fn the_orchestrator_does_every_task_once_though_the_server_is_killed() {
    let said = run("orchestrator");
    for line in [
        "10 replies to COMMIT were lost",
        "the server was killed",
        "tasks that were not ended exactly once: 0\n",
        "in the cloud, and active: 296, 296",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn every_style_of_error_says_what_happened_and_is_retried() {
    let said = run("own_error");
    for style in ["with_source", "transparent", "with_anyhow", "by_hand"] {
        assert!(said.contains(&format!("UniqueViolation (member_name, {style:?}), HTTP 409, attempts 1")), "{style}: {said}");
    }
    assert!(said.contains("4 members, each entered once"), "{said}");
}

#[test]
fn before_the_change_orders_are_doubled_and_lost_and_after_it_they_are_not() {
    let said = run("migrate");
    let lines = |what: &str| said.lines().filter(|line| line.contains(what)).count();
    assert_eq!((lines("before"), lines("after")), (5, 5), "{said}");
    assert_eq!((lines("DOUBLED"), lines("LOST"), lines("the order is in the database once")), (1, 1, 8), "{said}");
}

/// Its tests run with all others.
#[test]
fn the_program_whose_tests_are_to_be_copied_runs() {
    assert!(run("testing").contains("7 are left"));
}
