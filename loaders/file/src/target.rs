//! What a load writes: one file or a folder of files, the format, the columns, and the guarantees.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::{FieldRef, Schema, SchemaRef};
use arrowload_common_object_store::{blocking, real_path};
use arrowload_common_parquet::{Compression, ParquetOptions};
use arrowload_core::{
    AfterFailure, Atomicity, Capabilities, ColumnMapping, Error, ErrorKind, Guarantees,
    LoadRequest, LoadState, Mode, Result, Verify,
};

use crate::disk::{check_exchangeable, check_writable};
use crate::existing::{self, Found, Kind};
use crate::local::check_replaceable;
use crate::options::{FileOptions, Format, invalid};
use crate::place::Place;
use crate::stage::home;
use crate::tables;
use crate::types::stored;
use crate::write::check_layout;

/// A target whose name, options and present state are understood.
#[derive(Clone, Debug)]
pub struct FileTarget {
    pub(crate) place: Place,
    pub(crate) is_folder: bool,
    pub(crate) found: Found,
    pub(crate) exists: bool,
    pub(crate) format: Format,
    pub(crate) codec: Compression,
    pub(crate) partition_by: Vec<String>,
    /// How the columns of the load fill those of the files.
    pub(crate) mapping: ColumnMapping,
    /// The folder in which a load into a local target is staged.
    home: Option<PathBuf>,
    /// What distinguishes it from other targets on the local disk. Objects have none: equal buckets may be of two servers.
    identity: Option<String>,
}

type Request = LoadRequest<FileOptions>;

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

impl FileTarget {
    /// Understands the target of a load, and refuses what cannot be done there. Reads, and changes nothing.
    pub(crate) async fn of(place: Place, request: &Request) -> Result<Self> {
        let (options, name) = (&request.options, request.target.as_str());
        tables::refuse(&place).await?;
        let found = existing::inspect(&place, Some(&request.load_id)).await?;
        let several = !options.partition_by.is_empty() || options.max_file_bytes.is_some();
        let is_folder = several
            || name.ends_with('/')
            || matches!(found.kind, Kind::Folder | Kind::EmptyFolder);
        if is_folder && found.kind == Kind::File {
            return Err(invalid(
                "target",
                format!("`{name}` is a file, and this load writes a folder; name a folder"),
            ));
        }
        // An empty folder counts as existing for `append`, but not for `create`.
        let exists = match found.kind {
            Kind::Nothing => false,
            Kind::EmptyFolder => request.load.mode != Mode::Create,
            Kind::Folder | Kind::File => true,
        };
        let format = format(options, is_folder, &found, name)?;
        options.check(format)?;
        check_layout(format, options)?;
        let codec = options.codec(format, if is_folder { "" } else { name })?;
        let partition_by = partition_by(options, &found, request)?;
        request.must_create(exists)?;
        if found.kind == Kind::File && request.load.mode == Mode::Append {
            let message = format!(
                "`{name}` is a file, which cannot be added to; use mode overwrite, or a folder as the target (`name/`)"
            );
            return Err(refuse(message));
        }
        let mapping = mapping(request, &found, format, &partition_by)?;
        let mut target = Self {
            place,
            is_folder,
            found,
            exists,
            format,
            codec,
            partition_by,
            mapping,
            home: None,
            identity: None,
        };
        target.check(request)?;
        target.home = target.check_place(request.load.mode).await?;
        target.identity = target
            .local()
            .map(|path| real_path(path).display().to_string());
        Ok(target)
    }

    fn check(&self, request: &Request) -> Result<()> {
        if self.format == Format::Parquet {
            self.parquet(request).check(&self.mapping.schema)?;
        }
        let in_store = self.local().is_none();
        if in_store && self.found.kind == Kind::Folder && request.load.mode == Mode::Overwrite {
            let message = "a folder of an object store cannot be replaced at once; load into a new folder, or into one file";
            return Err(refuse(message));
        }
        if request.load.verify == Verify::Checksum && !self.has_checksums() {
            let what = if in_store {
                "objects that are not yet visible"
            } else {
                "text, which has no types"
            };
            return Err(refuse(format!(
                "verify = checksum cannot read back {what}; use a local Parquet or Arrow target, or verify = counts"
            )));
        }
        Ok(())
    }

