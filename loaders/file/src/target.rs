//! What a load writes: one file or a folder of files, in which format, with which columns.

use std::path::Path;
use std::sync::Arc;

use arrow_schema::{FieldRef, Schema, SchemaRef};
use arrowload_common_parquet::Compression;
use arrowload_core::{ColumnMapping, Error, ErrorKind, LoadRequest, Mode, Result, Verify};

use crate::config::FileConfig;
use crate::existing::{self, Found, Kind};
use crate::local::check_replaceable;
use crate::options::{FileOptions, Format, invalid};
use crate::place::Place;
use crate::types::stored;
use crate::write::check_layout;

/// A target whose name, options and present state are understood.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) is_folder: bool,
    pub(crate) found: Found,
    pub(crate) exists: bool,
    pub(crate) format: Format,
    pub(crate) codec: Compression,
    pub(crate) partition_by: Vec<String>,
    /// How the columns of the load fill those of the files.
    pub(crate) mapping: ColumnMapping,
}

type Request = LoadRequest<FileOptions>;

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

impl Target {
    /// Understands the target of a load, and refuses what cannot be done there. Reads, and changes nothing.
    pub(crate) async fn of(config: &FileConfig, request: &Request) -> Result<Self> {
        let (options, name) = (&request.options, request.target.as_str());
        let place = Place::find(config, name)?;
        let found = existing::inspect(&place).await?;
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
        // An empty folder is there for `append`, and nothing that `create` would find.
        let exists = match found.kind {
            Kind::Nothing => false,
            Kind::EmptyFolder => request.mode != Mode::Create,
            Kind::Folder | Kind::File => true,
        };
        let format = format(options, is_folder, &found, name)?;
        options.check(format)?;
        check_layout(format, options)?;
        let codec = options.codec(format, if is_folder { "" } else { name })?;
        let partition_by = partition_by(options, &found, request)?;
        request.must_create(exists)?;
        if found.kind == Kind::File && request.mode == Mode::Append {
            let message = format!(
                "`{name}` is a file, which cannot be added to; use mode overwrite, or a folder as the target (`name/`)"
            );
            return Err(refuse(message));
        }
        let mapping = mapping(request, &found, format, &partition_by)?;
        let target = Self {
            place,
            is_folder,
            found,
            exists,
            format,
            codec,
            partition_by,
            mapping,
        };
        target.check(request)?;
        Ok(target)
    }

    fn check(&self, request: &Request) -> Result<()> {
        let in_store = matches!(self.place, Place::Store(..));
        if self.found.kind == Kind::Folder && request.mode == Mode::Overwrite {
            match self.local() {
                Some(folder) => check_replaceable(folder)?,
                None => {
                    let message = "a folder of an object store cannot be replaced at once; load into a new folder, or into one file";
                    return Err(refuse(message));
                }
            }
        }
        if request.verify == Verify::Checksum && (self.format.is_text() || in_store) {
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

    /// Whether a repeated load is known by what is kept beside its rows: in a folder, and in a schema.
    pub(crate) fn remembers(&self) -> bool {
        self.is_folder
            || self.format == Format::Parquet
            || (!self.format.is_text() && self.local().is_some())
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
    let replaces = request.mode == Mode::Overwrite
        && (request.schema_evolution || (format.is_text() && found.kind == Kind::File));
    let there = match (&found.schema, found.kind) {
        _ if replaces => None,
        (_, Kind::Nothing | Kind::EmptyFolder) => None,
        (Some(schema), _) if found.format.is_none_or(|there| there == format) => Some(schema),
        (None, Kind::Folder) if found.format.is_none() => None,
        _ => {
            let message = format!(
                "nothing tells the columns of what is at `{}` as {}; overwrite it with schema_evolution = true, or name another target",
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
        request.schema_evolution,
        |load, there| load == there,
    )
}

/// The columns that are there, with the load's own types where those are stored as what is there.
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
