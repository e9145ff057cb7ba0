//! Makes a failing program small: what can be taken out, and what can be made simpler, one change at a time.

use crate::program::{Call, How, Node, Program, Statement};

/// The smallest program found that `fails` in the same way.
pub(crate) fn shrink(mut program: Program, mut fails: impl FnMut(&Program) -> bool) -> Program {
    'again: loop {
        for smaller in smaller(&program) {
            if fails(&smaller) {
                program = smaller;
                continue 'again;
            }
        }
        return program;
    }
}

/// Programs with one thing less, the largest steps first.
fn smaller(program: &Program) -> Vec<Program> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Program)| {
        let mut changed = program.clone();
        change(&mut changed);
        if changed != *program {
            all.push(changed);
        }
    };
    for number in 0..program.calls.len() {
        if program.calls.len() > 1 {
            with(&|program| {
                program.calls.remove(number);
                if let Some(fault) = &mut program.fault
                    && fault.call > 0
                    && fault.call >= number
                {
                    fault.call -= 1;
                }
            });
        }
    }
    with(&|program| program.fault = None);
    with(&|program| program.ledger = false);
    for (number, call) in program.calls.iter().enumerate() {
        for smaller in smaller_call(call) {
            with(&|program| program.calls[number] = smaller.clone());
        }
    }
    if let Some(fault) = program.fault {
        with(&|program| program.fault = Some(crate::program::Fault { times: 1, ..fault }));
        for nth in [1, fault.nth.saturating_sub(1).max(1)] {
            with(&|program| program.fault = Some(crate::program::Fault { nth, ..fault }));
        }
    }
    all
}

fn smaller_call(call: &Call) -> Vec<Call> {
    let mut all = Vec::new();
    if call.bodies.len() > 1 {
        for body in &call.bodies {
            all.push(Call { bodies: vec![body.clone()], ..call.clone() });
        }
    }
    for (number, body) in call.bodies.iter().enumerate() {
        for smaller in smaller_block(body) {
            let mut call = call.clone();
            call.bodies[number] = smaller;
            all.push(call);
        }
    }
    if call.retry {
        all.push(Call { retry: false, ..call.clone() });
    }
    if call.attributes {
        all.push(Call { attributes: false, ..call.clone() });
    }
    if call.read_only {
        all.push(Call { read_only: false, ..call.clone() });
    }
    all
}

fn smaller_block(block: &[Node]) -> Vec<Vec<Node>> {
    let mut all = Vec::new();
    let replaced = |position: usize, by: &[Node]| {
        let mut block = block.to_vec();
        block.splice(position..=position, by.iter().cloned());
        block
    };
    for (position, node) in block.iter().enumerate() {
        all.push(replaced(position, &[]));
        if let Node::Nested { block: inner, .. } = node {
            all.push(replaced(position, inner));
        }
    }
    for (position, node) in block.iter().enumerate() {
        for smaller in smaller_node(node) {
            all.push(replaced(position, &[smaller]));
        }
    }
    all
}

fn smaller_node(node: &Node) -> Vec<Node> {
    match node {
        Node::Nested { join, attributes, handled, block } => {
            let nested = |block, attributes| Node::Nested { join: *join, attributes, handled: *handled, block };
            let mut all: Vec<Node> = smaller_block(block).into_iter().map(|block| nested(block, *attributes)).collect();
            if *attributes {
                all.push(nested(block.clone(), false));
            }
            all
        }
        Node::Do { statement, how, handled } => {
            let mut all = Vec::new();
            let as_is = |statement: &Statement, how| Node::Do { statement: statement.clone(), how, handled: *handled };
            if *handled && *how != How::RowPanic {
                all.push(Node::Do { statement: statement.clone(), how: *how, handled: false });
            }
            if !matches!(how, How::Drop | How::Raw) {
                all.push(as_is(statement, How::Drop));
            }
            if matches!(how, How::RawExec | How::RawFirst) {
                all.push(as_is(statement, How::Raw));
            }
            match statement {
                Statement::Items { returning, rows } => {
                    for position in 0..rows.len() {
                        let mut rows = rows.clone();
                        rows.remove(position);
                        all.push(as_is(&Statement::Items { returning: *returning, rows }, *how));
                    }
                }
                Statement::Several(parts) => all.extend(parts.iter().map(|part| as_is(part, *how))),
                Statement::Compound { procedure, id, by } => {
                    all.push(as_is(&Statement::Call { procedure: *procedure, id: *id, by: *by }, *how));
                }
                _ => {}
            }
            all
        }
        Node::Other { retry, fails, handled, notes } if notes.len() > 1 => {
            vec![Node::Other { retry: *retry, fails: *fails, handled: *handled, notes: notes[..1].to_vec() }]
        }
        Node::Fail { poisoned: true } => vec![Node::Fail { poisoned: false }],
        _ => Vec::new(),
    }
}