    /// Refuses what the local disk would refuse, and says where a load is staged on it.
    async fn check_place(&self, mode: Mode) -> Result<Option<PathBuf>> {
        let Some(path) = self.local() else {
            return Ok(None);
        };
        let (path, kind, adds) = (path.to_owned(), self.found.kind, self.adds(mode));
        blocking(move || {
            let home = home(&path)?;
            check_writable(home)?;
            if kind == Kind::Folder && mode == Mode::Overwrite {
                check_replaceable(&path)?;
                check_exchangeable(&path)?;
            }
            if adds {
                check_writable(&path)?;
            }
            Ok(Some(home.to_owned()))
        })
        .await
    }

    /// How Parquet files are written.
    pub(crate) fn parquet(&self, request: &Request) -> ParquetOptions {
        let mut settings = ParquetOptions {
            compression: self.codec,
            write_threads: request.load.parallelism,
            max_file_bytes: request.options.max_file_bytes,
            partition_by: self.partition_by.clone(),
            ..ParquetOptions::default()
        };
        settings.row_group_rows = request
            .options
            .row_group_rows
            .unwrap_or(settings.row_group_rows);
        settings
    }

    /// Whether the load's files appear one after the other beside others that are there.
    pub(crate) fn adds(&self, mode: Mode) -> bool {
        self.is_folder && self.found.kind == Kind::Folder && mode == Mode::Append
    }

    /// The identity of the target, however it was named.
    pub(crate) fn identity(&self) -> Option<String> {
        self.identity.clone()
    }

    /// Whether what is staged can be read back.
    fn has_checksums(&self) -> bool {
        self.local().is_some() && !self.format.is_text()
    }

    /// Whether a repeated load can be recognised: by a record in a folder, or by metadata in a schema.
    fn remembers(&self) -> bool {
        self.is_folder
            || self.format == Format::Parquet
            || (!self.format.is_text() && self.local().is_some())
    }

    /// The guarantees of a load into this target.
    pub(crate) fn guarantees(&self, capabilities: &Capabilities, request: &Request) -> Guarantees {
        let mut kept = Guarantees::of(capabilities);
        kept.exactly_once = self.remembers();
        kept.checksum = self.has_checksums();
        if self.format == Format::Parquet {
            kept.parallelism = self.parquet(request).threads();
        }
        // File by file, and the record that makes a load of them last.
        if self.adds(request.load.mode) || (self.is_folder && self.local().is_none()) {
            kept.atomicity = Atomicity::Part;
            kept.after_failure = AfterFailure::UNCHANGED.with_new_rows();
            if !self.exists || !self.mapping.added.is_empty() {
                kept.after_failure = kept.after_failure.with_schema_evolved();
            }
        }
        kept
    }

    /// What a load would use or make besides the target, including temporary files.
    pub(crate) fn resources(&self, request: &Request) -> Vec<String> {
        let (name, format, codec) = (&request.target, self.format.name(), self.codec);
        let mut resources = vec![format!("{name} ({format}, {codec})")];
        if self.is_folder {
            resources.push("a record of the load in the folder, `_arrowload-…`".into());
        }
        if self.found.resumes {
            resources.push(
                "files of an earlier run of this load, which was cut off: they are replaced".into(),
            );
        }
        match &self.home {
            Some(home) => resources.push(format!(
                "a hidden folder `.arrowload-….tmp` in {}, until the load has ended",
                home.display()
            )),
            None if !self.is_folder && request.load.mode != Mode::Overwrite => {
                resources.push(
                    "an object `.arrowload-….tmp` beside it, until the load has ended".into(),
                );
            }
            None => {}
        }
        resources
    }

    /// Whether a load would do the same with the other one, which was found there at another time.
    pub(crate) fn decides_as(&self, other: &Self) -> bool {
        let decides = |target: &Self| (target.is_folder, target.exists, target.format);
        let kind = |target: &Self| matches!(target.found.kind, Kind::Folder);
        decides(self) == decides(other)
            && kind(self) == kind(other)
            && self.partition_by == other.partition_by
            && self.mapping.schema == other.mapping.schema
            && self.mapping.sources == other.mapping.sources
    }

