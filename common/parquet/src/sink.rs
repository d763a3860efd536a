//! Where the bytes of one file go: a multipart upload, or a temporary file beside the final name.
//!
//! Both have two steps. Staging brings every byte to where it will stay; publishing gives it its name.

use std::sync::Arc;

use arrowload_core::Result;
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;

use crate::destination::{Destination, Place};
use crate::local::{Folders, LocalSink, LocalStaged, Naming};
use crate::upload::{Upload, UploadStaged};

/// Takes the bytes of a file that is being written. Dropping it removes them, as far as that can be done at once.
pub(crate) enum Sink {
    Local(LocalSink),
    Upload(Upload),
}

/// All bytes of a file, under no name yet. Dropping it removes them, as [`Sink`] does.
#[derive(Debug)]
pub(crate) enum StagedSink {
    Local(LocalStaged),
    Upload(UploadStaged),
}

/// Makes the sinks of one writer.
pub(crate) enum Sinks {
    Local(Arc<Folders>, Naming),
    Store(Arc<dyn ObjectStore>, Path),
}

impl Sinks {
    pub(crate) fn new(destination: Destination, sync: bool) -> Self {
        match destination.place {
            Place::Local(folder) => {
                let in_place = folder.in_place;
                Self::Local(Arc::new(Folders::new(folder)), Naming { in_place, sync })
            }
            Place::Store(store, prefix) => Self::Store(store, prefix),
        }
    }

    pub(crate) async fn create(&self, path: &Path) -> Result<Sink> {
        Ok(match self {
            Self::Local(folders, naming) => {
                Sink::Local(LocalSink::create(folders.clone(), path.clone(), *naming).await?)
            }
            Self::Store(store, prefix) => {
                Sink::Upload(Upload::create(store, &join(prefix, path)).await?)
            }
        })
    }
}

impl Sink {
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match self {
            Self::Local(sink) => sink.write(bytes).await,
            Self::Upload(sink) => sink.write(bytes).await,
        }
    }

    pub(crate) async fn stage(self) -> Result<StagedSink> {
        Ok(match self {
            Self::Local(sink) => StagedSink::Local(sink.stage().await?),
            Self::Upload(sink) => StagedSink::Upload(sink.stage().await?),
        })
    }

    pub(crate) async fn abort(self) -> Result<()> {
        match self {
            Self::Local(sink) => sink.abort().await,
            Self::Upload(sink) => sink.abort().await,
        }
    }
}

impl StagedSink {
    pub(crate) async fn publish(&mut self) -> Result<()> {
        match self {
            Self::Local(staged) => staged.publish().await,
            Self::Upload(staged) => staged.publish().await,
        }
    }

    pub(crate) async fn abort(self) -> Result<()> {
        match self {
            Self::Local(staged) => staged.abort().await,
            Self::Upload(staged) => staged.abort().await,
        }
    }
}

/// `path` below `prefix`, both as they are: percent signs in Hive folders must not be encoded again.
fn join(prefix: &Path, path: &Path) -> Path {
    prefix.parts().chain(path.parts()).collect()
}
