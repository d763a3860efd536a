//! One data file: on the disk, or in an object store.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use arrowload_common_object_store::{Fault, from_io, said};
use arrowload_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::object_store::path::Path as StorePath;
use datafusion::object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use futures::StreamExt;
use futures::stream::BoxStream;
use tempfile::{NamedTempFile, TempPath};
use tokio::runtime::Handle;

/// A store, and the URL under which the engine knows it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) url: ObjectStoreUrl,
}

impl Store {
    /// The disk.
    pub(crate) fn local() -> Self {
        Self {
            store: Arc::new(LocalFileSystem::new()),
            url: ObjectStoreUrl::local_filesystem(),
        }
    }
}

/// A file.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    pub(crate) store: Store,
    pub(crate) meta: ObjectMeta,
    /// Where it is on the disk, if it exists.
    pub(crate) local: Option<PathBuf>,
    /// As its user knows it.
    shown: Arc<str>,
    /// Its folders below the place that was asked for, for `key=value`.
    pub(crate) folders: Vec<String>,
    /// The local copy that is read instead; it is removed when nothing uses it any more.
    _copy: Option<Arc<TempPath>>,
}

impl DataFile {
    pub(crate) fn new(
        store: Store,
        meta: ObjectMeta,
        local: Option<PathBuf>,
        shown: String,
        folders: Vec<String>,
    ) -> Self {
        Self {
            store,
            meta,
            local,
            shown: shown.into(),
            folders,
            _copy: None,
        }
    }

    /// The same file, where pieces of it can be read: a copy on the disk, if its server returns whole files only. It blocks.
    pub(crate) fn in_pieces(&self) -> Result<Self> {
        let url = self.store.url.as_str();
        let is_web = url.starts_with("http") || url.starts_with("query-");
        if !is_web || self.meta.size == 0 {
            return Ok(self.clone());
        }
        let piece = self.store.store.get_range(&self.meta.location, 0..1);
        match Handle::current().block_on(piece) {
            Ok(_) => return Ok(self.clone()),
            Err(datafusion::object_store::Error::NotSupported { .. }) => {}
            Err(error) => return Err(self.store_error(error)),
        }
        let mut copy = NamedTempFile::new()?;
        let bytes = io::copy(&mut self.open()?, &mut copy).map_err(|error| self.broken(&error))?;
        let path = copy.into_temp_path();
        let location = StorePath::from_absolute_path(&path).map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("the temporary folder has no path: {error}"),
            )
        })?;
        let meta = ObjectMeta {
            location,
            size: bytes,
            ..self.meta.clone()
        };
        Ok(Self {
            store: Store::local(),
            meta,
            local: Some(path.to_path_buf()),
            _copy: Some(Arc::new(path)),
            ..self.clone()
        })
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Its last part.
    pub(crate) fn name(&self) -> &str {
        self.shown.rsplit('/').next().unwrap_or(&self.shown)
    }

    /// A stamp that changes when the content of the file changes.
    pub(crate) fn stamp(&self) -> String {
        let meta = &self.meta;
        format!(
            "{}{} {} {} {:?} {:?}",
            self.store.url.as_str(),
            meta.location,
            meta.size,
            meta.last_modified.timestamp_nanos_opt().unwrap_or_default(),
            meta.e_tag,
            meta.version
        )
    }

    /// Its bytes. It blocks, and must be called where that is allowed.
    pub(crate) fn open(&self) -> Result<Box<dyn Read + Send>> {
        if let Some(path) = &self.local {
            let file = File::open(path).map_err(|error| from_io(path, error))?;
            return Ok(Box::new(file));
        }
        let runtime = Handle::current();
        let got = runtime
            .block_on(self.store.store.get(&self.meta.location))
            .map_err(|error| self.store_error(error))?;
        Ok(Box::new(Streamed {
            runtime,
            stream: got.into_stream(),
            current: Bytes::new(),
        }))
    }

    /// The error of a store at this file.
    pub(crate) fn store_error(&self, error: datafusion::object_store::Error) -> Error {
        store_error(&self.shown, error)
    }

    /// The error of its bytes.
    pub(crate) fn broken(&self, error: &io::Error) -> Error {
        let fault = Fault::beneath(error).unwrap_or_else(|| Fault::of_io(error));
        let message = format!("`{}` could not be read: {error}", self.shown);
        let error = Error::new(fault.kind, message).with("file", &self.shown);
        if fault.transient {
            error.transient()
        } else {
            error
        }
    }
}

/// The error of a store at a place.
pub(crate) fn store_error(shown: &str, error: datafusion::object_store::Error) -> Error {
    let fault = Fault::of_store(&error);
    let why = said(&error);
    let message = match fault.kind {
        ErrorKind::NotFound => format!("there is no file `{shown}`"),
        ErrorKind::PermissionDenied | ErrorKind::Authentication => {
            format!("`{shown}` may not be read: {why}")
        }
        _ => format!("`{shown}` could not be read: {why}"),
    };
    fault.error(message, error)
}

/// The bytes of a store as a reader that blocks.
struct Streamed {
    runtime: Handle,
    stream: BoxStream<'static, datafusion::object_store::Result<Bytes>>,
    current: Bytes,
}

impl Read for Streamed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(bytes) => self.current = bytes.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let piece = self.current.split_to(buffer.len().min(self.current.len()));
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}
