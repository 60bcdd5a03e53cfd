//! Reads a packet part by part; what is not there is an error.

use super::{CodecError, Details, HAS_MODE};

const HAS_SIZE: u32 = 0x01;
const HAS_OWNER: u32 = 0x02;
const HAS_TIMES: u32 = 0x08;
const HAS_MORE: u32 = 0x8000_0000;
const KIND_BITS: u32 = 0o170_000;
const KIND_FOLDER: u32 = 0o040_000;

/// What is left of a packet.
pub(super) struct Rest<'a>(pub(super) &'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CodecError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], CodecError> {
        self.take(LENGTH)?.try_into().map_err(|_| CodecError::Damaged)
    }

    pub(super) fn byte(&mut self) -> Result<u8, CodecError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn number(&mut self) -> Result<u32, CodecError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn long(&mut self) -> Result<u64, CodecError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn text(&mut self) -> Result<&'a [u8], CodecError> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| CodecError::Damaged)?)
    }

    pub(super) fn details(&mut self) -> Result<Details, CodecError> {
        let has = self.number()?;
        let mut details = Details::default();
        if has & HAS_SIZE != 0 {
            details.size = Some(self.long()?);
        }
        if has & HAS_OWNER != 0 {
            self.take(8)?;
        }
        if has & HAS_MODE != 0 {
            details.is_folder = self.number()? & KIND_BITS == KIND_FOLDER;
        }
        if has & HAS_TIMES != 0 {
            self.number()?;
            details.modified = Some(self.number()?);
        }
        if has & HAS_MORE != 0 {
            for _ in 0..self.number()? {
                self.text()?;
                self.text()?;
            }
        }
        Ok(details)
    }
}
