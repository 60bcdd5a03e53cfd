//! Writes the journal anew without what is past.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use campanile_common::authority::RunId;
use campanile_common::time::Timestamp;

use super::record::{self, Header, Record};
use super::{Journal, JournalError, KnownRun, ending, preallocate, u64_of};
use crate::os::file::sync_folder;
use crate::steward::output::KeptOutput;

/// Writes a file of this header and these frames in place of the one at `path`. The folder is still to be synced.
pub(super) fn write(path: &Path, header: &Header, frames: &[Vec<u8>]) -> io::Result<File> {
    let temporary = path.with_extension("new");
    let written = (|| {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&header.to_bytes())?;
        frames.iter().try_for_each(|frame| file.write_all(frame))?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        Ok(file)
    })();
    if written.is_err() {
        // What is left of the attempt is worthless; failing to remove it changes nothing.
        drop(std::fs::remove_file(&temporary));
    }
    written
}

impl Journal {
    /// Writes the journal anew under `header`, without forgotten runs and reported outputs. Whatever fails, the old
    /// file goes on being the journal.
    pub(super) fn rewrite(&mut self, mut header: Header, now: Timestamp) -> Result<(), JournalError> {
        self.check()?;
        let mut index = self.index.clone();
        index.forget(now);
        let mut carried = vec![Record::Forgotten(index.forgotten)];
        let standing = index.standing.iter().map(|(order, memory)| (*order, *memory));
        carried.extend(standing.map(|(order, memory)| Record::Standing { order, memory }));
        let mut groups = vec![carried];
        // The newest first: where there is no room for all, the oldest outputs go.
        let mut runs: Vec<(&RunId, &KnownRun)> = index.runs.iter().collect();
        runs.sort_by_key(|(_, known)| std::cmp::Reverse(known.started));
        let mut room = self.limits.bytes_max / 2;
        for (run, known) in runs {
            groups.push(self.carry(*run, known, &mut room));
        }
        let count = groups.iter().map(Vec::len).sum::<usize>();
        let frames: Option<Vec<Vec<u8>>> = groups.iter().map(|group| record::to_frame(group)).collect();
        let full = || JournalError::Full { path: self.path.clone(), what: "a record is too long" };
        let frames = frames.ok_or_else(full)?;
        header.carried = u32::try_from(count).map_err(|_| full())?;
        let path = self.path.clone();
        let error = |source| JournalError::Write { path: path.clone(), source };
        let file = write(&self.path, &header, &frames).map_err(&error)?;
        let mut place = u64_of(record::HEADER_BYTES);
        let mut fresh = super::Index::default();
        for (group, frame) in groups.iter().zip(&frames) {
            fresh.apply(group, place);
            place += u64_of(frame.len());
        }
        if let Err(source) = sync_folder(&self.path) {
            // Which of the two files is found after a power cut is open.
            self.failure = Some(source.to_string());
            return Err(error(source));
        }
        (self.file, self.header, self.index) = (file, header, fresh);
        (self.length, self.rewritten) = (place, place);
        self.sequence = self.header.sequence;
        // Best effort: the old file's space is free now, and was enough.
        let reserved = self.reserved.values().sum::<u64>();
        if reserved > 0
            && let Err(error) = preallocate(&self.file, self.length, reserved)
        {
            tracing::warn!(%error, "no space ahead for the outcomes of what runs");
        }
        Ok(())
    }

    /// The records that still matter of one run.
    fn carry(&self, run: RunId, known: &KnownRun, room: &mut u64) -> Vec<Record> {
        let mut records = vec![Record::Received { run, digest: known.digest, expires: known.expires }];
        records.extend(known.started.map(|time| Record::Started { run, time }));
        let Some(finished) = &known.finished else { return records };
        let mut output = KeptOutput::default();
        if finished.output.is_some() {
            let kept = finished.outcome.output_kept;
            if kept <= *room {
                *room -= kept;
                output = self.output(run).unwrap_or_else(|error| {
                    tracing::warn!(%run, %error, "output of an order is lost");
                    KeptOutput::default()
                });
            }
        }
        records.extend(ending(finished.outcome.clone(), output.chunks()));
        if finished.is_reported {
            records.push(Record::Reported(run));
        }
        records
    }
}
