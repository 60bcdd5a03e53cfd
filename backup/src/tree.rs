//! Trees: a folder's entries, as JSON with every detail that a restore gives back.
//!
//! A tree's identifier is the hash of its text, so that the text is always written alike: entries by name, fields in
//! restic's order, `<`, `>` and `&` escaped, a line feed at the end.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::id::ObjectId;

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodeKind {
    /// A regular file.
    #[serde(rename = "file")]
    File,
    /// A folder.
    #[serde(rename = "dir")]
    Directory,
    /// A symbolic link.
    #[serde(rename = "symlink")]
    Symlink,
    /// A block device.
    #[serde(rename = "dev")]
    BlockDevice,
    /// A character device.
    #[serde(rename = "chardev")]
    CharacterDevice,
    /// A named pipe.
    #[serde(rename = "fifo")]
    Fifo,
    /// A socket: remembered, never restored.
    #[serde(rename = "socket")]
    Socket,
    /// Something that could not be told.
    #[serde(rename = "irregular", alias = "")]
    Irregular,
}

/// A moment of the file system's clock, UTC, to the nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct FileTime {
    /// Since 1970.
    pub seconds: i64,
    /// Below 10^9.
    pub nanoseconds: u32,
}

impl FileTime {
    /// As RFC 3339; years outside 1 to 9999 become the nearest within, which the format cannot say otherwise.
    pub fn to_rfc3339(self) -> String {
        let bounded = self.seconds.clamp(-62_135_596_800, 253_402_300_799);
        OffsetDateTime::from_unix_timestamp(bounded)
            .ok()
            .and_then(|moment| moment.replace_nanosecond(self.nanoseconds.min(999_999_999)).ok())
            .and_then(|moment| moment.format(&Rfc3339).ok())
            .expect("the years 1 to 9999 are written")
    }

    /// The moment one nanosecond before.
    #[must_use]
    pub fn step_back(self) -> Self {
        match self.nanoseconds.checked_sub(1) {
            Some(nanoseconds) => Self { nanoseconds, ..self },
            None => Self { seconds: self.seconds.saturating_sub(1), nanoseconds: 999_999_999 },
        }
    }

    /// Reads RFC 3339 with any offset; none when it is not that.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?.to_offset(UtcOffset::UTC);
        Some(Self { seconds: moment.unix_timestamp(), nanoseconds: moment.nanosecond() })
    }
}

impl fmt::Display for FileTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl Serialize for FileTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for FileTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Self::from_rfc3339(&text).ok_or_else(|| D::Error::custom("not a time in RFC 3339"))
    }
}

/// Permission bits and type as Go's `os.FileMode` numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GoMode(pub u32);

impl GoMode {
    const SETUID: u32 = 1 << 23;
    const SETGID: u32 = 1 << 22;
    const STICKY: u32 = 1 << 20;

    /// Of an entry of this kind with the twelve mode bits of Unix.
    pub const fn new(kind: NodeKind, unix: u32) -> Self {
        let of_kind = match kind {
            NodeKind::File => 0,
            NodeKind::Directory => 1 << 31,
            NodeKind::Symlink => 1 << 27,
            NodeKind::BlockDevice => 1 << 26,
            NodeKind::CharacterDevice => 1 << 26 | 1 << 21,
            NodeKind::Fifo => 1 << 25,
            NodeKind::Socket => 1 << 24,
            NodeKind::Irregular => 1 << 19,
        };
        let mut bits = of_kind | unix & 0o777;
        if unix & 0o4000 != 0 {
            bits |= Self::SETUID;
        }
        if unix & 0o2000 != 0 {
            bits |= Self::SETGID;
        }
        if unix & 0o1000 != 0 {
            bits |= Self::STICKY;
        }
        Self(bits)
    }

    /// The twelve mode bits of Unix.
    pub const fn unix(self) -> u32 {
        let mut unix = self.0 & 0o777;
        if self.0 & Self::SETUID != 0 {
            unix |= 0o4000;
        }
        if self.0 & Self::SETGID != 0 {
            unix |= 0o2000;
        }
        if self.0 & Self::STICKY != 0 {
            unix |= 0o1000;
        }
        unix
    }
}

