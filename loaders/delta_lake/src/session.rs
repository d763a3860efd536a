//! One load into a table: data files where no reader looks, then one commit that names them.

use arrow_array::{Array, RecordBatch};
use arrowload_common_parquet::{FileInfo, FileNaming, ParquetOptions, ParquetWriter, Staged};
use arrowload_core::{
    ColumnChecksum, Error, ErrorKind, KeyCounts, LoadRequest, LoadSession, Mode, Prepared, Receipt,
    Result,
};

use crate::error::{blocking, from_parquet};
use crate::finish::Load;
use crate::keys::KeyHasher;
use crate::merge::Merge;
use crate::options::DeltaLakeOptions;
use crate::partitions::Partitions;
use crate::physical::relabel_batch;
use crate::removal::{Removal, Rewriter, scan_of};
use crate::spool::{Spool, Spooled};
use crate::stats::note_nan;
use crate::table::{Table, TableFile};
use crate::target::Target;

/// One load into a Delta table.
pub struct DeltaLakeSession {
    load: Load,
    state: State,
}

enum State {
    Writing(Box<ParquetWriter>),
    /// An upsert waits for all its rows.
    Spooling(Box<Spooling>),
    /// Complete, under no name.
    Staged(Staged),
    /// Under their names, in no commit.
    Published(Vec<FileInfo>),
    /// An earlier call failed or was cancelled.
    Torn,
}

struct Spooling {
    spool: Spool,
    hasher: KeyHasher,
    seed: u64,
    null_keys: u64,
}

fn torn() -> Error {
    Error::new(
        ErrorKind::Unexpected,
        "an earlier call of this load failed or was cancelled; begin a new one",
    )
}

impl DeltaLakeSession {
    pub(crate) fn begin(target: Target, request: LoadRequest<DeltaLakeOptions>) -> Result<Self> {
        let load = Load::new(target, request);
        let state = match load.request.mode {
            Mode::Upsert => State::Spooling(Box::new(Spooling::new(&load)?)),
            _ => State::Writing(Box::new(load.writer()?)),
        };
        Ok(Self { load, state })
    }

    /// Gives the files their names, which no reader knows yet.
    async fn publish(&mut self) -> Result<Vec<FileInfo>> {
        let staged = match std::mem::replace(&mut self.state, State::Torn) {
            State::Staged(staged) => staged,
            State::Published(files) => return Ok(files),
            _ => return Err(torn()),
        };
        // A writer without rows makes one file that has none.
        match staged.files().iter().any(|file| file.rows > 0) {
            true => staged.publish().await.map_err(from_parquet),
            false => staged
                .abort()
                .await
                .map(|()| Vec::new())
                .map_err(from_parquet),
        }
    }
}

impl Load {
    fn writer(&self) -> Result<ParquetWriter> {
        let (target, request) = (&self.target, &self.request);
        let mut settings = ParquetOptions {
            write_threads: request.parallelism,
            ..ParquetOptions::default()
        };
        settings.compression = request.options.compression.unwrap_or(settings.compression);
        settings.row_group_rows = request
            .options
            .row_group_rows
            .unwrap_or(settings.row_group_rows);
        settings.max_file_bytes = Some(self.max_file_bytes());
        settings.sync = request.options.sync.unwrap_or(settings.sync);
        settings.partition_by = target.partitions_in_files()?;
        let naming = FileNaming::prefix(format!("part-{}", self.attempt));
        ParquetWriter::new(
            target.place.destination(),
            target.file_schema.clone(),
            settings,
            naming,
        )
        .map_err(from_parquet)
    }

    /// The key columns, as places in the table's schema.
    fn keys(&self) -> Result<Vec<usize>> {
        self.request
            .keys
            .iter()
            .map(|key| Ok(self.target.mapping.schema.index_of(key)?))
            .collect()
    }

    fn old_files(&self) -> Result<Vec<TableFile>> {
        self.target
            .table
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), Table::files)
    }

    /// Writes the rows that `replace_where` leaves.
    async fn replace(&mut self, writer: &mut ParquetWriter) -> Result<Removal> {
        let files = self.old_files()?;
        match &self.target.replaces {
            Some(predicate) => {
                let mut rewriter = Rewriter {
                    writer,
                    file_schema: &self.target.file_schema,
                    with_nan: &mut self.with_nan,
                };
                Removal::matching(&scan_of(&self.target), files, predicate, &mut rewriter).await
            }
            None => Ok(Removal::none()),
        }
    }

    /// Which files an overwrite removes, now that its own are known.
    fn overwrite(&self, new: &[FileInfo]) -> Result<Removal> {
        let files = self.old_files()?;
        if self.request.options.overwrite_partitions {
            let partitions = Partitions::new(
                &self.target.file_schema,
                &self.target.partitions_in_files()?,
            )?;
            return Removal::partitions(files, new, partitions);
        }
        Ok(Removal::files(files, crate::commit::Scope::Whole))
    }

    /// Meets the rows of an upsert with those of the table, and writes what comes of it.
    async fn merge(&mut self, spooled: Spooled, seed: u64, null_keys: u64) -> Result<Staged> {
        let (files, mut writer) = (self.old_files()?, self.writer()?);
        let old_rows: u64 = files.iter().filter_map(|file| file.rows).sum();
        let merge = Merge {
            spooled: &spooled,
            keys: self.keys()?,
            seed,
            scan: scan_of(&self.target),
            options: &self.request.options,
        };
        let mut rewriter = Rewriter {
            writer: &mut writer,
            file_schema: &self.target.file_schema,
            with_nan: &mut self.with_nan,
        };
        let merged = merge.run(files, &mut rewriter).await?;
        self.request
            .limits
            .check(merged.counts.updated, merged.deleted, old_rows)?;
        self.counts = Some(KeyCounts {
            null: null_keys,
            ..merged.counts
        });
        let expected = merged.removal.kept + merged.written;
        self.removal = merged.removal;
        self.deleted = merged.deleted;
        let staged = writer.finish().await.map_err(from_parquet)?;
        let found: u64 = staged.files().iter().map(|file| file.rows).sum();
        if found != expected {
            let message = format!(
                "{expected} rows were written, and the files hold {found}; nothing was published"
            );
            return Err(Error::new(ErrorKind::Verification, message));
        }
        Ok(staged)
    }
}

