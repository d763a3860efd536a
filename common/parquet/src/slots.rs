//! The open partitions of a writer: what waits, which files are open, and what goes first when memory is short.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::RecordBatch;
use arrowload_common_object_store::from_store;
use arrowload_core::{Result, batch_bytes};
use object_store::path::{Path, PathPart};

use crate::FileNaming;
use crate::file::{OpenFile, Shared, StagedFile, Task};
use crate::partition::Partition;

/// Rows are given to the encoders in pieces of at most this many rows, so that all cores have something to do …
const PIECE_ROWS: usize = 1 << 16;
/// … and of about this many bytes, so that many small batches cost little more than a large one.
const PIECE_BYTES: usize = 4 << 20;
/// Closed files whose last bytes may still be on their way.
const CLOSING_FILES: usize = 8;

/// All partitions of one writer; without partitions, one slot with an empty key.
pub(crate) struct Slots {
    shared: Arc<Shared>,
    naming: FileNaming,
    slots: HashMap<String, Slot>,
    closing: Vec<Task>,
    staged: Vec<StagedFile>,
    files_begun: usize,
    open_files: usize,
    pending_bytes: usize,
    /// Counts writes, to know which file has waited longest.
    clock: u64,
}

/// One partition: its rows that are not yet encoded, and its file.
#[derive(Default)]
struct Slot {
    partition: Option<Arc<Partition>>,
    pending: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    file: Option<OpenFile>,
    used: u64,
}

impl Slots {
    pub(crate) fn new(shared: Arc<Shared>, naming: FileNaming) -> Self {
        Self {
            shared,
            naming,
            slots: HashMap::new(),
            closing: Vec::new(),
            staged: Vec::new(),
            files_begun: 0,
            open_files: 0,
            pending_bytes: 0,
            clock: 0,
        }
    }

    /// Adds rows to a partition, and encodes what has gathered once it is worth it.
    pub(crate) async fn push(
        &mut self,
        partition: Option<Arc<Partition>>,
        batch: RecordBatch,
    ) -> Result<()> {
        self.clock += 1;
        let key = partition
            .as_ref()
            .map_or("", |partition| partition.folder.as_str());
        for start in (0..batch.num_rows()).step_by(PIECE_ROWS) {
            let piece = batch.slice(start, PIECE_ROWS.min(batch.num_rows() - start));
            let bytes = batch_bytes(&piece);
            self.pending_bytes += bytes;
            if !self.slots.contains_key(key) {
                self.slots.insert(
                    key.to_owned(),
                    Slot {
                        partition: partition.clone(),
                        ..Slot::default()
                    },
                );
            }
            let Some(slot) = self.slots.get_mut(key) else {
                continue;
            };
            slot.used = self.clock;
            slot.rows += piece.num_rows();
            slot.bytes += bytes;
            slot.pending.push(piece);
            if slot.rows >= PIECE_ROWS || slot.bytes >= PIECE_BYTES {
                self.flush(key).await?;
            }
        }
        Ok(())
    }

