//! The service of the examples: clients use it, and repeat their requests, while connections break. Each must be told the truth, and each request
//! is done once.

#![allow(clippy::unwrap_used, reason = "tests panic when something is not as it should be")]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use db_core::mysql::prelude::Queryable as _;
use db_testkit::{Action, Fault, FaultProxy, Point, Server};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::{eventually, example};

const CLIENTS: usize = 6;
const TRANSFERS: usize = 60;
const ACCOUNTS: u64 = 10;
const OPENING_CENTS: i64 = 10_000;
const CONNECTIONS: usize = 4;
/// In every COMMIT of a transfer.
const COMMIT: &str = "INSERT INTO `test`.db_core_idempotency";

#[test]
fn every_client_is_told_the_truth_under_faults() {
    let server = Server::start().unwrap();
    let proxy = server.proxy().unwrap();
    let service = Service::start(&proxy.url(&server.url()).unwrap());
    let mut clients: Vec<Client> = (0..CLIENTS).map(|number| Client::new(number, &service.address)).collect();
    open_accounts(&clients[0]);
    same_key_for_another_order(&clients[0]);
    under_fire(&mut clients, &proxy);
    during_an_outage(&mut clients, &proxy);
    asked_to_stop(&mut clients, &server, service);
    compare(&clients, &server);
}

fn same_key_for_another_order(client: &Client) {
    let order = |cents: u32| json!({ "reference": "reused", "from": 1, "to": 2, "cents": cents });
    let first = client.post_once("/transfers", Some("reused"), &order(1));
    assert_eq!(first.0, 201);
    assert_eq!(client.post_once("/transfers", Some("reused"), &order(1)), first);
    assert_eq!(client.post_once("/transfers", Some("reused"), &order(2)), (422, "IdempotencyKeyReused".into()));
    assert_eq!(client.post_once("/transfers", Some(""), &order(1)), (400, "BadRequest".into()));
    let (_, again) = client.post("/transfers", &order(1));
    assert_ne!(again, first.1, "without a key each request is done");
}

/// The example, as a process.
struct Service {
    process: Child,
    address: String,
}

impl Service {
    fn start(url: &str) -> Self {
        let mut command = example("service");
        command.args(["--", "--listen=127.0.0.1:0", "--retry-for=1", "--url", url]).arg(format!("--connections={CONNECTIONS}"));
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let address = line.strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}")).to_owned();
        // It must not be stopped by a pipe that nobody reads.
        thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A user of the service, and what it was told.
struct Client {
    number: usize,
    base: String,
    agent: ureq::Agent,
    /// By the transfer's reference: the status, and the problem's kind.
    told: BTreeMap<String, (u16, String)>,
}

impl Client {
    fn new(number: usize, address: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(20))).build();
        Self { number, base: format!("http://{address}"), agent: config.into(), told: BTreeMap::new() }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut response = self.agent.get(format!("{}{path}", self.base)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    /// The sum over all labels.
    fn metric(&self, name: &str) -> usize {
        self.metric_with(name, "")
    }

    /// The sum over those that have this label.
    fn metric_with(&self, name: &str, label: &str) -> usize {
        let (_, metrics) = self.get("/metrics");
        let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
        let values = lines.filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<usize>().unwrap()).sum()
    }

    /// The status, and the reply, or the problem's kind if it is one.
    fn post(&self, path: &str, body: &Value) -> (u16, String) {
        self.post_once(path, None, body)
    }

    fn post_once(&self, path: &str, key: Option<&str>, body: &Value) -> (u16, String) {
        let request = self.agent.post(format!("{}{path}", self.base));
        let request = key.into_iter().fold(request, |request, key| request.header("Idempotency-Key", key));
        let mut response = request.send_json(body).unwrap();
        let status = response.status().as_u16();
        if status == 201 {
            return (status, response.body_mut().read_to_string().unwrap());
        }
        assert_eq!(response.body().mime_type(), Some("application/problem+json"), "{status}");
        let problem: Value = response.body_mut().read_json().unwrap();
        assert_eq!(problem["status"], status, "{problem}");
        (status, problem["kind"].as_str().unwrap().to_owned())
    }

    fn transfer(&mut self, from: u64, to: u64, cents: u32) -> u16 {
        let reference = format!("{}-{}", self.number, self.told.len());
        let order = json!({ "reference": reference, "from": from, "to": to, "cents": cents });
        let told = self.post_once("/transfers", Some(&reference), &order);
        let status = told.0;
        self.told.insert(reference, told);
        status
    }

    /// Repeats a request that failed for no fault of its own, and one that was done as well, as a client does to whom the reply was lost.
    fn transfer_repeatedly(&mut self, from: u64, to: u64, cents: u32) {
        let reference = format!("{}-{}", self.number, self.told.len());
        let order = json!({ "reference": reference, "from": from, "to": to, "cents": cents });
        let send = || self.post_once("/transfers", Some(&reference), &order);
        let told = until_told(send);
        if told.0 == 201 {
            assert_eq!(until_told(send), told, "{reference}");
        }
        self.told.insert(reference, told);
    }
}

fn until_told(send: impl Fn() -> (u16, String)) -> (u16, String) {
    loop {
        let told = send();
        if told.0 < 500 {
            return told;
        }
    }
}

