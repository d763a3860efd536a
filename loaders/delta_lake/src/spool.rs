//! The rows of an upsert on the local disk, until it is known which of them stay.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::SchemaRef;
use arrowload_core::Result;

use crate::keys::KeyHash;

/// Batches and the hashes of their keys, in two files that have no names and vanish with the process.
pub(crate) struct Spool {
    batches: StreamWriter<BufWriter<File>>,
    hashes: BufWriter<File>,
    pub(crate) rows: u64,
}

/// What was spooled.
pub(crate) struct Spooled {
    batches: File,
    hashes: File,
    pub(crate) rows: u64,
}

impl Spool {
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self> {
        let batches = StreamWriter::try_new(
            BufWriter::with_capacity(1 << 20, tempfile::tempfile()?),
            schema,
        )?;
        Ok(Self {
            batches,
            hashes: BufWriter::new(tempfile::tempfile()?),
            rows: 0,
        })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch, hashes: &[KeyHash]) -> Result<()> {
        self.batches.write(batch)?;
        for [low, high] in hashes {
            self.hashes.write_all(&low.to_le_bytes())?;
            self.hashes.write_all(&high.to_le_bytes())?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Spooled> {
        let batches = self
            .batches
            .into_inner()?
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        let hashes = self
            .hashes
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        Ok(Spooled {
            batches,
            hashes,
            rows: self.rows,
        })
    }
}

impl Spooled {
    /// The hashes of the keys, in the order of the rows.
    pub(crate) fn hashes(&self, mut each: impl FnMut(u64, KeyHash)) -> Result<()> {
        let mut file = &self.hashes;
        file.rewind()?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut bytes = [0; 16];
        for row in 0..self.rows {
            reader.read_exact(&mut bytes)?;
            let hash = u128::from_le_bytes(bytes);
            each(row, [hash as u64, (hash >> 64) as u64]);
        }
        Ok(())
    }

    /// The batches, in their order.
    pub(crate) fn batches(
        &self,
    ) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send + 'static> {
        let mut file = self.batches.try_clone()?;
        file.rewind()?;
        let reader = StreamReader::try_new(BufReader::with_capacity(1 << 20, file), None)?;
        Ok(reader.map(|batch| Ok(batch?)))
    }
}
