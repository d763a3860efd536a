//! Where encoded bytes go: through a codec into a file, or into a buffer that is drained into an upload.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrowload_common_parquet::Compression;
use flate2::write::GzEncoder;

/// Bytes that wait for an upload.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A file, or a buffer. Counts what it takes.
pub(crate) struct Output {
    to: To,
    bytes: Arc<AtomicU64>,
}

enum To {
    File(BufWriter<File>),
    Buffer(Buffer),
}

impl Output {
    pub(crate) fn file(file: File, bytes: Arc<AtomicU64>) -> Self {
        Self {
            to: To::File(BufWriter::with_capacity(1 << 20, file)),
            bytes,
        }
    }

    pub(crate) fn buffer(buffer: Buffer, bytes: Arc<AtomicU64>) -> Self {
        Self {
            to: To::Buffer(buffer),
            bytes,
        }
    }

    /// Brings what a file has taken onto the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::File(file) => {
                file.flush()?;
                file.get_ref().sync_all()
            }
            To::Buffer(_) => Ok(()),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.to {
            To::File(file) => file.write(bytes)?,
            To::Buffer(buffer) => {
                buffer
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(bytes);
                bytes.len()
            }
        };
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output through a codec.
pub(crate) enum Compressor {
    Plain(Output),
    Gzip(Option<GzEncoder<Output>>),
    Zstd(Option<zstd::Encoder<'static, Output>>),
}

impl Compressor {
    pub(crate) fn new(output: Output, codec: Compression) -> io::Result<Self> {
        Ok(match codec {
            Compression::Gzip(level) => Self::Gzip(Some(GzEncoder::new(
                output,
                flate2::Compression::new(level.into()),
            ))),
            Compression::Zstd(level) => Self::Zstd(Some(zstd::Encoder::new(output, level.into())?)),
            _ => Self::Plain(output),
        })
    }

    /// Writes the end of the codec's stream, and brings it onto the disk.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.sync(),
            Self::Gzip(encoder) => encoder
                .take()
                .map_or(Ok(()), |encoder| encoder.finish()?.sync()),
            Self::Zstd(encoder) => encoder
                .take()
                .map_or(Ok(()), |encoder| encoder.finish()?.sync()),
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