    /// Gives the rows that wait to the encoders, in a file that is opened if there is none.
    async fn flush(&mut self, key: &str) -> Result<()> {
        let Some(slot) = self.slots.get_mut(key) else {
            return Ok(());
        };
        if slot.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut slot.pending);
        let bytes = std::mem::take(&mut slot.bytes);
        slot.rows = 0;
        self.pending_bytes -= bytes;
        if slot.file.is_none() {
            self.make_room().await?;
            self.open(key, &pending)?;
        }
        let Some(file) = self.slots.get_mut(key).and_then(|slot| slot.file.as_mut()) else {
            return Ok(());
        };
        file.write(pending, bytes).await?;
        if self
            .shared
            .options
            .max_file_bytes
            .is_some_and(|limit| file.encoded_bytes() >= limit)
        {
            self.close(key).await?;
        }
        Ok(())
    }

    fn open(&mut self, key: &str, first: &[RecordBatch]) -> Result<()> {
        let partition = self.slots.get(key).and_then(|slot| slot.partition.clone());
        let index = self.files_begun;
        // The folders are encoded already: parsing takes them as they are, collecting would encode them again.
        let folder = Path::parse(key).map_err(|error| from_store(error.into()))?;
        let name = self.naming.name(index);
        let path: Path = folder
            .parts()
            .chain([PathPart::from(name.as_str())])
            .collect();
        let file = OpenFile::open(self.shared.clone(), index, path, partition, first)?;
        self.files_begun += 1;
        self.open_files += 1;
        self.slots.entry(key.to_owned()).or_default().file = Some(file);
        Ok(())
    }

    /// Closes the file that has waited longest, if as many are open as may be.
    async fn make_room(&mut self) -> Result<()> {
        if self.open_files < self.shared.options.max_open_files {
            return Ok(());
        }
        let open = self.slots.iter().filter(|(_, slot)| slot.file.is_some());
        let oldest = open
            .min_by_key(|(_, slot)| slot.used)
            .map(|(key, _)| key.clone());
        match oldest {
            Some(key) => self.close(&key).await,
            None => Ok(()),
        }
    }

    async fn close(&mut self, key: &str) -> Result<()> {
        let Some(slot) = self.slots.get_mut(key) else {
            return Ok(());
        };
        if let Some(file) = slot.file.take() {
            self.open_files -= 1;
            self.closing.push(file.close().await?);
        }
        if slot.pending.is_empty() {
            self.slots.remove(key);
        }
        self.reap(CLOSING_FILES).await
    }

    /// Takes in the files that are done, and waits for the oldest while more than `most` are not.
    async fn reap(&mut self, most: usize) -> Result<()> {
        let mut at = 0;
        while at < self.closing.len() {
            if self.closing[at].is_finished() || self.closing.len() > most {
                self.staged.push(self.closing.remove(at).wait().await?);
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// Brings memory below its limit: first what waits is encoded, then row groups are ended, the largest first.
    pub(crate) async fn relieve(&mut self) -> Result<()> {
        self.reap(CLOSING_FILES).await?;
        let half = self.shared.options.memory_limit_bytes / 2;
        while self.pending_bytes > half {
            let largest = self
                .slots
                .iter()
                .max_by_key(|(_, slot)| slot.bytes)
                .map(|(key, _)| key.clone());
            let Some(key) = largest else { break };
            self.flush(&key).await?;
        }
        // One open file holds one row group, which is what was asked for.
        while self.open_files > 1 {
            let held = |slot: &Slot| slot.file.as_ref().map_or(0, OpenFile::memory_bytes);
            let (mut all, mut largest) = (0, (0, None));
            for (key, slot) in &self.slots {
                let bytes = held(slot);
                all += bytes;
                if bytes > largest.0 {
                    largest = (bytes, Some(key.clone()));
                }
            }
            let Some(file) = largest
                .1
                .and_then(|key| self.slots.get_mut(&key)?.file.as_mut())
            else {
                break;
            };
            if all <= half {
                break;
            }
            file.end_group().await?;
        }
        Ok(())
    }

    /// Encodes what waits, closes every file, and gives them in the order they were begun. After an error all that was
    /// written is removed.
    pub(crate) async fn finish(mut self) -> Result<Vec<StagedFile>> {
        if let Err(error) = self.close_all().await {
            // What came first is what the caller should hear of.
            if let Err(abort) = self.abort().await {
                tracing::debug!(%abort, "what was staged could not be removed");
            }
            return Err(error);
        }
        self.staged.sort_by_key(|file| file.index);
        Ok(self.staged)
    }

    async fn close_all(&mut self) -> Result<()> {
        let mut keys: Vec<_> = self.slots.keys().cloned().collect();
        keys.sort_unstable();
        for key in keys {
            self.flush(&key).await?;
            self.close(&key).await?;
        }
        if self.files_begun == 0 && self.shared.options.partition_by.is_empty() {
            // No rows are a result too: a file that has the columns and nothing in them.
            self.open("", &[])?;
            self.close("").await?;
        }
        self.reap(0).await
    }

    /// Removes everything; the first failure is told after all was tried.
    pub(crate) async fn abort(self) -> Result<()> {
        self.shared.cancelled.store(true, Ordering::Relaxed);
        let mut first = Ok(());
        for file in self.slots.into_values().filter_map(|slot| slot.file) {
            file.abort().await;
        }
        let mut staged = self.staged;
        for task in self.closing {
            // A file that failed has removed itself.
            staged.extend(task.wait().await);
        }
        for file in staged {
            first = first.and(file.sink.abort().await);
        }
        first
    }
}
