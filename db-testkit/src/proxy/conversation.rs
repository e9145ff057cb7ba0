//! Boundaries of requests and replies, with or without knowledge of the protocol.
//!
//! Pure: bytes in, decisions out.

use super::command::Command;
use super::packet::{Framer, Packet, Received};
use super::protocol::{Dialogue, FromClient, FromServer};

/// One connection as both sides know it.
pub(super) enum Conversation {
    Mysql(Box<Dialogue>),
    Opaque(Turns),
}

/// A connection of which only is known whose turn it is: what the client sends after the server has sent something is a request, and
/// what the server sends next is its reply.
pub(super) struct Turns {
    server_spoke: bool,
    waiting: bool,
    from_client: Framer,
    from_server: Framer,
}

impl Conversation {
    pub(super) fn new(opaque: bool) -> Conversation {
        if opaque {
            Conversation::Opaque(Turns {
                server_spoke: true,
                waiting: false,
                from_client: Framer::default(),
                from_server: Framer::default(),
            })
        } else {
            Conversation::Mysql(Box::default())
        }
    }

    /// The next unit of what the client has sent, and how many of the protocol's packets it completes.
    pub(super) fn next_from_client(&mut self, received: &mut Received) -> Option<(Packet, u64)> {
        match self {
            Conversation::Mysql(_) => one(received),
            Conversation::Opaque(turns) => all(received, &mut turns.from_client),
        }
    }

    /// The same of the server.
    pub(super) fn next_from_server(&mut self, received: &mut Received) -> Option<(Packet, u64)> {
        match self {
            Conversation::Mysql(_) => one(received),
            Conversation::Opaque(turns) => all(received, &mut turns.from_server),
        }
    }

    pub(super) fn client_packet(&mut self, packet: &Packet) -> FromClient {
        match self {
            Conversation::Mysql(dialogue) => dialogue.client_packet(packet),
            Conversation::Opaque(turns) => {
                if !std::mem::take(&mut turns.server_spoke) {
                    return FromClient::Pass;
                }
                turns.waiting = true;
                FromClient::Request { command: Command::Opaque, text: None }
            }
        }
    }

    pub(super) fn server_packet(&mut self, packet: &mut Packet) -> FromServer {
        match self {
            Conversation::Mysql(dialogue) => dialogue.server_packet(packet),
            Conversation::Opaque(turns) => {
                turns.server_spoke = true;
                if std::mem::take(&mut turns.waiting) { FromServer::End } else { FromServer::Pass }
            }
        }
    }

    /// Whether every request has its whole reply.
    pub(super) fn is_answered(&self) -> bool {
        match self {
            Conversation::Mysql(dialogue) => dialogue.is_answered(),
            Conversation::Opaque(turns) => !turns.waiting,
        }
    }
}

fn one(received: &mut Received) -> Option<(Packet, u64)> {
    received.next().map(|packet| (packet, 1))
}

fn all(received: &mut Received, framer: &mut Framer) -> Option<(Packet, u64)> {
    let raw = received.rest();
    let packets = framer.complete(&raw);
    (!raw.is_empty()).then_some((Packet { raw }, packets))
}
