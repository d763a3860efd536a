//! The loader: what files can do, and what a load would do to them.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef, Schema, SchemaRef};
use arrowload_core::{
    Atomicity, BatchSize, Capabilities, ColumnMapping, DataLoader, Error, ErrorKind, LoadRequest, LoadState, Mode, Plan, Result,
    TypeSupport,
};

use crate::config::FileConfig;
use crate::existing;
use crate::local::check_replaceable;
use crate::options::{FileOptions, Format, invalid};
use crate::place::Place;
use crate::session::FileSession;
use crate::target::Target;
use crate::types::{stored, support};

/// Loads into files. See the crate's page.
#[derive(Debug)]
pub struct FileLoader {
    config: FileConfig,
}

impl DataLoader for FileLoader {
    const NAME: &'static str = "file";
    const URL_SCHEMES: &'static [&'static str] = &["file"];
    const CAPABILITIES: Capabilities = Capabilities::new(&[Mode::Create, Mode::Append, Mode::Overwrite], Atomicity::Part)
        .create_target()
        .schema_evolution()
        .load_ids()
        .parallel()
        .batch(BatchSize { min_rows: 1024, max_rows: 1 << 17, max_bytes: 16 << 20 });

    type Config = FileConfig;
    type Options = FileOptions;
    type Session = FileSession;

    async fn connect(config: FileConfig) -> Result<Self> {
        Ok(Self { config })
    }

    async fn begin(&self, request: LoadRequest<FileOptions>) -> Result<FileSession> {
        let (target, mapping) = self.resolve(&request).await?;
        FileSession::begin(target, mapping, request).await
    }

    /// For Parquet, the default format; a plan says it for the format of its load.
    fn supports_type(data_type: &DataType) -> TypeSupport {
        support(Format::Parquet, data_type)
    }

    async fn plan(&self, request: &LoadRequest<FileOptions>) -> Result<Plan> {
        let (target, _) = self.resolve(request).await?;
        let mut plan = Plan::from_types(&request.schema, |data_type| support(target.format, data_type));
        for (column, field) in plan.columns.iter_mut().zip(request.schema.fields()) {
            column.target_type = match target.format {
                Format::Csv | Format::Ndjson => "text".into(),
                format => stored(format, field.data_type()).to_string(),
            };
        }
        plan.target_exists = target.exists;
        plan.resources = vec![format!("{} ({}, {})", request.target, target.format.name(), target.codec)];
        let adds_files = target.is_folder && target.exists && request.mode == Mode::Append;
        let in_store = matches!(target.place, Place::Store(..)) && target.is_folder;
        plan.atomicity = Some(if adds_files || in_store { Atomicity::Part } else { Atomicity::Load });
        Ok(plan)
    }

    async fn find_load(&self, target: &str, load_id: &str) -> Result<LoadState> {
        existing::find_load(&Place::find(&self.config, target)?, load_id).await
    }

    fn config_from_url(url: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
        Ok([("root".to_owned(), url.into())].into_iter().collect())
    }
}

impl FileLoader {
    /// Understands the target, and how the load's columns fit what is there.
    async fn resolve(&self, request: &LoadRequest<FileOptions>) -> Result<(Target, ColumnMapping)> {
        let target = Target::of(&self.config, request).await?;
        check_partition_columns(request)?;
        if target.exists
            && target.is_folder
            && request.mode == Mode::Overwrite
            && let Some(folder) = target.local()
        {
            check_replaceable(folder)?;
        }
        let replaces = request.mode == Mode::Overwrite && request.schema_evolution;
        let there = match target.exists && !replaces {
            true => existing::schema(&target.place, target.is_folder, target.format, request.options.header.unwrap_or(true)).await?,
            false => None,
        };
        let columns = match there {
            Some(there) => in_own_types(&there, request, target.format)?,
            None => Arc::clone(&request.schema),
        };
        let mapping = ColumnMapping::by_name(&request.schema, &columns, request.schema_evolution, |load, there| load == there)?;
        Ok((target, mapping))
    }
}

fn check_partition_columns(request: &LoadRequest<FileOptions>) -> Result<()> {
    for name in &request.options.partition_by {
        if request.schema.column_with_name(name).is_none() {
            let columns: Vec<&str> = request.schema.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(invalid("partition_by", format!("partition_by names `{name}`; the query has {}", columns.join(", "))));
        }
    }
    Ok(())
}

/// The columns that are there, with the load's own types where those are stored as what is there.
fn in_own_types(there: &Schema, request: &LoadRequest<FileOptions>, format: Format) -> Result<SchemaRef> {
    let mut fields: Vec<FieldRef> = Vec::new();
    for column in there.fields() {
        let Some((_, field)) = request.schema.column_with_name(column.name()) else {
            fields.push(Arc::clone(column));
            continue;
        };
        let fits = format == Format::Csv || stored(format, field.data_type()).equals_datatype(&stored(format, column.data_type()));
        if !fits {
            let message = format!(
                "column `{}` is {} in the load and {} in the files that are there; cast it in the query",
                field.name(),
                field.data_type(),
                column.data_type()
            );
            return Err(Error::new(ErrorKind::SchemaMismatch, message).with("column", field.name()));
        }
        fields.push(Arc::new(field.clone().with_nullable(column.is_nullable())));
    }
    // Partition columns are in the names of folders, not in the files.
    for name in &request.options.partition_by {
        if let (None, Some((_, field))) = (there.column_with_name(name), request.schema.column_with_name(name)) {
            fields.push(Arc::new(field.clone()));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}
