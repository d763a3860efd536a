//! Arrow IPC, as a file and as a stream.

use std::path::PathBuf;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_cast::cast;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{ArrowError, SchemaRef};
use arrowload_common_object_store::from_io;
use arrowload_common_parquet::Compression;
use arrowload_core::Result;

use super::Encoder;
use super::output::Output;
use crate::error::from_arrow;

fn options(codec: Compression) -> Result<IpcWriteOptions, ArrowError> {
    IpcWriteOptions::default().try_with_compression(match codec {
        Compression::Lz4 => Some(CompressionType::LZ4_FRAME),
        Compression::Zstd(_) => Some(CompressionType::ZSTD),
        _ => None,
    })
}

/// The file format. Its dictionaries hold for the whole file, so those of batches are decoded.
pub(super) struct FileEncoder {
    writer: FileWriter<Output>,
    schema: SchemaRef,
    shown: PathBuf,
}

impl FileEncoder {
    pub(super) fn new(
        output: Output,
        shown: PathBuf,
        schema: &SchemaRef,
        codec: Compression,
    ) -> Result<Self> {
        let writer = options(codec)
            .and_then(|options| FileWriter::try_new_with_options(output, schema, options));
        Ok(Self {
            writer: writer.map_err(|error| from_arrow(&shown, error))?,
            schema: schema.clone(),
            shown,
        })
    }

    fn write_plain(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns
            .map(|(array, field)| cast(array, field.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        self.writer.write(&RecordBatch::try_new_with_options(
            self.schema.clone(),
            columns,
            &rows,
        )?)
    }
}

impl Encoder for FileEncoder {
    fn write(&mut self, batch: &RecordBatch, _: u64) -> Result<()> {
        let same = batch
            .columns()
            .iter()
            .zip(self.schema.fields())
            .all(|(array, field)| array.data_type() == field.data_type());
        let written = if same {
            self.writer.write(batch)
        } else {
            self.write_plain(batch)
        };
        written.map_err(|error| from_arrow(&self.shown, error))
    }

    fn finish(&mut self) -> Result<()> {
        let finished = self.writer.finish();
        finished.map_err(|error| from_arrow(&self.shown, error))?;
        self.writer
            .get_mut()
            .sync()
            .map_err(|error| from_io(&self.shown, error))
    }
}

/// The stream format, in which dictionaries may change from batch to batch.
pub(super) struct StreamEncoder {
    writer: StreamWriter<Output>,
    shown: PathBuf,
}

impl StreamEncoder {
    pub(super) fn new(
        output: Output,
        shown: PathBuf,
        schema: &SchemaRef,
        codec: Compression,
    ) -> Result<Self> {
        let writer = options(codec)
            .and_then(|options| StreamWriter::try_new_with_options(output, schema, options));
        Ok(Self {
            writer: writer.map_err(|error| from_arrow(&shown, error))?,
            shown,
        })
    }
}

impl Encoder for StreamEncoder {
    fn write(&mut self, batch: &RecordBatch, _: u64) -> Result<()> {
        self.writer
            .write(batch)
            .map_err(|error| from_arrow(&self.shown, error))
    }

    fn finish(&mut self) -> Result<()> {
        let finished = self.writer.finish();
        finished.map_err(|error| from_arrow(&self.shown, error))?;
        self.writer
            .get_mut()
            .sync()
            .map_err(|error| from_io(&self.shown, error))
    }
}
