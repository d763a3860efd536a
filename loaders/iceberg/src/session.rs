//! One load into a table: writes data files that no reader sees, and then one snapshot that names
//! them.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrowload_common_merge::Spool;
use arrowload_common_object_store::blocking;
use arrowload_common_parquet::{FileInfo, Staged};
use arrowload_core::{
    Checksums, ColumnChecksum, Error, ErrorKind, LoadRequest, LoadSession, Mode, Prepared, Receipt,
    Result,
};

use crate::catalog::Catalog;
use crate::commit::Outcome;
use crate::load::Load;
use crate::options::IcebergOptions;
use crate::target::Target;
use crate::verify::checksums;
use crate::writer::{Noted, Writer};

/// One load into an Iceberg table.
pub struct IcebergSession {
    load: Load,
    state: State,
}

enum State {
    Writing(Box<Writer>),
    /// An upsert waits for all its rows.
    Spooling(Box<Spool>),
    /// Complete, and not yet published.
    Staged(Staged, Box<Noted>),
    /// Files with their final names, which no snapshot refers to yet.
    Published(Vec<FileInfo>, Box<Noted>),
    /// An earlier call failed or was cancelled.
    Torn,
}

fn torn() -> Error {
    Error::new(
        ErrorKind::Unexpected,
        "an earlier call of this load failed or was cancelled; begin a new one",
    )
}

impl IcebergSession {
    pub(crate) async fn begin(
        catalog: Arc<Catalog>,
        target: Target,
        request: LoadRequest<IcebergOptions>,
    ) -> Result<Self> {
        let load = Load::new(catalog, target, request);
        let state = match load.request.load.mode {
            Mode::Upsert => {
                let schema = &load.target.columns;
                State::Spooling(Box::new(Spool::new(schema, load.keys()?)?))
            }
            _ => State::Writing(Box::new(load.writer()?)),
        };
        Ok(Self { load, state })
    }

    /// Gives the files their names, which no reader knows yet.
    async fn publish(&mut self) -> Result<(Vec<FileInfo>, Box<Noted>)> {
        let (staged, noted) = match std::mem::replace(&mut self.state, State::Torn) {
            State::Staged(staged, noted) => (staged, noted),
            State::Published(files, noted) => return Ok((files, noted)),
            _ => return Err(torn()),
        };
        // A writer without rows makes one file that has none.
        let files = match staged.files().iter().any(|file| file.rows > 0) {
            true => staged.publish().await?,
            false => staged.abort().await.map(|()| Vec::new())?,
        };
        Ok((files, noted))
    }
}

impl LoadSession for IcebergSession {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = self.load.target.program.run(batch, self.load.rows)?;
        let rows = batch.num_rows() as u64;
        match std::mem::replace(&mut self.state, State::Torn) {
            State::Writing(mut writer) => {
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
        match std::mem::replace(&mut self.state, State::Torn) {
            State::Writing(mut writer) => {
                self.load.replace(&mut writer).await?;
                let (staged, noted) = writer.finish().await?;
                let written: u64 = staged.files().iter().map(|file| file.rows).sum();
                let partitions = self.load.partitions(staged.files(), &noted)?;
                self.load.overwrite(partitions).await?;
                self.state = State::Staged(staged, Box::new(noted));
                let kept = self.load.removal.kept;
                Ok(Prepared::rows(written.saturating_sub(kept)))
            }
            State::Spooling(spool) => {
                let spooled = blocking(move || spool.finish()).await?;
                let rows = spooled.rows();
                let (staged, noted) = self.load.merge(spooled).await?;
                self.state = State::Staged(staged, Box::new(noted));
                Ok(Prepared::rows(rows))
            }
            _ => Err(torn()),
        }
    }

    async fn checksums(&mut self) -> Result<Vec<ColumnChecksum>> {
        let (files, noted) = self.publish().await?;
        let proved: Result<Checksums> = checksums(&self.load, &files).await;
        self.state = State::Published(files, noted);
        proved.map(Checksums::finish)
    }

    async fn commit(mut self) -> Result<Receipt> {
        let (files, noted) = self.publish().await?;
        match self.load.commit(&files, &noted).await {
            Ok(Outcome::Committed { snapshot, removed }) => {
                Ok(self.load.receipt(&files, snapshot, removed))
            }
            Ok(Outcome::AlreadyLoaded(receipt)) => {
                self.load.discard(&files).await;
                Ok(receipt.repeated())
            }
            // The files may be part of the table.
            Err(error) if error.kind() == ErrorKind::CommitUnknown => Err(error),
            Err(error) => {
                self.load.discard(&files).await;
                Err(error)
            }
        }
    }

    async fn abort(mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Torn) {
            State::Writing(writer) => writer.abort().await,
            State::Staged(staged, _) => staged.abort().await,
            State::Published(files, _) => {
                self.load.discard(&files).await;
                Ok(())
            }
            // What wrote files that had no names yet has removed them.
            State::Spooling(_) | State::Torn => Ok(()),
        }
    }
}
