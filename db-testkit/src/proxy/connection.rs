//! One connection through the proxy.
//!
//! One thread owns both sockets, so it can reset them, and all it does is in one order.

use std::collections::VecDeque;
use std::io::PipeReader;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Request;
use super::conversation::Conversation;
use super::endpoint::Stream;
use super::fault::{Action, Event, Plan, Point};
use super::packet::Packet;
use super::peer::Peer;
use super::poll::{Cut, wait};
use super::protocol::{FromClient, FromServer};
use super::shared::Shared;

/// A side is not read while this much waits to be written to the other.
const BACKLOG: usize = 1 << 20;

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Serves one client until the connection has ended.
pub(super) fn serve(number: usize, client: Stream, orders: PipeReader, shared: &Shared) {
    if !shared.latency.is_zero() {
        // Without it a wait lasts 50 µs longer than it should, which is much of a short latency. Where it is refused, it does.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    }
    let client = Peer::new(client);
    if let Some(cut) = at_connect(number, &client, &orders, shared) {
        return client.close(cut);
    }
    let target = shared.target.lock().clone();
    let Ok(server) = target.connect(CONNECT_PATIENCE) else {
        return client.close(Cut::Rst);
    };
    let mut connection = Connection {
        number,
        client,
        server: Peer::new(server),
        conversation: Conversation::new(shared.opaque),
        request: Vec::new(),
        unanswered: VecDeque::new(),
        held: None,
        black_hole: false,
        shared,
    };
    match connection.run(&orders) {
        End::Cut(cut) => {
            connection.client.close(cut);
            connection.server.close(cut);
        }
        End::Abandon(late) => {
            connection.client.close(Cut::Fin);
            late.deliver(connection.server, connection.conversation, &orders, shared);
        }
    }
}

/// Does what is to go wrong when a client connects; says how to cut it, if it may not go on.
fn at_connect(number: usize, client: &Peer, orders: &PipeReader, shared: &Shared) -> Option<Cut> {
    let plan = shared.hit(Event::Connection(number))?;
    let pause = |limit| wait(&mut [client.interest(false)], orders, limit);
    let action = plan.action();
    if let Action::Refuse(time) = action {
        shared.refuse_for(time);
    }
    plan.fired();
    match action {
        Action::Fin | Action::DelayAndAbandon(_) | Action::Error(_) => Some(Cut::Fin),
        Action::Rst | Action::Refuse(_) => Some(Cut::Rst),
        Action::Delay(time) => pause(Some(time)),
        Action::BlackHole => pause(None),
    }
}

/// How the thread of a connection is done with it.
enum End {
    Cut(Cut),
    Abandon(Late),
}

/// A request whose client has been cut off.
struct Late {
    at: Instant,
    request: Vec<u8>,
    plan: Arc<Plan>,
}

impl Late {
    fn deliver(self, mut server: Peer, mut conversation: Conversation, orders: &PipeReader, shared: &Shared) {
        let remaining = self.at.saturating_duration_since(Instant::now());
        if let Some(cut) = wait(&mut [server.interest(false)], orders, Some(remaining)) {
            return server.close(cut);
        }
        shared.count(|counts| counts.bytes_to_server += self.request.len() as u64);
        server.send(self.request, Duration::ZERO);
        while server.flush().is_ok() && !server.ended && !(server.backlog() == 0 && conversation.is_answered()) {
            let mut sockets = [server.interest(true)];
            if let Some(cut) = wait(&mut sockets, orders, None) {
                return server.close(cut);
            }
            if sockets[0].read && server.receive().is_err() {
                break;
            }
            while let Some((mut packet, _)) = conversation.next_from_server(&mut server.received) {
                conversation.server_packet(&mut packet);
            }
        }
        self.plan.delivered();
        server.close(Cut::Fin);
    }
}

/// A request whose reply is not complete.
struct Unanswered {
    plan: Option<Arc<Plan>>,
    /// Bytes of the reply that have been passed on.
    passed: usize,
    /// Bytes of the reply that are kept until it is complete.
    kept: Vec<u8>,
}

/// What a fault holds back. Nothing overtakes it.
struct Held {
    until: Instant,
    to: Side,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

struct Connection<'a> {
    number: usize,
    client: Peer,
    server: Peer,
    conversation: Conversation,
    /// The packets so far of an incomplete request.
    request: Vec<u8>,
    unanswered: VecDeque<Unanswered>,
    held: Option<Held>,
    black_hole: bool,
    shared: &'a Shared,
}

impl Connection<'_> {
    fn run(&mut self, orders: &PipeReader) -> End {
        loop {
            if let Some(end) = self.pass_on() {
                return end;
            }
            let from_client = self.is_open(Side::Server) && self.server.backlog() < BACKLOG;
            let from_server = self.is_open(Side::Client) && self.client.backlog() < BACKLOG;
            let mut sockets = [self.client.interest(from_client), self.server.interest(from_server)];
            let held = self.held.as_ref().map(|held| held.until);
            let next = [held, self.client.next_arrival(), self.server.next_arrival()].into_iter().flatten().min();
            let limit = next.map(|next| next.saturating_duration_since(Instant::now()));
            if let Some(cut) = wait(&mut sockets, orders, limit) {
                return End::Cut(cut);
            }
            let [client, server] = sockets.map(|socket| socket.read);
            if client && self.client.receive().is_err() || server && self.server.receive().is_err() {
                return End::Cut(Cut::Rst);
            }
        }
    }

    /// Whether anything may pass to this side.
    fn is_open(&self, to: Side) -> bool {
        !self.black_hole && self.held.as_ref().is_none_or(|held| held.to != to)
    }

    /// Moves all that may move now; says how the connection ends, if it does.
    fn pass_on(&mut self) -> Option<End> {
        if let Some(held) = self.held.take_if(|held| held.until <= Instant::now()) {
            self.send(held.to, held.bytes);
        }
        // Replies first: a fault at the next request must not swallow a reply that was there before it.
        while let Some(packet) = self.next_packet(Side::Client) {
            if let Some(end) = self.server_packet(packet) {
                return Some(end);
            }
        }
        while let Some(packet) = self.next_packet(Side::Server) {
            if let Some(end) = self.client_packet(packet) {
                return Some(end);
            }
        }
        self.client.arrive();
        self.server.arrive();
        if self.client.flush().is_err() || self.server.flush().is_err() {
            return Some(End::Cut(Cut::Rst));
        }
        if self.black_hole || self.held.is_some() {
            return None;
        }
        if self.server.ended {
            // A server that died in the middle of a packet.
            let rest = self.server.received.rest();
            self.client.send(rest, self.shared.latency);
        }
        if self.client.next_arrival().or(self.server.next_arrival()).is_some() {
            return None;
        }
        (self.client.ended || self.server.ended).then_some(End::Cut(Cut::Fin))
    }

    fn next_packet(&mut self, to: Side) -> Option<Packet> {
        if !self.is_open(to) {
            return None;
        }
        let (packet, completed) = match to {
            Side::Client => self.conversation.next_from_server(&mut self.server.received),
            Side::Server => self.conversation.next_from_client(&mut self.client.received),
        }?;
        self.shared.count(|counts| counts.packets += completed);
        Some(packet)
    }

    fn client_packet(&mut self, packet: Packet) -> Option<End> {
        match self.conversation.client_packet(&packet) {
            FromClient::Pass => self.send(Side::Server, packet.raw),
            FromClient::Part => self.request.extend(packet.raw),
            FromClient::Request { command, text } => {
                self.request.extend(packet.raw);
                return self.whole_request(Request { connection: self.number, command, text });
            }
        }
        None
    }

    fn whole_request(&mut self, request: Request) -> Option<End> {
        let bytes = std::mem::take(&mut self.request);
        let has_reply = request.command.has_reply();
        self.shared.count(|counts| counts.requests += 1);
        let plan = self.shared.hit(Event::Request(&request));
        self.shared.log(request);
        if has_reply {
            self.unanswered.push_back(Unanswered { plan: plan.clone(), passed: 0, kept: Vec::new() });
        }
        match plan {
            Some(plan) if plan.point() == Point::BeforeRequest => self.act(plan, Side::Server, bytes),
            Some(plan) if plan.point() == Point::RequestSent => {
                self.send(Side::Server, bytes);
                self.act(plan, Side::Client, Vec::new())
            }
            _ => {
                self.send(Side::Server, bytes);
                None
            }
        }
    }

    fn server_packet(&mut self, mut packet: Packet) -> Option<End> {
        let kind = self.conversation.server_packet(&mut packet);
        let mut bytes = packet.raw;
        let (FromServer::Part | FromServer::End, Some(reply)) = (&kind, self.unanswered.front_mut()) else {
            self.send(Side::Client, bytes);
            return None;
        };
        let complete = kind == FromServer::End;
        let fault = match reply.plan.as_ref().map(|plan| plan.point()) {
            Some(Point::AfterRequest) => {
                let error = reply.plan.as_ref().map(|plan| plan.action()).filter(|_| complete && !self.shared.opaque);
                if let Some(Action::Error(code)) = error {
                    bytes = error_packet(bytes.get(3).copied().unwrap_or(1), code);
                }
                reply.kept.append(&mut bytes);
                complete.then(|| (0, std::mem::take(&mut reply.kept)))
            }
            Some(Point::MidReply(limit)) if reply.passed + bytes.len() > limit => {
                let pass = limit - reply.passed;
                Some((pass, bytes.split_off(pass)))
            }
            _ => None,
        };
        reply.passed += bytes.len();
        let plan = fault.is_some().then(|| reply.plan.take()).flatten();
        if complete {
            self.unanswered.pop_front();
            if plan.as_ref().is_none_or(|plan| matches!(plan.action(), Action::Delay(_) | Action::Error(_))) {
                self.shared.count(|counts| counts.round_trips += 1);
            }
        }
        self.send(Side::Client, bytes);
        let (_, rest) = fault?;
        self.act(plan?, Side::Client, rest)
    }

    /// Does what is to go wrong, with what is on its way to one side.
    fn act(&mut self, plan: Arc<Plan>, to: Side, bytes: Vec<u8>) -> Option<End> {
        let until = |time| Instant::now() + time;
        let action = plan.action();
        if let Action::Refuse(time) = action {
            self.shared.refuse_for(time);
        }
        plan.fired();
        match action {
            Action::Fin => Some(End::Cut(Cut::Fin)),
            Action::Rst | Action::Refuse(_) => Some(End::Cut(Cut::Rst)),
            Action::BlackHole => {
                self.black_hole = true;
                None
            }
            Action::Delay(time) => {
                self.held = Some(Held { until: until(time), to, bytes });
                None
            }
            Action::DelayAndAbandon(time) if to == Side::Server => Some(End::Abandon(Late { at: until(time), request: bytes, plan })),
            Action::Error(_) if plan.point() == Point::AfterRequest && !self.shared.opaque => {
                self.send(to, bytes);
                None
            }
            Action::DelayAndAbandon(_) | Action::Error(_) => Some(End::Cut(Cut::Fin)),
        }
    }

    fn send(&mut self, to: Side, bytes: Vec<u8>) {
        let length = bytes.len() as u64;
        let peer = match to {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        peer.send(bytes, self.shared.latency);
        self.shared.count(|counts| match to {
            Side::Client => counts.bytes_to_client += length,
            Side::Server => counts.bytes_to_server += length,
        });
    }
}

/// An ERR packet: its length, its place in the sequence, 0xff, the code, the SQLSTATE, the message.
fn error_packet(sequence: u8, code: u16) -> Vec<u8> {
    const REST: &[u8] = b"#HY000injected";
    let length = u8::try_from(3 + REST.len()).unwrap_or(u8::MAX);
    let [low, high] = code.to_le_bytes();
    [&[length, 0, 0, sequence, 0xff, low, high], REST].concat()
}
