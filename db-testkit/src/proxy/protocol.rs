//! Requests and replies of the MySQL protocol.
//!
//! Pure: bytes in, decisions out. Nothing here holds a socket.

use std::collections::{HashMap, VecDeque};

use super::command::Command;
use super::packet::{HEADER, Packet, number};
use super::reply::Reply;

const OK: u8 = 0x00;
const ERR: u8 = 0xff;

const CLIENT_COMPRESS: u32 = 1 << 5;
const CLIENT_SSL: u32 = 1 << 11;
const CLIENT_DEPRECATE_EOF: u32 = 1 << 24;
const CLIENT_OPTIONAL_METADATA: u32 = 1 << 25;
const CLIENT_ZSTD: u32 = 1 << 26;
const CLIENT_QUERY_ATTRIBUTES: u32 = 1 << 27;

/// What the proxy cannot read, or reads only without.
const UNSUPPORTED: u32 = CLIENT_COMPRESS | CLIENT_SSL | CLIENT_OPTIONAL_METADATA | CLIENT_ZSTD | CLIENT_QUERY_ATTRIBUTES;

/// What a packet from the client is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FromClient {
    /// Not a request: the login, or data the server asked for. To be passed on.
    Pass,
    /// A part of a request that is not complete.
    Part,
    /// The last packet of a request.
    Request { command: Command, text: Option<String> },
}

/// What a packet from the server is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FromServer {
    /// The login, or nothing that was asked for. To be passed on.
    Pass,
    /// A part of the reply to the oldest unanswered request.
    Part,
    /// The last packet of that reply.
    End,
}

/// One connection as both sides know it.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    login: Login,
    server_capabilities: u32,
    deprecate_eof: bool,
    /// The payload of an incomplete request.
    request: Option<Vec<u8>>,
    /// Replies that are not complete, oldest first, as a client may send the next request early; with the text of the
    /// statement that is being prepared.
    replies: VecDeque<(Reply, Option<String>)>,
    reply_continues: bool,
    statements: HashMap<u32, String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Login {
    #[default]
    Greeting,
    Response,
    Authentication,
    Done,
}

impl Dialogue {
    pub(super) fn client_packet(&mut self, packet: &Packet) -> FromClient {
        match self.login {
            Login::Done => {}
            Login::Greeting | Login::Authentication => return FromClient::Pass,
            Login::Response => {
                let client = number(packet.payload(), 0, 4).unwrap_or(0) as u32;
                self.deprecate_eof = client & self.server_capabilities & CLIENT_DEPRECATE_EOF != 0;
                self.login = Login::Authentication;
                return FromClient::Pass;
            }
        }
        if self.request.is_none() && packet.sequence() != 0 {
            return FromClient::Pass;
        }
        let mut payload = self.request.take().unwrap_or_default();
        payload.extend_from_slice(packet.payload());
        if packet.is_continued() {
            self.request = Some(payload);
            return FromClient::Part;
        }
        self.request(&payload)
    }

    fn request(&mut self, payload: &[u8]) -> FromClient {
        let command = Command::from_byte(payload.first().copied().unwrap_or(0));
        let body = payload.get(1..).unwrap_or_default();
        let statement = || number(body, 0, 4).map(|id| id as u32);
        let text = match command {
            Command::Query | Command::Prepare | Command::InitDb => Some(String::from_utf8_lossy(body).into_owned()),
            Command::Execute => statement().and_then(|id| self.statements.get(&id).cloned()),
            Command::CloseStatement => statement().and_then(|id| self.statements.remove(&id)),
            _ => None,
        };
        if command.has_reply() {
            let prepared = if command == Command::Prepare { text.clone() } else { None };
            self.replies.push_back((Reply::to(command), prepared));
        }
        FromClient::Request { command, text }
    }

    /// Whether every request has its whole reply.
    pub(super) fn is_answered(&self) -> bool {
        self.replies.is_empty()
    }

