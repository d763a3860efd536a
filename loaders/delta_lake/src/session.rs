//! One load into a table: writes data files that no reader sees, and then one commit that names
//! them.

use arrow_array::RecordBatch;
use arrowload_common_merge::Spool;
use arrowload_common_object_store::blocking;
use arrowload_common_parquet::{FileInfo, ParquetWriter, Staged};
use arrowload_core::{
    ColumnChecksum, Error, ErrorKind, LoadRequest, LoadSession, Mode, Prepared, Receipt, Result,
};

use crate::batch::relabel_batch;
use crate::commit::Outcome;
use crate::lease::Lease;
use crate::load::Load;
use crate::options::DeltaLakeOptions;
use crate::stats::note_nan;
use crate::target::Target;

/// One load into a Delta table.
pub struct DeltaLakeSession {
    load: Load,
    lease: Lease,
    state: State,
}

enum State {
    Writing(Box<ParquetWriter>),
    /// An upsert waits for all its rows.
    Spooling(Box<Spool>),
    /// Complete, under no name.
    Staged(Staged),
    /// Files with their final names, which no commit refers to yet.
    Published(Vec<FileInfo>),
    /// An earlier call failed or was cancelled.
    Torn,
}

fn torn() -> Error {
    Error::new(
        ErrorKind::Unexpected,
        "an earlier call of this load failed or was cancelled; begin a new one",
    )
}

impl DeltaLakeSession {
    pub(crate) async fn begin(
        target: Target,
        request: LoadRequest<DeltaLakeOptions>,
    ) -> Result<Self> {
        let load = Load::new(target, request);
        let state = match load.request.load.mode {
            Mode::Upsert => {
                let schema = &load.target.mapping.schema;
                State::Spooling(Box::new(Spool::new(schema, load.keys()?)?))
            }
            _ => State::Writing(Box::new(load.writer()?)),
        };
        let lease = Lease::take(
            &load.target.place,
            &load.request.load_id,
            &load.attempt,
            load.request.options.lease()?,
        )
        .await?;
        Ok(Self { load, lease, state })
    }

    /// Gives the files their names, which no reader knows yet.
    async fn publish(&mut self) -> Result<Vec<FileInfo>> {
        let staged = match std::mem::replace(&mut self.state, State::Torn) {
            State::Staged(staged) => staged,
            State::Published(files) => return Ok(files),
            _ => return Err(torn()),
        };
        self.lease.has_files();
        // A writer without rows makes one file that has none.
        match staged.files().iter().any(|file| file.rows > 0) {
            true => staged.publish().await,
            false => staged.abort().await.map(|()| Vec::new()),
        }
    }
}

#[cfg(test)]
impl DeltaLakeSession {
    /// Commits, and ends as if the process were killed before it could give its lease back.
    pub(crate) async fn leave_behind(mut self) -> Result<()> {
        let files = self.publish().await?;
        self.load.commit(&files).await.map(drop)
    }
}

impl LoadSession for DeltaLakeSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = self.load.target.columns.run(batch, self.load.rows)?;
        let rows = batch.num_rows() as u64;
        match std::mem::replace(&mut self.state, State::Torn) {
            State::Writing(mut writer) => {
                let batch = relabel_batch(&batch, &self.load.target.file_schema)?;
                note_nan(&batch, &mut self.load.with_nan);
                writer.write(&batch).await?;
                self.state = State::Writing(writer);
            }
            State::Spooling(mut spool) => {
                let written = blocking(move || spool.write(&batch).map(|()| spool));
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
                let staged = writer.finish().await?;
                self.load.removal = match (self.load.request.load.mode, &self.load.target.replaces)
                {
                    (Mode::Overwrite, None) => self.load.overwrite(staged.files())?,
                    _ => replaced,
                };
                let (gone, old) = (self.load.removal.rows, self.load.old_rows()?);
                self.load.request.load.limits().check(0, gone, old)?;
                staged
            }
            State::Spooling(spool) => {
                let spooled = blocking(move || spool.finish()).await?;
                let rows = spooled.rows();
                self.state = State::Staged(self.load.merge(spooled).await?);
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
        let outcome = match self.lease.check() {
            Ok(()) => self.load.commit(&files).await,
            Err(lapsed) => Err(lapsed),
        };
        match outcome {
            Ok(Outcome::Committed(version)) => {
                self.lease.give_back().await;
                Ok(self.load.committed(&files, version).await)
            }
            // The files may be part of the table. The load that finds the lease later will check
            // it.
            Err(error) if error.kind() == ErrorKind::CommitUnknown => Err(error),
            other => {
                if self.load.discard(&files).await {
                    self.lease.give_back().await;
                }
                match other? {
                    Outcome::AlreadyLoaded(receipt) => Ok(receipt.repeated()),
                    Outcome::Committed(_) => Err(torn()),
                }
            }
        }
    }

    async fn abort(mut self) -> Result<()> {
        let all_gone = match std::mem::replace(&mut self.state, State::Torn) {
            State::Writing(writer) => {
                writer.abort().await?;
                true
            }
            State::Staged(staged) => {
                staged.abort().await?;
                true
            }
            State::Published(files) => self.load.discard(&files).await,
            // What wrote files that had no names yet has removed them.
            State::Spooling(_) | State::Torn => !self.lease.may_leave_files(),
        };
        if all_gone {
            self.lease.give_back().await;
        }
        Ok(())
    }
}