/// An extended attribute; ACLs are `system.posix_acl_access` and `system.posix_acl_default`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(with = "base64_bytes")]
    pub value: Vec<u8>,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Within its folder.
    #[serde(with = "quoted")]
    pub name: OsString,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: NodeKind,
    /// Permissions.
    #[serde(default)]
    pub mode: GoMode,
    /// Content was changed.
    pub mtime: FileTime,
    /// Was read; the same as `mtime` unless it is asked for.
    pub atime: FileTime,
    /// Content or details were changed.
    pub ctime: FileTime,
    /// Owner.
    #[serde(default)]
    pub uid: u32,
    /// Group.
    #[serde(default)]
    pub gid: u32,
    /// The owner's name on that machine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The group's name on that machine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its number on its file system.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub inode: u64,
    /// Its file system.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub device_id: u64,
    /// Bytes of content.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// How many names it has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub links: u64,
    /// Where a symbolic link leads, as far as that is text; [`Node::target`] is exact.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    linktarget: String,
    /// Where a symbolic link leads, when that is no text.
    #[serde(default, with = "base64_bytes", skip_serializing_if = "Vec::is_empty")]
    linktarget_raw: Vec<u8>,
    /// Extended attributes by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extended_attributes: Vec<Attribute>,
    /// Number of the device that it is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub device: u64,
    /// Chunks of a file's content, in order; none for what is no file.
    pub content: Option<Vec<ObjectId>>,
    /// The folder's own tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtree: Option<ObjectId>,
    /// What could not be read of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

impl Node {
    /// An entry of which nothing but its name and kind is known.
    pub fn bare(name: OsString, kind: NodeKind) -> Self {
        Self {
            name,
            kind,
            mode: GoMode::new(kind, 0o600),
            mtime: FileTime::default(),
            atime: FileTime::default(),
            ctime: FileTime::default(),
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            inode: 0,
            device_id: 0,
            size: 0,
            links: 0,
            linktarget: String::new(),
            linktarget_raw: Vec::new(),
            extended_attributes: Vec::new(),
            device: 0,
            content: (kind == NodeKind::File).then(Vec::new),
            subtree: None,
            error: String::new(),
        }
    }

    /// Appends the text that stands for it in a tree.
    pub fn append_json(&self, text: &mut Vec<u8>) {
        for byte in serde_json::to_vec(self).expect("texts and numbers are written") {
            // As Go does, for the sake of equal hashes. None of the three has a meaning in JSON but within texts.
            match byte {
                b'<' => text.extend_from_slice(b"\\u003c"),
                b'>' => text.extend_from_slice(b"\\u003e"),
                b'&' => text.extend_from_slice(b"\\u0026"),
                other => text.push(other),
            }
        }
    }

    /// Where a symbolic link leads.
    pub fn target(&self) -> OsString {
        if self.linktarget_raw.is_empty() {
            OsString::from(&self.linktarget)
        } else {
            OsString::from_vec(self.linktarget_raw.clone())
        }
    }

    /// Says where a symbolic link leads.
    pub fn set_target(&mut self, target: OsString) {
        match target.into_string() {
            Ok(text) => (self.linktarget, self.linktarget_raw) = (text, Vec::new()),
            Err(target) => {
                self.linktarget = target.to_string_lossy().into_owned();
                self.linktarget_raw = target.into_vec();
            }
        }
    }
}

/// In front of the entries in the text of a tree.
pub const PREFIX: &[u8] = b"{\"nodes\":[";
/// Behind them.
pub const SUFFIX: &[u8] = b"]}\n";

/// The entries of a folder, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Ordered by the bytes of their names, no name twice.
    pub nodes: Vec<Node>,
}

/// Text that is no tree, or one that must not be restored.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Not the JSON of one.
    #[error("not a tree")]
    Malformed(#[source] serde_json::Error),
    /// An entry's name leads elsewhere.
    #[error("an entry is called {0:?}, which is no name of a file")]
    Name(OsString),
    /// Two entries have one name, or they are not in order.
    #[error("the entry {0:?} is there twice or out of order")]
    Order(OsString),
}

impl Tree {
    /// The text that is stored.
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = PREFIX.to_vec();
        for (number, node) in self.nodes.iter().enumerate() {
            if number > 0 {
                text.push(b',');
            }
            node.append_json(&mut text);
        }
        text.extend_from_slice(SUFFIX);
        text
    }

    /// Reads a stored tree. Every name in it is that of one entry of one folder: never empty, `.`, `..` or a path.
    ///
    /// # Errors
    /// When it is not one.
    pub fn from_json(json: &[u8]) -> Result<Self, TreeError> {
        let tree: Self = serde_json::from_slice(json).map_err(TreeError::Malformed)?;
        let mut previous: Option<&Node> = None;
        for node in &tree.nodes {
            let bytes = node.name.as_bytes();
            if matches!(bytes, b"" | b"." | b"..") || bytes.contains(&b'/') || bytes.contains(&0) {
                return Err(TreeError::Name(node.name.clone()));
            }
            if previous.is_some_and(|previous| previous.name.as_bytes() >= bytes) {
                return Err(TreeError::Order(node.name.clone()));
            }
            previous = Some(node);
        }
        Ok(tree)
    }

    /// The entry of a name.
    pub fn find(&self, name: &std::ffi::OsStr) -> Option<&Node> {
        let at = self.nodes.binary_search_by(|node| node.name.as_bytes().cmp(name.as_bytes())).ok()?;
        self.nodes.get(at)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

mod quoted {
    use std::borrow::Cow;
    use std::ffi::OsString;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::name;

    pub(super) fn serialize<S: Serializer>(name: &OsString, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&name::quote(name))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OsString, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        name::unquote(&text).ok_or_else(|| D::Error::custom("not a quoted name"))
    }
}

