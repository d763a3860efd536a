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
