//! Readiness of sockets, and orders to a thread.

use std::io::{PipeReader, Read};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    Fin,
    Rst,
}

impl Cut {
    /// An order to a thread, as sent through its pipe.
    pub(super) fn to_byte(self) -> u8 {
        match self {
            Cut::Fin => b'F',
            Cut::Rst => b'R',
        }
    }
}

/// A socket and what is wanted of it; after [`wait`], what it is ready for.
pub(super) struct Interest<'a> {
    pub(super) socket: BorrowedFd<'a>,
    pub(super) read: bool,
    pub(super) write: bool,
}

/// Waits until a socket is ready, the time is over, or an order comes. The end of the pipe is an order too: its
/// writer is gone.
pub(super) fn wait(sockets: &mut [Interest<'_>], mut orders: &PipeReader, limit: Option<Duration>) -> Option<Cut> {
    let mut polled = vec![PollFd::new(&orders, PollFlags::IN)];
    // A socket of which nothing is wanted is left out: poll would report its end again and again.
    let wanted = |socket: &Interest<'_>| socket.read || socket.write;
    for socket in sockets.iter().filter(|socket| wanted(socket)) {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, socket.read);
        flags.set(PollFlags::OUT, socket.write);
        polled.push(PollFd::from_borrowed_fd(socket.socket, flags));
    }
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    // An interrupted wait is one that found nothing: the caller comes back.
    let found = poll(&mut polled, limit.as_ref()).unwrap_or(0) > 0;
    let results: Vec<PollFlags> = polled.iter().map(|fd| if found { fd.revents() } else { PollFlags::empty() }).collect();
    drop(polled);

    for (socket, flags) in sockets.iter_mut().filter(|socket| wanted(socket)).zip(&results[1..]) {
        let failed = flags.intersects(PollFlags::ERR | PollFlags::HUP);
        socket.read &= failed || flags.contains(PollFlags::IN);
        socket.write &= failed || flags.contains(PollFlags::OUT);
    }
    if results[0].is_empty() {
        return None;
    }
    let mut order = [0];
    match orders.read(&mut order) {
        Ok(1) if order[0] == Cut::Fin.to_byte() => Some(Cut::Fin),
        _ => Some(Cut::Rst),
    }
}