mod base64_bytes {
    use std::borrow::Cow;

    use data_encoding::BASE64;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    /// Go writes an absent list of bytes as null.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        match Option::<Cow<'_, str>>::deserialize(deserializer)? {
            None => Ok(Vec::new()),
            Some(text) => BASE64.decode(text.as_bytes()).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> FileTime {
        FileTime::from_rfc3339(text).unwrap()
    }

    #[test]
    fn times_are_read_with_any_offset_and_written_in_utc() {
        let moment = FileTime { seconds: 1_777_803_240, nanoseconds: 120_000_000 };
        assert_eq!(time("2026-05-03T12:14:00.12+02:00"), moment);
        assert_eq!(moment.to_rfc3339(), "2026-05-03T10:14:00.12Z");
        assert_eq!(time("0001-01-01T00:00:00Z").seconds, -62_135_596_800);
        let far = FileTime { seconds: i64::MAX, nanoseconds: 0 };
        assert_eq!(far.to_rfc3339(), "9999-12-31T23:59:59Z");
        assert_eq!(FileTime::from_rfc3339("yesterday"), None);
    }

    #[test]
    fn modes_keep_their_twelve_bits_and_name_the_kind() {
        for bits in [0, 0o644, 0o4755, 0o2755, 0o1777, 0o7777] {
            assert_eq!(GoMode::new(NodeKind::File, bits).unix(), bits);
        }
        // As `restic cat` shows them for /tmp and /dev/null.
        assert_eq!(GoMode::new(NodeKind::Directory, 0o1777).0, 2_148_532_735);
        assert_eq!(GoMode::new(NodeKind::CharacterDevice, 0o666).0, 69_206_454);
    }

    #[test]
    fn a_tree_is_written_as_restic_writes_it() {
        let mut file = Node::bare("a<b>&c".into(), NodeKind::File);
        file.mtime = time("2026-05-03T10:14:00Z");
        file.content = Some(vec![ObjectId([0x11; 32])]);
        file.size = 3;
        let mut link = Node::bare("link".into(), NodeKind::Symlink);
        link.set_target(OsString::from_vec(b"to/\xff\xfe".to_vec()));
        link.set_target(OsString::from("to/there"));
        let tree = Tree { nodes: vec![file, link] };
        let json = tree.to_json();
        let text = String::from_utf8(json.clone()).unwrap();
        assert!(text.starts_with(r#"{"nodes":[{"name":"a\u003cb\u003e\u0026c","type":"file","mode":384,"mtime":"2026-05-03T10:14:00Z""#), "{text}");
        assert!(
            text.contains(r#""linktarget":"to/there","content":null}]}"#) && text.ends_with('\n'),
            "{text}"
        );
        assert_eq!(Tree::from_json(&json).unwrap(), tree);
    }

    #[test]
    fn a_link_to_bytes_that_are_no_text_survives() {
        let target = OsString::from_vec(b"\xff/x".to_vec());
        let mut link = Node::bare("link".into(), NodeKind::Symlink);
        link.set_target(target.clone());
        let tree = Tree { nodes: vec![link] };
        assert_eq!(Tree::from_json(&tree.to_json()).unwrap().nodes[0].target(), target);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", "a/b", "/etc", "a\\x00b"] {
            let json = format!(
                r#"{{"nodes":[{{"name":"{name}","type":"fifo","mtime":"2026-05-03T10:14:00Z",
                "atime":"2026-05-03T10:14:00Z","ctime":"2026-05-03T10:14:00Z","content":null}}]}}"#
            );
            let refused = Tree::from_json(json.as_bytes());
            assert!(
                matches!(refused, Err(TreeError::Name(_) | TreeError::Malformed(_))),
                "{name}: {refused:?}"
            );
        }
    }

    #[test]
    fn entries_are_in_order_and_there_once() {
        let node = |name: &str| Node::bare(name.into(), NodeKind::Fifo);
        for names in [["b", "a"], ["a", "a"]] {
            let tree = Tree { nodes: names.map(node).to_vec() };
            assert!(matches!(Tree::from_json(&tree.to_json()), Err(TreeError::Order(_))), "{names:?}");
        }
        let tree = Tree { nodes: ["a", "a.b", "a0"].map(node).to_vec() };
        let tree = Tree::from_json(&tree.to_json()).unwrap();
        assert!(tree.find("a.b".as_ref()).is_some() && tree.find("b".as_ref()).is_none());
    }
}
