//! A file as a multipart upload: parts go out while later rows are encoded; completing it makes it visible.

use std::sync::Arc;

use arrowload_common_object_store::{from_join, from_store};
use arrowload_core::Result;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::task::JoinSet;

/// The bytes of a part. Above the 5 MiB that S3 asks for, and all equal but the last, as R2 asks.
const PART_BYTES: usize = 8 << 20;
/// The parts in progress at once, for each file.
const PARTS_IN_FLIGHT: usize = 4;

/// An upload that takes bytes.
pub(crate) struct Upload {
    upload: Guard,
    parts: JoinSet<object_store::Result<()>>,
    buffer: Vec<Bytes>,
    buffered: usize,
}

/// An upload whose parts have all arrived.
#[derive(Debug)]
pub(crate) struct UploadStaged {
    upload: Guard,
}

/// Tells the store, when it is dropped, that the parts are not wanted.
#[derive(Debug)]
struct Guard(Option<Box<dyn MultipartUpload>>);

impl Upload {
    pub(crate) async fn create(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<Self> {
        let upload = Guard(Some(store.put_multipart(path).await.map_err(from_store)?));
        Ok(Self {
            upload,
            parts: JoinSet::new(),
            buffer: Vec::new(),
            buffered: 0,
        })
    }

    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        while self.buffered + bytes.len() >= PART_BYTES {
            let rest = bytes.split_off(PART_BYTES - self.buffered);
            self.buffer.push(std::mem::replace(&mut bytes, rest));
            self.send().await?;
        }
        if !bytes.is_empty() {
            self.buffered += bytes.len();
            self.buffer.push(bytes);
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<()> {
        while self.parts.len() >= PARTS_IN_FLIGHT {
            self.next_part().await?;
        }
        let payload: PutPayload = std::mem::take(&mut self.buffer).into_iter().collect();
        self.buffered = 0;
        if let Some(upload) = &mut self.upload.0 {
            self.parts.spawn(upload.put_part(payload));
        }
        Ok(())
    }

    async fn next_part(&mut self) -> Result<()> {
        match self.parts.join_next().await {
            Some(Ok(result)) => result.map_err(from_store),
            Some(Err(error)) => Err(from_join(error)),
            None => Ok(()),
        }
    }

    pub(crate) async fn stage(mut self) -> Result<UploadStaged> {
        if self.buffered > 0 {
            self.send().await?;
        }
        while !self.parts.is_empty() {
            self.next_part().await?;
        }
        Ok(UploadStaged {
            upload: self.upload,
        })
    }

    pub(crate) async fn abort(mut self) -> Result<()> {
        self.parts.shutdown().await;
        self.upload.abort().await
    }
}

impl UploadStaged {
    pub(crate) async fn publish(&mut self) -> Result<()> {
        if let Some(upload) = &mut self.upload.0 {
            upload.complete().await.map_err(from_store)?;
            self.upload.0 = None;
        }
        Ok(())
    }

    pub(crate) async fn abort(mut self) -> Result<()> {
        self.upload.abort().await
    }
}

impl Guard {
    async fn abort(&mut self) -> Result<()> {
        match self.0.take() {
            Some(mut upload) => match upload.abort().await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(from_store(error)),
            },
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(mut upload) = self.0.take() else {
            return;
        };
        // Best effort: without a runtime, or when it is shutting down, the parts stay, invisible, until the store's
        // own rule for incomplete uploads removes them.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::debug!(%error, "an upload that is not wanted could not be aborted");
                }
            });
        }
    }
}
