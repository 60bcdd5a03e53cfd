//! The envelope: a tar within age, written and read as a stream.
//!
//! age proves that no byte was changed, added or left out by anybody without the key; the manifest proves that each file
//! is what was collected. Both are checked, and what comes after the last file must be the end.

use std::io::{self, BufReader, Read, Write};

use age::DecryptError;
use age::stream::StreamReader;
use campanile_common::id::Digest;
use ring::digest::{Context, SHA256};

use super::Recipient;
use super::key::Identities;
use super::manifest::{self, FileEntry, Manifest, ManifestError};
use super::tar::{self, BLOCK, Member};

const COPY_BYTES: usize = 64 * 1024;

/// A backup that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// None of the identities opens it.
    #[error("none of these identities opens it: it was encrypted to other recipients")]
    WrongIdentity,
    /// Not an age file.
    #[error("it is no backup of an aggregator, or its beginning is damaged: {0}")]
    Foreign(String),
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Damaged or cut off.
    #[error("it is damaged or cut off, at {at}: {detail}; take another backup")]
    Damaged {
        /// Within what.
        at: String,
        /// How it shows.
        detail: String,
    },
    /// What was read cannot be kept.
    #[error("cannot write {name}")]
    Write {
        /// Which file.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// Writes a whole backup. `open` gives the content of each file; `proceed` is asked now and then.
///
/// # Errors
/// When reading or writing fails, a file is not as the manifest says, or `proceed` says no.
pub(super) fn write<W: Write, R: Read>(
    recipients: &[Recipient],
    manifest: &Manifest,
    out: W,
    mut open: impl FnMut(&str) -> io::Result<R>,
    proceed: &dyn Fn() -> io::Result<()>,
) -> io::Result<W> {
    let recipients = recipients.iter().map(|one| -> &dyn age::Recipient { one });
    let sealed = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
    let mut out = sealed.wrap_output(out)?;
    let (bytes, modified_s) = (manifest.to_bytes(), manifest.created.as_secs());
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    begin(&mut out, manifest::NAME, length, modified_s)?;
    out.write_all(&bytes)?;
    pad(&mut out, length)?;
    for file in &manifest.files {
        begin(&mut out, &file.name, file.bytes, modified_s)?;
        let found = copy(&mut open(&file.name)?.take(file.bytes), &mut out, proceed)?;
        if found != (file.bytes, file.sha256) {
            return Err(io::Error::other(format!("{} changed while it was saved", file.name)));
        }
        pad(&mut out, file.bytes)?;
    }
    out.write_all(&[0; 2 * BLOCK])?;
    out.finish()
}

fn begin(out: &mut impl Write, name: &str, bytes: u64, modified_s: u64) -> io::Result<()> {
    let member = Member { name: name.to_owned(), bytes };
    let block = tar::header(&member, modified_s);
    let block = block.ok_or_else(|| io::Error::other(format!("{name} is longer than a tar can hold")))?;
    out.write_all(&block)
}

fn pad(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    out.write_all(&[0; BLOCK][..tar::padding(bytes)])
}

/// Copies everything; gives its length and SHA-256.
pub(super) fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    proceed: &dyn Fn() -> io::Result<()>,
) -> io::Result<(u64, Digest)> {
    let (mut context, mut bytes, mut buffer) = (Context::new(&SHA256), 0, vec![0; COPY_BYTES]);
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        proceed()?;
        to.write_all(&buffer[..length])?;
        context.update(&buffer[..length]);
        bytes += u64::try_from(length).unwrap_or(u64::MAX);
    }
    let digest = context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
    Ok((bytes, Digest::from_bytes(digest)))
}

/// A backup that is being read, after its manifest.
pub(super) struct Archive<R: Read> {
    stream: StreamReader<BufReader<R>>,
}

