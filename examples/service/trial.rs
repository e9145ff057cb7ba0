//! Clients, and what happens to the database meanwhile. Then: was each client told the truth?

use std::collections::{BTreeMap, HashMap};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use db_core::prelude::*;
use db_testkit::{Action, Fault, FaultProxy, Point, Server};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::bank::{NewAccount, Transfer};
use crate::prepare;

const CLIENTS: usize = 6;
const TRANSFERS: usize = 60;
const ACCOUNTS: u64 = 10;
const OPENING_CENTS: i64 = 10_000;
/// In every COMMIT that the ledger records, and nowhere else. "COMMIT" would be in "autocommit" as well.
const COMMIT: &str = "db_core_ledger SET";

pub(crate) fn run(runtime: &Runtime, connections: usize, metrics: PrometheusHandle) -> anyhow::Result<()> {
    let server = Server::start()?;
    let proxy = server.proxy()?;
    let policy = RetryPolicy::default().max_elapsed(Duration::from_secs(1));
    let app = prepare(&proxy.url(&server.url())?, policy, connections, metrics)?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let service = runtime.spawn(async move {
        let stopped = async { drop(stopped.await) };
        axum::serve(listener, app.router()).with_graceful_shutdown(stopped).await
    });

    let mut clients: Vec<Client> = (0..CLIENTS).map(|number| Client::new(number, format!("http://{address}"))).collect();
    open_accounts(&clients[0])?;
    under_fire(&mut clients, &proxy)?;
    during_an_outage(&mut clients, &proxy)?;
    asked_to_stop(&mut clients, &server, connections, || {
        stop.send(()).ok().context("the service has stopped before")?;
        eventually("the service takes no more connections", || Ok(TcpStream::connect(address).is_err()))
    })?;
    runtime.block_on(service)??;
    compare(&clients, &server)
}

/// A user of the service, and what it was told.
struct Client {
    number: usize,
    base: String,
    agent: ureq::Agent,
    /// By the transfer's reference: the status, and the problem's kind.
    told: BTreeMap<String, (u16, String)>,
}

#[derive(Deserialize)]
struct Problem {
    status: u16,
    kind: String,
}

impl Client {
    fn new(number: usize, base: String) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(20))).build();
        Self { number, base, agent: config.into(), told: BTreeMap::new() }
    }

    fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let mut response = self.agent.get(format!("{}{path}", self.base)).call()?;
        Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
    }

    /// The sum over all labels.
    fn metric(&self, name: &str) -> anyhow::Result<usize> {
        let (_, metrics) = self.get("/metrics")?;
        let values = metrics.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| Ok(value.parse::<usize>()?)).sum()
    }

    /// The status, and the problem's kind if it is one.
    fn post(&self, path: &str, body: impl Serialize) -> anyhow::Result<(u16, String)> {
        let mut response = self.agent.post(format!("{}{path}", self.base)).send_json(body)?;
        let status = response.status().as_u16();
        if status == 201 {
            return Ok((status, String::new()));
        }
        ensure!(response.body().mime_type() == Some("application/problem+json"), "{status} is no problem+json");
        let problem: Problem = response.body_mut().read_json()?;
        ensure!(problem.status == status, "a problem says {}, and its response {status}", problem.status);
        Ok((status, problem.kind))
    }

    fn transfer(&mut self, from: u64, to: u64, cents: u32) -> anyhow::Result<u16> {
        let reference = format!("{}-{}", self.number, self.told.len());
        let told = self.post("/transfers", Transfer { reference: reference.clone(), from, to, cents })?;
        let status = told.0;
        self.told.insert(reference, told);
        Ok(status)
    }
}

fn open_accounts(client: &Client) -> anyhow::Result<()> {
    ensure!(client.get("/health")? == (200, "ok\n".into()), "not healthy");
    for number in 1..=ACCOUNTS {
        let told = client.post("/accounts", NewAccount { owner: format!("owner {number}"), cents: OPENING_CENTS })?;
        ensure!(told.0 == 201, "account {number}: {told:?}");
    }
    let again = client.post("/accounts", NewAccount { owner: "owner 1".into(), cents: 1 })?;
    ensure!(again == (409, "UniqueViolation".into()), "an owner's second account: {again:?}");
    let nonsense = client.post("/accounts", "nonsense")?;
    ensure!(nonsense == (422, "BadRequest".into()), "nonsense: {nonsense:?}");
    for (path, status, kind) in [("/accounts/99", 404, "NoSuchAccount"), ("/accounts/x", 400, "BadRequest"), ("/x", 404, "NoSuchPath")] {
        let told = client.get(path)?;
        ensure!(told.0 == status && told.1.contains(kind), "{path}: {told:?}");
    }
    let (status, account) = client.get("/accounts/1")?;
    ensure!(status == 200 && account.contains("\"owner 1\""), "account 1: {status}, {account}");
    Ok(())
}

