//! A file on the local disk: a hidden temporary name beside the final one, renamed when it is published.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrowload_common_object_store::{blocking, from_io, keep_access};
use arrowload_core::Result;
use bytes::Bytes;

use crate::destination::{LocalFolder, Owner};
use crate::error::stopped;
use crate::pool::lock;

/// The root folder of a writer, and the folders that were made for it: removed again with their last file when
/// nothing is published.
#[derive(Debug)]
pub(crate) struct Folders {
    root: PathBuf,
    made: Mutex<HashSet<PathBuf>>,
    /// Dropped after the last file.
    _owner: Owner,
}

impl Folders {
    pub(crate) fn new(folder: LocalFolder) -> Self {
        Self {
            root: folder.path,
            made: Mutex::default(),
            _owner: folder.owner,
        }
    }

    /// Makes the missing folders of `folder`, and remembers which they were.
    fn make(&self, folder: &Path) -> Result<()> {
        let missing = folder
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let missing: Vec<_> = missing.map(Path::to_path_buf).collect();
        fs::create_dir_all(folder).map_err(|error| from_io(folder, error))?;
        lock(&self.made).extend(missing);
        Ok(())
    }

    /// Removes `folder` and its parents, as far as they were made here and are empty.
    fn remove(&self, folder: &Path) {
        let mut made = lock(&self.made);
        for folder in folder.ancestors() {
            // Fails while another file is there, which is the wish.
            if !made.contains(folder) || fs::remove_dir(folder).is_err() {
                break;
            }
            made.remove(folder);
        }
    }
}

/// How files come to their names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Naming {
    /// They have them from the start.
    pub(crate) in_place: bool,
    /// They are flushed to the disk first.
    pub(crate) sync: bool,
}

/// A local file that takes bytes.
pub(crate) struct LocalSink {
    /// Not there while a blocking task writes to it.
    file: Option<File>,
    staged: LocalStaged,
}

/// A local file that has all its bytes, and not yet its name.
#[derive(Debug)]
pub(crate) struct LocalStaged {
    temporary: PathBuf,
    target: PathBuf,
    folders: Arc<Folders>,
    sync: bool,
    published: bool,
}

impl LocalSink {
    pub(crate) async fn create(
        folders: Arc<Folders>,
        path: object_store::path::Path,
        naming: Naming,
    ) -> Result<Self> {
        blocking(move || {
            let target = path
                .parts()
                .fold(folders.root.clone(), |full, part| full.join(part.as_ref()));
            let folder = target.parent().unwrap_or(Path::new("")).to_path_buf();
            let name = target.file_name().unwrap_or_default().to_string_lossy();
            // Readers of folders skip names with a leading dot or underscore, and names without `.parquet`.
            let temporary = match naming.in_place {
                true => target.clone(),
                false => folder.join(format!(".{name}.{}.tmp", uuid::Uuid::now_v7().simple())),
            };
            folders.make(&folder)?;
            let staged = LocalStaged {
                temporary,
                target,
                folders,
                sync: naming.sync,
                published: false,
            };
            let file = File::create_new(&staged.temporary)
                .map_err(|error| from_io(&staged.temporary, error))?;
            // Before the first byte: nobody may read more of the new file than of the old one.
            staged.keep_access()?;
            Ok(Self {
                file: Some(file),
                staged,
            })
        })
        .await
    }

    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let Some(mut file) = self.file.take() else {
            return Err(stopped("an earlier write to the file did not return"));
        };
        let path = self.staged.temporary.clone();
        let file = blocking(move || {
            file.write_all(&bytes)
                .map_err(|error| from_io(&path, error))?;
            Ok(file)
        });
        self.file = Some(file.await?);
        Ok(())
    }

    pub(crate) async fn stage(mut self) -> Result<LocalStaged> {
        let file = self.file.take();
        if let (Some(file), true) = (file, self.staged.sync) {
            let path = self.staged.temporary.clone();
            blocking(move || file.sync_all().map_err(|error| from_io(&path, error))).await?;
        }
        Ok(self.staged)
    }

    pub(crate) async fn abort(self) -> Result<()> {
        self.staged.abort().await
    }
}

impl LocalStaged {
    /// Gives the temporary file the permissions of the file that it will replace.
    fn keep_access(&self) -> Result<()> {
        match self.temporary == self.target {
            true => Ok(()),
            false => keep_access(&self.target, &self.temporary)
                .map_err(|error| from_io(&self.target, error)),
        }
    }

    pub(crate) async fn publish(&mut self) -> Result<()> {
        let (from, to, sync) = (self.temporary.clone(), self.target.clone(), self.sync);
        blocking(move || {
            if from != to {
                keep_access(&to, &from).map_err(|error| from_io(&to, error))?;
                fs::rename(&from, &to).map_err(|error| from_io(&to, error))?;
            }
            if sync { sync_folder(&to) } else { Ok(()) }
        })
        .await?;
        self.published = true;
        Ok(())
    }

    pub(crate) async fn abort(mut self) -> Result<()> {
        blocking(move || self.remove()).await
    }

    /// Removes the file and the folders that were made for it and that nobody else has filled.
    fn remove(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.published, true) {
            return Ok(());
        }
        let removed = match fs::remove_file(&self.temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(from_io(&self.temporary, error))
            }
            _ => Ok(()),
        };
        if let Some(folder) = self.temporary.parent() {
            self.folders.remove(folder);
        }
        removed
    }
}

impl Drop for LocalStaged {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::debug!(%error, "a temporary file could not be removed");
        }
    }
}

/// Makes the new name itself durable; only Unix can, and needs to.
fn sync_folder(file: &Path) -> Result<()> {
    match file.parent() {
        Some(folder) if cfg!(unix) && !folder.as_os_str().is_empty() => File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| from_io(folder, error)),
        _ => Ok(()),
    }
}
