//! Batches into the bytes of formats other than Parquet, and the bytes into a file or an upload.

mod csv;
mod ipc;
mod ndjson;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowload_common_parquet::Compression;
use arrowload_core::{Error, ErrorKind, Result};
use flate2::write::GzEncoder;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};

use crate::error::{blocking, from_io, from_store};
use crate::options::{FileOptions, Format};

/// Turns batches into bytes. Blocks.
trait Encoder: Send {
    /// Takes a batch; `first_row` is the number of its first row in the load.
    fn write(&mut self, batch: &RecordBatch, first_row: u64) -> Result<()>;

    /// Writes what comes last, and flushes.
    fn finish(&mut self) -> Result<()>;
}

/// Where bytes go: a file, or a buffer that is drained into an upload.
pub(crate) enum Output {
    File(BufWriter<File>),
    Buffer(Arc<Mutex<Vec<u8>>>),
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Buffer(buffer) => {
                buffer.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => {
                file.flush()?;
                file.get_ref().sync_all()
            }
            Self::Buffer(_) => Ok(()),
        }
    }
}

/// An output behind a codec.
pub(crate) enum Compressor {
    Plain(Output),
    Gzip(Option<GzEncoder<Output>>),
    Zstd(Option<zstd::Encoder<'static, Output>>),
}

impl Compressor {
    fn new(output: Output, codec: Compression) -> io::Result<Self> {
        Ok(match codec {
            Compression::Gzip(level) => Self::Gzip(Some(GzEncoder::new(output, flate2::Compression::new(level.into())))),
            Compression::Zstd(level) => Self::Zstd(Some(zstd::Encoder::new(output, level.into())?)),
            _ => Self::Plain(output),
        })
    }

    /// Writes the end of the codec's stream, and flushes.
    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.flush(),
            Self::Gzip(encoder) => encoder.take().map_or(Ok(()), |encoder| encoder.finish()?.flush()),
            Self::Zstd(encoder) => encoder.take().map_or(Ok(()), |encoder| encoder.finish()?.flush()),
        }
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let ended = || io::Error::other("the file is finished");
        match self {
            Self::Plain(output) => output.write(bytes),
            Self::Gzip(encoder) => encoder.as_mut().ok_or_else(ended)?.write(bytes),
            Self::Zstd(encoder) => encoder.as_mut().ok_or_else(ended)?.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Parts of an upload that may be on their way at once.
const PARTS_AT_ONCE: usize = 4;

/// One file or object that is being written.
pub(crate) struct PlainWriter {
    encoder: Option<Box<dyn Encoder>>,
    shown: PathBuf,
    upload: Option<(WriteMultipart, Arc<Mutex<Vec<u8>>>)>,
    rows: u64,
    bytes: u64,
}

/// What is written, and how.
pub(crate) struct Layout<'a> {
    pub(crate) format: Format,
    pub(crate) codec: Compression,
    pub(crate) schema: &'a SchemaRef,
    pub(crate) options: &'a FileOptions,
}

impl PlainWriter {
    /// Writes a new local file.
    pub(crate) fn to_file(path: &Path, layout: &Layout<'_>) -> Result<Self> {
        let file = File::create_new(path).map_err(|error| from_io(path, error))?;
        let output = Output::File(BufWriter::with_capacity(1 << 20, file));
        Self::new(output, path.to_owned(), None, layout)
    }

    /// Uploads a new object, which nobody sees before it is published.
    pub(crate) async fn to_store(store: &Arc<dyn ObjectStore>, path: &StorePath, layout: &Layout<'_>) -> Result<Self> {
        let upload = WriteMultipart::new(store.put_multipart(path).await.map_err(from_store)?);
        let buffer = Arc::<Mutex<Vec<u8>>>::default();
        let output = Output::Buffer(Arc::clone(&buffer));
        Self::new(output, path.to_string().into(), Some((upload, buffer)), layout)
    }

    fn new(output: Output, shown: PathBuf, upload: Option<(WriteMultipart, Arc<Mutex<Vec<u8>>>)>, layout: &Layout<'_>) -> Result<Self> {
        let Layout { format, codec, schema, options } = layout;
        let compressor = |output| Compressor::new(output, *codec).map_err(|error| from_io(&shown, error));
        let encoder: Box<dyn Encoder> = match format {
            Format::Csv => Box::new(csv::CsvEncoder::new(compressor(output)?, shown.clone(), schema, options)?),
            Format::Ndjson => Box::new(ndjson::NdjsonEncoder::new(compressor(output)?, shown.clone())),
            Format::Arrow => Box::new(ipc::FileEncoder::new(output, shown.clone(), schema, *codec)?),
            Format::ArrowStream => Box::new(ipc::StreamEncoder::new(output, shown.clone(), schema, *codec)?),
            Format::Parquet => return Err(Error::new(ErrorKind::Unexpected, "Parquet has a writer of its own")),
        };
        Ok(Self { encoder: Some(encoder), shown, upload, rows: 0, bytes: 0 })
    }

    /// Encodes a batch off the runtime's threads.
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let (batch, first_row) = (batch.clone(), self.rows);
        self.rows += batch.num_rows() as u64;
        self.encode(move |encoder| encoder.write(&batch, first_row)).await
    }

    async fn encode(&mut self, work: impl FnOnce(&mut dyn Encoder) -> Result<()> + Send + 'static) -> Result<()> {
        let torn = || Error::new(ErrorKind::Unexpected, "an earlier write failed or was cancelled half-way");
        let mut encoder = self.encoder.take().ok_or_else(torn)?;
        let encoder = blocking(move || {
            work(encoder.as_mut())?;
            Ok(encoder)
        });
        self.encoder = Some(encoder.await?);
        self.send().await
    }

    async fn send(&mut self) -> Result<()> {
        let Some((upload, buffer)) = &mut self.upload else { return Ok(()) };
        upload.wait_for_capacity(PARTS_AT_ONCE).await.map_err(from_store)?;
        let bytes = std::mem::take(&mut *buffer.lock().unwrap_or_else(PoisonError::into_inner));
        self.bytes += bytes.len() as u64;
        upload.put(bytes.into());
        Ok(())
    }

    /// Writes the end. A local file is on the disk then.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        self.encode(|encoder| encoder.finish()).await?;
        if self.upload.is_none() {
            self.bytes = std::fs::metadata(&self.shown).map_err(|error| from_io(&self.shown, error))?.len();
        }
        Ok(())
    }

    /// Makes an uploaded object visible.
    pub(crate) async fn publish(self) -> Result<()> {
        match self.upload {
            Some((upload, _)) => upload.finish().await.map(drop).map_err(from_store),
            None => Ok(()),
        }
    }

    /// Gives up an upload.
    pub(crate) async fn abort(self) -> Result<()> {
        match self.upload {
            Some((upload, _)) => upload.abort().await.map_err(from_store),
            None => Ok(()),
        }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}
