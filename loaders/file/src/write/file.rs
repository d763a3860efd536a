//! One file or object of a format other than Parquet: encoded off the runtime's threads, invisible until published.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrowload_common_object_store::{blocking, from_io, from_store};
use arrowload_core::{Error, ErrorKind, Result};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};

use super::output::{Buffer, Output};
use super::{Encoder, Layout, encoder};

/// Parts of an upload that may be on their way at once.
const PARTS_AT_ONCE: usize = 4;
/// The bytes of a part: above the 5 MiB that S3 asks for.
const PART_BYTES: usize = 8 << 20;

/// One file or object that is being written, or is complete and not yet visible.
pub(super) struct PlainFile {
    encoder: Option<Box<dyn Encoder>>,
    /// The local path, or the object's.
    path: PathBuf,
    upload: Option<(Upload, Buffer)>,
    bytes: Arc<AtomicU64>,
}

impl PlainFile {
    /// Writes a new local file.
    pub(super) fn local(path: &Path, layout: &Layout) -> Result<Self> {
        let file = File::create_new(path).map_err(|error| from_io(path, error))?;
        let bytes = Arc::<AtomicU64>::default();
        let encoder = encoder(Output::file(file, Arc::clone(&bytes)), path, layout)?;
        Ok(Self {
            encoder: Some(encoder),
            path: path.to_owned(),
            upload: None,
            bytes,
        })
    }

    /// Uploads a new object.
    pub(super) async fn upload(
        store: &Arc<dyn ObjectStore>,
        path: &StorePath,
        layout: &Layout,
    ) -> Result<Self> {
        let upload = store.put_multipart(path).await.map_err(from_store)?;
        let upload = Upload(Some(WriteMultipart::new_with_chunk_size(
            upload, PART_BYTES,
        )));
        let (buffer, bytes) = (Buffer::default(), Arc::<AtomicU64>::default());
        let path = PathBuf::from(path.to_string());
        let encoder = encoder(
            Output::buffer(buffer.clone(), Arc::clone(&bytes)),
            &path,
            layout,
        )?;
        Ok(Self {
            encoder: Some(encoder),
            path,
            upload: Some((upload, buffer)),
            bytes,
        })
    }

    pub(super) async fn write(&mut self, batch: &RecordBatch, first_row: u64) -> Result<()> {
        let batch = batch.clone();
        self.encode(move |encoder| encoder.write(&batch, first_row))
            .await?;
        self.send(PARTS_AT_ONCE).await
    }

    /// Writes the end. A local file is on the disk then; of an object, all but the last part has arrived.
    pub(super) async fn finish(&mut self) -> Result<()> {
        self.encode(|encoder| encoder.finish()).await?;
        self.encoder = None;
        self.send(0).await
    }

    async fn encode(
        &mut self,
        work: impl FnOnce(&mut dyn Encoder) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let torn = || {
            Error::new(
                ErrorKind::Unexpected,
                "an earlier write failed or was cancelled half-way",
            )
        };
        let mut encoder = self.encoder.take().ok_or_else(torn)?;
        let encoder = blocking(move || {
            work(encoder.as_mut())?;
            Ok(encoder)
        });
        self.encoder = Some(encoder.await?);
        Ok(())
    }

    async fn send(&mut self, most: usize) -> Result<()> {
        let Some((Upload(Some(upload)), buffer)) = &mut self.upload else {
            return Ok(());
        };
        upload.put(buffer.take().into());
        upload.wait_for_capacity(most).await.map_err(from_store)
    }

    /// Makes an uploaded object visible.
    pub(super) async fn publish(mut self) -> Result<()> {
        match self.upload.as_mut().and_then(|(upload, _)| upload.0.take()) {
            Some(upload) => upload.finish().await.map(drop).map_err(from_store),
            None => Ok(()),
        }
    }

    /// Gives up an upload. A local file goes with its stage.
    pub(super) async fn abort(mut self) -> Result<()> {
        match self.upload.as_mut().and_then(|(upload, _)| upload.0.take()) {
            Some(upload) => upload.abort().await.map_err(from_store),
            None => Ok(()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Encoded bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Tells the store, when it is dropped, that the parts are not wanted.
struct Upload(Option<WriteMultipart>);

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(upload) = self.0.take() else { return };
        // Without a runtime the parts stay, invisible, until the store's rule for incomplete uploads removes them.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::debug!(%error, "an upload that is not wanted could not be aborted");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use arrow_array::Int64Array;
    use arrowload_common_parquet::Compression;

    use super::*;
    use crate::{FileOptions, Format};

    const FORMATS: [(Format, Compression); 6] = [
        (Format::Csv, Compression::None),
        (Format::Csv, Compression::Gzip(6)),
        (Format::Ndjson, Compression::None),
        (Format::Ndjson, Compression::Zstd(3)),
        (Format::Arrow, Compression::None),
        (Format::ArrowStream, Compression::Lz4),
    ];

    fn rows() -> RecordBatch {
        let ids = Arc::new(Int64Array::from_iter_values(0..500_000));
        RecordBatch::try_from_iter([("id", ids as _)]).expect("a batch")
    }

    fn layout(format: Format, codec: Compression) -> Layout {
        Layout {
            format,
            codec,
            schema: rows().schema(),
            options: FileOptions::default(),
        }
    }

    /// Writes to something that is not a disk, and says why that failed.
    async fn failure(to: File, layout: &Layout) -> Error {
        let (path, bytes) = (PathBuf::from("x"), Arc::<AtomicU64>::default());
        let written = match encoder(Output::file(to, Arc::clone(&bytes)), &path, layout) {
            Err(error) => Err(error),
            Ok(encoder) => {
                let mut file = PlainFile {
                    encoder: Some(encoder),
                    path,
                    upload: None,
                    bytes,
                };
                match file.write(&rows(), 0).await {
                    Ok(()) => file.finish().await,
                    refused => refused,
                }
            }
        };
        written.expect_err("nothing can be written there")
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_device_and_a_closed_pipe_are_errors_with_a_kind() {
        for (format, codec) in FORMATS {
            let layout = layout(format, codec);
            let full = File::options().write(true).open("/dev/full");
            let error = failure(full.expect("a device"), &layout).await;
            assert_eq!(
                (error.kind(), error.is_transient()),
                (ErrorKind::ResourceExhausted, false),
                "{format:?} {codec}: {error:?}"
            );
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let error = failure(OwnedFd::from(writer).into(), &layout).await;
            assert_eq!(
                (error.kind(), error.is_transient()),
                (ErrorKind::Io, false),
                "{format:?} {codec}: {error:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_encoder_that_panics_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        for (format, codec) in FORMATS {
            let path = folder.path().join(format!("{format:?}{codec}"));
            let mut file = PlainFile::local(&path, &layout(format, codec)).expect("a file");
            let error = file.encode(|_| panic!("out of luck")).await;
            let error = error.expect_err("it panicked");
            assert_eq!(error.kind(), ErrorKind::Unexpected);
            assert!(error.message().contains("out of luck"), "{error}");
            assert!(file.write(&rows(), 0).await.is_err(), "it is broken");
            file.abort().await.expect("aborted");
        }
    }
}