    /// Whether a load has committed here, as far as what was found leaves that open.
    pub(crate) async fn find_load(&self, load_id: &str) -> Result<LoadState> {
        let is_known = match self.is_folder {
            true => self.exists,
            false => !matches!(self.found.history.find(load_id), LoadState::NotCommitted),
        };
        if !is_known {
            return Ok(LoadState::NotCommitted);
        }
        existing::find_load(&self.place, load_id).await
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

fn format(options: &FileOptions, is_folder: bool, found: &Found, name: &str) -> Result<Format> {
    let there = if is_folder { found.format } else { None };
    match (options.format, there) {
        (Some(asked), Some(there)) if asked != there => {
            let message = format!(
                "the folder holds files of format {}, and this load would write {}",
                there.name(),
                asked.name()
            );
            Err(invalid("format", message))
        }
        (Some(format), _) | (None, Some(format)) => Ok(format),
        (None, None) => match Format::of_name(name.trim_end_matches('/')) {
            Some(format) => Ok(format),
            None if is_folder => Ok(Format::Parquet),
            None => {
                let message = format!(
                    "`{name}` has no known ending; end it in .parquet, .csv, .ndjson, .arrow or .arrows, or set `format`"
                );
                Err(invalid("format", message))
            }
        },
    }
}

/// The partition columns of the load: those of the folder, if it has some.
fn partition_by(options: &FileOptions, found: &Found, request: &Request) -> Result<Vec<String>> {
    let asked = &options.partition_by;
    let chosen = match &found.record {
        Some(record) if asked.is_empty() => &record.partition_by,
        Some(record) if record.partition_by != *asked => {
            let message = format!(
                "the folder is partitioned by [{}], and this load by [{}]",
                record.partition_by.join(", "),
                asked.join(", ")
            );
            return Err(invalid("partition_by", message));
        }
        _ => asked,
    };
    if let Some(name) = chosen
        .iter()
        .find(|name| request.schema.column_with_name(name).is_none())
    {
        let columns: Vec<&str> = request
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        return Err(invalid(
            "partition_by",
            format!(
                "partition_by names `{name}`; the query has {}",
                columns.join(", ")
            ),
        ));
    }
    Ok(chosen.clone())
}

/// How the load's columns fit what is there.
fn mapping(
    request: &Request,
    found: &Found,
    format: Format,
    partition_by: &[String],
) -> Result<ColumnMapping> {
    let replaces = request.load.mode == Mode::Overwrite
        && (request.load.schema_evolution || (format.is_text() && found.kind == Kind::File));
    let there = match (&found.schema, found.kind) {
        _ if replaces => None,
        (_, Kind::Nothing | Kind::EmptyFolder) => None,
        (Some(schema), _) if found.format.is_none_or(|there| there == format) => Some(schema),
        (None, Kind::Folder) if found.format.is_none() => None,
        _ => {
            let message = format!(
                "the columns of the existing target `{}` cannot be read as {}; overwrite it with schema_evolution = true, or name another target",
                request.target,
                format.name()
            );
            return Err(Error::new(ErrorKind::SchemaMismatch, message));
        }
    };
    let columns = match there {
        Some(there) => in_own_types(there, request, format, partition_by)?,
        None => Arc::clone(&request.schema),
    };
    ColumnMapping::by_name(
        &request.schema,
        &columns,
        request.load.schema_evolution,
        |load, there| load == there,
    )
}

/// The existing columns, with the load's own types where those are stored as what is there.
fn in_own_types(
    there: &Schema,
    request: &Request,
    format: Format,
    partition_by: &[String],
) -> Result<SchemaRef> {
    let mut fields: Vec<FieldRef> = Vec::new();
    for column in there.fields() {
        let Some((_, field)) = request.schema.column_with_name(column.name()) else {
            fields.push(Arc::clone(column));
            continue;
        };
        if !stored(format, field.data_type()).equals_datatype(&stored(format, column.data_type())) {
            let (name, is, was) = (field.name(), field.data_type(), column.data_type());
            let message = format!(
                "column `{name}` is {is} in the load and {was} in what is there; cast it in the query"
            );
            return Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", name));
        }
        fields.push(Arc::new(field.clone().with_nullable(column.is_nullable())));
    }
    // In another program's folder, partition columns are in the names of folders only.
    for name in partition_by {
        if let (None, Some((_, field))) = (
            there.column_with_name(name),
            request.schema.column_with_name(name),
        ) {
            fields.push(Arc::new(field.clone()));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}
