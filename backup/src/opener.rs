//! Opens blobs one after another, with buffers that are kept: nothing is allocated per blob, for those who read whole
//! repositories.

use std::fmt;

use crate::id::ObjectId;
use crate::key::MasterKey;
use crate::pack::{BLOB_BYTES_MAX, Blob, BlobError};

/// A buffer that grew past this is given back after the blob that needed it: no chunk is longer.
const BUFFER_BYTES_KEPT: usize = 8 << 20;

/// Opens, decompresses and compares blobs.
#[derive(Default)]
pub struct Opener {
    context: Option<zstd::bulk::Decompressor<'static>>,
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
    /// The blob in its sealed bytes, which are decrypted in place: authentic, decompressed to `uncompressed` bytes where
    /// it is compressed, and compared with its identifier.
    ///
    /// # Errors
    /// When it is not what `blob` names.
    pub fn open<'a>(
        &'a mut self,
        key: &MasterKey,
        blob: Blob,
        sealed: &'a mut [u8],
        uncompressed: Option<u32>,
    ) -> Result<Opened<'a>, BlobError> {
        let stored: &'a [u8] = key.open(sealed).map_err(|error| BlobError::Sealed(blob, error))?;
        let plain = match uncompressed {
            None => stored,
            Some(length) => self.decompress(stored, length).ok_or(BlobError::Compression(blob))?,
        };
        if ObjectId::of(plain) != blob.id {
            return Err(BlobError::Content(blob));
        }
        Ok(Opened { stored, plain })
    }

    /// None when it does not decompress to just `length` bytes.
    fn decompress(&mut self, compressed: &[u8], length: u32) -> Option<&[u8]> {
        let length = usize::try_from(length).ok().filter(|_| length <= BLOB_BYTES_MAX)?;
        if self.context.is_none() {
            self.context = Some(zstd::bulk::Decompressor::new().ok()?);
        }
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        self.buffer.reserve(length);
        self.context.as_mut()?.decompress_to_buffer(compressed, &mut self.buffer).ok()?;
        (self.buffer.len() == length).then_some(&self.buffer)
    }
}

/// The same for one blob, in bytes of its own.
///
/// # Errors
/// When it is not what `blob` names.
pub fn open_blob(
    key: &MasterKey,
    blob: Blob,
    sealed: &mut [u8],
    uncompressed: Option<u32>,
) -> Result<Vec<u8>, BlobError> {
    Opener::default().open(key, blob, sealed, uncompressed).map(|opened| opened.plain.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{BlobKind, Compressor};

    #[test]
    fn blobs_of_all_sizes_open_one_after_another_and_wrong_ones_do_not() {
        let key = MasterKey::generate();
        let (mut compressor, mut opener) = (Compressor::new().unwrap(), Opener::default());
        let again = b"again ".repeat(2_000_000);
        for length in [600, again.len(), 0, 12, 6_000, 100_000] {
            let plain = &again[..length];
            let blob = Blob { kind: BlobKind::Data, id: ObjectId::of(plain) };
            let sealed = compressor.seal(&key, blob, plain).unwrap();
            let mut open = |blob, uncompressed| {
                let mut bytes = sealed.bytes.clone();
                opener.open(&key, blob, &mut bytes, uncompressed).map(|opened| opened.plain.to_vec())
            };
            assert_eq!(open(blob, sealed.uncompressed).unwrap(), plain);
            let other = Blob { id: ObjectId::of(b"other"), ..blob };
            assert_eq!(open(other, sealed.uncompressed).unwrap_err(), BlobError::Content(other));
            let Some(right) = sealed.uncompressed else { continue };
            for claimed in [right - 1, right + 1, BLOB_BYTES_MAX + 1] {
                assert_eq!(open(blob, Some(claimed)).unwrap_err(), BlobError::Compression(blob), "{claimed}");
            }
        }
    }
}
