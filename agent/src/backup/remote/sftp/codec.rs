//! Packets of SFTP version 3 (draft-ietf-secsh-filexfer-02, and what OpenSSH added in its file PROTOCOL). Pure.
//!
//! What comes in is not trusted: every length is compared with what is there before anything is made of it.

mod rest;

use self::rest::Rest;

/// Longest packet that is taken; a part of a file has [`PART_BYTES`].
const PACKET_BYTES_MAX: u32 = 256 * 1024;
/// Bytes of a file in one packet: what every server takes.
pub(super) const PART_BYTES: u32 = 32 * 1024;
const VERSION: u32 = 3;

/// Makes what was written durable.
pub(super) const FSYNC: &str = "fsync@openssh.com";
/// Tells how much room is left.
pub(super) const STATVFS: &str = "statvfs@openssh.com";

const INIT: u8 = 1;
const IS_VERSION: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const FSTAT: u8 = 8;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED: u8 = 200;
const EXTENDED_REPLY: u8 = 201;

const OPEN_READ: u32 = 0x01;
/// Write, make, and only where nothing is.
const OPEN_NEW: u32 = 0x02 | 0x08 | 0x20;
const HAS_MODE: u32 = 0x04;

/// What an open file or folder is called; the server's word.
pub(super) type Handle = Vec<u8>;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request<'a> {
    OpenRead(&'a str),
    /// A file that is not there yet, for its owner alone.
    OpenNew(&'a str),
    Close(&'a [u8]),
    Read {
        handle: &'a [u8],
        offset: u64,
        length: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        bytes: &'a [u8],
    },
    StatHandle(&'a [u8]),
    Stat(&'a str),
    OpenFolder(&'a str),
    ReadFolder(&'a [u8]),
    Remove(&'a str),
    /// A folder for its owner alone.
    MakeFolder(&'a str),
    /// Where nothing has that name.
    Rename {
        from: &'a str,
        to: &'a str,
    },
    Sync(&'a [u8]),
    Room(&'a str),
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Status(Status),
    Handle(Handle),
    Data(Vec<u8>),
    Names(Vec<Entry>),
    Details(Details),
    /// To what OpenSSH added.
    Extended(Vec<u8>),
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: Code,
    pub(super) message: String,
}

/// How something ended, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Ok,
    End,
    Missing,
    Denied,
    Failure,
    /// The other side has no connection, or lost it.
    Disconnected,
    Unsupported,
    Other(u32),
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) details: Details,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Details {
    pub(super) size: Option<u64>,
    pub(super) is_folder: bool,
    /// Seconds since 1970 at which it was changed.
    pub(super) modified: Option<u32>,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Abilities {
    pub(super) has_fsync: bool,
    pub(super) has_statvfs: bool,
}

/// Bytes that are no packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    #[error(
        "a packet of {0} bytes: what answers does not speak SFTP, or a program on the other side prints a text"
    )]
    Length(u32),
    #[error("a packet is cut off or has too much in it")]
    Damaged,
    #[error("a packet of the unknown kind {0}")]
    Kind(u8),
    #[error("a reply to request {0}, which was not made")]
    Unasked(u32),
    #[error("the other side speaks version {0} of SFTP, this program version 3")]
    Version(u32),
}

/// Begins a conversation.
pub(super) fn hello() -> Vec<u8> {
    let mut packet = Packet::new(INIT);
    packet.number(VERSION);
    packet.finish()
}

/// A request under a number that its reply will have.
pub(super) fn encode(id: u32, request: &Request<'_>) -> Vec<u8> {
    let (kind, extension) = match request {
        Request::OpenRead(_) | Request::OpenNew(_) => (OPEN, None),
        Request::Close(_) => (CLOSE, None),
        Request::Read { .. } => (READ, None),
        Request::Write { .. } => (WRITE, None),
        Request::StatHandle(_) => (FSTAT, None),
        Request::Stat(_) => (STAT, None),
        Request::OpenFolder(_) => (OPENDIR, None),
        Request::ReadFolder(_) => (READDIR, None),
        Request::Remove(_) => (REMOVE, None),
        Request::MakeFolder(_) => (MKDIR, None),
        Request::Rename { .. } => (RENAME, None),
        Request::Sync(_) => (EXTENDED, Some(FSYNC)),
        Request::Room(_) => (EXTENDED, Some(STATVFS)),
    };
    let mut packet = Packet::new(kind);
    packet.number(id);
    extension.into_iter().for_each(|name| packet.text(name.as_bytes()));
    match request {
        Request::OpenRead(path) => {
            packet.text(path.as_bytes());
            packet.number(OPEN_READ);
            packet.number(0);
        }
        Request::OpenNew(path) => {
            packet.text(path.as_bytes());
            packet.number(OPEN_NEW);
            packet.number(HAS_MODE);
            packet.number(0o600);
        }
        Request::MakeFolder(path) => {
            packet.text(path.as_bytes());
            packet.number(HAS_MODE);
            packet.number(0o700);
        }
        Request::Close(handle)
        | Request::StatHandle(handle)
        | Request::ReadFolder(handle)
        | Request::Sync(handle) => packet.text(handle),
        Request::Stat(path) | Request::OpenFolder(path) | Request::Remove(path) | Request::Room(path) => {
            packet.text(path.as_bytes());
        }
        Request::Read { handle, offset, length } => {
            packet.text(handle);
            packet.long(*offset);
            packet.number(*length);
        }
        Request::Write { handle, offset, bytes } => {
            packet.text(handle);
            packet.long(*offset);
            packet.text(bytes);
        }
        Request::Rename { from, to } => {
            packet.text(from.as_bytes());
            packet.text(to.as_bytes());
        }
    }
    packet.finish()
}

/// A packet that is being written.
struct Packet(Vec<u8>);

impl Packet {
    fn new(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind])
    }

    fn number(&mut self, number: u32) {
        self.0.extend(number.to_be_bytes());
    }

    fn long(&mut self, number: u64) {
        self.0.extend(number.to_be_bytes());
    }

    fn text(&mut self, bytes: &[u8]) {
        self.number(length_of(bytes));
        self.0.extend(bytes);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = length_of(&self.0[4..]);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// Paths have a few hundred bytes, parts of files [`PART_BYTES`].
fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("packets are short")
}

/// How many bytes follow the four that say it.
pub(super) fn packet_length(bytes: [u8; 4]) -> Result<usize, CodecError> {
    let length = u32::from_be_bytes(bytes);
    let fits = (5..=PACKET_BYTES_MAX).contains(&length);
    usize::try_from(length).ok().filter(|_| fits).ok_or(CodecError::Length(length))
}

/// Reads the answer to [`hello`].
pub(super) fn welcome(packet: &[u8]) -> Result<Abilities, CodecError> {
    let mut rest = Rest(packet);
    match rest.byte()? {
        IS_VERSION => {}
        kind => return Err(CodecError::Kind(kind)),
    }
    let version = rest.number()?;
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let mut abilities = Abilities::default();
    while !rest.0.is_empty() {
        let (name, version) = (rest.text()?, rest.text()?);
        abilities.has_fsync |= name == FSYNC.as_bytes() && version == b"1";
        abilities.has_statvfs |= name == STATVFS.as_bytes() && version == b"2";
    }
    Ok(abilities)
}

/// Reads a reply, and to which request it is.
pub(super) fn decode(packet: &[u8]) -> Result<(u32, Reply), CodecError> {
    let mut rest = Rest(packet);
    let (kind, id) = (rest.byte()?, rest.number()?);
    let reply = match kind {
        STATUS => {
            let code = code(rest.number()?);
            // Old servers leave out the text and its language.
            let message = if rest.0.is_empty() { &[][..] } else { rest.text()? };
            if !rest.0.is_empty() {
                rest.text()?;
            }
            Reply::Status(Status { code, message: shown(message) })
        }
        HANDLE => Reply::Handle(rest.text()?.to_vec()),
        DATA => Reply::Data(rest.text()?.to_vec()),
        NAME => {
            let count = rest.number()?;
            let mut entries = Vec::new();
            for _ in 0..count {
                let name = rest.text()?;
                rest.text()?;
                let details = rest.details()?;
                // A name that is no text is no object.
                if let Ok(name) = std::str::from_utf8(name) {
                    entries.push(Entry { name: name.to_owned(), details });
                }
            }
            Reply::Names(entries)
        }
        ATTRS => Reply::Details(rest.details()?),
        EXTENDED_REPLY => return Ok((id, Reply::Extended(rest.0.to_vec()))),
        kind => return Err(CodecError::Kind(kind)),
    };
    if rest.0.is_empty() { Ok((id, reply)) } else { Err(CodecError::Damaged) }
}

/// Of an answer to [`Request::Room`], how many bytes are left for those who are not root.
pub(super) fn free_bytes(reply: &[u8]) -> Result<u64, CodecError> {
    let mut rest = Rest(reply);
    let (_size, unit) = (rest.long()?, rest.long()?);
    let (_blocks, _free, available) = (rest.long()?, rest.long()?, rest.long()?);
    Ok(available.saturating_mul(unit))
}

fn code(number: u32) -> Code {
    match number {
        0 => Code::Ok,
        1 => Code::End,
        2 => Code::Missing,
        3 => Code::Denied,
        4 => Code::Failure,
        6 | 7 => Code::Disconnected,
        8 => Code::Unsupported,
        number => Code::Other(number),
    }
}

/// Without control characters, and not too long.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

#[cfg(test)]
mod tests;
