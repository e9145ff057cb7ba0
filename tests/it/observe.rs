//! What is told of a call, in spans, events, metrics and numbers; and what never is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fs, process, thread};

use db_core::mysql::Value;
use db_core::prelude::*;
use db_core::{Error, Result, Stats};
use db_testkit::{Action, Fault, FaultProxy, Flavor, Point};
use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tests::{Bank, bank, cut, deposit, eventually, quick};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// What a subscriber was told.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Told>>>);

/// A span, or an event.
#[derive(Clone, Debug)]
struct Told {
    name: &'static str,
    target: String,
    level: Level,
    fields: Fields,
    /// The position of the span it is in.
    within: Option<usize>,
    is_span: bool,
}

#[derive(Clone, Debug, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// The position of a span among what was told.
struct Position(usize);

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Heard {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let span = context.span(id).unwrap();
        let within = span.parent().and_then(|parent| parent.extensions().get::<Position>().map(|position| position.0));
        let position = self.add(attributes.metadata(), fields, within, true);
        span.extensions_mut().insert(Position(position));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let position = context.span(id).unwrap().extensions().get::<Position>().unwrap().0;
        values.record(&mut self.0.lock().unwrap()[position].fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let within = context.event_span(event).and_then(|span| span.extensions().get::<Position>().map(|position| position.0));
        self.add(event.metadata(), fields, within, false);
    }
}

impl Heard {
    fn add(&self, metadata: &tracing::Metadata<'static>, fields: Fields, within: Option<usize>, is_span: bool) -> usize {
        let mut told = self.0.lock().unwrap();
        let (name, target, level) = (metadata.name(), metadata.target().to_owned(), *metadata.level());
        told.push(Told { name, target, level, fields, within, is_span });
        told.len() - 1
    }

    fn all(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone()
    }

    fn spans(&self) -> Vec<Told> {
        self.all().into_iter().filter(|told| told.is_span).collect()
    }

    fn events(&self, name: &str) -> Vec<Told> {
        self.all().into_iter().filter(|told| !told.is_span && told.name == name).collect()
    }

    /// The one event of this name.
    fn event(&self, name: &str) -> Told {
        let events = self.events(name);
        assert_eq!(events.len(), 1, "{name}: {:#?}", self.all());
        events[0].clone()
    }

    /// The one span.
    fn span(&self) -> Told {
        let spans = self.spans();
        assert_eq!(spans.len(), 1, "{spans:#?}");
        spans[0].clone()
    }
}

impl Told {
    fn field(&self, name: &str) -> &str {
        self.fields.0.get(name).map_or("", String::as_str)
    }

    fn seconds(&self, name: &str) -> f64 {
        self.field(name).parse().unwrap()
    }

    /// Level, and the values of these fields.
    fn says<'t, const N: usize>(&'t self, names: [&str; N]) -> (Level, [&'t str; N]) {
        (self.level, names.map(|name| self.field(name)))
    }
}

/// Listens to all that this thread does.
fn listen<R>(work: impl FnOnce() -> R) -> (Heard, R) {
    let heard = Heard::default();
    let result = with_default(tracing_subscriber::registry().with(heard.clone()), work);
    (heard, result)
}

/// With the commit ledger.
fn recording(bank: &Bank) -> (FaultProxy, Db) {
    bank.db.install_ledger().unwrap();
    bank.proxied(|builder| builder.commit_ledger(true))
}

#[transactional(isolation = ReadCommitted)]
fn pay(tx: &mut Transaction<'_>, amount: i64) -> Result<Option<u32>> {
    deposit(tx, 1, amount)?;
    Ok(tx.connection_id())
}

#[transactional]
fn twice(tx: &mut Transaction<'_>) -> Result<()> {
    deposit(tx, 1, 1)?;
    part(tx)
}

#[transactional]
fn part(tx: &mut Transaction<'_>) -> Result<()> {
    deposit(tx, 2, 1)
}

#[retry_on_disconnect]
#[transactional]
fn persistent(tx: &mut Transaction<'_>) -> Result<()> {
    deposit(tx, 1, 1)
}

#[retry_on_disconnect]
fn piecewise(db: &Db) -> Result<()> {
    db.transaction(|tx| deposit(tx, 1, 1))?;
    pay(db, 1).map(drop)
}