    /// Takes a packet from the server; changes the greeting so that the connection stays readable.
    pub(super) fn server_packet(&mut self, packet: &mut Packet) -> FromServer {
        match self.login {
            Login::Greeting => {
                self.server_capabilities = restrict_greeting(&mut packet.raw[HEADER..]);
                self.login = Login::Response;
                return FromServer::Pass;
            }
            Login::Response | Login::Authentication => {
                if matches!(packet.payload().first(), Some(&(OK | ERR))) {
                    self.login = Login::Done;
                }
                return FromServer::Pass;
            }
            Login::Done => {}
        }
        let Some((reply, prepared)) = self.replies.front_mut() else { return FromServer::Pass };
        // Only the first of several packets that make up one row begins with a marker.
        let continues = std::mem::replace(&mut self.reply_continues, packet.is_continued());
        let ends = !continues && reply.ends_with(packet.payload(), self.deprecate_eof);
        self.statements.extend(reply.statement.zip(prepared.take_if(|_| reply.statement.is_some())));
        if ends {
            self.replies.pop_front();
            return FromServer::End;
        }
        FromServer::Part
    }
}

/// Takes the capabilities that the proxy cannot read out of the server's greeting, and returns those left.
fn restrict_greeting(payload: &mut [u8]) -> u32 {
    const PROTOCOL_10: u8 = 10;
    if payload.first() != Some(&PROTOCOL_10) {
        return 0;
    }
    let Some(version_end) = payload.iter().position(|&byte| byte == 0) else { return 0 };
    // After the version: connection id (4), scramble (8), filler (1), capabilities (2), charset (1), status (2), capabilities (2).
    let low = version_end + 1 + 4 + 8 + 1;
    let high = low + 2 + 1 + 2;
    if payload.len() < high + 2 {
        return 0;
    }
    let offered = u32::from_le_bytes([payload[low], payload[low + 1], payload[high], payload[high + 1]]);
    let left = offered & !UNSUPPORTED;
    let bytes = left.to_le_bytes();
    payload[low..low + 2].copy_from_slice(&bytes[..2]);
    payload[high..high + 2].copy_from_slice(&bytes[2..]);
    left
}

/// What the tests and the fuzz target have in common.
#[cfg(any(test, fuzzing))]
mod checks {
    use super::*;
    use crate::proxy::packet::{Received, packet};

    pub(super) fn greeting(capabilities: u32) -> Packet {
        let caps = capabilities.to_le_bytes();
        let parts: [&[u8]; 7] = [b"\x0a8.0\0", &[0; 4], &[1; 8], &[0], &caps[..2], &[0; 3], &caps[2..]];
        packet(0, &parts.concat())
    }

    /// A dialogue after the login.
    pub(super) fn dialogue() -> Dialogue {
        let mut dialogue = Dialogue::default();
        dialogue.server_packet(&mut greeting(u32::MAX));
        dialogue.client_packet(&packet(1, &[0; 32]));
        assert_eq!(dialogue.server_packet(&mut packet(2, b"\x01\x03")), FromServer::Pass);
        assert_eq!(dialogue.server_packet(&mut packet(3, &[OK, 0, 0])), FromServer::Pass);
        dialogue
    }

    /// Feeds what the sides say (`true`: the client), and checks that no byte is lost and no more memory taken than that needs.
    #[cfg_attr(not(fuzzing), allow(unreachable_pub, reason = "it is public for the fuzz target"))]
    pub fn listen(logged_in: bool, said: &[(bool, Vec<u8>)]) {
        let mut dialogue = if logged_in { dialogue() } else { Dialogue::default() };
        let mut sides = [Received::default(), Received::default()];
        let (mut owed, mut most) = ([0; 2], 64);
        for (from_client, bytes) in said {
            let (packets, owed) = (&mut sides[usize::from(*from_client)], &mut owed[usize::from(*from_client)]);
            packets.feed(bytes);
            *owed += bytes.len();
            most = most.max(*owed);
            while let Some(mut packet) = packets.next() {
                *owed -= packet.raw.len();
                if *from_client {
                    dialogue.client_packet(&packet);
                } else {
                    dialogue.server_packet(&mut packet);
                }
            }
            assert_eq!(packets.waiting(), *owed);
            assert!(packets.capacity() <= 2 * most);
        }
    }
}

