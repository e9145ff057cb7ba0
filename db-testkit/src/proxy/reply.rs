//! The end of a reply.
//!
//! Pure: packets in, decisions out.

use super::command::Command;
use super::packet::{FULL, number};

const OK: u8 = 0x00;
const LOCAL_INFILE: u8 = 0xfb;
const EOF: u8 = 0xfe;
const ERR: u8 = 0xff;

const MORE_RESULTS: u16 = 0x0008;
const CURSOR_EXISTS: u16 = 0x0040;

/// A reply of which the end has not been seen.
#[derive(Debug)]
pub(super) struct Reply {
    expected: Expected,
    /// The id of the statement that was prepared.
    pub(super) statement: Option<u32>,
}

/// What the next packet of a reply is.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// OK, ERR, or the column count of a result set.
    Head,
    Columns(u64),
    ColumnsEnd,
    Rows,
    /// Column definitions without a count before them.
    Fields,
    PrepareHead,
    Prepared(u64),
    Authentication,
    /// The only one.
    Single,
}

impl Expected {
    fn first(command: Command) -> Expected {
        match command {
            Command::Query | Command::Execute => Expected::Head,
            Command::Prepare => Expected::PrepareHead,
            Command::Fetch => Expected::Rows,
            Command::FieldList => Expected::Fields,
            Command::ChangeUser => Expected::Authentication,
            // MariaDB's COM_STMT_BULK_EXECUTE.
            Command::Other(0xfa) => Expected::Head,
            _ => Expected::Single,
        }
    }

    fn columns(count: u64, deprecate_eof: bool) -> Expected {
        match (count, deprecate_eof) {
            (0, true) => Expected::Rows,
            (0, false) => Expected::ColumnsEnd,
            (count, _) => Expected::Columns(count),
        }
    }
}

impl Reply {
    pub(super) fn to(command: Command) -> Reply {
        Reply { expected: Expected::first(command), statement: None }
    }

    /// Whether the reply ends with this packet.
    pub(super) fn ends_with(&mut self, payload: &[u8], deprecate_eof: bool) -> bool {
        let Some(&first) = payload.first() else { return matches!(self.expected, Expected::Single) };
        let next = match self.expected {
            Expected::Single => None,
            _ if first == ERR => None,
            Expected::Head => match first {
                OK => (ok_status(payload) & MORE_RESULTS != 0).then_some(Expected::Head),
                EOF => None,
                // The client sends the file, then the server says OK or ERR.
                LOCAL_INFILE => Some(Expected::Head),
                _ => {
                    let (count, length) = length_encoded(payload).unwrap_or((0, 1));
                    // MariaDB says by another byte that the columns are those the client knows.
                    let known = payload.get(length) == Some(&0);
                    Some(Expected::columns(if known { 0 } else { count }, deprecate_eof))
                }
            },
            Expected::Columns(left) => Some(Expected::columns(left - 1, deprecate_eof)),
            Expected::ColumnsEnd if eof_status(payload) & CURSOR_EXISTS != 0 => None,
            Expected::ColumnsEnd => Some(Expected::Rows),
            Expected::Rows if first == EOF && payload.len() < if deprecate_eof { FULL } else { 9 } => {
                let status = if deprecate_eof { ok_status(payload) } else { eof_status(payload) };
                (status & MORE_RESULTS != 0).then_some(Expected::Head)
            }
            Expected::Rows => Some(Expected::Rows),
            Expected::Fields => (first != EOF || payload.len() >= 9).then_some(Expected::Fields),
            Expected::PrepareHead => {
                self.statement = number(payload, 1, 4).map(|id| id as u32);
                let packets = |count: u64| count + u64::from(count > 0 && !deprecate_eof);
                let columns = number(payload, 5, 2).unwrap_or(0);
                let parameters = number(payload, 7, 2).unwrap_or(0);
                let left = packets(columns) + packets(parameters);
                (left > 0).then_some(Expected::Prepared(left))
            }
            Expected::Prepared(left) => (left > 1).then(|| Expected::Prepared(left - 1)),
            Expected::Authentication => (first != OK).then_some(Expected::Authentication),
        };
        if let Some(next) = next {
            self.expected = next;
        }
        next.is_none()
    }
}

/// The status flags of an OK packet: after the affected rows and the last insert id.
fn ok_status(payload: &[u8]) -> u16 {
    let status = || {
        let (_, affected) = length_encoded(payload.get(1..)?)?;
        let (_, id) = length_encoded(payload.get(1 + affected..)?)?;
        number(payload, 1 + affected + id, 2)
    };
    status().unwrap_or(0) as u16
}

/// The status flags of an EOF packet: after the number of warnings.
fn eof_status(payload: &[u8]) -> u16 {
    number(payload, 3, 2).unwrap_or(0) as u16
}