#[test]
fn a_call_is_one_span_that_says_where_it_went_and_how_it_ended() {
    let bank = bank();
    let (heard, connection) = listen(|| pay(&bank.db, 1).unwrap());
    let span = heard.span();
    assert_eq!((span.name, &*span.target, span.level), ("db_core.transaction", "db_core", Level::INFO));
    let system = if bank.server.flavor() == Flavor::MySql { "mysql" } else { "mariadb" };
    let (port, connection) = (bank.server.port().to_string(), connection.unwrap().to_string());
    let expected = [
        ("code.function.name", "it::observe::pay"),
        ("db.namespace", "test"),
        ("db.system.name", system),
        ("db_core.attempts", "1"),
        ("db_core.connection_id", &connection),
        ("db_core.isolation", "READ COMMITTED"),
        ("db_core.outcome", "committed"),
        ("otel.kind", "client"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
    ];
    assert_eq!(span.fields.0.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_called_inside_a_transaction_is_part_of_its_span() {
    let bank = bank();
    let (heard, ()) = listen(|| twice(&bank.db).unwrap());
    assert_eq!(heard.span().says(["code.function.name", "db_core.isolation"]), (Level::INFO, ["it::observe::twice", ""]));
    // A closure has the name of the function it is written in.
    let (heard, ()) = listen(|| bank.db.transaction(|tx| deposit(tx, 1, 1)).unwrap());
    let here = "it::observe::what_is_called_inside_a_transaction_is_part_of_its_span";
    assert_eq!(heard.span().field("code.function.name"), here);
    let pointer: fn(&mut Transaction<'_>) -> Result<()> = |tx| deposit(tx, 1, 1);
    let (heard, ()) = listen(|| bank.db.transaction(pointer).unwrap());
    assert_eq!(heard.span().says(["code.function.name", "db_core.outcome"]), (Level::INFO, ["", "committed"]));
}

#[test]
fn a_retry_has_a_span_of_its_own_around_those_of_its_transactions() {
    let bank = bank();
    let (heard, ()) = listen(|| piecewise(&bank.db).unwrap());
    let spans = heard.spans();
    let names: Vec<_> = spans.iter().map(|span| (span.name, span.field("code.function.name"), span.within)).collect();
    let expected = [
        ("db_core.retry", "it::observe::piecewise", None),
        ("db_core.transaction", "it::observe::piecewise", Some(0)),
        ("db_core.transaction", "it::observe::pay", Some(0)),
    ];
    assert_eq!(names, expected);
    assert_eq!(spans[0].says(["db_core.outcome", "db_core.attempts", "db_core.connection_id"]).1, ["succeeded", "1", ""]);
    let stats = bank.db.stats();
    assert_eq!((stats.committed, stats.attempts), (2, 2));
    let (heard, _) = listen(|| bank.db.retry(&quick(), |_| Err::<(), _>(Own::Refused)).unwrap_err());
    assert_eq!(heard.span().says(["db_core.outcome", "error.type", "otel.status_code"]).1, ["failed", "_OTHER", "ERROR"]);
    assert_eq!(bank.db.stats(), stats);
}

#[derive(Debug, thiserror::Error)]
enum Own {
    #[error("refused")]
    Refused,
    #[error("the database refused")]
    Database(#[from] Error),
}

#[transactional]
fn wants_to_pay(tx: &mut Transaction<'_>, statement: &str) -> std::result::Result<(), Own> {
    tx.query_drop("UPDATE account SET balance = balance + 1 WHERE id = 1")?;
    if statement.is_empty() {
        return Err(Own::Refused);
    }
    Ok(tx.query_drop(statement)?)
}

#[test]
fn how_a_call_ended_is_told_and_counted() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    let impatient = Db::builder(&bank.server.url()).lock(db.shared_lock()).lock_timeout(Duration::from_millis(1)).connect().unwrap();
    let hold_lock_elsewhere = |work: &dyn Fn()| {
        thread::scope(|threads| {
            let (held, holds) = std::sync::mpsc::channel();
            let (done, free) = std::sync::mpsc::channel::<()>();
            let lock = db.shared_lock();
            threads.spawn(move || {
                let _held = lock.lock();
                held.send(()).unwrap();
                free.recv().unwrap_err();
            });
            holds.recv().unwrap();
            work();
            drop(done);
        });
    };
    let check = |db: &Db, work: &dyn Fn(), expected: [&str; 5], counted: fn(&mut Stats)| {
        let before = db.stats();
        let (heard, ()) = listen(work);
        let span = heard.spans().remove(0);
        let told = span.says(["db_core.outcome", "error.type", "db.response.status_code", "otel.status_code", "db_core.attempts"]);
        assert_eq!(told, (Level::INFO, expected));
        let mut after = before;
        counted(&mut after);
        after.attempts += expected[4].parse::<u64>().unwrap();
        let found = db.stats();
        assert_eq!(
            (found.committed, found.rolled_back, found.failed, found.unknown, found.attempts),
            (after.committed, after.rolled_back, after.failed, after.unknown, after.attempts),
            "{expected:?}"
        );
    };
    check(&db, &|| twice(&db).unwrap(), ["committed", "", "", "", "1"], |stats| stats.committed += 1);
    check(&db, &|| drop(db.transaction(|_| Ok::<_, Error>(()))), ["committed", "", "", "", "1"], |stats| stats.committed += 1);
    check(&db, &|| drop(wants_to_pay(&db, "").unwrap_err()), ["rolled_back", "_OTHER", "", "ERROR", "1"], |stats| stats.rolled_back += 1);
    let duplicate = "INSERT INTO account VALUES (1, 1)";
    let expected = ["rolled_back", "UniqueViolation", "1062", "ERROR", "1"];
    check(&db, &|| drop(wants_to_pay(&db, duplicate).unwrap_err()), expected, |stats| stats.rolled_back += 1);
    let rollback_only = || {
        let body = |tx: &mut Transaction<'_>| {
            tx.set_rollback_only();
            deposit(tx, 1, 1)
        };
        db.transaction(body).unwrap();
    };
    check(&db, &rollback_only, ["rolled_back", "", "", "", "1"], |stats| stats.rolled_back += 1);
    let panics = || {
        let body = |_: &mut Transaction<'_>| -> Result<()> { std::panic::resume_unwind(Box::new("on purpose")) };
        catch_unwind(AssertUnwindSafe(|| db.transaction(body))).unwrap_err();
    };
    check(&db, &panics, ["rolled_back", "panic", "", "ERROR", "1"], |stats| stats.rolled_back += 1);
    let loses = || {
        cut(&proxy, &db, "INSERT", Point::BeforeRequest, Action::Rst);
        twice(&db).unwrap_err();
    };
    check(&db, &loses, ["failed", "ConnectionLost", "", "ERROR", "1"], |stats| stats.failed += 1);
    let unknown = || {
        cut(&proxy, &db, "COMMIT", Point::BeforeRequest, Action::Rst);
        assert!(twice(&db).unwrap_err().is_commit_unknown());
    };
    check(&db, &unknown, ["unknown", "CommitUnknown", "", "ERROR", "1"], |stats| stats.unknown += 1);
    let waits = || hold_lock_elsewhere(&|| drop(twice(&impatient).unwrap_err()));
    check(&impatient, &waits, ["failed", "LockTimeout", "", "ERROR", "0"], |stats| stats.failed += 1);
    let unreachable = || {
        proxy.refuse_connections(true);
        proxy.cut_all();
        twice(&db).unwrap_err();
    };
    check(&db, &unreachable, ["failed", "ConnectFailed", "", "ERROR", "0"], |stats| stats.failed += 1);
}

#[test]
fn a_retry_is_told_with_its_cause_and_its_delay_and_so_is_what_it_mends() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    cut(&proxy, &db, "INSERT", Point::BeforeRequest, Action::Rst);
    let (heard, ()) = listen(|| persistent(&db).unwrap());
    assert_eq!(heard.span().says(["db_core.attempts", "db_core.outcome", "error.type"]).1, ["2", "committed", ""]);
    let doom = heard.event("db_core.aborted");
    assert_eq!(doom.says(["error.type", "db.response.status_code"]), (Level::INFO, ["ConnectionLost", ""]));
    let retry = heard.event("db_core.retry");
    assert_eq!(retry.says(["error.type", "db_core.attempts"]), (Level::INFO, ["ConnectionLost", "1"]));
    assert_eq!(retry.seconds("db_core.delay"), 0.0, "the first reconnect follows at once");
    let reconnect = heard.event("db_core.reconnect");
    assert_eq!(
        reconnect.says(["server.address", "server.port", "db_core.connection_id"]),
        (Level::INFO, ["127.0.0.1", &*proxy.port().to_string(), heard.span().field("db_core.connection_id")])
    );
    assert!(heard.all().iter().filter(|told| !told.is_span).all(|told| told.within == Some(0)));
    let stats = db.stats();
    assert_eq!((stats.committed, stats.failed, stats.attempts, stats.reconnects, stats.recoveries), (1, 0, 2, 1, 1));
    assert!(stats.recovering > Duration::ZERO && stats.recovering < Duration::from_secs(10), "{stats:?}");
}

#[test]
fn a_deadlock_is_told_with_its_code() {
    let bank = bank();
    let mut rival = Some(bank.rival());
    let (heard, ()) = listen(|| {
        bank.db
            .retry(&quick(), |_| {
                bank.db.transaction(|tx| {
                    tx.query_drop("UPDATE account SET balance = 0 WHERE id = 9")?;
                    if let Some(rival) = &mut rival {
                        rival.wait_for_nine();
                    }
                    let result = tx.query_drop("UPDATE account SET balance = 0 WHERE id = 10");
                    rival = None;
                    result
                })
            })
            .unwrap();
    });
    for event in ["db_core.aborted", "db_core.retry"] {
        assert_eq!(heard.event(event).says(["error.type", "db.response.status_code"]).1, ["Deadlock", "1213"], "{event}");
    }
    let spans = heard.spans();
    let ends: Vec<_> = spans.iter().map(|span| span.says(["db_core.outcome", "error.type", "db.response.status_code"]).1).collect();
    assert_eq!(ends, [["succeeded", "", ""], ["failed", "Deadlock", "1213"], ["committed", "", ""]]);
    let stats = bank.db.stats();
    assert_eq!((stats.committed, stats.failed, stats.attempts, stats.reconnects, stats.recoveries), (1, 1, 2, 0, 1));
}

#[test]
fn a_first_statement_that_is_sent_again_is_told_and_counts_as_a_recovery() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    cut(&proxy, &db, "UPDATE", Point::BeforeRequest, Action::Rst);
    let (heard, ()) = listen(|| twice(&db).unwrap());
    assert_eq!(heard.event("db_core.resend").says(["error.type"]), (Level::INFO, ["ConnectionLost"]));
    assert_eq!(heard.events("db_core.reconnect").len(), 1);
    assert_eq!(heard.span().says(["db_core.attempts", "db_core.outcome"]).1, ["1", "committed"]);
    let stats = db.stats();
    assert_eq!((stats.committed, stats.attempts, stats.reconnects, stats.recoveries), (1, 1, 1, 1));
}

#[test]
fn the_first_connection_is_told_apart_from_later_ones() {
    let bank = bank();
    let (heard, db) = listen(|| Db::connect(&bank.server.url()).unwrap());
    assert_eq!(heard.event("db_core.connect").says(["server.address"]), (Level::DEBUG, ["127.0.0.1"]));
    let (heard, ()) = listen(|| {
        db.disconnect();
        db.ping().unwrap();
    });
    assert_eq!(heard.events("db_core.connect").len(), 0);
    assert_eq!((heard.events("db_core.reconnect").len(), db.stats().reconnects), (1, 1));
}

#[test]
fn a_lost_commit_is_told_with_what_became_of_it() {
    let bank = bank();
    let (proxy, db) = recording(&bank);
    cut(&proxy, &db, "COMMIT", Point::AfterRequest, Action::Rst);
    let (heard, ()) = listen(|| persistent(&db).unwrap());
    assert_eq!(heard.event("db_core.resolve").says(["db_core.resolution"]), (Level::INFO, ["committed"]));
    assert_eq!((heard.events("db_core.fence").len(), heard.events("db_core.retry").len()), (0, 0));
    assert_eq!(db.stats().recoveries, 1);

    cut(&proxy, &db, "COMMIT", Point::BeforeRequest, Action::Rst);
    let (heard, ()) = listen(|| persistent(&db).unwrap());
    assert_eq!(heard.event("db_core.resolve").says(["db_core.resolution"]), (Level::INFO, ["not_committed"]));
    let fence = heard.event("db_core.fence");
    assert!(fence.level == Level::INFO && fence.field("db_core.connection_id").parse::<u32>().is_ok(), "{fence:?}");
    assert_eq!(heard.span().says(["db_core.attempts", "db_core.outcome"]).1, ["2", "committed"]);
    assert_eq!((db.stats().recoveries, db.stats().committed, db.stats().attempts), (2, 2, 3));

    let plain = Db::builder(&proxy.url(&bank.server.url()).unwrap()).retry(quick()).connect().unwrap();
    cut(&proxy, &plain, "COMMIT", Point::AfterRequest, Action::Rst);
    let (heard, _) = listen(|| persistent(&plain).unwrap_err());
    assert_eq!(heard.event("db_core.resolve").says(["db_core.resolution"]), (Level::WARN, ["unknown"]));
    assert_eq!((plain.stats().recoveries, plain.stats().unknown), (0, 1));
}

#[test]
fn a_resolution_that_takes_long_is_told_step_by_step() {
    let bank = bank();
    let (proxy, db) = recording(&bank);
    cut(&proxy, &db, "COMMIT", Point::AfterRequest, Action::Refuse(Duration::from_millis(100)));
    let (heard, ()) = listen(|| persistent(&db).unwrap());
    let tries = heard.events("db_core.resolve_retry");
    assert!(!tries.is_empty(), "{:#?}", heard.all());
    assert_eq!(tries[0].says(["error.type"]), (Level::DEBUG, ["ConnectFailed"]));
    assert_eq!(heard.events("db_core.resolve").len(), 1);
}

#[test]
fn a_session_that_has_to_be_ended_is_told() {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    // The second COMMIT stands still on the server, longer than its client listens.
    bank.admin_query("CREATE TRIGGER freeze BEFORE UPDATE ON db_core_ledger FOR EACH ROW SET @frozen = IF(NEW.seq = 2, SLEEP(60), 0)");
    let db = Db::builder(&bank.server.url())
        .retry(quick())
        .commit_ledger(true)
        .driver_options(|options| options.read_timeout(Some(Duration::from_millis(300))))
        .connect()
        .unwrap();
    let connection = pay(&db, 1).unwrap().unwrap().to_string();
    let (heard, ()) = listen(|| persistent(&db).unwrap());
    assert_eq!(heard.event("db_core.kill").says(["db_core.connection_id"]), (Level::DEBUG, [&*connection]));
}

#[test]
fn a_row_of_the_ledger_that_somebody_else_touched_is_told() {
    let bank = bank();
    let (_proxy, db) = recording(&bank);
    for (touch, found) in [("DELETE FROM db_core_ledger", "deleted"), ("UPDATE db_core_ledger SET seq = 1000", "changed")] {
        // The client has a row.
        persistent(&db).unwrap();
        bank.admin_query(touch);
        let (heard, known) = listen(|| persistent(&db).map_err(|error| error.is_commit_unknown()));
        assert_eq!(known, if found == "deleted" { Ok(()) } else { Err(true) });
        assert_eq!(heard.event("db_core.ledger_row").says(["db_core.found"]), (Level::WARN, [found]));
    }
}

#[test]
fn a_server_that_lost_commits_and_one_that_reported_wrongly_are_told() {
    let bank = bank();
    bank.db.install_ledger().unwrap();
    let proxy = bank.server.proxy().unwrap();
    let builder = Db::builder(&proxy.url(&bank.server.url()).unwrap()).retry(quick()).commit_ledger(true);
    let db = builder.resolve_timeout(Duration::from_millis(100)).connect().unwrap();
    persistent(&db).unwrap();
    bank.admin_query("UPDATE db_core_ledger SET seq = 0");
    let (heard, error) = listen(|| persistent(&db).unwrap_err());
    assert!(error.is_commit_unknown());
    assert_eq!(heard.event("db_core.lost_commits").says(["db_core.evidence"]), (Level::ERROR, ["Moved"]));
    let behind = heard.events("db_core.resolve_behind");
    assert!(
        !behind.is_empty() && behind.iter().all(|told| told.level == Level::DEBUG && told.field("db_core.delay").parse::<f64>().is_ok())
    );

    cut(&proxy, &db, "COMMIT", Point::AfterRequest, Action::Error(1213));
    let (heard, error) = listen(|| persistent(&db).unwrap_err());
    assert!(error.is_commit_unknown());
    assert_eq!(heard.event("db_core.ledger_row").says(["db_core.found"]), (Level::WARN, ["earlier"]));
    assert_eq!((heard.events("db_core.lost_commits").len(), db.stats().unknown), (0, 2));
}

/// Runs the test in a process where no other has been: some things are told once per process, or once an hour.
fn alone(name: &str) -> bool {
    const ALONE: &str = "DB_CORE_TESTS_ALONE";
    if env::var_os(ALONE).is_some() {
        return true;
    }
    let name = format!("observe::{name}");
    let child =
        process::Command::new(env::current_exe().unwrap()).args(["--exact", &name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    false
}

#[test]
fn swept_rows_are_told() {
    if !alone("swept_rows_are_told") {
        return;
    }
    let bank = bank();
    bank.db.install_ledger().unwrap();
    for (client, age) in [(1, 8), (2, 400), (3, 6)] {
        bank.admin_query(&format!("INSERT INTO db_core_ledger (client, seq, touched) VALUES ({client}, 7, NOW() - INTERVAL {age} DAY)"));
    }
    let (heard, _db) = listen(|| Db::builder(&bank.server.url()).commit_ledger(true).connect().unwrap());
    assert_eq!(heard.event("db_core.sweep").says(["db_core.rows"]), (Level::DEBUG, ["2"]));
}

#[test]
fn a_server_that_takes_one_statement_at_a_time_is_told_once() {
    if !alone("a_server_that_takes_one_statement_at_a_time_is_told_once") {
        return;
    }
    let bank = bank();
    let proxy = bank.server.proxy().unwrap();
    let url = proxy.url(&bank.server.url()).unwrap();
    let (heard, ()) = listen(|| {
        for _ in 0..2 {
            let refused = proxy.inject(Fault::new(Point::AfterRequest, Action::Error(8130)).matching("SET NAMES utf8mb4; "));
            drop(Db::connect(&url).unwrap());
            refused.assert_fired();
        }
    });
    assert_eq!(heard.event("db_core.one_by_one").says(["db.response.status_code"]), (Level::WARN, ["8130"]));
}

#[test]
fn a_rollback_that_fails_and_a_transaction_that_had_ended_are_told() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    cut(&proxy, &db, "ROLLBACK", Point::BeforeRequest, Action::Rst);
    let (heard, _) = listen(|| wants_to_pay(&db, "").unwrap_err());
    assert_eq!(heard.event("db_core.rollback_failed").says(["error.type"]), (Level::WARN, ["ConnectionLost"]));
    let (heard, _) = listen(|| wants_to_pay(&db, "CREATE TABLE other (id INT)").and_then(|()| wants_to_pay(&db, "")).unwrap_err());
    assert_eq!(heard.events("db_core.ended_early").len(), 0);
    let body = |tx: &mut Transaction<'_>| {
        tx.query_drop("UPDATE account SET balance = 1 WHERE id = 1")?;
        tx.query_drop("CREATE TABLE another (id INT)")?;
        Err::<(), _>(Own::Refused)
    };
    let (heard, _) = listen(|| db.transaction(body).unwrap_err());
    assert_eq!(heard.event("db_core.ended_early").says(["error.type"]), (Level::WARN, ["ImplicitCommit"]));
}

#[test]
fn a_transaction_that_is_open_for_long_is_told_by_the_name_of_its_function() {
    let bank = bank();
    let connect = |threshold| Db::builder(&bank.server.url()).slow_transaction(threshold).connect().unwrap();
    let (slow, never) = (connect(Duration::from_millis(20)), connect(Duration::MAX));
    let (heard, _) = listen(|| (pay(&slow, 1).unwrap(), drags(&bank.db).unwrap(), drags(&never).unwrap()));
    assert_eq!(heard.events("db_core.slow_transaction").len(), 0);
    let (heard, ()) = listen(|| drags(&slow).unwrap());
    let (told, span) = (heard.event("db_core.slow_transaction"), heard.span());
    let expected = ["it::observe::drags", "0.02", "committed", span.field("db_core.connection_id")];
    assert_eq!(told.says(["code.function.name", "db_core.threshold", "db_core.outcome", "db_core.connection_id"]), (Level::WARN, expected));
    assert!((0.05..5.0).contains(&told.seconds("db_core.duration")), "{told:?}");
    assert!(slow.stats().in_transaction >= Duration::from_millis(50));
}

#[transactional]
fn drags(tx: &mut Transaction<'_>) -> Result<()> {
    tx.query_drop("DO SLEEP(0.05)")
}

#[test]
fn a_wait_for_the_lock_is_told_and_counted_only_where_there_was_one() {
    let bank = bank();
    let (heard, _) = listen(|| (pay(&bank.db, 1).unwrap(), drop(bank.db.lock())));
    assert_eq!((heard.events("db_core.lock_wait").len(), bank.db.stats().lock_waits), (0, 0));
    type Use = fn(&Db);
    let uses: [Use; 2] = [|db| persistent(db).unwrap(), |db| drop(db.lock())];
    for (n, work) in (1..).zip(uses) {
        let held = bank.db.lock();
        let heard = thread::scope(|threads| {
            let waiting = threads.spawn(|| listen(|| work(&bank.db)).0);
            thread::sleep(Duration::from_millis(50));
            drop(held);
            waiting.join().unwrap()
        });
        let waited = heard.event("db_core.lock_wait");
        assert!(waited.level == Level::DEBUG && (0.001..10.0).contains(&waited.seconds("db_core.duration")), "{waited:?}");
        let stats = bank.db.stats();
        assert_eq!(stats.lock_waits, n);
        assert!(stats.lock_wait > Duration::from_millis(n), "{stats:?}");
    }
}

#[test]
fn statements_are_told_as_text_with_placeholders_at_a_level_that_is_off_unless_asked_for() {
    let bank = bank();
    let work = || {
        bank.commits(|tx| {
            tx.exec_drop("UPDATE account SET balance = ? WHERE id = :never", (1,)).or_else(|_| deposit(tx, 1, 1))?;
            tx.query_drop("INSERT INTO journal (note) VALUES ('a secret') -- another")?;
            let kept = tx.prep("SELECT note FROM journal WHERE n = ? AND note <> 'a secret'")?;
            tx.exec_drop(&kept, (1,))?;
            tx.exec_batch(&kept, [(1,), (2,)])
        });
    };
    let (heard, ()) = listen(work);
    let statements: Vec<_> = heard.all().into_iter().filter(|told| told.target == "db_core::statement").collect();
    let texts: Vec<_> = statements.iter().map(|told| (told.name, told.field("db.query.text"))).collect();
    let expected = [
        ("db_core.statement", "UPDATE account SET balance = balance + ? WHERE id = ?"),
        ("db_core.statement", "INSERT INTO journal (note) VALUES (?)"),
        ("db_core.statement", "INSERT INTO journal (note) VALUES (?)  "),
        ("db_core.prepare", "SELECT note FROM journal WHERE n = ? AND note <> ?"),
        ("db_core.statement", ""),
        ("db_core.statement", ""),
    ];
    assert_eq!(texts[texts.len() - expected.len()..], expected);
    assert!(statements.iter().all(|told| told.level == Level::TRACE && told.within == Some(0)));
    let ids: BTreeSet<_> = statements.iter().rev().take(3).map(|told| told.field("db_core.statement_id")).collect();
    assert!(ids.len() == 1 && !ids.contains(""), "{ids:?}");
    let heard = Heard::default();
    let debug = heard.clone().with_filter(tracing_subscriber::filter::LevelFilter::DEBUG);
    with_default(tracing_subscriber::registry().with(debug), work);
    assert_eq!(heard.all().iter().filter(|told| told.target == "db_core::statement").count(), 0);
    assert_eq!(heard.spans().len(), 1);
}

/// A range of faults, with values and a password that must not be seen.
#[test]
fn no_value_and_no_password_is_ever_told() {
    const SECRET: &str = "hunter2";
    let bank = bank();
    bank.admin_query(&format!("CREATE USER app@'%' IDENTIFIED BY '{SECRET}-password'"));
    bank.admin_query("GRANT ALL ON test.* TO app@'%'");
    bank.db.install_ledger().unwrap();
    bank.admin_query("CREATE TABLE person (name VARCHAR(40) PRIMARY KEY, age INT NOT NULL CHECK (age < 200))");
    let proxy = bank.server.proxy().unwrap();
    let url = proxy.url(&bank.server.url()).unwrap().replace("root@", &format!("app:{SECRET}-password@"));
    let recorder = DebuggingRecorder::new();
    let work = |db: &Db, statement: &str| {
        db.retry(&quick(), |_| {
            db.transaction(|tx| {
                tx.exec_drop("INSERT INTO person VALUES (?, ?)", (format!("{SECRET}-name"), 7))?;
                tx.exec_drop(
                    "UPDATE person SET age = :age WHERE name = :name",
                    vec![("age", Value::from(8)), ("name", Value::from(format!("{SECRET}-name")))],
                )?;
                tx.query_drop(statement)
            })
        })
    };
    let statements = [
        format!("DELETE FROM person WHERE name = '{SECRET}-name'"),
        format!("INSERT INTO person VALUES ('{SECRET}-name', 8)"),
        format!("INSERT INTO person VALUES ('{SECRET}-other', '{SECRET}-age')"),
        format!("SELECT '{SECRET}' FROM"),
        format!("SELECT '{SECRET}', \"{SECRET}\" /* {SECRET} */ -- {SECRET}"),
        format!("SET @@sql_mode = '{SECRET}'"),
        format!("SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{SECRET}'"),
    ];
    let mut said = String::new();
    let (heard, ()) = listen(|| {
        metrics::with_local_recorder(&recorder, || {
            for ledger in [false, true] {
                let db = Db::builder(&url).retry(quick()).commit_ledger(ledger).slow_transaction(Duration::ZERO).connect().unwrap();
                for statement in &statements {
                    for text in ["INSERT INTO person", "UPDATE person", &statement[..6], "COMMIT", "ROLLBACK"] {
                        for point in [Point::BeforeRequest, Point::AfterRequest, Point::MidReply(5)] {
                            let fault = cut(&proxy, &db, text, point, Action::Rst);
                            // What is told of it counts, however it ends.
                            drop(work(&db, statement));
                            fault.cancel();
                            bank.admin_query("DELETE FROM person");
                        }
                    }
                }
                write!(said, "{db:?} {:?}", db.stats()).unwrap();
            }
            let wrong = url.replace("-password", "-wrong");
            Db::connect(&wrong).unwrap_err();
        });
    });
    let told = heard.all();
    let names: BTreeSet<_> = told.iter().map(|told| told.name).collect();
    for name in
        ["db_core.transaction", "db_core.retry", "db_core.aborted", "db_core.resolve", "db_core.statement", "db_core.slow_transaction"]
    {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    writeln!(said, "{told:?}\n{:?}", recorder.snapshotter().snapshot().into_vec()).unwrap();
    let shown: Vec<_> = said.match_indices(SECRET).map(|(at, _)| &said[at.saturating_sub(60)..(at + 40).min(said.len())]).collect();
    assert!(shown.is_empty(), "{shown:#?}");
}

#[test]
fn numbers_are_counted_with_nobody_listening_shared_by_clones_and_not_by_forks() {
    let bank = bank();
    assert_eq!(bank.db.stats(), Stats::default());
    let (clone, fork) = (bank.db.clone(), bank.db.fork().unwrap());
    pay(&clone, 1).unwrap();
    pay(&fork, 1).unwrap();
    pay(&fork, 1).unwrap();
    assert_eq!((bank.db.stats().committed, clone.stats(), fork.stats().committed), (1, bank.db.stats(), 2));
    // It can be asked for inside a transaction, and by a thread that would have to wait for the lock.
    let during =
        bank.db.transaction(|_| thread::scope(|threads| Ok::<_, Error>(threads.spawn(|| bank.db.stats()).join().unwrap()))).unwrap();
    assert_eq!((during.attempts, during.committed), (2, 1));
    assert!(fork.stats().in_transaction > Duration::ZERO);
}

#[test]
fn metrics_are_the_same_numbers() {
    let bank = bank();
    let proxy = bank.server.proxy().unwrap();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let stats = metrics::with_local_recorder(&recorder, || {
        let db = Db::builder(&proxy.url(&bank.server.url()).unwrap()).retry(quick()).connect().unwrap();
        persistent(&db).unwrap();
        cut(&proxy, &db, "INSERT", Point::BeforeRequest, Action::Rst);
        persistent(&db).unwrap();
        wants_to_pay(&db, "").unwrap_err();
        cut(&proxy, &db, "COMMIT", Point::BeforeRequest, Action::Rst);
        persistent(&db).unwrap_err();
        cut(&proxy, &db, "INSERT", Point::BeforeRequest, Action::Rst);
        twice(&db).unwrap_err();
        thread::scope(|threads| {
            let held = db.lock();
            let waiting = threads.spawn(|| metrics::with_local_recorder(&recorder, || pay(&db, 1).unwrap()));
            thread::sleep(Duration::from_millis(20));
            drop(held);
            waiting.join().unwrap();
        });
        db.stats()
    });
    let mut found = BTreeMap::new();
    let port = proxy.port().to_string();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let kind = key.kind();
        let labels: BTreeMap<_, _> = key.key().labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
        let where_to = ["server.address", "server.port", "db.namespace"].map(|name| labels[name].as_str());
        assert_eq!(where_to, ["127.0.0.1", &port, "test"], "{}", key.key());
        let rest: Vec<_> = ["db_core.outcome", "error.type"].iter().filter_map(|name| labels.get(*name).cloned()).collect();
        let name = [&[key.key().name().to_owned()], &rest[..]].concat().join(" ");
        let value = match (kind, value) {
            (MetricKind::Counter, DebugValue::Counter(n)) => (n, 0.0),
            (MetricKind::Histogram, DebugValue::Histogram(times)) => (times.len() as u64, times.iter().map(|time| time.0).sum()),
            other => panic!("{other:?}"),
        };
        found.insert(name, value);
    }
    let expected = [
        ("db_core.attempts", stats.attempts, Duration::ZERO),
        ("db_core.lock_wait", stats.lock_waits, stats.lock_wait),
        ("db_core.reconnects", stats.reconnects, Duration::ZERO),
        ("db_core.recovery.duration", stats.recoveries, stats.recovering),
        ("db_core.transaction.duration", stats.attempts, stats.in_transaction),
        ("db_core.transactions committed", stats.committed, Duration::ZERO),
        ("db_core.transactions failed ConnectionLost", stats.failed, Duration::ZERO),
        ("db_core.transactions rolled_back _OTHER", stats.rolled_back, Duration::ZERO),
        ("db_core.transactions unknown CommitUnknown", stats.unknown, Duration::ZERO),
    ];
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.iter().map(|(name, ..)| name).collect::<Vec<_>>());
    for (name, n, time) in expected {
        let (count, sum) = found[name];
        assert_eq!(count, n, "{name}");
        assert!(n > 0 && (sum - time.as_secs_f64()).abs() < 1e-6, "{name}: {sum} {time:?}");
    }
    assert_eq!((stats.committed, stats.failed, stats.rolled_back, stats.unknown, stats.attempts), (3, 1, 1, 1, 7));
}