impl Spooling {
    fn new(load: &Load) -> Result<Self> {
        let seed = uuid::Uuid::now_v7().as_u64_pair().1;
        let schema = &load.target.mapping.schema;
        Ok(Self {
            spool: Spool::new(schema)?,
            hasher: KeyHasher::new(schema, load.keys()?, seed)?,
            seed,
            null_keys: 0,
        })
    }

    fn write(&mut self, batch: &RecordBatch, keys: &[usize]) -> Result<()> {
        let has_null = |row: usize| {
            keys.iter().any(|key| {
                batch
                    .column(*key)
                    .logical_nulls()
                    .is_some_and(|nulls| nulls.is_null(row))
            })
        };
        if keys
            .iter()
            .any(|key| batch.column(*key).logical_null_count() > 0)
        {
            self.null_keys += (0..batch.num_rows()).filter(|row| has_null(*row)).count() as u64;
        }
        let hashes = self.hasher.hash(batch)?;
        self.spool.write(batch, &hashes)
    }
}

impl LoadSession for DeltaLakeSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = self.load.target.arrange(batch, self.load.rows)?;
        let rows = batch.num_rows() as u64;
        match std::mem::replace(&mut self.state, State::Torn) {
            State::Writing(mut writer) => {
                let batch = relabel_batch(&batch, &self.load.target.file_schema)?;
                note_nan(&batch, &mut self.load.with_nan);
                writer.write(&batch).await.map_err(from_parquet)?;
                self.state = State::Writing(writer);
            }
            State::Spooling(mut spooling) => {
                let keys = self.load.keys()?;
                let written = blocking(move || spooling.write(&batch, &keys).map(|()| spooling));
                self.state = State::Spooling(written.await?);
            }
            _ => return Err(torn()),
        }
        self.load.rows += rows;
        Ok(())
    }

    async fn prepare(&mut self) -> Result<Prepared> {
        let staged = match std::mem::replace(&mut self.state, State::Torn) {
            State::Writing(mut writer) => {
                let replaced = self.load.replace(&mut writer).await?;
                let staged = writer.finish().await.map_err(from_parquet)?;
                self.load.removal = match (self.load.request.mode, &self.load.target.replaces) {
                    (Mode::Overwrite, None) => self.load.overwrite(staged.files())?,
                    _ => replaced,
                };
                let removal = &self.load.removal;
                self.load.request.limits.check(
                    0,
                    removal.rows,
                    self.load
                        .old_files()?
                        .iter()
                        .filter_map(|file| file.rows)
                        .sum(),
                )?;
                staged
            }
            State::Spooling(spooling) => {
                let Spooling {
                    spool,
                    seed,
                    null_keys,
                    ..
                } = *spooling;
                let spooled = blocking(move || spool.finish()).await?;
                let rows = spooled.rows;
                self.state = State::Staged(self.load.merge(spooled, seed, null_keys).await?);
                return Ok(Prepared::rows(rows));
            }
            _ => return Err(torn()),
        };
        let written: u64 = staged.files().iter().map(|file| file.rows).sum();
        self.state = State::Staged(staged);
        Ok(Prepared::rows(
            written.saturating_sub(self.load.removal.kept),
        ))
    }

    async fn checksums(&mut self) -> Result<Vec<ColumnChecksum>> {
        let files = self.publish().await?;
        let checksums = crate::verify::checksums(&self.load, &files).await;
        self.state = State::Published(files);
        checksums
    }

    async fn commit(mut self) -> Result<Receipt> {
        let files = self.publish().await?;
        self.load.commit(files).await
    }

    async fn abort(mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Torn) {
            State::Writing(writer) => writer.abort().await.map_err(from_parquet),
            State::Staged(staged) => staged.abort().await.map_err(from_parquet),
            State::Published(files) => {
                self.load.discard(&files).await;
                Ok(())
            }
            State::Spooling(_) | State::Torn => Ok(()),
        }
    }
}
