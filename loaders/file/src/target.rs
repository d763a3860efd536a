//! What a load writes: one file or a folder of files, in which format, and what its files are called.

use std::path::{Path, PathBuf};

use arrowload_common_parquet::Compression;
use arrowload_core::{Error, ErrorKind, LoadRequest, Mode, Result};
use xxhash_rust::xxh3::xxh3_128;

use crate::config::FileConfig;
use crate::existing;
use crate::options::{FileOptions, Format, invalid};
use crate::place::Place;

/// A target whose name, options and present state are understood.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) is_folder: bool,
    pub(crate) exists: bool,
    pub(crate) format: Format,
    pub(crate) codec: Compression,
}

impl Target {
    /// Understands the target of a load, and refuses what its mode cannot do there. Reads, and changes nothing.
    pub(crate) async fn of(config: &FileConfig, request: &LoadRequest<FileOptions>) -> Result<Self> {
        let (options, name) = (&request.options, request.target.as_str());
        let place = Place::find(config, name)?;
        let several = !options.partition_by.is_empty() || options.max_file_bytes.is_some();
        let is_folder = several || name.ends_with('/') || existing::is_folder(&place).await?;
        let exists = if is_folder { existing::folder_has_files(&place).await? } else { existing::file_exists(&place).await? };
        if is_folder && existing::is_file(&place) {
            return Err(invalid("target", format!("`{name}` is a file, and this load writes a folder; name a folder")));
        }
        let format = match options.format.or(if is_folder { None } else { Format::of_name(name) }) {
            Some(format) => format,
            None if is_folder => existing::format_of_folder(&place).await?.unwrap_or(Format::Parquet),
            None => {
                let message =
                    format!("`{name}` has no known ending; end it in .parquet, .csv, .ndjson, .arrow or .arrows, or set `format`");
                return Err(invalid("format", message));
            }
        };
        options.check(format)?;
        let codec = options.codec(format, if is_folder { "" } else { name })?;
        let target = Self { place, is_folder, exists, format, codec };
        target.check_mode(request)?;
        Ok(target)
    }

    fn check_mode(&self, request: &LoadRequest<FileOptions>) -> Result<()> {
        request.must_create(self.exists)?;
        let refuse = |message: String| Err(Error::new(ErrorKind::Unsupported, message).with("target", &request.target));
        if self.exists && !self.is_folder && request.mode == Mode::Append {
            return refuse(format!(
                "`{}` is a file, which cannot be added to; use mode overwrite, or a folder as the target (`name/`)",
                request.target
            ));
        }
        if self.exists && self.is_folder && request.mode == Mode::Overwrite && matches!(self.place, Place::Store(..)) {
            return refuse("a folder of an object store cannot be replaced at once; load into a new folder, or into one file".into());
        }
        Ok(())
    }

    /// What the files of a load in a folder are called, before their number.
    pub(crate) fn prefix(load_id: &str) -> String {
        format!("part-{}", hash(load_id))
    }

    /// The ending of files in a folder.
    pub(crate) fn ending(&self) -> String {
        let codec = match self.codec {
            Compression::Gzip(_) if self.format.is_text() => ".gz",
            Compression::Zstd(_) if self.format.is_text() => ".zst",
            _ => "",
        };
        format!("{}{codec}", self.format.ending())
    }

    /// The local path, if it is local.
    pub(crate) fn local(&self) -> Option<&Path> {
        match &self.place {
            Place::Local(path) => Some(path),
            Place::Store(..) => None,
        }
    }
}

/// The file that says that a load is complete in a folder. Readers pass over names that begin with `_`.
pub(crate) fn marker(load_id: &str) -> String {
    format!("_arrowload-{}", hash(load_id))
}

fn hash(load_id: &str) -> String {
    format!("{:032x}", xxh3_128(load_id.as_bytes()))
}

/// The folder in which a local target stands.
pub(crate) fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}
