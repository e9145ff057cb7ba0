//! What the server knows of a session that waits for a reply.

use std::time::Duration;

use crate::Error;
use crate::retry::deadline;
use crate::session::connection::Link;
use crate::session::watch::watched::{Inquiry, Known, Watched};
use crate::telemetry::event::event;

/// For how long the watch may be busy with one session: as long as the silence it waited for, within these bounds.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// For how long, where a call's deadline has passed.
const HASTE: Duration = Duration::from_secs(1);

pub(super) static INQUIRY: Inquiry = Inquiry { ask, interrupt, kill };

/// Asks on a connection of the watch's own.
fn ask(watched: &Watched) -> Known {
    let _bounded = deadline::within(Some(patience(watched)));
    match Link::open_at(&watched.settings, watched.host).and_then(|mut link| command_of(watched, &mut link)) {
        Ok(known) => known,
        Err(error) if error.code().is_some() => Known::Nothing,
        Err(_) => Known::Unreachable,
    }
}

fn patience(watched: &Watched) -> Duration {
    let [least, most] = PATIENCE;
    watched.settings.silence.clamp(least, most)
}

fn interrupt(watched: &Watched) {
    let _bounded = deadline::within(Some(HASTE));
    end(watched, "KILL QUERY", Known::Busy);
}

fn kill(watched: &Watched) {
    let _bounded = deadline::within(Some(patience(watched)));
    end(watched, "KILL", Known::Lost);
}

/// A failure is no danger: the socket is shut down next.
fn end(watched: &Watched, statement: &str, expected: Known) {
    let ended = Link::open_at(&watched.settings, watched.host).and_then(|mut link| {
        if command_of(watched, &mut link)? == expected && is_as_old(watched, &mut link)? {
            link.packet(&[&format!("{statement} {}", watched.connection)]).map_err(|failed| Error::from(failed.error))?;
            event!(debug, "db_core.kill", { db_core.connection_id = watched.connection }, "ended what waits for a reply");
        }
        Ok(())
    });
    drop(ended);
}

/// Evidence counts only from the same server, and only if the watch finds itself under the number that it was given.
fn command_of(watched: &Watched, link: &mut Link) -> Result<Known, Error> {
    let own = link.conn().connection_id();
    if link.identity().is_empty() || link.identity() != watched.server {
        return Ok(Known::Nothing);
    }
    let sql = format!("SELECT id, command FROM information_schema.processlist WHERE id IN ({own}, {})", watched.connection);
    let rows = link.ask::<(u64, String)>(&sql)?;
    let command = |id: u32| rows.iter().find(|(found, _)| *found == u64::from(id)).map(|(_, command)| command.as_str());
    Ok(match (command(own), command(watched.connection)) {
        (None, _) => Known::Nothing,
        (_, None | Some("Sleep")) => Known::Lost,
        _ => Known::Busy,
    })
}

/// Numbers of sessions begin anew with the server: a server that is younger than the connection has given its number to another one.
fn is_as_old(watched: &Watched, link: &mut Link) -> Result<bool, Error> {
    Ok(link.uptime()? + 1 >= watched.opened.elapsed().as_secs())
}
