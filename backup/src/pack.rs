//! Packs: sealed blobs one after another, and behind them a sealed header that says what they are.
//!
//! Header entries are a type byte, lengths in little endian, and the blob's identifier. The last four bytes of a pack
//! are the header's length. A blob that does not get shorter by compression is stored as it is.

use std::io;

use serde::{Deserialize, Serialize};

use crate::chunker::CHUNK_BYTES_MAX;
use crate::id::ObjectId;
use crate::key::{MasterKey, NotAuthentic, OVERHEAD_BYTES};

/// A pack with so many bytes is closed; the blob that reaches it is within.
pub const PACK_BYTES: usize = 16 << 20;
/// No header is longer: 16 MiB of the shortest blobs.
const HEADER_BYTES_MAX: usize = 20 << 20;
/// Text and records get as short as at level 3, where restic's `auto` is, at two thirds of the time; level 1 loses a
/// third on text in large chunks.
const COMPRESSION_LEVEL: i32 = 2;
/// Room for a pack, taken at once: memory that is not written to costs nothing, growing would hold the pack twice. More
/// than 32 MiB, so that the allocator always gives it back (`M_MMAP_THRESHOLD`, mallopt(3)).
const PACK_ROOM_BYTES: usize = 33 << 20;
const PLAIN_ENTRY_BYTES: usize = 1 + 4 + 32;
const COMPRESSED_ENTRY_BYTES: usize = 1 + 4 + 4 + 32;
/// Of the header's length at the end.
const LENGTH_BYTES: usize = 4;
/// No blob is longer, whatever an index says: the largest chunk, or the tree of a folder of some 100,000 files.
pub const BLOB_BYTES_MAX: u32 = 512 << 20;

/// What a blob holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobKind {
    /// Content of files.
    Data,
    /// A folder.
    Tree,
}

/// Kind and identifier of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob {
    /// What it holds.
    pub kind: BlobKind,
    /// The hash of its bytes.
    pub id: ObjectId,
}

/// A blob within a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub blob: Blob,
    /// Where its sealed bytes begin.
    pub offset: u32,
    /// How many sealed bytes.
    pub length: u32,
    /// Bytes after decompression, when it is compressed.
    pub uncompressed: Option<u32>,
}

impl Entry {
    /// Bytes of the blob itself.
    pub fn plain_length(&self) -> u64 {
        let overhead = u32::try_from(OVERHEAD_BYTES).unwrap_or(u32::MAX);
        u64::from(self.uncompressed.unwrap_or(self.length.saturating_sub(overhead)))
    }
}

/// Bytes of a pack that holds these blobs and nothing else, with its header.
pub fn pack_bytes<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> u64 {
    let around = OVERHEAD_BYTES as u64 + LENGTH_BYTES as u64;
    entries.into_iter().fold(around, |sum, entry| {
        let line = if entry.uncompressed.is_some() { COMPRESSED_ENTRY_BYTES } else { PLAIN_ENTRY_BYTES };
        sum + u64::from(entry.length) + line as u64
    })
}

/// Bytes that are no pack, or not the pack they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Too short for what its end says.
    #[error("the pack is cut short")]
    Short,
    /// Its header is not authentic.
    #[error("the pack's header is {0}")]
    Header(#[from] NotAuthentic),
    /// Its header has an unknown entry, or lengths that do not fit.
    #[error("the pack's header says what cannot be")]
    Malformed,
}

/// Bytes that are not the blob they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Altered, or sealed with another key.
    #[error("blob {id} is {source}", id = .0.id, source = .1)]
    Sealed(Blob, NotAuthentic),
    /// Does not decompress to the length it should have.
    #[error("blob {} does not decompress", .0.id)]
    Compression(Blob),
    /// Authentic, but another content than its name says.
    #[error("blob {} has another content than its name says", .0.id)]
    Content(Blob),
}

/// Compresses blobs, with buffers that are kept.
pub struct Compressor {
    context: zstd::bulk::Compressor<'static>,
    buffer: Vec<u8>,
    sealed: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}

/// A blob as a pack holds it.
#[derive(Debug)]
pub struct SealedBlob {
    /// Which.
    pub blob: Blob,
    /// Sealed bytes.
    pub bytes: Vec<u8>,
    /// Bytes after decompression, when it is compressed.
    pub uncompressed: Option<u32>,
}

