//! Whole files over one connection, with many requests under way, so that a long line costs its length once.

use super::codec::{Code, Details, Handle, PART_BYTES, Reply, Request, Status};
use super::command::Cut;
use super::session::Session;

/// Longest file that is read as a whole: restic's packs have 128 MiB at most.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What came between.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection is no more.
    Cut(Cut),
    /// The server does not do it.
    Status(Status),
    /// A file has fewer bytes than were asked for.
    Short,
    /// No room is left.
    Full(String),
    /// An answer to something else.
    Odd(&'static str),
}

impl From<Cut> for Trouble {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}

impl Trouble {
    /// Whether the server says this.
    pub(super) fn is(&self, code: Code) -> bool {
        matches!(self, Self::Status(status) if status.code == code)
    }
}

/// A request that ends in a status alone.
pub(super) fn done(reply: Reply) -> Result<(), Trouble> {
    match reply {
        Reply::Status(Status { code: Code::Ok, .. }) => Ok(()),
        Reply::Status(status) => Err(Trouble::Status(status)),
        _ => Err(Trouble::Odd("something else than a status")),
    }
}

/// A request for a handle.
pub(super) fn handle(reply: Reply) -> Result<Handle, Trouble> {
    match reply {
        Reply::Handle(handle) => Ok(handle),
        Reply::Status(status) => Err(Trouble::Status(status)),
        _ => Err(Trouble::Odd("something else than a handle")),
    }
}

/// A request for details.
pub(super) fn details(reply: Reply) -> Result<Details, Trouble> {
    match reply {
        Reply::Details(details) => Ok(details),
        Reply::Status(status) => Err(Trouble::Status(status)),
        _ => Err(Trouble::Odd("something else than details")),
    }
}

/// A file, or the bytes of it in `range`.
pub(super) fn read(
    session: &Session,
    path: &str,
    range: Option<std::ops::Range<u64>>,
) -> Result<Vec<u8>, Trouble> {
    let handle = handle(session.call(&Request::OpenRead(path))?)?;
    let read = read_open(session, &handle, range);
    let closed = session.call(&Request::Close(&handle));
    let bytes = read?;
    done(closed?)?;
    Ok(bytes)
}

fn read_open(
    session: &Session,
    handle: &[u8],
    range: Option<std::ops::Range<u64>>,
) -> Result<Vec<u8>, Trouble> {
    let size = details(session.call(&Request::StatHandle(handle))?)?.size;
    let size = size.ok_or(Trouble::Odd("a file without a size"))?;
    // Compared first, so that a damaged index cannot make a buffer of any size.
    let range = range.unwrap_or(0..size);
    let length = range.end.checked_sub(range.start).filter(|_| range.end <= size).ok_or(Trouble::Short)?;
    let length = usize::try_from(length).ok().filter(|_| length <= FILE_BYTES_MAX);
    let mut bytes = vec![0; length.ok_or(Trouble::Odd("a file of more than 256 MiB"))?];
    let mut parts = parts(bytes.len());
    let (mut calls, mut asked) = (session.calls(), std::collections::BTreeMap::new());
    loop {
        while calls.has_room() {
            let Some((from, length)) = parts.pop() else { break };
            let part = u32::try_from(length).unwrap_or(PART_BYTES);
            let offset = range.start + from as u64;
            asked.insert(calls.send(&Request::Read { handle, offset, length: part })?, (from, length));
        }
        if calls.is_done() {
            return Ok(bytes);
        }
        let (id, reply) = calls.receive()?;
        let (from, length) = asked.remove(&id).ok_or(Trouble::Odd("a reply that nobody waits for"))?;
        match reply {
            Reply::Data(data) if !data.is_empty() && data.len() <= length => {
                bytes[from..from + data.len()].copy_from_slice(&data);
                // A server may give less than it was asked for.
                if data.len() < length {
                    parts.push((from + data.len(), length - data.len()));
                }
            }
            Reply::Status(Status { code: Code::End, .. }) => return Err(Trouble::Short),
            Reply::Status(status) => return Err(Trouble::Status(status)),
            _ => return Err(Trouble::Odd("something else than bytes")),
        }
    }
}

/// Where parts begin and how long they are, the last first.
fn parts(length: usize) -> Vec<(usize, usize)> {
    let step = PART_BYTES as usize;
    let starts = (0..length).step_by(step).rev();
    starts.map(|from| (from, step.min(length - from))).collect()
}

/// Writes a file that is not there yet; durable when this returns, where the server can do that. What was begun is removed
/// when it fails.
pub(super) fn write(session: &Session, path: &str, bytes: &[u8]) -> Result<(), Trouble> {
    let handle = handle(session.call(&Request::OpenNew(path))?)?;
    let written = write_open(session, &handle, bytes);
    let closed = session.call(&Request::Close(&handle)).map_err(Trouble::from).and_then(done);
    let written = written.and(closed);
    if matches!(&written, Err(trouble) if !matches!(trouble, Trouble::Cut(_))) {
        // The error before counts; what stays goes some other day.
        drop(session.call(&Request::Remove(path)));
    }
    written
}

fn write_open(session: &Session, handle: &[u8], bytes: &[u8]) -> Result<(), Trouble> {
    let (mut parts, mut calls) = (parts(bytes.len()), session.calls());
    loop {
        while calls.has_room() {
            let Some((from, length)) = parts.pop() else { break };
            let bytes = &bytes[from..from + length];
            calls.send(&Request::Write { handle, offset: from as u64, bytes })?;
        }
        if calls.is_done() {
            break;
        }
        done(calls.receive()?.1)?;
    }
    if session.abilities.has_fsync {
        done(session.call(&Request::Sync(handle))?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_file_without_gaps() {
        let step = PART_BYTES as usize;
        assert_eq!(parts(0), []);
        assert_eq!(parts(1), [(0, 1)]);
        assert_eq!(parts(2 * step + 5), [(2 * step, 5), (step, step), (0, step)]);
    }
}
