//! What a load finds at its target, and what the table will be after it.

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use arrowload_core::{ColumnMapping, Error, ErrorKind, LoadRequest, Mode, Result};
use deltalake::kernel::{Metadata, Protocol, StructType};

use crate::columns::ColumnProgram;
use crate::options::{DeltaLakeOptions, WhenMatched, invalid};
use crate::physical::{file_schema, is_mapped};
use crate::place::Place;
use crate::predicate::Expression;
use crate::rules::Rules;
use crate::scan::Scan;
use crate::schema::{
    check_names, check_protocol, metadata, plain, protocol, stored_schema, to_arrow, to_delta,
    with_schema,
};
use crate::table::{INDEXED_COLUMNS, Table};
use crate::types::{fits, with_types_of};

/// A table as a load finds it, and as it will leave it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) place: Place,
    /// The table, if it exists.
    pub(crate) table: Option<Table>,
    /// The columns of the table after the load, and what fills them.
    pub(crate) mapping: ColumnMapping,
    /// The same columns as files have them.
    pub(crate) file_schema: SchemaRef,
    pub(crate) partition_by: Vec<String>,
    /// For a new table.
    pub(crate) protocol: Option<Protocol>,
    /// For a new table, and for one whose columns change.
    pub(crate) metadata: Option<Metadata>,
    /// Brings batches of the load to these columns.
    pub(crate) columns: ColumnProgram,
    /// Which rows of the table go.
    pub(crate) replaces: Option<Expression>,
    /// The columns in which the rows of an upsert keep the values of those that they replace.
    pub(crate) kept: Vec<usize>,
}

impl Target {
    /// The table as the load will leave it. `load` is the load's schema with types that Delta can hold.
    pub(crate) fn new(
        place: Place,
        table: Option<Table>,
        create: bool,
        request: &LoadRequest<DeltaLakeOptions>,
        load: &SchemaRef,
    ) -> Result<Self> {
        let load = stored_schema(load, request.options.nanoseconds)?;
        match table {
            Some(table) if !create => Self::existing(place, table, request, &load),
            table => Self::with_columns_of(place, table, request, &load),
        }
    }

    /// The same target with the table's newest version, unless something that the load depends on has changed: then the target
    /// must be resolved again. Added or removed rows do not matter.
    pub(crate) async fn refreshed(
        mut self,
        request: &LoadRequest<DeltaLakeOptions>,
    ) -> Result<Self> {
        let lists_files = matches!(request.load.mode, Mode::Overwrite | Mode::Upsert);
        let log_store = &self.place.log_store;
        if let Some(found) = &self.table
            && log_store.get_latest_version(found.version()).await.ok() == Some(found.version())
        {
            return Ok(self);
        }
        let now = Table::open(log_store, lists_files).await?;
        let fits = match (&now, &self.table) {
            (Some(now), Some(found)) => now.fits_files_of(found),
            (None, None) => true,
            _ => false,
        };
        if !fits {
            let message = format!("`{}` changed while the load began", request.target);
            return Err(Error::new(ErrorKind::Conflict, message).transient());
        }
        self.table = now;
        Ok(self)
    }

    /// A table whose columns are those of the load.
    fn with_columns_of(
        place: Place,
        table: Option<Table>,
        request: &LoadRequest<DeltaLakeOptions>,
        load: &SchemaRef,
    ) -> Result<Self> {
        check_names(load.fields(), &[])?;
        let schema = to_delta(load)?;
        let arrow = to_arrow(&schema)?;
        let partition_by = match (&table, request.options.partition_by.is_empty()) {
            (Some(table), true) => table.partition_by(),
            _ => request.options.partition_by.clone(),
        };
        check_partitions(&partition_by, &arrow)?;
        let (protocol, metadata) = match &table {
            None => (Some(protocol(load)?), metadata(&schema, &partition_by)?),
            Some(table) => {
                check_protocol(load.fields(), table.state.protocol())?;
                (None, with_schema(table.state.metadata(), &schema)?)
            }
        };
        let mapping = ColumnMapping::by_name(load, &arrow, false, fits)?;
        let rules = match &table {
            Some(table) => Rules::of(table, &schema, &mapping.schema, &mapping.sources)?,
            None => Rules::default(),
        };
        Ok(Self {
            columns: program(&mapping, request, rules, None),
            place,
            table,
            file_schema: Arc::clone(&mapping.schema),
            mapping,
            partition_by,
            protocol,
            metadata: Some(metadata),
            replaces: None,
            kept: Vec::new(),
        })
    }

