//! Output of runs on disk: `outputs/RUN/NODE`, one file for each run on each node that wrote more than a little.
//!
//! Output is kept in memory until it is longer than [`INLINE_BYTES_MAX`], and is then appended to its file as it
//! comes. It is synced before its outcome is acknowledged, together with which short output is stored. All files
//! together take at most [`TOTAL_BYTES_MAX`]: past it the oldest order's go first.

#![expect(clippy::disallowed_methods, reason = "an edge: outputs are files in a folder")]

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_common::authority::RunId;
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::order::OutputChunk;

use super::output::{self, Cursor, Piece};
use super::record::RunKey;

/// Output up to here, with its framing, is stored in the target's record.
pub(super) const INLINE_BYTES_MAX: usize = 4096;
/// Most bytes of all files.
pub(super) const TOTAL_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes read for a reader at once.
const READ_BYTES: usize = 64 * 1024;

/// Output of one run on one node, while it comes.
#[derive(Debug, Default)]
struct Growing {
    /// Framed bytes that are in no file yet.
    memory: Vec<u8>,
    /// Framed bytes in the file.
    written: u64,
    /// Bytes of content.
    content: u64,
}

#[derive(Debug)]
struct Shared {
    growing: HashMap<(RunId, NodeId), Growing>,
    /// Bytes in files of each run, with the time it was submitted.
    files: BTreeMap<(Timestamp, RunId), u64>,
    total: u64,
    most: u64,
}

/// What is to be appended to a file.
#[derive(Debug)]
struct Append {
    run: RunId,
    node: NodeId,
    submitted: Timestamp,
    /// Length of the file before.
    at: u64,
    bytes: Vec<u8>,
    is_synced: bool,
}

/// Handle of the outputs. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Outputs {
    folder: Arc<PathBuf>,
    shared: Arc<Mutex<Shared>>,
}