/// The names in the library's source, in quotes or as fields, that are its own.
fn names_in(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_lowercase() || matches!(c, '_' | '.');
    let starts = ["db_core.", "db.", "server.", "error.", "code.", "otel."];
    text.split(|c: char| !is_name(c))
        .filter(|word| starts.iter().any(|start| word.starts_with(start) && word.len() > start.len()))
        .collect()
}

#[test]
fn the_page_on_observability_names_all_that_is_told_and_nothing_else() {
    let core = concat!(env!("CARGO_MANIFEST_DIR"), "/../db-core/");
    let page = fs::read_to_string(format!("{core}docs/guide/observability.md")).unwrap();
    let ticked: String = page.split('`').skip(1).step_by(2).flat_map(|word| [word, "\n"]).collect();
    let documented: BTreeSet<&str> = names_in(&ticked);
    let mut source = String::new();
    let mut folders = vec![std::path::PathBuf::from(format!("{core}src"))];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                source.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    for told in &documented {
        // OpenTelemetry's, and why they are not told.
        if !told.starts_with("db.client.") {
            assert!(source.contains(told), "{told} is on the page, and nowhere in the source");
        }
    }
    let macros = ["event!(", "statement!(", "span!(", "const "];
    let told: BTreeSet<&str> = source
        .split_inclusive(';')
        .filter(|statement| macros.iter().any(|starts| statement.contains(starts)))
        .flat_map(names_in)
        .filter(|name| name.starts_with("db_core.") || name.starts_with("db.") || name.starts_with("server."))
        .filter(|name| !name.ends_with('.'))
        .collect();
    let missing: Vec<_> = told.difference(&documented).collect();
    assert!(told.len() > 20 && missing.is_empty(), "not on the page: {missing:?}");
}

