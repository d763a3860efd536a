//! Where the files of tables are: object stores and the local disk, as the `iceberg` crate asks for them.
//!
//! All files of a table use the same stores: data files through `common/parquet`, manifests and metadata through this module.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrowload_common_object_store::{blocking, from_io, open};
use arrowload_common_parquet::Destination;
use arrowload_core::{Error, ErrorKind, Result, Secret};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use url::Url;

/// The stores of a connection. Clones share what was opened.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Stores {
    #[serde(skip)]
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    options: BTreeMap<String, Secret>,
    opened: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stores")
    }
}

/// A file or folder of a store.
pub(crate) struct Place {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
}

impl Stores {
    /// With these keys for the object stores.
    pub(crate) fn new(options: BTreeMap<String, Secret>) -> Self {
        let opened = Mutex::default();
        Self {
            shared: Arc::new(Shared { options, opened }),
        }
    }

    /// The same with these keys over those that are known.
    pub(crate) fn with(&self, options: &BTreeMap<String, Secret>) -> Self {
        if options.is_empty() {
            return self.clone();
        }
        let mut all = self.shared.options.clone();
        all.extend(options.clone());
        Self::new(all)
    }

    /// What the `iceberg` crate reads and writes by.
    pub(crate) fn file_io(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(self.clone())).build()
    }

    /// The store of a location, and the path there.
    pub(crate) fn place(&self, location: &str) -> Result<Place> {
        if let Some(path) = local_path(location) {
            let store = self.store("file", || Ok(Arc::new(LocalFileSystem::new())))?;
            let path = Path::from_absolute_path(&path).map_err(|error| outside(location, error))?;
            return Ok(Place { store, path });
        }
        let url = Url::parse(location).map_err(|error| outside(location, error))?;
        let root = format!("{}://{}", url.scheme(), url.authority());
        let store = self.store(&root, || {
            #[cfg(test)]
            if url.scheme() == "faulty" {
                return Ok(crate::tests::store(url.authority()));
            }
            let root = Url::parse(&format!("{root}/")).map_err(|error| outside(location, error))?;
            Ok(open(&root, &self.shared.options)?.0)
        })?;
        // Keys are what is in the location, without escapes.
        let key = location.get(root.len()..).unwrap_or_default();
        let key = key.trim_start_matches('/');
        let path = Path::parse(key).unwrap_or_else(|_| Path::from(key));
        Ok(Place { store, path })
    }

    /// The destination of data files below a location.
    pub(crate) fn destination(&self, location: &str) -> Result<Destination> {
        if let Some(path) = local_path(location) {
            return Ok(Destination::local_in_place(path));
        }
        let place = self.place(location)?;
        Ok(Destination::store(place.store, place.path))
    }

    fn store(
        &self,
        key: &str,
        make: impl FnOnce() -> Result<Arc<dyn ObjectStore>>,
    ) -> Result<Arc<dyn ObjectStore>> {
        let opened = || {
            let opened = self.shared.opened.lock();
            opened.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(store) = opened().get(key) {
            return Ok(Arc::clone(store));
        }
        let store = make()?;
        opened().insert(key.to_owned(), Arc::clone(&store));
        Ok(store)
    }

    fn at(&self, location: &str) -> iceberg::Result<Place> {
        self.place(location).map_err(to_iceberg)
    }

    /// Writes a file whole.
    async fn put(&self, location: &str, parts: Vec<Bytes>) -> iceberg::Result<()> {
        if let Some(path) = local_path(location) {
            let written =
                blocking(move || write_local(&path, &parts).map_err(|error| from_io(&path, error)));
            return written.await.map_err(to_iceberg);
        }
        let place = self.at(location)?;
        let payload: PutPayload = parts.into_iter().collect();
        let written = place.store.put(&place.path, payload).await;
        written.map(drop).map_err(to_iceberg)
    }
}