#[cfg(fuzzing)]
pub use checks::listen;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::checks::{dialogue, greeting, listen};
    use super::*;
    use crate::proxy::packet::{FULL, packet};

    fn query(text: &str) -> FromClient {
        FromClient::Request { command: Command::Query, text: Some(text.into()) }
    }

    #[test]
    fn the_server_offers_only_what_the_proxy_can_read() {
        let mut offered = greeting(u32::MAX);
        Dialogue::default().server_packet(&mut offered);
        assert_eq!(offered, greeting(!UNSUPPORTED));
        let mut error = packet(0, b"\xff\x10\x04Too many connections");
        let before = error.clone();
        Dialogue::default().server_packet(&mut error);
        assert_eq!(error, before);
    }

    #[test]
    fn a_request_is_complete_with_its_last_packet() {
        let mut dialogue = dialogue();
        let mut first = vec![b'a'; FULL];
        first[0] = 3;
        assert_eq!(dialogue.client_packet(&packet(0, &first)), FromClient::Part);
        let FromClient::Request { text: Some(text), .. } = dialogue.client_packet(&packet(1, b"b")) else { panic!("a request") };
        assert_eq!(text.len(), FULL);
        assert!(text.ends_with("ab"));
    }

    #[test]
    fn requests_sent_early_are_answered_in_order() {
        let mut dialogue = dialogue();
        assert_eq!(dialogue.client_packet(&packet(0, b"\x03DO 1")), query("DO 1"));
        assert_eq!(dialogue.client_packet(&packet(0, b"\x03DO 2")), query("DO 2"));
        for answered in [false, true] {
            assert_eq!(dialogue.server_packet(&mut packet(1, &[OK, 0, 0, 2, 0])), FromServer::End);
            assert_eq!(dialogue.is_answered(), answered);
        }
        assert_eq!(dialogue.server_packet(&mut packet(0, b"\xff\xbf\x0fidle")), FromServer::Pass, "unasked");
    }

    #[test]
    fn a_row_of_several_packets_is_one_row() {
        let mut dialogue = dialogue();
        dialogue.client_packet(&packet(0, b"\x03SELECT 1"));
        for payload in [&b"\x01"[..], b"\x03def", b"\xfe\0\0\x02\0"] {
            assert_eq!(dialogue.server_packet(&mut packet(1, payload)), FromServer::Part);
        }
        assert_eq!(dialogue.server_packet(&mut packet(1, &[9; FULL])), FromServer::Part);
        assert_eq!(dialogue.server_packet(&mut packet(1, b"\xff is data here")), FromServer::Part);
        assert_eq!(dialogue.server_packet(&mut packet(1, b"\xfe\0\0\x02\0")), FromServer::End);
    }

    /// Bytes of either side: any, or those of a packet that begins as packets do.
    fn said() -> impl Strategy<Value = (bool, Vec<u8>)> {
        let begins = prop::sample::select(vec![0, 1, 2, 3, 4, 5, 10, 14, 17, 22, 23, 24, 25, 28, 31, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff]);
        let whole = (0..4_u8, begins, prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(sequence, first, rest)| packet(sequence, &[&[first], &rest[..]].concat()).raw);
        (any::<bool>(), prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..40), 6 => whole])
    }

    proptest! {
        #[test]
        fn no_bytes_can_panic_and_none_are_lost(logged_in: bool, said in prop::collection::vec(said(), 0..40)) {
            listen(logged_in, &said);
        }
    }
}
