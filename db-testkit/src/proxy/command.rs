//! Kinds of requests.

/// The kind of a request: the first byte of its first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Command {
    /// `COM_QUIT`: the client closes the connection. No reply.
    Quit,
    /// `COM_INIT_DB`: `USE`.
    InitDb,
    /// `COM_QUERY`: statements in the text protocol.
    Query,
    /// `COM_FIELD_LIST`.
    FieldList,
    /// `COM_PING`.
    Ping,
    /// `COM_CHANGE_USER`: a new login on the same connection.
    ChangeUser,
    /// `COM_STMT_PREPARE`.
    Prepare,
    /// `COM_STMT_EXECUTE`.
    Execute,
    /// `COM_STMT_SEND_LONG_DATA`. No reply.
    SendLongData,
    /// `COM_STMT_CLOSE`. No reply.
    CloseStatement,
    /// `COM_STMT_FETCH`: rows of a cursor.
    Fetch,
    /// `COM_RESET_CONNECTION`.
    ResetConnection,
    /// Any other command, by its byte.
    Other(u8),
    /// A request of a proxy that does not read the protocol ([`ProxyBuilder::opaque`](crate::ProxyBuilder::opaque)).
    Opaque,
}

impl Command {
    pub(super) fn from_byte(byte: u8) -> Command {
        match byte {
            0x01 => Command::Quit,
            0x02 => Command::InitDb,
            0x03 => Command::Query,
            0x04 => Command::FieldList,
            0x0e => Command::Ping,
            0x11 => Command::ChangeUser,
            0x16 => Command::Prepare,
            0x17 => Command::Execute,
            0x18 => Command::SendLongData,
            0x19 => Command::CloseStatement,
            0x1c => Command::Fetch,
            0x1f => Command::ResetConnection,
            other => Command::Other(other),
        }
    }

    /// Whether the server replies to a request of this kind.
    #[must_use]
    pub fn has_reply(self) -> bool {
        !matches!(self, Command::Quit | Command::SendLongData | Command::CloseStatement)
    }
}