impl Compressor {
    /// With the level that is always used.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> io::Result<Self> {
        let room = || Vec::with_capacity(zstd::zstd_safe::compress_bound(CHUNK_BYTES_MAX) + OVERHEAD_BYTES);
        let context = zstd::bulk::Compressor::new(COMPRESSION_LEVEL)?;
        Ok(Self { context, buffer: room(), sealed: room() })
    }

    /// What is stored of `plain`: compressed when that is shorter, and the plain length then.
    ///
    /// # Errors
    /// When the library fails; it has no reason to.
    pub fn compress<'a>(&'a mut self, plain: &'a [u8]) -> io::Result<(&'a [u8], Option<u32>)> {
        self.buffer.clear();
        self.buffer.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        self.context.compress_to_buffer(plain, &mut self.buffer)?;
        match u32::try_from(plain.len()) {
            Ok(length) if self.buffer.len() < plain.len() => Ok((&self.buffer, Some(length))),
            _ => Ok((plain, None)),
        }
    }

    /// Compresses and seals a blob.
    ///
    /// # Errors
    /// When the library fails.
    pub fn seal(&mut self, key: &MasterKey, blob: Blob, plain: &[u8]) -> io::Result<SealedBlob> {
        let mut bytes = std::mem::take(&mut self.sealed);
        let (stored, uncompressed) = self.compress(plain)?;
        bytes.clear();
        key.seal(stored, &mut bytes);
        Ok(SealedBlob { blob, bytes, uncompressed })
    }

    /// Takes back what [`Compressor::seal`] gave, for the next one.
    pub fn recycle(&mut self, sealed: SealedBlob) {
        self.sealed = sealed.bytes;
    }
}

/// A pack that is being filled.
#[derive(Debug, Default)]
pub struct PackBuilder {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// A pack that is whole.
#[derive(Debug)]
pub struct Pack {
    /// Its name.
    pub id: ObjectId,
    /// What is stored.
    pub bytes: Vec<u8>,
    /// What is in it.
    pub entries: Vec<Entry>,
}

impl PackBuilder {
    /// Appends a blob.
    ///
    /// # Panics
    /// When the pack grows past 4 GiB: it is closed at [`PACK_BYTES`] and no blob is longer than [`BLOB_BYTES_MAX`].
    pub fn add(&mut self, sealed: &SealedBlob) {
        let in_bounds = |length: usize| u32::try_from(length).expect("a pack is closed long before 4 GiB");
        self.entries.push(Entry {
            blob: sealed.blob,
            offset: in_bounds(self.bytes.len()),
            length: in_bounds(sealed.bytes.len()),
            uncompressed: sealed.uncompressed,
        });
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(PACK_ROOM_BYTES);
        }
        self.bytes.extend_from_slice(&sealed.bytes);
    }

    /// Whether it is time to close it.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= PACK_BYTES
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Closes it with its header.
    pub fn finish(self, key: &MasterKey) -> Pack {
        let Self { mut bytes, entries } = self;
        let mut header = Vec::with_capacity(entries.len() * COMPRESSED_ENTRY_BYTES);
        for entry in &entries {
            let plain_type = match entry.blob.kind {
                BlobKind::Data => 0,
                BlobKind::Tree => 1,
            };
            header.push(if entry.uncompressed.is_some() { plain_type + 2 } else { plain_type });
            header.extend_from_slice(&entry.length.to_le_bytes());
            if let Some(length) = entry.uncompressed {
                header.extend_from_slice(&length.to_le_bytes());
            }
            header.extend_from_slice(&entry.blob.id.0);
        }
        let start = bytes.len();
        key.seal(&header, &mut bytes);
        let length = u32::try_from(bytes.len() - start).expect("a pack is closed long before 4 GiB");
        bytes.extend_from_slice(&length.to_le_bytes());
        Pack { id: ObjectId::of(&bytes), bytes, entries }
    }
}

/// Where the header begins in a pack of `size` bytes, told by its last four bytes, `tail`.
///
/// # Errors
/// When they cannot be right.
pub fn header_start(size: u64, tail: [u8; LENGTH_BYTES]) -> Result<u64, PackError> {
    let length = u32::from_le_bytes(tail);
    let in_bounds =
        usize::try_from(length).is_ok_and(|length| (OVERHEAD_BYTES..=HEADER_BYTES_MAX).contains(&length));
    let start = size.checked_sub(u64::from(length) + LENGTH_BYTES as u64).ok_or(PackError::Short)?;
    if in_bounds { Ok(start) } else { Err(PackError::Malformed) }
}