impl Outputs {
    /// Opens the folder, making it when there is none.
    ///
    /// # Errors
    /// When it is not accessible.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Self::open_with(folder, TOTAL_BYTES_MAX)
    }

    pub(super) fn open_with(folder: &Path, most: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let shared = Shared { growing: HashMap::new(), files: BTreeMap::new(), total: 0, most };
        Ok(Self { folder: Arc::new(folder.to_owned()), shared: Arc::new(Mutex::new(shared)) })
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_folder(&self, run: RunId) -> PathBuf {
        self.folder.join(RunKey(run).to_string())
    }

    fn path(&self, run: RunId, node: NodeId) -> PathBuf {
        self.run_folder(run).join(node.to_string())
    }

    /// Counts the files of known runs and removes those of others. Once, at the start.
    pub(super) fn take_stock(&self, known: &HashMap<RunId, Timestamp>) -> io::Result<()> {
        let by_name: HashMap<String, (RunId, Timestamp)> =
            known.iter().map(|(run, at)| (RunKey(*run).to_string(), (*run, *at))).collect();
        for entry in std::fs::read_dir(&*self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((run, at)) = name.to_str().and_then(|name| by_name.get(name)) else {
                std::fs::remove_dir_all(entry.path())?;
                continue;
            };
            let mut bytes = 0;
            for file in std::fs::read_dir(entry.path())? {
                bytes += file?.metadata()?.len();
            }
            let mut shared = self.lock();
            shared.files.insert((*at, *run), bytes);
            shared.total += bytes;
        }
        Ok(())
    }

    /// Takes a chunk; true when something of it was new. At most `most` bytes are kept.
    pub(super) fn take(&self, run: RunId, node: NodeId, chunk: &OutputChunk, most: u64) -> bool {
        let mut shared = self.lock();
        let growing = shared.growing.entry((run, node)).or_default();
        let Some(bytes) = output::fresh(chunk, growing.content, most) else { return false };
        output::frame(chunk.stream, bytes, &mut growing.memory);
        growing.content += bytes.len() as u64;
        true
    }

    /// Writes what grew too long for memory; with `ended`, the rest of those that have a file, synced. Blocks.
    ///
    /// # Errors
    /// When the disk refuses; what was not written stays in memory and is tried again.
    pub(super) fn flush(
        &self,
        grown: &[(RunId, NodeId, Timestamp)],
        ended: &[(RunId, NodeId, Timestamp)],
    ) -> io::Result<()> {
        let mut appends = Vec::new();
        {
            let shared = self.lock();
            let both = ended.iter().map(|key| (key, true)).chain(grown.iter().map(|key| (key, false)));
            for ((run, node, submitted), is_ended) in both {
                let Some(growing) = shared.growing.get(&(*run, *node)) else { continue };
                let is_long = growing.written > 0 || growing.memory.len() > INLINE_BYTES_MAX;
                let is_taken = appends.iter().any(|a: &Append| (a.run, a.node) == (*run, *node));
                if is_long && !is_taken && (is_ended || !growing.memory.is_empty()) {
                    appends.push(Append {
                        run: *run,
                        node: *node,
                        submitted: *submitted,
                        at: growing.written,
                        bytes: growing.memory.clone(),
                        is_synced: is_ended,
                    });
                }
            }
        }
        for append in &appends {
            self.append(append)?;
            let mut shared = self.lock();
            let length = append.bytes.len();
            if let Some(growing) = shared.growing.get_mut(&(append.run, append.node)) {
                growing.memory.drain(..length);
                growing.written += length as u64;
            }
            *shared.files.entry((append.submitted, append.run)).or_default() += length as u64;
            shared.total += length as u64;
        }
        self.make_room();
        Ok(())
    }

    fn append(&self, append: &Append) -> io::Result<()> {
        let (folder, path) = (self.run_folder(append.run), self.path(append.run, append.node));
        if append.at == 0 {
            std::fs::create_dir_all(&folder)?;
        }
        let mut file = File::options().create(true).truncate(false).write(true).open(&path)?;
        // What is behind is of a run before a restart, or of a write that failed.
        file.set_len(append.at)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(&append.bytes)?;
        if append.is_synced {
            file.sync_data()?;
            File::open(&folder)?.sync_all()?;
            File::open(&*self.folder)?.sync_all()?;
        }
        Ok(())
    }

    fn make_room(&self) {
        loop {
            let oldest = {
                let shared = self.lock();
                if shared.total <= shared.most || shared.files.len() <= 1 {
                    return;
                }
                shared.files.keys().next().copied()
            };
            let Some((submitted, run)) = oldest else { return };
            tracing::warn!(order = %run, "output removed: all output together reached its limit");
            self.remove(run, submitted);
        }
    }

    /// Short output of a run that ended, for its record; none when it has a file or wrote nothing.
    pub(super) fn short(&self, run: RunId, node: NodeId) -> Option<Vec<u8>> {
        let shared = self.lock();
        let growing = shared.growing.get(&(run, node))?;
        (growing.written == 0 && !growing.memory.is_empty()).then(|| growing.memory.clone())
    }

    /// The run's outcome is stored: its output grows no more.
    pub(super) fn finish(&self, run: RunId, node: NodeId) {
        self.lock().growing.remove(&(run, node));
    }

    /// Removes all files of a run. Blocks.
    pub(super) fn remove(&self, run: RunId, submitted: Timestamp) {
        {
            let mut shared = self.lock();
            let bytes = shared.files.remove(&(submitted, run)).unwrap_or(0);
            shared.total -= bytes;
        }
        match std::fs::remove_dir_all(self.run_folder(run)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(order = %run, %error, "output cannot be removed");
            }
            _ => {}
        }
    }

    /// True when growing output has a file, or is to get one.
    pub(super) fn has_file(&self, run: RunId, node: NodeId) -> bool {
        let shared = self.lock();
        let growing = shared.growing.get(&(run, node));
        growing.is_some_and(|growing| growing.written > 0 || growing.memory.len() > INLINE_BYTES_MAX)
    }

    /// True when output of this run on this node is still growing.
    pub(super) fn is_growing(&self, run: RunId, node: NodeId) -> bool {
        self.lock().growing.contains_key(&(run, node))
    }

    /// Bytes of content so far, while it grows.
    pub(super) fn grown(&self, run: RunId, node: NodeId) -> u64 {
        self.lock().growing.get(&(run, node)).map_or(0, |growing| growing.content)
    }

    /// Some of what is at the cursor. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read(&self, run: RunId, node: NodeId, cursor: &mut Cursor) -> io::Result<Vec<Piece>> {
        let written = {
            let shared = self.lock();
            let growing = shared.growing.get(&(run, node));
            match growing {
                Some(growing) if cursor.framed >= growing.written => {
                    let from = usize::try_from(cursor.framed - growing.written).unwrap_or(usize::MAX);
                    let memory = growing.memory.get(from..).unwrap_or_default();
                    return Ok(output::read(memory, cursor, READ_BYTES));
                }
                Some(growing) => Some(growing.written),
                None => None,
            }
        };
        let mut file = match File::open(self.path(run, node)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(cursor.framed))?;
        // Nothing behind what is known to be whole; room for one more whole piece.
        let known = written.map_or(u64::MAX, |written| written - cursor.framed);
        let mut framed = Vec::new();
        file.take(known.min(2 * READ_BYTES as u64)).read_to_end(&mut framed)?;
        Ok(output::read(&framed, cursor, READ_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::id::OrderId;
    use campanile_common::wire::v1::order::OutputStream;

    const NODE: NodeId = NodeId::from_bytes([1; 8]);

    fn run(number: u8) -> RunId {
        RunId { order: OrderId::from_bytes([number; 16]), occurrence: None }
    }

    fn at(number: u64) -> Timestamp {
        Timestamp::from_millis(number)
    }

    fn chunk(offset: u64, bytes: &[u8]) -> OutputChunk {
        OutputChunk { offset, stream: OutputStream::Stdout, bytes: bytes.to_vec() }
    }

    fn everything(outputs: &Outputs, run: RunId) -> Vec<u8> {
        let (mut cursor, mut content) = (Cursor::default(), Vec::new());
        loop {
            let pieces = outputs.read(run, NODE, &mut cursor).unwrap();
            if pieces.is_empty() {
                return content;
            }
            content.extend(pieces.into_iter().flat_map(|piece| piece.bytes));
        }
    }

    #[test]
    fn short_output_makes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(folder.path()).unwrap();
        assert!(outputs.take(run(1), NODE, &chunk(0, b"hello"), 100));
        outputs.flush(&[], &[(run(1), NODE, at(1))]).unwrap();
        assert_eq!(everything(&outputs, run(1)), b"hello");
        assert!(outputs.short(run(1), NODE).is_some());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn long_output_is_read_while_it_grows_and_after_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(folder.path()).unwrap();
        let mut whole = Vec::new();
        for number in 0..20_u8 {
            let bytes = vec![number; 16 * 1024];
            outputs.take(run(1), NODE, &chunk(whole.len() as u64, &bytes), 1 << 20);
            whole.extend(bytes);
            if number % 3 == 0 {
                outputs.flush(&[(run(1), NODE, at(1))], &[]).unwrap();
            }
            assert_eq!(everything(&outputs, run(1)), whole);
        }
        outputs.flush(&[], &[(run(1), NODE, at(1))]).unwrap();
        assert_eq!(outputs.short(run(1), NODE), None);
        outputs.finish(run(1), NODE);
        assert_eq!(everything(&outputs, run(1)), whole);
    }

    #[test]
    fn output_that_begins_anew_after_a_restart_takes_the_place_of_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let old = Outputs::open(folder.path()).unwrap();
        old.take(run(1), NODE, &chunk(0, &[1; 9000]), 1 << 20);
        old.flush(&[(run(1), NODE, at(1))], &[]).unwrap();
        let outputs = Outputs::open(folder.path()).unwrap();
        outputs.take_stock(&HashMap::from([(run(1), at(1))])).unwrap();
        outputs.take(run(1), NODE, &chunk(0, &[2; 5000]), 1 << 20);
        outputs.flush(&[], &[(run(1), NODE, at(1))]).unwrap();
        outputs.finish(run(1), NODE);
        assert_eq!(everything(&outputs, run(1)), [2; 5000]);
    }

    #[test]
    fn past_the_limit_the_oldest_orders_output_goes() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::open_with(folder.path(), 20_000).unwrap();
        for number in 1..=3 {
            outputs.take(run(number), NODE, &chunk(0, &[number; 8000]), 1 << 20);
            outputs.flush(&[], &[(run(number), NODE, at(number.into()))]).unwrap();
            outputs.finish(run(number), NODE);
        }
        assert_eq!(everything(&outputs, run(1)), b"");
        assert_eq!(everything(&outputs, run(2)), [2; 8000]);
        assert_eq!(everything(&outputs, run(3)), [3; 8000]);
    }

    #[test]
    fn files_of_unknown_orders_are_removed_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let old = Outputs::open(folder.path()).unwrap();
        old.take(run(1), NODE, &chunk(0, &[1; 9000]), 1 << 20);
        old.flush(&[(run(1), NODE, at(1))], &[]).unwrap();
        let outputs = Outputs::open(folder.path()).unwrap();
        outputs.take_stock(&HashMap::new()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
