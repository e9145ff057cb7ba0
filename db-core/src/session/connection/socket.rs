//! What the socket under a connection knows, and the driver does not say.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mysql::Conn;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, sockopt};

/// What a look at the socket shows. It costs a system call, no round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Open, and nothing has come in.
    Quiet,
    /// Open, with bytes nobody asked for: a server's farewell, or a TLS record.
    Bytes,
    /// Closed or broken.
    Gone,
}

pub(super) fn peek(conn: &Conn) -> Seen {
    let mut byte = [0_u8; 1];
    loop {
        return match rustix::net::recv(fd(conn), &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Seen::Quiet,
            Ok((_, length)) if length > 0 => Seen::Bytes,
            Ok(_) | Err(_) => Seen::Gone,
        };
    }
}

/// Makes every later write fail, so that dropping the `Conn` sends nothing: neither COM_QUIT nor COM_STMT_CLOSE.
pub(super) fn silence(conn: &Conn) {
    // A socket that is gone already cannot be shut down; nothing will be sent on it either.
    let _ = rustix::net::shutdown(fd(conn), Shutdown::Both);
}

/// A second descriptor of the same socket, for another thread to end a wait by. It stays valid whatever becomes of the connection.
pub(super) fn second(conn: &Conn) -> std::io::Result<OwnedFd> {
    fd(conn).try_clone_to_owned()
}

/// Ends every read and write that waits on the socket.
pub(in crate::session) fn shut_down(socket: &OwnedFd) {
    let _ = rustix::net::shutdown(socket, Shutdown::Both);
}

pub(super) fn set_read_timeout(conn: &Conn, timeout: Option<Duration>) -> std::io::Result<()> {
    Ok(sockopt::set_socket_timeout(fd(conn), sockopt::Timeout::Recv, timeout)?)
}

pub(super) fn local_port(conn: &Conn) -> Option<u16> {
    let address = SocketAddr::try_from(rustix::net::getsockname(fd(conn)).ok()?).ok()?;
    Some(address.port())
}

#[allow(unsafe_code, reason = "the driver gives its socket as a number only, and rustix takes no numbers")]
fn fd(conn: &Conn) -> BorrowedFd<'_> {
    // SAFETY: `conn` owns the descriptor and closes it when dropped, which the borrow keeps from happening.
    unsafe { BorrowedFd::borrow_raw(conn.as_raw_fd()) }
}