/// Of ten transfers one is to an account that does not exist, and one of more than anybody has.
fn keep_busy(client: &mut Client) -> anyhow::Result<()> {
    for n in 0..TRANSFERS {
        let from = fastrand::u64(1..=ACCOUNTS);
        let to = (from + fastrand::u64(0..ACCOUNTS - 1)) % ACCOUNTS + 1;
        match n % 10 {
            7 => client.transfer(from, 0, 1)?,
            8 => client.transfer(from, to, 1_000_000)?,
            _ => client.transfer(from, to, fastrand::u32(1..=100))?,
        };
    }
    Ok(())
}

/// All clients at once, while one connection after the other breaks: at a statement, at COMMIT, and at its answer.
fn under_fire(clients: &mut [Client], proxy: &FaultProxy) -> anyhow::Result<()> {
    let began = Instant::now();
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
        for (point, statement) in faults.into_iter().cycle().take_while(|_| !is_over()) {
            let fault = proxy.inject(Fault::new(point, Action::Rst).matching(statement));
            while !is_over() && !fault.wait_fired(Duration::from_millis(20)) {}
            fault.cancel();
            broken += fault.fired();
            thread::sleep(Duration::from_millis(fastrand::u64(0..10)));
        }
        working.into_iter().try_for_each(|client| client.join().ok().context("a client panicked")?)
    })?;
    println!("{} requests in {:.1?}, while {broken} connections to the database broke", CLIENTS * TRANSFERS, began.elapsed());
    let [attempts, transactions, reconnects] =
        ["db_core_attempts_total", "db_core_transactions_total", "db_core_reconnects_total"].map(|name| clients[0].metric(name));
    let (attempts, transactions, reconnects) = (attempts?, transactions?, reconnects?);
    println!("by the metrics: {attempts} attempts at {transactions} transactions, {reconnects} reconnects");
    ensure!(broken > 0 && attempts > transactions && reconnects > 0, "no fire");
    Ok(())
}

/// Nobody reaches the database for longer than the service tries.
fn during_an_outage(clients: &mut [Client], proxy: &FaultProxy) -> anyhow::Result<()> {
    proxy.refuse_connections(true);
    proxy.cut_all();
    let during = all_at_once(clients, |client| client.transfer(1, 2, 1))?;
    let health = clients[0].get("/health")?.0;
    proxy.refuse_connections(false);
    let after = all_at_once(clients, |client| client.transfer(1, 2, 1))?;
    println!("an outage: {during:?}, health {health}; after it: {after:?}, health {}", clients[0].get("/health")?.0);
    ensure!(during.iter().all(|&status| status == 503) && health == 503, "during the outage");
    ensure!(after.iter().all(|&status| status == 201) && clients[0].get("/health")?.0 == 200, "after the outage");
    Ok(())
}

fn all_at_once(clients: &mut [Client], request: fn(&mut Client) -> anyhow::Result<u16>) -> anyhow::Result<Vec<u16>> {
    thread::scope(|threads| {
        let working: Vec<_> = clients.iter_mut().map(|client| threads.spawn(move || request(client))).collect();
        working.into_iter().map(|client| client.join().ok().context("a client panicked")?).collect()
    })
}

/// A request that is under way when the service is asked to stop is answered.
fn asked_to_stop(
    clients: &mut [Client],
    server: &Server,
    connections: usize,
    stop: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let [slow, other, ..] = clients else { unreachable!("there are {CLIENTS}") };
    let mut admin = server.connect()?;
    admin.query_drop("BEGIN")?;
    admin.query_drop("SELECT * FROM service_account WHERE id = 2 FOR UPDATE")?;
    let status = thread::scope(|threads| {
        let slow = threads.spawn(move || slow.transfer(1, 2, 1));
        eventually("the request has a database", || Ok(other.metric("service_free_databases")? == connections - 1))?;
        stop()?;
        admin.query_drop("COMMIT")?;
        slow.join().ok().context("the client panicked")?
    })?;
    println!("a request under way when the service was asked to stop: {status}");
    ensure!(status == 201, "it was to be answered");
    Ok(())
}

fn eventually(what: &str, mut happened: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !happened()? {
        ensure!(Instant::now() < deadline, "never happened: {what}");
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// What the clients were told, and what the database says.
fn compare(clients: &[Client], server: &Server) -> anyhow::Result<()> {
    let mut admin = server.connect()?;
    let made: HashMap<String, u32> =
        admin.query("SELECT reference, COUNT(*) FROM service_transfer GROUP BY reference")?.into_iter().collect();
    let mut answers: BTreeMap<String, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (reference, (status, kind)) in clients.iter().flat_map(|client| &client.told) {
        *answers.entry(format!("{status} {kind}")).or_default() += 1;
        let times = made.get(reference).copied().unwrap_or_default();
        // This one does not claim to know.
        if times != u32::from(*status == 201) && kind != "CommitUnknown" {
            wrong.push(format!("{reference}: the client was told {status} {kind}, and the transfer is there {times} times"));
        }
    }
    let cents: Option<i64> = admin.query_first("SELECT SUM(cents) FROM service_account")?;
    println!("answers to transfers: {answers:?}");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(cents == Some(ACCOUNTS as i64 * OPENING_CENTS), "money was lost or made: {cents:?}");
    println!("every 201 is in the database once, no error is, and no cent is lost");
    Ok(())
}