/// A length-encoded integer, and how many bytes it takes.
fn length_encoded(bytes: &[u8]) -> Option<(u64, usize)> {
    match bytes.first()? {
        0xfc => Some((number(bytes, 1, 2)?, 3)),
        0xfd => Some((number(bytes, 1, 3)?, 4)),
        0xfe => Some((number(bytes, 1, 8)?, 9)),
        &small => Some((u64::from(small), 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: &[u8] = &[1];
    const COLUMN: &[u8] = b"\x03def";
    const ROW: &[u8] = b"\x01x";
    const EOF_PACKET: &[u8] = &[EOF, 0, 0, 2, 0];
    const EOF_MORE: &[u8] = &[EOF, 0, 0, 2 | MORE_RESULTS as u8, 0];
    const EOF_CURSOR: &[u8] = &[EOF, 0, 0, CURSOR_EXISTS as u8, 0];
    const OK_PACKET: &[u8] = &[OK, 1, 0, 2, 0, 0, 0];
    const OK_MORE: &[u8] = &[OK, 0xfc, 0, 1, 0, 2 | MORE_RESULTS as u8, 0, 0, 0];
    const END: &[u8] = &[EOF, 0, 0, 2, 0, 0, 0];
    const END_MORE: &[u8] = &[EOF, 0, 0, 2 | MORE_RESULTS as u8, 0, 0, 0];
    const ERROR: &[u8] = b"\xff\x15\x04#28000no";

    #[test]
    fn a_reply_ends_with_its_last_packet_and_not_before() {
        let (query, execute) = (Command::Query, Command::Execute);
        let table: &[(&str, Command, bool, &[&[u8]])] = &[
            ("OK", query, false, &[OK_PACKET]),
            ("error", query, false, &[ERROR]),
            ("rows", query, false, &[COUNT, COLUMN, EOF_PACKET, ROW, ROW, EOF_PACKET]),
            ("rows, EOF deprecated", query, true, &[COUNT, COLUMN, ROW, ROW, END]),
            ("no rows", execute, false, &[COUNT, COLUMN, EOF_PACKET, EOF_PACKET]),
            ("no rows, EOF deprecated", execute, true, &[COUNT, COLUMN, END]),
            ("two columns", query, false, &[&[2], COLUMN, COLUMN, EOF_PACKET, ROW, EOF_PACKET]),
            ("an error between rows", query, false, &[COUNT, COLUMN, EOF_PACKET, ROW, ERROR]),
            ("OK, then OK", query, false, &[OK_MORE, OK_PACKET]),
            ("OK, then error", query, false, &[OK_MORE, ERROR]),
            ("rows, then OK", query, false, &[COUNT, COLUMN, EOF_PACKET, ROW, EOF_MORE, OK_PACKET]),
            ("rows, then rows, EOF deprecated", query, true, &[COUNT, COLUMN, ROW, END_MORE, COUNT, COLUMN, ROW, END]),
            ("a cursor", execute, false, &[COUNT, COLUMN, EOF_CURSOR]),
            ("columns the client knows", execute, false, &[&[1, 0], EOF_PACKET, ROW, EOF_PACKET]),
            ("columns sent again", execute, false, &[&[1, 1], COLUMN, EOF_PACKET, ROW, EOF_PACKET]),
            ("a local file", query, false, &[b"\xfbfile", OK_PACKET]),
            ("rows of a cursor", Command::Fetch, false, &[ROW, ROW, EOF_PACKET]),
            ("fields", Command::FieldList, false, &[COLUMN, COLUMN, EOF_PACKET]),
            ("a ping", Command::Ping, false, &[OK_PACKET]),
            ("statistics", Command::Other(9), false, &[b"Uptime: 1"]),
            ("a login", Command::ChangeUser, false, &[b"\xfeplugin", b"\x01\x03", OK_PACKET]),
            ("prepared", Command::Prepare, false, &[&[OK, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]),
            ("2 parameters", Command::Prepare, false, &[&[OK, 1, 0, 0, 0, 0, 0, 2, 0], COLUMN, COLUMN, EOF_PACKET]),
            ("1 each", Command::Prepare, false, &[&[OK, 1, 0, 0, 0, 1, 0, 1, 0], COLUMN, EOF_PACKET, COLUMN, EOF_PACKET]),
            ("1 each, EOF deprecated", Command::Prepare, true, &[&[OK, 1, 0, 0, 0, 1, 0, 1, 0], COLUMN, COLUMN]),
        ];
        for (name, command, deprecate_eof, packets) in table {
            let mut reply = Reply::to(*command);
            let ends: Vec<bool> = packets.iter().map(|packet| reply.ends_with(packet, *deprecate_eof)).collect();
            let expected: Vec<bool> = (1..=packets.len()).map(|number| number == packets.len()).collect();
            assert_eq!(ends, expected, "{name}");
        }
    }

    #[test]
    fn a_truncated_packet_is_no_panic() {
        let whole: [&[u8]; 5] = [OK_MORE, EOF_MORE, COUNT, &[OK, 1, 0, 0, 0, 1, 0, 1, 0], &[0xfe, 1, 2]];
        for command in [Command::Query, Command::Prepare, Command::Fetch, Command::FieldList, Command::ChangeUser] {
            for packet in whole {
                for length in 0..=packet.len() {
                    Reply::to(command).ends_with(&packet[..length], length % 2 == 0);
                }
            }
        }
    }
}