    /// A table that keeps its columns, or gets more of them.
    fn existing(
        place: Place,
        table: Table,
        request: &LoadRequest<DeltaLakeOptions>,
        load: &SchemaRef,
    ) -> Result<Self> {
        let removes = matches!(request.load.mode, Mode::Overwrite | Mode::Upsert);
        let rewrites = request.load.mode == Mode::Upsert || request.options.replace_where.is_some();
        table.check_writable(removes, rewrites)?;
        let asked = &request.options.partition_by;
        let partition_by = table.partition_by();
        if !asked.is_empty() && *asked != partition_by {
            return Err(other_partitions(&partition_by));
        }
        if request.load.mode == Mode::Overwrite && request.load.schema_evolution {
            refuse_new_columns(&table)?;
            return Self::with_columns_of(place, Some(table), request, load);
        }
        let known = table.schema();
        let mut mapping = ColumnMapping::by_name(
            load,
            &plain(to_arrow(&known)?.as_ref()),
            request.load.schema_evolution,
            fits,
        )?;
        let rules = Rules::of(&table, &known, &mapping.schema, &mapping.sources)?;
        let replaces = request
            .options
            .replace_where
            .as_deref()
            .map(|sql| predicate(sql, &mapping.schema))
            .transpose()?;
        if request.options.overwrite_partitions && partition_by.is_empty() {
            return Err(invalid(
                "overwrite_partitions",
                "the table is not partitioned; overwrite it as a whole, or set `replace_where`",
            ));
        }
        let metadata = match mapping.added.is_empty() {
            true => None,
            false => {
                let schema = evolved(&table, &known, &mapping)?;
                mapping.schema = to_arrow(&schema)?;
                Some(with_schema(table.state.metadata(), &schema)?)
            }
        };
        let mut columns = program(&mapping, request, rules, replaces.clone());
        let updates = request.load.mode == Mode::Upsert
            && request.options.when_matched == WhenMatched::Update;
        Ok(Self {
            kept: if updates {
                columns.keep_values()
            } else {
                Vec::new()
            },
            columns,
            place,
            file_schema: file_schema(&table, &mapping.schema)?,
            table: Some(table),
            mapping,
            partition_by,
            protocol: None,
            metadata,
            replaces,
        })
    }

    /// Reads the table's files, and those of the load.
    pub(crate) fn scan(&self) -> Scan {
        Scan {
            store: self.place.log_store.object_store(None),
            schema: Arc::clone(&self.mapping.schema),
            file_schema: Arc::clone(&self.file_schema),
            partition_by: self.partition_by.clone(),
        }
    }

    /// The partition columns as files and the log have them.
    pub(crate) fn partitions_in_files(&self) -> Result<Vec<String>> {
        let name = |column: &String| {
            Ok(self
                .file_schema
                .field(self.mapping.schema.index_of(column)?)
                .name()
                .clone())
        };
        self.partition_by.iter().map(name).collect()
    }

    /// How many columns get statistics.
    pub(crate) fn indexed_columns(&self) -> usize {
        self.table
            .as_ref()
            .map_or(INDEXED_COLUMNS, Table::indexed_columns)
    }
}