#[test]
fn a_heard_call_does_what_an_unheard_one_does() {
    let bank = bank();
    let (proxy, db) = bank.proxied(|builder| builder);
    let round_trips = || {
        proxy.reset_counts();
        pay(&db, 1).unwrap();
        proxy.counts().round_trips
    };
    pay(&db, 1).unwrap();
    let unheard = round_trips();
    let (_, heard) = listen(round_trips);
    assert_eq!(heard, unheard);
    eventually("all is done", || bank.balance(1) == 103);
}

/// Panics at the event of this name.
struct PanicsAt(&'static str);

impl<S: Subscriber> Layer<S> for PanicsAt {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        assert_ne!(event.metadata().name(), self.0, "the listener's");
    }
}

#[test]
fn a_listener_that_panics_after_a_commit_does_not_have_it_done_twice() {
    let bank = bank();
    let db = Db::builder(&bank.server.url()).retry(quick()).slow_transaction(Duration::ZERO).connect().unwrap();
    let (mut runs, ran) = (0, std::rc::Rc::new(std::cell::Cell::new(0)));
    let result: Result<()> = with_default(tracing_subscriber::registry().with(PanicsAt("db_core.slow_transaction")), || {
        db.retry(&quick(), |_| {
            runs += 1;
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                db.transaction(|tx| {
                    let ran = std::rc::Rc::clone(&ran);
                    tx.after_commit(move || ran.set(ran.get() + 1));
                    deposit(tx, 1, 1)
                })
            }));
            assert!(outcome.is_err(), "the listener was not asked");
            Err(Error::retry("a panic"))
        })
    });
    assert!(result.is_err());
    assert_eq!((runs, ran.get(), bank.balance(1)), (1, 1, 101));
}