/// Writes a file to the disk under a temporary name, and renames it when it is there for good: a catalog that a power failure
/// leaves must not name a file that it has taken.
fn write_local(path: &std::path::Path, parts: &[Bytes]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let temporary = folder.join(name);
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        // What is left of it has a hidden name.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    // Folders cannot be opened everywhere.
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .or(Ok(()))
}

/// The path on the local disk that a location means, if it exists. Locations have no escapes.
pub(crate) fn local_path(location: &str) -> Option<PathBuf> {
    let path = match location.strip_prefix("file:") {
        Some(rest) => match rest.strip_prefix("//") {
            Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
            None => rest,
        },
        None => location,
    };
    path.starts_with('/').then(|| PathBuf::from(path))
}

fn outside(location: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let message = format!("`{location}` is no location of a file: {error}");
    Error::new(ErrorKind::InvalidOption, message).with_source(error)
}

fn to_iceberg(error: impl std::error::Error + Send + Sync + 'static) -> iceberg::Error {
    let message = error.to_string();
    iceberg::Error::new(iceberg::ErrorKind::Unexpected, message).with_source(error)
}

#[typetag::serde(name = "arrowload")]
impl StorageFactory for Stores {
    fn build(&self, _: &StorageConfig) -> iceberg::Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
#[typetag::serde(name = "arrowload")]
impl Storage for Stores {
    async fn exists(&self, path: &str) -> iceberg::Result<bool> {
        let place = self.at(path)?;
        match place.store.head(&place.path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(to_iceberg(error)),
        }
    }

    async fn metadata(&self, path: &str) -> iceberg::Result<FileMetadata> {
        let place = self.at(path)?;
        let found = place.store.head(&place.path).await.map_err(to_iceberg)?;
        Ok(FileMetadata { size: found.size })
    }

    async fn read(&self, path: &str) -> iceberg::Result<Bytes> {
        let place = self.at(path)?;
        let found = place.store.get(&place.path).await.map_err(to_iceberg)?;
        found.bytes().await.map_err(to_iceberg)
    }

    async fn reader(&self, path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        Ok(Box::new(Reader(self.at(path)?)))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> iceberg::Result<()> {
        self.put(path, vec![bytes]).await
    }

    async fn writer(&self, path: &str) -> iceberg::Result<Box<dyn FileWrite>> {
        Ok(Box::new(Writer {
            stores: self.clone(),
            path: path.to_owned(),
            parts: Vec::new(),
        }))
    }

    async fn delete(&self, path: &str) -> iceberg::Result<()> {
        let place = self.at(path)?;
        match place.store.delete(&place.path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(to_iceberg(error)),
        }
    }

    async fn delete_prefix(&self, path: &str) -> iceberg::Result<()> {
        let place = self.at(path)?;
        let found = place.store.list(Some(&place.path));
        let found = found.map_ok(|object| object.location).boxed();
        let gone = place.store.delete_stream(found);
        gone.try_collect::<Vec<_>>()
            .await
            .map(drop)
            .map_err(to_iceberg)
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> iceberg::Result<()> {
        while let Some(path) = paths.next().await {
            Storage::delete(self, &path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> iceberg::Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> iceberg::Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

struct Reader(Place);

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> iceberg::Result<Bytes> {
        let bytes = self.0.store.get_range(&self.0.path, range).await;
        bytes.map_err(to_iceberg)
    }
}

/// Manifests and metadata are written whole: they are there, or they are not.
struct Writer {
    stores: Stores,
    path: String,
    parts: Vec<Bytes>,
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        self.parts.push(bytes);
        Ok(())
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        let parts = std::mem::take(&mut self.parts);
        self.stores.put(&self.path, parts).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_locations_have_no_escapes() {
        for location in [
            "/a b/c%20d",
            "file:/a b/c%20d",
            "file:///a b/c%20d",
            "file://localhost/a b/c%20d",
        ] {
            let path = local_path(location).expect(location);
            assert_eq!(path, PathBuf::from("/a b/c%20d"), "{location}");
        }
        assert_eq!(local_path("s3://bucket/key"), None);
        assert_eq!(local_path("relative/path"), None);
    }
}