/// What a pack holds, told by its sealed header alone (without the length behind it), which begins at `start`.
///
/// # Errors
/// When the header is not authentic, or its lengths are not those of what is in front of it.
pub fn read_header(key: &MasterKey, sealed: &mut [u8], start: u64) -> Result<Vec<Entry>, PackError> {
    let mut rest: &[u8] = key.open(sealed)?;
    let mut entries = Vec::with_capacity(rest.len() / COMPRESSED_ENTRY_BYTES);
    let mut offset: u32 = 0;
    while let Some(&kind) = rest.first() {
        let (kind, length) = match kind {
            0 => (BlobKind::Data, PLAIN_ENTRY_BYTES),
            1 => (BlobKind::Tree, PLAIN_ENTRY_BYTES),
            2 => (BlobKind::Data, COMPRESSED_ENTRY_BYTES),
            3 => (BlobKind::Tree, COMPRESSED_ENTRY_BYTES),
            _ => return Err(PackError::Malformed),
        };
        let (entry, behind) = rest.split_at_checked(length).ok_or(PackError::Malformed)?;
        rest = behind;
        let (numbers, id) = entry[1..].split_at(length - 33);
        let number = |at: usize| {
            let bytes = numbers.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_le_bytes)
        };
        let sealed_length = number(0).ok_or(PackError::Malformed)?;
        let id = ObjectId(id.try_into().map_err(|_| PackError::Malformed)?);
        entries.push(Entry {
            blob: Blob { kind, id },
            offset,
            length: sealed_length,
            uncompressed: number(4),
        });
        offset = offset.checked_add(sealed_length).ok_or(PackError::Malformed)?;
    }
    if u64::from(offset) == start { Ok(entries) } else { Err(PackError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opener::open_blob;

    fn pack(key: &MasterKey, plain: &[(BlobKind, Vec<u8>)]) -> Pack {
        let mut compressor = Compressor::new().unwrap();
        let mut builder = PackBuilder::default();
        for (kind, bytes) in plain {
            let blob = Blob { kind: *kind, id: ObjectId::of(bytes) };
            builder.add(&compressor.seal(key, blob, bytes).unwrap());
        }
        builder.finish(key)
    }

    fn header(key: &MasterKey, bytes: &[u8]) -> Result<Vec<Entry>, PackError> {
        let size = bytes.len() as u64;
        let tail = bytes.last_chunk().copied().ok_or(PackError::Short)?;
        let start = header_start(size, tail)?;
        read_header(key, &mut bytes[usize::try_from(start).unwrap()..bytes.len() - 4].to_vec(), start)
    }

    fn plain() -> Vec<(BlobKind, Vec<u8>)> {
        let noise = crate::random::bytes::<1000>().to_vec();
        vec![
            (BlobKind::Data, b"again ".repeat(500)),
            (BlobKind::Tree, b"{\"nodes\":[]}\n".to_vec()),
            (BlobKind::Data, noise),
        ]
    }

    #[test]
    fn a_pack_tells_what_is_in_it_and_gives_it_back() {
        let key = MasterKey::generate();
        let plain = plain();
        let pack = pack(&key, &plain);
        let entries = header(&key, &pack.bytes).unwrap();
        assert_eq!(entries, pack.entries);
        assert!(entries[0].uncompressed == Some(3000) && entries[2].uncompressed.is_none());
        for (entry, (kind, bytes)) in entries.iter().zip(&plain) {
            let start = entry.offset as usize;
            let mut sealed = pack.bytes[start..start + entry.length as usize].to_vec();
            assert_eq!(entry.blob.kind, *kind);
            assert_eq!(&open_blob(&key, entry.blob, &mut sealed, entry.uncompressed).unwrap(), bytes);
            assert_eq!(entry.plain_length(), bytes.len() as u64);
        }
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let key = MasterKey::generate();
        let pack = pack(&key, &plain());
        for at in 0..pack.bytes.len() {
            let mut altered = pack.bytes.clone();
            altered[at] ^= 0x10;
            let in_header = header(&key, &altered).map_or(true, |entries| entries != pack.entries);
            let in_blob = pack.entries.iter().any(|entry| {
                let start = entry.offset as usize;
                let sealed = &mut altered[start..start + entry.length as usize];
                open_blob(&key, entry.blob, sealed, entry.uncompressed).is_err()
            });
            assert!(in_header || in_blob, "byte {at}");
        }
        for length in [0, 3, 4, 40, pack.bytes.len() - 1] {
            assert!(header(&key, &pack.bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn an_authentic_blob_under_another_name_is_refused() {
        let key = MasterKey::generate();
        let mut compressor = Compressor::new().unwrap();
        let blob = Blob { kind: BlobKind::Data, id: ObjectId::of(b"this") };
        let mut sealed = compressor.seal(&key, blob, b"that").unwrap();
        assert_eq!(open_blob(&key, blob, &mut sealed.bytes, None), Err(BlobError::Content(blob)));
    }

    #[test]
    fn a_length_that_is_claimed_is_not_allocated() {
        let key = MasterKey::generate();
        let mut compressor = Compressor::new().unwrap();
        let bytes = b"again ".repeat(100);
        let blob = Blob { kind: BlobKind::Data, id: ObjectId::of(&bytes) };
        for claimed in [u32::MAX, BLOB_BYTES_MAX + 1, 599, 601] {
            let mut sealed = compressor.seal(&key, blob, &bytes).unwrap();
            let opened = open_blob(&key, blob, &mut sealed.bytes, Some(claimed));
            assert_eq!(opened, Err(BlobError::Compression(blob)), "{claimed}");
        }
    }
}