fn open_accounts(client: &Client) {
    assert_eq!(client.get("/health"), (200, "ok\n".into()));
    for number in 1..=ACCOUNTS {
        let told = client.post("/accounts", &json!({ "owner": format!("owner {number}"), "cents": OPENING_CENTS }));
        assert_eq!(told.0, 201, "account {number}: {told:?}");
    }
    assert_eq!(client.post("/accounts", &json!({ "owner": "owner 1", "cents": 1 })), (409, "UniqueViolation".into()));
    assert_eq!(client.post("/accounts", &json!("nonsense")), (422, "BadRequest".into()));
    for (path, status, kind) in [("/accounts/99", 404, "NoSuchAccount"), ("/accounts/x", 400, "BadRequest"), ("/x", 404, "NoSuchPath")] {
        let told = client.get(path);
        assert!(told.0 == status && told.1.contains(kind), "{path}: {told:?}");
    }
    let (status, account) = client.get("/accounts/1");
    assert!(status == 200 && account.contains("\"owner 1\""), "{status}, {account}");
}

/// Of ten transfers one is to an account that does not exist, and one of more than any account has.
fn keep_busy(client: &mut Client) {
    let mut rng = fastrand::Rng::new();
    for n in 0..TRANSFERS {
        let from = rng.u64(1..=ACCOUNTS);
        let to = (from + rng.u64(0..ACCOUNTS - 1)) % ACCOUNTS + 1;
        match n % 10 {
            7 => client.transfer_repeatedly(from, 0, 1),
            8 => client.transfer_repeatedly(from, to, 1_000_000),
            _ => client.transfer_repeatedly(from, to, rng.u32(1..=100)),
        }
    }
}

/// All clients at once, while one connection after the other breaks: at a statement, at COMMIT, and at its reply.
fn under_fire(clients: &mut [Client], proxy: &FaultProxy) {
    let mut broken = 0;
    thread::scope(|threads| {
        let working: Vec<_> = clients.iter_mut().map(|client| threads.spawn(|| keep_busy(client))).collect();
        let faults = [
            (Point::BeforeRequest, "UPDATE service_account"),
            (Point::AfterRequest, COMMIT),
            (Point::AfterRequest, "INSERT INTO service_transfer"),
            (Point::BeforeRequest, COMMIT),
        ];
        let is_over = || working.iter().all(|client| client.is_finished());
        for (number, (point, statement)) in faults.into_iter().cycle().take_while(|_| !is_over()).enumerate() {
            let fault = proxy.inject(Fault::new(point, Action::Rst).matching(statement));
            while !is_over() && !fault.wait_fired(Duration::from_millis(20)) {}
            fault.cancel();
            broken += fault.fired();
            thread::sleep(Duration::from_millis(number as u64 * 7 % 10));
        }
    });
    let [attempts, transactions, reconnects] =
        ["db_core_attempts_total", "db_core_transactions_total", "db_core_reconnects_total"].map(|name| clients[0].metric(name));
    assert!(broken > 0 && attempts > transactions && reconnects > 0, "{broken}, {attempts}, {transactions}, {reconnects}");
}

/// The database cannot be reached for longer than the service retries.
fn during_an_outage(clients: &mut [Client], proxy: &FaultProxy) {
    proxy.refuse_connections(true);
    proxy.cut_all();
    assert_eq!(all_at_once(clients, |client| client.transfer(1, 2, 1)), [503; CLIENTS]);
    assert_eq!(clients[0].get("/health").0, 503);
    proxy.refuse_connections(false);
    assert_eq!(all_at_once(clients, |client| client.transfer(1, 2, 1)), [201; CLIENTS]);
    assert_eq!(clients[0].get("/health").0, 200);
}

fn all_at_once(clients: &mut [Client], request: fn(&mut Client) -> u16) -> Vec<u16> {
    thread::scope(|threads| {
        let working: Vec<_> = clients.iter_mut().map(|client| threads.spawn(move || request(client))).collect();
        working.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// A request that is under way when the service is asked to stop is answered.
fn asked_to_stop(clients: &mut [Client], server: &Server, mut service: Service) {
    let [slow, other, ..] = clients else { unreachable!("there are {CLIENTS}") };
    let mut admin = server.connect().unwrap();
    admin.query_drop("BEGIN").unwrap();
    admin.query_drop("SELECT * FROM service_account WHERE id = 2 FOR UPDATE").unwrap();
    thread::scope(|threads| {
        let slow = threads.spawn(move || slow.transfer(1, 2, 1));
        eventually("the request has a connection", || other.metric_with("db_client_connection_count", "state=\"used\"") == 1);
        kill_process(Pid::from_child(&service.process), Signal::TERM).unwrap();
        eventually("the service takes no more connections", || TcpStream::connect(&service.address).is_err());
        admin.query_drop("COMMIT").unwrap();
        assert_eq!(slow.join().unwrap(), 201);
    });
    assert!(service.process.wait().unwrap().success());
}

/// What the clients were told, and what the database says.
fn compare(clients: &[Client], server: &Server) {
    let mut admin = server.connect().unwrap();
    let made = "SELECT reference, COUNT(*) FROM service_transfer GROUP BY reference";
    let made: HashMap<String, u32> = admin.query(made).unwrap().into_iter().collect();
    for (reference, (status, kind)) in clients.iter().flat_map(|client| &client.told) {
        let times = made.get(reference).copied().unwrap_or_default();
        // This one does not claim to know.
        let unknown = kind == "CommitUnknown";
        assert!(unknown || times == u32::from(*status == 201), "{reference}: told {status} {kind}, and it is there {times} times");
    }
    let cents: Option<i64> = admin.query_first("SELECT SUM(cents) FROM service_account").unwrap();
    assert_eq!(cents, Some(ACCOUNTS as i64 * OPENING_CENTS));
}
