//! Opens many blobs one after another, with buffers that are kept.
//!
//! [`open_blob`](crate::pack::open_blob) gives one blob away; here nothing is allocated per blob, for those who read
//! whole repositories: a check, a prune that packs anew, a copy.

use std::fmt;
use std::io;

use crate::id::ObjectId;
use crate::key::MasterKey;
use crate::pack::{BLOB_BYTES_MAX, BlobError, Entry};

/// A buffer that grew past this is given back after the blob that needed it: no chunk is longer.
const BUFFER_BYTES_KEPT: usize = 8 << 20;

/// Opens, decompresses and compares blobs.
pub struct Opener {
    context: zstd::bulk::Decompressor<'static>,
    buffer: Vec<u8>,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}

/// A blob that was compared with its identifier.
#[derive(Debug, Clone, Copy)]
pub struct Opened<'a> {
    /// As it was sealed: compressed or not.
    pub stored: &'a [u8],
    /// The blob itself.
    pub plain: &'a [u8],
}

impl Opener {
    /// With empty buffers.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> io::Result<Self> {
        Ok(Self { context: zstd::bulk::Decompressor::new()?, buffer: Vec::new() })
    }

    /// The blob that `entry` names, out of its sealed bytes, which are decrypted in place.
    ///
    /// # Errors
    /// When it is not that blob.
    pub fn open<'a>(
        &'a mut self,
        key: &MasterKey,
        entry: &Entry,
        sealed: &'a mut [u8],
    ) -> Result<Opened<'a>, BlobError> {
        let blob = entry.blob;
        let stored: &'a [u8] = key.open(sealed).map_err(|error| BlobError::Sealed(blob, error))?;
        let plain = match entry.uncompressed {
            None => stored,
            Some(length) if length <= BLOB_BYTES_MAX => {
                let length = usize::try_from(length).map_err(|_| BlobError::Compression(blob))?;
                self.buffer.clear();
                self.buffer.shrink_to(BUFFER_BYTES_KEPT);
                self.buffer.reserve(length);
                self.context
                    .decompress_to_buffer(stored, &mut self.buffer)
                    .map_err(|_| BlobError::Compression(blob))?;
                if self.buffer.len() != length {
                    return Err(BlobError::Compression(blob));
                }
                &self.buffer
            }
            Some(_) => return Err(BlobError::Compression(blob)),
        };
        if ObjectId::of(plain) != blob.id {
            return Err(BlobError::Content(blob));
        }
        Ok(Opened { stored, plain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{Blob, BlobKind, Compressor};

    #[test]
    fn blobs_of_all_sizes_open_one_after_another_and_wrong_ones_do_not() {
        let key = MasterKey::generate();
        let (mut compressor, mut opener) = (Compressor::new().unwrap(), Opener::new().unwrap());
        let again = b"again ".repeat(2_000_000);
        for length in [600, again.len(), 0, 12, 6_000, 100_000] {
            let plain = &again[..length];
            let blob = Blob { kind: BlobKind::Data, id: ObjectId::of(plain) };
            let sealed = compressor.seal(&key, blob, plain).unwrap();
            let length = u32::try_from(sealed.bytes.len()).unwrap();
            let entry = Entry { blob, offset: 0, length, uncompressed: sealed.uncompressed };
            let opened = opener.open(&key, &entry, &mut sealed.bytes.clone()).unwrap().plain.to_vec();
            assert_eq!(opened, plain);
            let other = Entry { blob: Blob { id: ObjectId::of(b"other"), ..blob }, ..entry };
            let refused = opener.open(&key, &other, &mut sealed.bytes.clone()).unwrap_err();
            assert_eq!(refused, BlobError::Content(other.blob));
            let Some(claimed) = entry.uncompressed else { continue };
            for claimed in [claimed - 1, claimed + 1, BLOB_BYTES_MAX + 1] {
                let other = Entry { uncompressed: Some(claimed), ..entry };
                let refused = opener.open(&key, &other, &mut sealed.bytes.clone()).unwrap_err();
                assert_eq!(refused, BlobError::Compression(blob), "{claimed}");
            }
        }
    }
}