/// The columns of the load; one that has nothing but nulls takes the type of the table's column.
pub(crate) fn load_schema(table: Option<&Table>, load: &SchemaRef) -> Result<SchemaRef> {
    let Some(table) = table else {
        return Ok(Arc::clone(load));
    };
    let columns = to_arrow(&table.schema())?;
    let fields = load.fields().iter().map(|field| {
        let Some((_, column)) = columns.column_with_name(field.name()) else {
            return Arc::clone(field);
        };
        let data_type = with_types_of(field.data_type(), column.data_type());
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

fn program(
    mapping: &ColumnMapping,
    request: &LoadRequest<DeltaLakeOptions>,
    rules: Rules,
    must_hold: Option<Expression>,
) -> ColumnProgram {
    let nanoseconds = request.options.nanoseconds;
    ColumnProgram::new(mapping, &request.schema, nanoseconds, rules, must_hold)
}

/// The columns of a table with those that the load adds.
fn evolved(table: &Table, known: &StructType, mapping: &ColumnMapping) -> Result<StructType> {
    refuse_new_columns(table)?;
    check_names(
        &mapping.added,
        &mapping.schema.fields()[..known.fields().len()],
    )?;
    check_protocol(&mapping.added, table.state.protocol())?;
    let added = to_delta(&Schema::new(mapping.added.clone()))?;
    StructType::try_new(known.fields().chain(added.fields()).cloned()).map_err(|error| {
        let message = format!("the columns cannot be added: {error}");
        Error::new(ErrorKind::SchemaMismatch, message).with_source(error)
    })
}

/// New columns of a table that maps its columns need names and ids that its engine gives.
fn refuse_new_columns(table: &Table) -> Result<()> {
    if !is_mapped(table) {
        return Ok(());
    }
    let message = "the table maps its columns (columnMapping), and this loader gives it no new ones; add them with ALTER TABLE … ADD COLUMN first, or leave them out";
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// Checks that the work after the commit is possible.
pub(crate) fn check_after(
    table: Option<&Table>,
    options: &DeltaLakeOptions,
    load: &Schema,
) -> Result<()> {
    let retention = table.map_or(chrono::Duration::days(7), Table::retention);
    if options
        .vacuum_retention()?
        .is_some_and(|asked| asked < retention)
    {
        let message = format!(
            "the table keeps removed files for {} hours; give `vacuum_retention` at least that",
            retention.num_hours()
        );
        return Err(invalid("vacuum_retention", message));
    }
    if table.is_some_and(is_mapped)
        && (options.optimize_after_write || !options.z_order_by.is_empty())
    {
        let message = "the table maps its columns (columnMapping), and only its own engine can rewrite it; leave optimize_after_write and z_order_by out";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let columns = table.map(Table::schema);
    let known = |column: &&String| {
        columns
            .as_ref()
            .is_some_and(|schema| schema.contains(column.as_str()))
            || load.column_with_name(column).is_some()
    };
    match options.z_order_by.iter().find(|column| !known(column)) {
        Some(column) => Err(invalid(
            "z_order_by",
            format!("`z_order_by` names `{column}`, which is no column of the table"),
        )),
        None => Ok(()),
    }
}

fn predicate(sql: &str, schema: &SchemaRef) -> Result<Expression> {
    let wrong = |why: String| {
        invalid(
            "replace_where",
            format!("`replace_where` is `{sql}`: {why}"),
        )
    };
    let expression = Expression::new(sql, schema).map_err(|error| wrong(error.to_string()))?;
    if expression.is_boolean(schema) {
        Ok(expression)
    } else {
        Err(wrong("it is neither true nor false".into()))
    }
}

fn other_partitions(known: &[String]) -> Error {
    let known = if known.is_empty() {
        "not partitioned".to_owned()
    } else {
        format!("partitioned by {}", known.join(", "))
    };
    invalid(
        "partition_by",
        format!("the table is {known}; leave `partition_by` out, or name the same"),
    )
}

fn check_partitions(partition_by: &[String], schema: &Schema) -> Result<()> {
    for (index, column) in partition_by.iter().enumerate() {
        if partition_by[..index].contains(column) {
            return Err(invalid(
                "partition_by",
                format!("`partition_by` names `{column}` twice"),
            ));
        }
        match schema.column_with_name(column) {
            None => {
                let known: Vec<&str> = schema
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str())
                    .collect();
                return Err(invalid(
                    "partition_by",
                    format!(
                        "`partition_by` names `{column}`; the columns are {}",
                        known.join(", ")
                    ),
                ));
            }
            Some((_, field)) if field.data_type().is_nested() => {
                return Err(invalid(
                    "partition_by",
                    format!("`{column}` is nested, and cannot be a partition column"),
                ));
            }
            Some(_) => {}
        }
    }
    if partition_by.len() == schema.fields().len() {
        return Err(invalid(
            "partition_by",
            "at least one column must not be in `partition_by`",
        ));
    }
    Ok(())
}
