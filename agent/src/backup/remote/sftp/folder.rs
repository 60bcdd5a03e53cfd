//! Folders over one connection: what is in them, and making them.

use std::collections::BTreeMap;

use super::codec::{Code, Entry, Reply, Request, Status};
use super::file::{Trouble, details, done, handle};
use super::session::Session;

/// Folders that are open at once; servers have a limit.
const OPEN_MAX: usize = 32;

/// What is in these folders, each with its folder.
pub(super) fn entries(session: &Session, folders: &[String]) -> Result<Vec<(String, Entry)>, Trouble> {
    let mut found = Vec::new();
    for folders in folders.chunks(OPEN_MAX) {
        let mut calls = session.calls();
        let mut asked = BTreeMap::new();
        for folder in folders {
            asked.insert(calls.send(&Request::OpenFolder(folder))?, folder);
        }
        let mut open = Vec::new();
        let mut trouble = None;
        while !calls.is_done() {
            let (id, reply) = calls.receive()?;
            match (handle(reply), asked.remove(&id)) {
                (Ok(handle), Some(folder)) => open.push((folder, handle)),
                (Ok(_), None) => trouble = Some(Trouble::Odd("a reply that nobody waits for")),
                (Err(why), _) => trouble = Some(why),
            }
        }
        let read = if let Some(trouble) = trouble { Err(trouble) } else { read(session, &open, &mut found) };
        // Of a list that failed as well: the connection goes on.
        for (_, handle) in &open {
            calls.send(&Request::Close(handle))?;
        }
        while !calls.is_done() {
            calls.receive()?;
        }
        read?;
    }
    Ok(found)
}

/// Reads open folders to their ends, all at once.
fn read(
    session: &Session,
    open: &[(&String, Vec<u8>)],
    found: &mut Vec<(String, Entry)>,
) -> Result<(), Trouble> {
    let (mut calls, mut asked) = (session.calls(), BTreeMap::new());
    for (folder, handle) in open {
        asked.insert(calls.send(&Request::ReadFolder(handle))?, (*folder, handle));
    }
    while !calls.is_done() {
        let (id, reply) = calls.receive()?;
        let (folder, handle) = asked.remove(&id).ok_or(Trouble::Odd("a reply that nobody waits for"))?;
        match reply {
            Reply::Names(entries) => {
                found.extend(entries.into_iter().map(|entry| (folder.clone(), entry)));
                asked.insert(calls.send(&Request::ReadFolder(handle))?, (folder, handle));
            }
            Reply::Status(Status { code: Code::End, .. }) => {}
            Reply::Status(status) => return Err(Trouble::Status(status)),
            _ => return Err(Trouble::Odd("something else than names")),
        }
    }
    Ok(())
}

/// Makes folders, each below one that is there or stands before it. Those that are there stay as they are.
pub(super) fn make(session: &Session, above: &[String], folders: &[String]) -> Result<(), Trouble> {
    // One after the other: each is in the one before.
    for folder in above {
        made(session, folder, done(session.call(&Request::MakeFolder(folder))?))?;
    }
    let (mut calls, mut asked) = (session.calls(), BTreeMap::new());
    let mut left = folders.iter();
    loop {
        while calls.has_room() {
            let Some(folder) = left.next() else { break };
            asked.insert(calls.send(&Request::MakeFolder(folder))?, folder);
        }
        if calls.is_done() {
            return Ok(());
        }
        let (id, reply) = calls.receive()?;
        let folder = asked.remove(&id).ok_or(Trouble::Odd("a reply that nobody waits for"))?;
        made(session, folder, done(reply))?;
    }
}

/// That it could not be made is no trouble where it is there.
fn made(session: &Session, folder: &str, result: Result<(), Trouble>) -> Result<(), Trouble> {
    match result {
        Err(Trouble::Status(status)) => match details(session.call(&Request::Stat(folder))?) {
            Ok(found) if found.is_folder => Ok(()),
            Ok(_) => Err(Trouble::Odd("a file where a folder should be")),
            Err(_) => Err(Trouble::Status(status)),
        },
        result => result,
    }
}
