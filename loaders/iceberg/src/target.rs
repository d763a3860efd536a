//! What a load finds at its target, and what the table will be after it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema as ArrowSchema, SchemaRef, TimeUnit};
use arrowload_core::arrow_types::holds;
use arrowload_core::{ColumnMapping, Error, ErrorKind, LoadRequest, Mode, Result};
use iceberg::spec::{
    FormatVersion, PartitionSpecRef, Schema, SchemaRef as TableSchemaRef, TableMetadata,
    TableMetadataBuilder, TableMetadataRef,
};
use iceberg::{TableIdent, TableUpdate};

use crate::columns::ColumnProgram;
use crate::config::{IcebergConfig, invalid};
use crate::error::from_iceberg;
use crate::evolve::{evolved, replaced};
use crate::options::{IcebergOptions, Nanoseconds};
use crate::predicate::Expression;
use crate::scan::Scan;
use crate::schema::{
    file_schema, is_partitioned_by, new_schema, partition_spec, plain, sort_order, stored_schema,
};
use crate::snapshot::data_folder;
use crate::storage::Stores;
use crate::table::Table;
use crate::types::{Form, fits, with_types_of};

/// A table as a load finds it, and as it will leave it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) ident: TableIdent,
    pub(crate) stores: Stores,
    /// The table, if it exists.
    pub(crate) table: Option<Table>,
    /// The metadata of a new table, without the load.
    pub(crate) created: Option<TableMetadataRef>,
    /// The steps that make it.
    pub(crate) making: Vec<TableUpdate>,
    /// The columns of the table after the load, if they are others than before.
    pub(crate) new_schema: Option<Schema>,
    /// The columns of the table after the load.
    pub(crate) schema: TableSchemaRef,
    pub(crate) spec: PartitionSpecRef,
    /// The same columns as data files have them.
    pub(crate) columns: SchemaRef,
    /// For each of them, the load's column that fills it.
    pub(crate) sources: Vec<Option<usize>>,
    /// Brings batches of the load to these columns.
    pub(crate) program: ColumnProgram,
    /// Which rows of the table go.
    pub(crate) replaces: Option<Expression>,
    /// The columns in which the rows of an upsert keep the values of those that they replace.
    pub(crate) kept: Vec<usize>,
    pub(crate) form: Form,
}

/// Which table a load is about, and how a new one is made.
pub(crate) struct Asked<'a> {
    pub(crate) ident: TableIdent,
    pub(crate) stores: &'a Stores,
    pub(crate) config: &'a IcebergConfig,
    /// Where a new table is put.
    pub(crate) location: String,
    pub(crate) request: &'a LoadRequest<IcebergOptions>,
}

impl Target {
    /// A table that is made for the load, whose columns have types that the table can hold.
    pub(crate) fn new(asked: &Asked<'_>, load: &ArrowSchema, form: Form) -> Result<Self> {
        let request = asked.request;
        let load = stored_schema(load, form)?;
        let (metadata, making) = created(asked, &load)?;
        let schema = Arc::clone(metadata.current_schema());
        let mut target = Self {
            ident: asked.ident.clone(),
            stores: asked.stores.clone(),
            table: None,
            new_schema: None,
            spec: Arc::clone(metadata.default_partition_spec()),
            created: Some(metadata.into()),
            making,
            columns: file_schema(&schema)?,
            sources: (0..load.fields().len()).map(Some).collect(),
            program: ColumnProgram::none(),
            schema,
            replaces: None,
            kept: Vec::new(),
            form,
        };
        target.program = target.column_program(request, None);
        Ok(target)
    }

    /// A table that keeps its columns, or gets others.
    pub(crate) fn existing(
        asked: &Asked<'_>,
        table: Table,
        load: &ArrowSchema,
        form: Form,
    ) -> Result<Self> {
        let request = asked.request;
        table.check_writable()?;
        let load = stored_schema(load, form)?;
        let metadata = table.metadata();
        let (known, spec) = (metadata.current_schema(), metadata.default_partition_spec());
        check_new_table_options(request, &table)?;
        let nanoseconds = request.options.nanoseconds;
        let may_go = |from: &DataType, to: &DataType| {
            fits(from, to) && (nanoseconds != Nanoseconds::Refuse || !cuts(from, to))
        };
        let evolves = request.load.schema_evolution;
        let new_schema = match request.load.mode {
            Mode::Overwrite if evolves => replaced(&table, &load)?,
            _ if evolves => evolved(&table, &load, &may_go)?,
            _ => None,
        };
        let schema = new_schema
            .clone()
            .map_or_else(|| Arc::clone(known), Arc::new);
        let columns = file_schema(&schema)?;
        let mapping = ColumnMapping::by_name(&load, &plain(&columns), false, may_go)?;
        let replaces = request.options.replace_where.as_deref();
        let replaces = replaces
            .map(|sql| Expression::of_option("replace_where", sql, &columns))
            .transpose()?;
        if request.options.overwrite_partitions && spec.is_unpartitioned() {
            return Err(invalid(
                "overwrite_partitions",
                "the table is not partitioned; overwrite it as a whole, or set `replace_where`",
            ));
        }
        let mut target = Self {
            ident: asked.ident.clone(),
            stores: asked.stores.clone(),
            created: None,
            making: Vec::new(),
            new_schema,
            spec: Arc::clone(spec),
            columns,
            sources: mapping.sources,
            program: ColumnProgram::none(),
            schema,
            replaces: replaces.clone(),
            kept: Vec::new(),
            form,
            table: Some(table),
        };
        target.program = target.column_program(request, replaces);
        if request.load.mode == Mode::Upsert {
            target.kept = target.program.lacking();
        }
        Ok(target)
    }