impl<R: Read> Archive<R> {
    /// Opens the envelope and reads the manifest.
    ///
    /// # Errors
    /// When it is none, was made for others, is damaged, or of a later format.
    pub(super) fn open(input: R, identities: &Identities) -> Result<(Manifest, Self), ArchiveError> {
        let keys = identities.0.iter().map(|one| -> &dyn age::Identity { one });
        let opened = age::Decryptor::new_buffered(BufReader::new(input)).and_then(|file| file.decrypt(keys));
        let stream = opened.map_err(|error| match error {
            DecryptError::NoMatchingKeys => ArchiveError::WrongIdentity,
            other => ArchiveError::Foreign(other.to_string()),
        })?;
        let mut archive = Self { stream };
        let member = archive.member(manifest::NAME)?;
        if member.name != manifest::NAME || member.bytes > manifest::BYTES_MAX {
            let detail = format!("{} ({} bytes) is no manifest", member.name, member.bytes);
            return Err(damaged(manifest::NAME, detail));
        }
        let mut bytes = Vec::new();
        let (copied, _) = archive.content(&member, &mut bytes)?;
        debug_assert_eq!(copied, member.bytes);
        Ok((Manifest::parse(&bytes)?, archive))
    }

    /// Reads the next file, which must be `expected`, into `to`.
    ///
    /// # Errors
    /// When it is another, or damaged, or cannot be written.
    pub(super) fn file(&mut self, expected: &FileEntry, to: &mut impl Write) -> Result<(), ArchiveError> {
        let member = self.member(&expected.name)?;
        if member.name != expected.name || member.bytes != expected.bytes {
            let detail = format!("{} ({} bytes) is there instead", member.name, member.bytes);
            return Err(damaged(&expected.name, detail));
        }
        let (_, digest) = self.content(&member, to)?;
        if digest != expected.sha256 {
            return Err(damaged(&expected.name, "its content is not what the manifest says".to_owned()));
        }
        Ok(())
    }

    /// Reads to the end, where nothing may be but zeros.
    ///
    /// # Errors
    /// When something is, or the end is missing.
    pub(super) fn finish(mut self) -> Result<(), ArchiveError> {
        let (mut buffer, mut zeros) = (vec![0; COPY_BYTES], 0);
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) if zeros >= 2 * BLOCK => return Ok(()),
                Ok(0) => return Err(damaged("its end", "it ends too early".to_owned())),
                Ok(length) if buffer[..length].iter().all(|byte| *byte == 0) => zeros += length,
                Ok(_) => return Err(damaged("its end", "more follows than the manifest lists".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(damaged("its end", error.to_string())),
            }
        }
    }

    fn member(&mut self, expected: &str) -> Result<Member, ArchiveError> {
        let mut block = [0; BLOCK];
        self.stream.read_exact(&mut block).map_err(|error| damaged(expected, error.to_string()))?;
        tar::read_header(&block).ok_or_else(|| damaged(expected, "its header cannot be read".to_owned()))
    }

    fn content(&mut self, member: &Member, to: &mut impl Write) -> Result<(u64, Digest), ArchiveError> {
        let mut to = Noting { to, failed: None };
        let copied = copy(&mut (&mut self.stream).take(member.bytes), &mut to, &|| Ok(()));
        if let Some(source) = to.failed {
            return Err(ArchiveError::Write { name: member.name.clone(), source });
        }
        let (bytes, digest) = copied.map_err(|error| damaged(&member.name, error.to_string()))?;
        if bytes != member.bytes {
            return Err(damaged(&member.name, "it ends too early".to_owned()));
        }
        let mut rest = [0; BLOCK];
        let rest = &mut rest[..tar::padding(bytes)];
        self.stream.read_exact(rest).map_err(|error| damaged(&member.name, error.to_string()))?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(damaged(&member.name, "its padding is not empty".to_owned()));
        }
        Ok((bytes, digest))
    }
}

fn damaged(at: &str, detail: String) -> ArchiveError {
    ArchiveError::Damaged { at: at.to_owned(), detail }
}

/// Tells a failure to write from one to read.
struct Noting<'a, W> {
    to: &'a mut W,
    failed: Option<io::Error>,
}

impl<W: Write> Write for Noting<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes).map_err(|error| {
            let told = io::Error::from(error.kind());
            self.failed = (error.kind() != io::ErrorKind::Interrupted).then_some(error);
            told
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests;
