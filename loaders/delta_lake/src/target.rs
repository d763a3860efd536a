//! What a load finds at its target, and what the table will be after it.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use arrowload_core::{ColumnMapping, Error, ErrorKind, LoadRequest, Mode, Result};
use deltalake::kernel::{Metadata, Protocol, StructType};

use crate::options::{DeltaLakeOptions, Nanoseconds, invalid};
use crate::physical::{file_schema, is_mapped};
use crate::place::Place;
use crate::predicate::{Expression, first_false};
use crate::rules::Rules;
use crate::schema::{
    check_names, check_protocol, metadata, plain, protocol, stored_schema, to_arrow, to_delta,
    with_schema,
};
use crate::table::{INDEXED_COLUMNS, Table};
use crate::types::{convert, fits};

/// A table as a load finds it, and as it will leave it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) place: Place,
    /// The table, if it is there.
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
    nanoseconds: Nanoseconds,
    rules: Rules,
    /// What all rows of the load must fulfil, and which rows of the table go.
    pub(crate) replaces: Option<Expression>,
}

impl Target {
    /// Finds the target and checks that the load fits it. Changes nothing.
    pub(crate) async fn of(place: Place, request: &LoadRequest<DeltaLakeOptions>) -> Result<Self> {
        DeltaLakeOptions::check(request)?;
        crate::verify::check(request)?;
        let lists_files = matches!(request.mode, Mode::Overwrite | Mode::Upsert);
        let table = Table::open(&place.log_store, lists_files).await?;
        check_after(table.as_ref(), &request.options, &request.schema)?;
        let create = request.must_create(table.is_some())?;
        let load = stored_schema(&request.schema, request.options.nanoseconds)?;
        match table {
            Some(table) if !create => Self::existing(place, table, request, &load),
            table => Self::new(place, table, request, &load),
        }
    }

    /// A table whose columns are those of the load.
    fn new(
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
        let nanoseconds = request.options.nanoseconds;
        let file_schema = Arc::clone(&mapping.schema);
        Ok(Self {
            place,
            table,
            mapping,
            file_schema,
            partition_by,
            protocol,
            metadata: Some(metadata),
            nanoseconds,
            rules,
            replaces: None,
        })
    }

    /// A table that keeps its columns, or gets more of them.
    fn existing(
        place: Place,
        table: Table,
        request: &LoadRequest<DeltaLakeOptions>,
        load: &SchemaRef,
    ) -> Result<Self> {
        let removes = matches!(request.mode, Mode::Overwrite | Mode::Upsert);
        let rewrites = request.mode == Mode::Upsert || request.options.replace_where.is_some();
        table.check_writable(removes, rewrites)?;
        let asked = &request.options.partition_by;
        let partition_by = table.partition_by();
        if request.mode == Mode::Overwrite && request.schema_evolution {
            if !asked.is_empty() && *asked != partition_by {
                return Err(other_partitions(&partition_by));
            }
            refuse_new_columns(&table)?;
            return Self::new(place, Some(table), request, load);
        }
        if !asked.is_empty() && *asked != partition_by {
            return Err(other_partitions(&partition_by));
        }
        let known = table.schema();
        let mapping = ColumnMapping::by_name(
            load,
            &plain(to_arrow(&known)?.as_ref()),
            request.schema_evolution,
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
        let nanoseconds = request.options.nanoseconds;
        let file_schema = file_schema(&table, &mapping.schema)?;
        if mapping.added.is_empty() {
            return Ok(Self {
                place,
                table: Some(table),
                mapping,
                file_schema,
                partition_by,
                protocol: None,
                metadata: None,
                nanoseconds,
                rules,
                replaces,
            });
        }
        refuse_new_columns(&table)?;
        check_names(
            &mapping.added,
            &mapping.schema.fields()[..known.fields().len()],
        )?;
        check_protocol(&mapping.added, table.state.protocol())?;
        let added = to_delta(&Schema::new(mapping.added.clone()))?;
        let schema = StructType::try_new(known.fields().chain(added.fields()).cloned()).map_err(
            |error| {
                Error::new(
                    ErrorKind::SchemaMismatch,
                    format!("the columns cannot be added: {error}"),
                )
                .with_source(error)
            },
        )?;
        let metadata = Some(with_schema(table.state.metadata(), &schema)?);
        let mapping = ColumnMapping {
            schema: to_arrow(&schema)?,
            ..mapping
        };
        let file_schema = Arc::clone(&mapping.schema);
        Ok(Self {
            place,
            table: Some(table),
            mapping,
            file_schema,
            partition_by,
            protocol: None,
            metadata,
            nanoseconds,
            rules,
            replaces,
        })
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

    /// A batch of the load with the columns and types of the table.
    pub(crate) fn arrange(&self, batch: &RecordBatch, first_row: u64) -> Result<RecordBatch> {
        let mut columns = batch.columns().to_vec();
        let mut fields: Vec<Field> = batch
            .schema_ref()
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .collect();
        for (field, source) in self
            .mapping
            .schema
            .fields()
            .iter()
            .zip(&self.mapping.sources)
        {
            let Some(index) = *source else { continue };
            columns[index] = convert(
                &columns[index],
                field.data_type(),
                field.name(),
                self.nanoseconds,
            )
            .map_err(|error| {
                match error
                    .get("row of the batch")
                    .and_then(|row| row.parse::<u64>().ok())
                {
                    Some(row) => error.at_row(first_row + row),
                    None => error,
                }
            })?;
            fields[index] = fields[index]
                .clone()
                .with_data_type(field.data_type().clone())
                .with_nullable(true);
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let converted =
            RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &rows)?;
        let arranged = self
            .rules
            .apply(self.mapping.apply(&converted, first_row)?, first_row)?;
        let Some(replaces) = &self.replaces else {
            return Ok(arranged);
        };
        match first_false(&replaces.holds(&arranged)?) {
            None => Ok(arranged),
            Some(row) => {
                let message = format!(
                    "a row does not fulfil replace_where, `{}`; filter it out",
                    replaces.sql()
                );
                Err(Error::new(ErrorKind::InvalidData, message).at_row(first_row + row))
            }
        }
    }
}

/// New columns of a table that maps its columns need names and ids that its engine gives.
fn refuse_new_columns(table: &Table) -> Result<()> {
    if !is_mapped(table) {
        return Ok(());
    }
    let message = "the table maps its columns (columnMapping), and this loader gives it no new ones; add them with ALTER TABLE … ADD COLUMN first, or leave them out";
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// What is to follow the load must be possible.
fn check_after(table: Option<&Table>, options: &DeltaLakeOptions, load: &Schema) -> Result<()> {
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