    fn column_program(
        &self,
        request: &LoadRequest<IcebergOptions>,
        must_hold: Option<Expression>,
    ) -> ColumnProgram {
        ColumnProgram::new(
            &self.columns,
            &self.sources,
            &request.schema,
            request.options.nanoseconds,
            must_hold,
        )
    }

    /// The table's metadata before the load; without rows, if it is made for it.
    pub(crate) fn metadata(&self) -> Result<&TableMetadata> {
        let known = self.table.as_ref().map(Table::metadata);
        known.or(self.created.as_deref()).ok_or_else(|| {
            let message = "the load has neither a table nor one to make";
            Error::new(ErrorKind::Unexpected, message)
        })
    }

    /// Where data files go.
    pub(crate) fn data_location(&self) -> Result<String> {
        Ok(data_folder(self.metadata()?))
    }

    /// Reads the table's files with the columns that it will have.
    pub(crate) fn scan(&self) -> Scan {
        Scan {
            table: self.table.clone(),
            schema: Arc::clone(&self.schema),
            columns: Arc::clone(&self.columns),
        }
    }
}

/// Whether times are cut on their way into a column.
fn cuts(from: &DataType, to: &DataType) -> bool {
    let is_fine = |data_type: &DataType| {
        holds(data_type, &|inner| {
            matches!(inner, DataType::Timestamp(TimeUnit::Nanosecond, _))
        })
    };
    is_fine(from) && !is_fine(to)
}

/// What a load says of a new table must be true of one that is there.
fn check_new_table_options(request: &LoadRequest<IcebergOptions>, table: &Table) -> Result<()> {
    let (options, metadata) = (&request.options, table.metadata());
    let (schema, spec) = (metadata.current_schema(), metadata.default_partition_spec());
    if !options.partition_by.is_empty() && !is_partitioned_by(spec, &options.partition_by, schema)?
    {
        let fields = spec.fields().iter().map(|field| field.name.as_str());
        let known = match spec.is_unpartitioned() {
            true => "not partitioned".to_owned(),
            false => format!("partitioned by {}", fields.collect::<Vec<_>>().join(", ")),
        };
        let message = format!("the table is {known}; leave `partition_by` out, or say the same");
        return Err(invalid("partition_by", message));
    }
    if !options.sort_by.is_empty()
        && sort_order(&options.sort_by, schema)?.fields != metadata.default_sort_order().fields
    {
        let message = "the table has another sort order; leave `sort_by` out, or say the same";
        return Err(invalid("sort_by", message));
    }
    let version = metadata.format_version() as u8;
    if options.format_version.is_some_and(|asked| asked != version) {
        let message = format!("the table has format version {version}; leave `format_version` out");
        return Err(invalid("format_version", message));
    }
    let location = metadata.location();
    if let Some(asked) = &options.location
        && crate::catalog::as_location(asked)? != location
    {
        let message = format!("the table is at {location}; leave `location` out");
        return Err(invalid("location", message));
    }
    Ok(())
}

/// The format version that a new table gets.
pub(crate) fn format_version(
    config: &IcebergConfig,
    options: &IcebergOptions,
) -> Result<FormatVersion> {
    let of_property = config.properties.get("format-version");
    let version = match (options.format_version, of_property.map(String::as_str)) {
        (Some(version), _) => version.to_string(),
        (None, Some(version)) => version.to_owned(),
        (None, None) => "2".to_owned(),
    };
    Ok(match version.as_str() {
        "1" => FormatVersion::V1,
        "2" => FormatVersion::V2,
        "3" => FormatVersion::V3,
        _ => {
            return Err(invalid(
                "format_version",
                "`format_version` must be 1, 2 or 3",
            ));
        }
    })
}

/// The metadata of a new table, and the steps that make it.
fn created(asked: &Asked<'_>, load: &ArrowSchema) -> Result<(TableMetadata, Vec<TableUpdate>)> {
    let options = &asked.request.options;
    let schema = new_schema(load)?;
    let spec = partition_spec(&options.partition_by, &schema)?;
    let order = sort_order(&options.sort_by, &schema)?;
    let properties: HashMap<String, String> = asked
        .config
        .properties
        .iter()
        .filter(|(key, _)| *key != "format-version")
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let version = format_version(asked.config, options)?;
    let location = asked.location.clone();
    let builder = TableMetadataBuilder::new(schema, spec, order, location, version, properties);
    let built = builder.and_then(TableMetadataBuilder::build);
    let metadata = built.map_err(|error| {
        let message = format!("the table cannot be made: {}", error.message());
        Error::new(ErrorKind::InvalidOption, message).with_source(error)
    })?;
    let (metadata, changes) = (metadata.metadata, metadata.changes);
    metadata.table_properties().map_err(from_iceberg)?;
    let uuid = metadata.uuid();
    let mut making = vec![
        TableUpdate::AssignUuid { uuid },
        TableUpdate::UpgradeFormatVersion {
            format_version: version,
        },
    ];
    making.extend(changes);
    Ok((metadata, making))
}

/// The columns of the load; one that has nothing but nulls takes the type of the table's column.
pub(crate) fn load_schema(table: Option<&Table>, load: &SchemaRef) -> Result<SchemaRef> {
    let Some(table) = table else {
        return Ok(Arc::clone(load));
    };
    let columns = table.columns()?;
    let fields = load.fields().iter().map(|field: &FieldRef| {
        let Some((_, column)) = columns.column_with_name(field.name()) else {
            return Arc::clone(field);
        };
        let data_type = with_types_of(field.data_type(), column.data_type());
        let field: Field = field.as_ref().clone();
        Arc::new(field.with_data_type(data_type))
    });
    Ok(Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>())))
}
