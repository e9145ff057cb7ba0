//! A program as Rust that can be pasted into a test of `tests/it`.

use std::fmt::Write as _;

use db_testkit::{Action, Flavor, Point};

use crate::program::{Assign, Call, How, Node, Procedure, Program, Statement, Value};
use crate::sql::{ITEM, Names, TIGHT, note};

/// The body of a test function. `what` is said in a comment above it.
pub(crate) fn rust(program: &Program, flavor: Flavor, what: &str) -> String {
    let names = Names { main: "test".into(), archive: "archive".into(), flavor };
    let mut printer = Printer { out: String::new(), depth: 1, names, attributes: false };
    for line in what.lines() {
        printer.line(&format!("// {line}"));
    }
    printer.setup(program);
    for (number, call) in program.calls.iter().enumerate() {
        if let Some(fault) = program.fault.filter(|fault| fault.call == number) {
            let matching = if fault.at_commit { ".matching(\"COMMIT\")" } else { "" };
            let times = if fault.times > 1 { format!(".times({})", fault.times) } else { String::new() };
            let point = match fault.point {
                Point::MidReply(bytes) => format!("MidReply({bytes})"),
                point => format!("{point:?}"),
            };
            let action = match fault.action {
                Action::DelayAndAbandon(delay) => format!("DelayAndAbandon(Duration::from_millis({}))", delay.as_millis()),
                action => format!("{action:?}"),
            };
            printer.line(&format!(
                "let fault = proxy.inject(Fault::new(Point::{point}, Action::{action}){matching}.nth({}){times});",
                fault.nth
            ));
        }
        printer.call(call);
    }
    if program.fault.is_some() {
        printer.line("fault.assert_fired();");
    }
    printer.out
}

struct Printer {
    out: String,
    depth: usize,
    names: Names,
    attributes: bool,
}

