//! Where files go, and what they are called.

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;

/// The folder or prefix that files are written below.
#[derive(Clone)]
pub struct Destination {
    pub(crate) place: Place,
}

#[derive(Clone)]
pub(crate) enum Place {
    Local(LocalFolder),
    Store(Arc<dyn ObjectStore>, Path),
}

#[derive(Clone)]
pub(crate) struct LocalFolder {
    pub(crate) path: PathBuf,
    /// Files have their own names from the start.
    pub(crate) in_place: bool,
    pub(crate) owner: Owner,
}

/// Whoever removes the folder when nothing needs it any more.
pub(crate) type Owner = Option<Arc<dyn Any + Send + Sync>>;

impl Destination {
    /// A local folder, made when it is missing.
    ///
    /// Files are written under a temporary, hidden name beside their own and renamed when they are published.
    pub fn local(folder: impl Into<PathBuf>) -> Self {
        Self::in_folder(folder.into(), false)
    }

    fn in_folder(path: PathBuf, in_place: bool) -> Self {
        Self {
            place: Place::Local(LocalFolder {
                path,
                in_place,
                owner: None,
            }),
        }
    }

    /// Keeps the owner of a local folder, whose drop removes it, as long as the writer may still make files in there: also
    /// after it was dropped or cancelled.
    #[must_use]
    pub fn owned_by(mut self, owner: Arc<dyn Any + Send + Sync>) -> Self {
        if let Place::Local(folder) = &mut self.place {
            folder.owner = Some(owner);
        }
        self
    }

    /// A local folder whose files have their own names from the start, and are complete when they are published.
    ///
    /// For tables whose readers know their files from a log. What a killed process leaves has a name that the clean-up of such
    /// tables finds: theirs skip hidden files.
    pub fn local_in_place(folder: impl Into<PathBuf>) -> Self {
        Self::in_folder(folder.into(), true)
    }

    /// A prefix in an object store.
    ///
    /// Files are multipart uploads, completed when they are published. [`object_store::local::LocalFileSystem`]
    /// works too, but keeps each staged file open and syncs nothing: prefer [`Destination::local`].
    pub fn store(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self {
            place: Place::Store(store, prefix),
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Local(folder) => write!(f, "Destination({})", folder.path.display()),
            // A store's Display names the bucket and no credentials.
            Place::Store(store, prefix) => write!(f, "Destination({store}, {prefix})"),
        }
    }
}

/// What the files of one writer are called, below their partition's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNaming {
    stem: String,
    extension: String,
    numbered: bool,
}

impl FileNaming {
    /// `{prefix}-00000.parquet`, `{prefix}-00001.parquet`, …, counted over the whole writer.
    ///
    /// Two writers of one destination need two prefixes, or the later one replaces the files of the earlier.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self {
            stem: prefix.into(),
            extension: ".parquet".into(),
            numbered: true,
        }
    }

    /// Exactly `name` for the first file; files beyond it, for size or partition, get `-00001` before the extension.
    pub fn single(name: impl Into<String>) -> Self {
        let name = name.into();
        let (stem, extension) = match name.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => {
                (stem.to_owned(), format!(".{extension}"))
            }
            _ => (name, String::new()),
        };
        Self {
            stem,
            extension,
            numbered: false,
        }
    }

    pub(crate) fn name(&self, index: usize) -> String {
        let Self {
            stem,
            extension,
            numbered,
        } = self;
        if index == 0 && !numbered {
            format!("{stem}{extension}")
        } else {
            format!("{stem}-{index:05}{extension}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_up() {
        let part = FileNaming::prefix("part-x");
        assert_eq!(part.name(0), "part-x-00000.parquet");
        let single = FileNaming::single("events.v1.parquet");
        assert_eq!(
            (single.name(0), single.name(2)),
            ("events.v1.parquet".into(), "events.v1-00002.parquet".into())
        );
        assert_eq!(FileNaming::single(".hidden").name(1), ".hidden-00001");
    }
}