impl Printer {
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{:indent$}{text}", "", indent = self.depth * 4);
    }

    fn setup(&mut self, program: &Program) {
        let uses = |test: &dyn Fn(&Statement) -> bool| {
            program.any(&|node| match node {
                Node::Do { statement: Statement::Several(all), .. } => all.iter().any(test),
                Node::Do { statement, .. } => test(statement),
                _ => false,
            })
        };
        self.line("let bank = bank();");
        if uses(&|statement| matches!(statement, Statement::Item(_) | Statement::Items { .. })) {
            self.line(&format!("bank.admin_query({ITEM:?});"));
        }
        if uses(&|statement| matches!(statement, Statement::Tight(_))) {
            self.line(&format!("bank.admin_query({TIGHT:?});"));
        }
        if uses(&|statement| matches!(statement, Statement::Use { archive: true }))
            || program.any(&|node| matches!(node, Node::Other { .. }))
        {
            self.line("for statement in [\"CREATE DATABASE archive\", \"CREATE TABLE archive.account LIKE account\",");
            self.line("    \"CREATE TABLE archive.journal LIKE journal\", \"INSERT INTO archive.account SELECT * FROM account\"] {");
            self.line("    bank.admin_query(statement);");
            self.line("}");
        }
        for procedure in Procedure::ALL {
            if uses(&|statement| {
                matches!(statement, Statement::Call { procedure: used, .. } if *used == procedure)
                    || procedure == Procedure::Assign && matches!(statement, Statement::SetVariable(Assign::Procedure, _))
            }) {
                self.line(&format!("bank.admin_query({:?});", procedure.create()));
            }
        }
        if uses(&Statement::conflicts) {
            self.line("let mut rival = bank.rival();");
        }
        if program.ledger {
            self.line("bank.db.install_ledger().unwrap();");
        }
        let ledger = if program.ledger { ".commit_ledger(true)" } else { "" };
        if program.fault.is_some() {
            self.line("let proxy = bank.server.proxy().unwrap();");
            self.line("let url = proxy.url(&bank.server.url()).unwrap();");
            self.line(&format!("let db = Db::builder(&url).retry(quick()){ledger}.connect().unwrap();"));
        } else if program.ledger {
            self.line(&format!("let db = Db::builder(&bank.server.url()).retry(quick()){ledger}.connect().unwrap();"));
        } else {
            self.line("let db = &bank.db;");
        }
        if program.any(&|node| matches!(node, Node::Other { .. })) {
            self.line("let other = db.fork().unwrap();");
        }
    }

    fn call(&mut self, call: &Call) {
        self.attributes = call.attributes;
        if call.attributes {
            self.line("// Called through the attributes, which look into the body's error:");
        }
        let options = if call.read_only { "_with(&TxOptions::new().read_only(true), " } else { "(" };
        match (&call.bodies[..], call.retry) {
            ([block], retry) => {
                let begin = if retry { "db.retry(&quick(), |_| db.transaction" } else { "db.transaction" };
                let end = if retry { "}));" } else { "});" };
                self.line(&format!("let result: Result<(), Error> = {begin}{options}|tx| {{"));
                self.block(block);
                self.line(end);
            }
            (blocks, retry) => {
                self.line(if retry { "let result: Result<(), Error> = db.retry(&quick(), |_| {" } else { "let result = (|| {" });
                self.depth += 1;
                for block in blocks {
                    self.line(&format!("db.transaction{options}|tx| {{"));
                    self.block(block);
                    self.line("})?;");
                }
                self.line("Ok::<_, Error>(())");
                self.depth -= 1;
                self.line(if retry { "});" } else { "})();" });
            }
        }
        self.line("println!(\"{result:?}\");");
    }

    fn block(&mut self, block: &[Node]) {
        self.depth += 1;
        for node in block {
            self.node(node);
        }
        let diverges = matches!(block.last(), Some(Node::Fail { .. } | Node::Panic));
        if !diverges {
            self.line("Ok(())");
        }
        self.depth -= 1;
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Do { statement, how, handled } => self.statement(statement, *how, *handled),
            Node::Nested { join, attributes, handled, block } => {
                let begin = if *join { "tx.transaction_with(&TxOptions::new().join(true), |tx| {" } else { "tx.transaction(|tx| {" };
                if *attributes {
                    self.line("// #[transactional]");
                }
                let panics =
                    crate::program::any(block, &|node| matches!(node, Node::Panic | Node::Do { how: How::RowPanic, handled: false, .. }));
                let (before, after) = match (handled, panics) {
                    (true, true) => ("let _ = catch_unwind(AssertUnwindSafe(|| ", "})));"),
                    (true, false) => ("let _: Result<(), Error> = ", "});"),
                    (false, _) => ("", "})?;"),
                };
                self.line(&format!("{before}{begin}"));
                self.block(block);
                self.line(after);
            }
            Node::Other { retry, fails, handled, notes } => {
                let end = if *handled { ";" } else { "?;" };
                let begin = if *handled { "let _ = " } else { "" };
                let retries = if *retry { "other.retry(&quick(), |_| " } else { "" };
                let statements: Vec<String> = notes.iter().map(|n| format!("tx.query_drop({:?})?;", self.names.other_note(*n))).collect();
                let last = if *fails { "Err(Error::from(std::io::Error::other(\"fails\")))" } else { "Ok::<_, Error>(())" };
                let close = if *retry { ")" } else { "" };
                self.line(&format!("{begin}{retries}other.transaction(|tx| {{ {} {last} }}){close}{end}", statements.join(" ")));
            }
            Node::RollbackOnly => self.line("tx.set_rollback_only();"),
            Node::AfterCommit(n) => self.line(&format!("tx.after_commit(|| println!(\"{n} after commit\"));")),
            Node::AfterRollback(n) => self.line(&format!("tx.after_rollback(|| println!(\"{n} after rollback\"));")),
            Node::Fail { poisoned: false } => self.line("Err(Error::from(mysql::Error::from(std::io::Error::other(\"the body's own\"))))"),
            Node::Fail { poisoned: true } => self.line("Err(an_error_whose_source_panics)"),
            Node::PoisonFrom => self.line("// From here on `From<Error>` of the body's error panics."),
            Node::Panic => self.line("panic!(\"the body's own\")"),
        }
    }

    fn statement(&mut self, statement: &Statement, how: How, handled: bool) {
        let text = self.names.text(statement);
        let call = match statement {
            Statement::Items { rows, .. } => {
                let rows: Vec<String> = rows.iter().map(|(k, v)| format!("({k}, {})", value(v))).collect();
                format!("tx.exec_batch({text:?}, [{}])", rows.join(", "))
            }
            Statement::Probe => format!("tx.query_first::<String, _>({text:?}).map(|seen| println!(\"{{seen:?}}\"))"),
            Statement::Prepare => {
                self.line(&format!("let prepared = tx.prep({text:?})?;"));
                return;
            }
            Statement::ExecutePrepared(n) => format!("tx.exec_drop(&prepared, ({:?},))", note(*n)),
            Statement::EvictPrepared => "(0..33).try_for_each(|n| tx.exec_drop(format!(\"DO {n} + ?\"), (1,)))".into(),
            Statement::Reenter => "db.transaction(|_| Ok(()))".into(),
            _ => match how {
                How::Drop => format!("tx.query_drop({text:?})"),
                How::Exec => format!("tx.exec_drop({text:?}, ())"),
                How::First => format!("tx.query_first::<mysql::Row, _>({text:?}).map(drop)"),
                How::Raw => format!("Queryable::query_iter(tx, {text:?}).map(drop).map_err(Error::from)"),
                How::RawFirst => format!("Queryable::query_iter(tx, {text:?}).map(|mut result| drop(result.next())).map_err(Error::from)"),
                How::RawExec => format!("Queryable::exec_iter(tx, {text:?}, ()).map(drop).map_err(Error::from)"),
                How::RowPanic => format!("tx.query_map({text:?}, |_: mysql::Row| panic!(\"a row\")).map(|_: Vec<()>| ())"),
            },
        };
        let swallow = matches!(
            statement,
            Statement::Call { procedure: Procedure::Swallow, .. } | Statement::Compound { procedure: Procedure::Swallow, .. }
        );
        if swallow {
            self.line("// Meanwhile, in another thread, as soon as the call waits for account 10: rival.wait_for_nine();");
        }
        match (how, handled) {
            (How::RowPanic, true) => self.line(&format!("let _ = catch_unwind(AssertUnwindSafe(|| {call}));")),
            (_, true) => self.line(&format!("let _ = {call};")),
            (_, false) => self.line(&format!("{call}?;")),
        }
        if matches!(statement, Statement::Nine { .. }) {
            self.line("rival.wait_for_nine();");
        }
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::Int(n) => format!("Value::Int({n})"),
        Value::UInt(n) => format!("Value::UInt({n})"),
        Value::Double(n) => format!("Value::Double({n:?})"),
        Value::Text(text) => format!("Value::from({text:?})"),
        Value::Null => "Value::NULL".into(),
    }
}
